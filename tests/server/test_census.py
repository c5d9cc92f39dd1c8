"""How often what waits is counted, and which mailboxes are the largest."""

from __future__ import annotations

from unittest import mock

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import Envelope, PublicKey, UserName
from messageu.server import _census
from messageu.server._census import CENSUS_INTERVAL, Census, depth_of, largest
from messageu.store import Depth, MailboxSize, MemoryStore, StoreUnavailable, SurveyPage


class CensusTests(SynchronousTestCase):
    """Counting."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(now=self.clock.seconds)
        self.store.open()
        self.clients = [
            self.successResultOf(
                self.store.register(UserName.from_text(f"client{number}"), PublicKey(bytes(160)))
            )
            for number in range(5)
        ]
        self.census = Census(self.store.surveys, self.clock)

    def put(self, number: int, *sizes: int) -> None:
        """Let messages wait for a client."""
        me = self.clients[number]
        self.store.put([Envelope(me, me, 3, bytes(size)) for size in sizes])

    def test_interval(self) -> None:
        """It counts once a minute at the most, however often it is asked."""
        self.put(0, 10)
        self.census.refresh()
        self.assertEqual(self.census.depths, {"v2": Depth(1, 1, 10), "v3": Depth()})
        self.put(1, 5)
        self.clock.advance(CENSUS_INTERVAL - 1)
        self.census.refresh()
        self.assertEqual(self.census.depths["v2"], Depth(1, 1, 10))
        self.clock.advance(1)
        self.census.refresh()
        self.assertEqual(self.census.depths["v2"], Depth(2, 2, 15))

    def test_one_at_a_time(self) -> None:
        """While it counts it does not begin to count again, however long that takes."""
        asked: list[Deferred[object]] = []

        def ask(*_: object) -> Deferred[object]:
            asked.append(Deferred())
            return asked[-1]

        survey = mock.Mock(sum_mailboxes=ask)
        census = Census({"v2": survey}, self.clock)
        census.refresh()
        self.clock.advance(2 * CENSUS_INTERVAL)
        census.refresh()
        self.assertEqual((len(asked), census.depths), (1, {}))
        asked[0].callback(SurveyPage(Depth(1, 2, 3), None))
        self.assertEqual(census.depths, {"v2": Depth(1, 2, 3)})

    def test_failure(self) -> None:
        """When the store cannot tell, nothing is told rather than what was; later it is asked again."""
        self.census.refresh()
        self.store.is_open = False
        self.clock.advance(CENSUS_INTERVAL)
        self.assertIsNone(self.successResultOf(self.census.refresh()))
        self.assertEqual(self.census.depths, {})
        self.store.is_open = True
        self.clock.advance(CENSUS_INTERVAL)
        self.census.refresh()
        self.assertEqual(self.census.depths["v2"], Depth())

    def test_bug(self) -> None:
        """Any other failure is a bug, and is logged."""
        survey = mock.Mock(sum_mailboxes=lambda *_: fail(ZeroDivisionError()))
        Census({"v2": survey}, self.clock).refresh()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_steps(self) -> None:
        """What is counted in many steps is the same as in one."""
        for number in range(5):
            self.put(number, *[number] * number)
        survey = self.store.surveys["v2"]
        with mock.patch.multiple(_census, SUM_STEP=2, LIST_STEP=2):
            depth = self.successResultOf(Deferred.fromCoroutine(depth_of(survey)))
            found = self.successResultOf(Deferred.fromCoroutine(largest(survey, 3)))
        self.assertEqual(depth, Depth(4, 10, 1 + 4 + 9 + 16))
        expected = [MailboxSize(self.clients[n], n, n * n) for n in (4, 3, 2)]
        self.assertEqual(found, expected)

    def test_closed(self) -> None:
        """Whoever asks for the largest while the store is closed hears that."""
        self.store.is_open = False
        asked = Deferred.fromCoroutine(largest(self.store.surveys["v2"], 3))
        self.failureResultOf(asked, StoreUnavailable)
