"""The budget by itself, and the order in which it takes from whom."""

from __future__ import annotations

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from messageu.server import Limits, LimitSettings
from messageu.server._limits import RateLimiter


@define(eq=False)
class Holder:
    """Holds what the test says, and remembers what it was told."""

    limits: Limits
    address: str = "192.0.2.1"
    told: list[str] = field(factory=list)

    def evict(self) -> None:
        """Give up a frame, as a connection does: at once."""
        self.told.append("evict")
        self.limits.hold_input(self, 0, incomplete=False)

    def abort(self) -> None:
        """Give up everything."""
        self.told.append("abort")
        self.limits.hold_output(self, 0)


class PoolTests(SynchronousTestCase):
    """Bytes on their way in and out."""

    def setUp(self) -> None:
        self.limits = Limits(LimitSettings(input_bytes=1000, output_bytes=1000, unreserved=10))
        self.first, self.second, self.third = (Holder(self.limits) for _ in range(3))

    def test_few_bytes_are_free(self) -> None:
        """A connection that holds no more than a header or so takes nothing from the budget."""
        self.limits.hold_input(self.first, 10, incomplete=True)
        self.assertEqual(self.limits.input_bytes, 0)
        self.limits.hold_input(self.first, 11, incomplete=True)
        self.assertEqual(self.limits.input_bytes, 11)
        self.limits.hold_input(self.first, 5, incomplete=True)
        self.assertEqual(self.limits.input_bytes, 0)

    def test_oldest_incomplete_frame_goes(self) -> None:
        """When too much is held, the frame that has been incomplete for longest is given up."""
        self.limits.hold_input(self.first, 300, incomplete=False)
        self.limits.hold_input(self.second, 300, incomplete=True)
        self.limits.hold_input(self.third, 300, incomplete=True)
        self.limits.hold_input(self.second, 400, incomplete=True)
        self.assertEqual((self.second.told, self.third.told), ([], []))
        self.limits.hold_input(self.third, 301, incomplete=True)
        self.assertEqual((self.first.told, self.second.told, self.third.told), ([], ["evict"], []))
        self.assertEqual(self.limits.input_bytes, 601)
        self.assertEqual(self.limits.hits["input_bytes"], 1)

    def test_many_go_for_one(self) -> None:
        """As many small frames are given up as a large one costs, and no more."""
        small = [Holder(self.limits) for _ in range(20)]
        for holder in small:
            self.limits.hold_input(holder, 40, incomplete=True)
        for most in (400, 990, 1000):
            self.limits.hold_input(self.first, most, incomplete=True)
            self.assertLessEqual(self.limits.input_bytes, 1000)
        self.assertEqual([holder.told for holder in small], [["evict"]] * 20)
        self.assertEqual(self.first.told, [])

    def test_thousands_go_for_one(self) -> None:
        """Thousands of small frames are given up for a large one, without a stack as deep."""
        limits = Limits(LimitSettings(input_bytes=100_000, unreserved=10))
        for holder in [Holder(limits) for _ in range(5_000)]:
            limits.hold_input(holder, 20, incomplete=True)
        limits.hold_input(self.first, 100_000, incomplete=False)
        self.assertEqual(limits.input_bytes, 100_000)
        self.assertEqual(limits.hits["input_bytes"], 5_000)

    def test_nobody_to_evict(self) -> None:
        """When every frame is complete, the one who asked for more gives up his."""
        self.limits.hold_input(self.first, 900, incomplete=False)
        self.limits.hold_input(self.second, 200, incomplete=False)
        self.assertEqual((self.first.told, self.second.told), ([], ["evict"]))

    def test_slowest_reader_goes(self) -> None:
        """When too much waits to be read, who has made no progress for longest is aborted."""
        self.limits.hold_output(self.first, 400)
        self.limits.hold_output(self.second, 400)
        self.limits.hold_output(self.first, 300)
        self.limits.hold_output(self.third, 400)
        self.assertEqual((self.first.told, self.second.told, self.third.told), ([], ["abort"], []))
        self.assertEqual(self.limits.output_bytes, 700)

    def test_crowded(self) -> None:
        """Readers that stand still make way for those that wait, no more than wait, and none that
        has read something of late."""
        self.limits.check_crowded(1.0, 0)
        for holder in (self.first, self.second, self.third):
            self.limits.hold_output(holder, 100)
        self.limits.check_crowded(2.0, 3)
        self.limits.hold_output(self.first, 50)
        self.limits.check_crowded(4.5, 0)
        self.assertEqual((self.first.told, self.second.told, self.third.told), ([], [], []))
        self.limits.check_crowded(4.6, 1)
        self.assertEqual((self.first.told, self.second.told, self.third.told), ([], ["abort"], []))
        self.limits.check_crowded(4.7, 5)
        self.assertEqual((self.first.told, self.third.told), ([], ["abort"]))
        self.assertEqual(self.limits.hits["crowded_deadline"], 2)

    def test_one_reader_too_slow(self) -> None:
        """Who alone has more than all may have is aborted."""
        self.limits.hold_output(self.first, 1001)
        self.assertEqual(self.first.told, ["abort"])

    def test_nothing_remains(self) -> None:
        """When everybody is gone, nothing is held."""
        for holder in (self.first, self.second):
            self.limits.hold_input(holder, 400, incomplete=True)
            self.limits.hold_output(holder, 400)
        for holder in (self.first, self.second):
            self.limits.hold_input(holder, 0, incomplete=False)
            self.limits.hold_output(holder, 0)
        self.assertEqual((self.limits.input_bytes, self.limits.output_bytes), (0, 0))


class LeaseTests(SynchronousTestCase):
    """Messages on their way to those who have not said that they have them."""

    def test_room(self) -> None:
        """An answer may have as many as are left, a few when none are left, and a brief one never
        more than these."""
        limits = Limits(LimitSettings(leased_messages=10_000, answer_messages=8_000))
        self.assertEqual(limits.lease_room(brief=False), 8_000)
        self.assertEqual(limits.lease_room(brief=True), 256)
        for leased, room in ((5_000, 5_000), (9_900, 256), (20_000, 256)):
            limits.leased = leased
            self.assertEqual(limits.lease_room(brief=False), room)

    def test_oldest_goes(self) -> None:
        """When twice as many are on their way, who has had some for longest is aborted."""
        limits = Limits(LimitSettings(leased_messages=500))
        first, second = (Holder(limits) for _ in range(2))
        limits.keep_leased(first, 600)
        limits.keep_leased(second, 400)
        self.assertEqual((first.told, second.told), ([], []))
        limits.keep_leased(second, 401)
        self.assertEqual((first.told, second.told), (["abort"], []))
        self.assertEqual(limits.hits["leased_messages"], 1)


class ConnectionLimitTests(SynchronousTestCase):
    """Who may come in."""

    def test_all_places_taken(self) -> None:
        """There are no more connections than the limit says, and a place that is left is free."""
        limits = Limits(LimitSettings(connections=5))
        addresses = [f"192.0.2.{n}" for n in range(5)]
        self.assertEqual([limits.admit(address) for address in addresses], [True] * 5)
        self.assertFalse(limits.admit("198.51.100.1"))
        limits.leave(addresses[0])
        self.assertTrue(limits.admit("198.51.100.1"))
        self.assertEqual(limits.connections, 5)
        self.assertEqual(limits.hits["connections"], 1)

    def test_crowded(self) -> None:
        """When most places are taken, who holds most gets no more, and others still come in."""
        limits = Limits(LimitSettings(connections=10))
        self.assertTrue(all(limits.admit("192.0.2.1") for _ in range(6)))
        self.assertTrue(all(limits.admit("192.0.2.2") for _ in range(2)))
        self.assertFalse(limits.admit("192.0.2.1"))
        self.assertTrue(limits.admit("192.0.2.2"))
        self.assertTrue(limits.admit("192.0.2.3"))

    def test_lowered(self) -> None:
        """The limit can be lowered to what the system allows, and not raised."""
        limits = Limits(LimitSettings(connections=10))
        limits.lower_connections(1)
        limits.lower_connections(5)
        self.assertEqual(limits.connection_limit, 1)
        self.assertEqual((limits.admit("a"), limits.admit("b")), (True, False))


class ReadSizeTests(SynchronousTestCase):
    """How much is read at once."""

    def test_share(self) -> None:
        """As much as is usual of few connections, and of many so much that all may have it; never
        too little to go on."""
        limits = Limits(LimitSettings(input_bytes=1 << 20, connections=10_000))
        sizes = {}
        for number in range(1000):
            limits.admit(f"192.0.2.{number}")
            sizes[number + 1] = limits.read_size
        self.assertEqual(
            [sizes[n] for n in (1, 16, 17, 32, 33)], [65536, 65536, 32768, 32768, 16384]
        )
        self.assertEqual(sizes[1000], 4096)
        for number in range(1000):
            limits.leave(f"192.0.2.{number}")
        self.assertEqual(limits.read_size, 65536)


class RateTests(SynchronousTestCase):
    """How often an address may register."""

    def test_a_burst_and_then_slowly(self) -> None:
        """A minute's worth is there at once; then it comes back evenly."""
        rate = RateLimiter(60)
        self.assertEqual([rate.take("a", 0.0) for _ in range(61)], [True] * 60 + [False])
        self.assertTrue(rate.take("b", 0.0))
        self.assertEqual([rate.take("a", 2.0) for _ in range(3)], [True, True, False])
        self.assertEqual([rate.take("a", 1e6) for _ in range(61)], [True] * 60 + [False])

    def test_bounded(self) -> None:
        """Only so many addresses are remembered; the one that was quiet for longest is not."""
        rate = RateLimiter(1, tracked=2)
        self.assertTrue(rate.take("a", 0.0))
        self.assertTrue(rate.take("b", 0.0))
        self.assertFalse(rate.take("a", 0.0))
        self.assertTrue(rate.take("c", 0.0))
        self.assertFalse(rate.take("a", 0.0))
        self.assertTrue(rate.take("b", 0.0))
