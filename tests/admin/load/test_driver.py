"""What is sent when, and what is written down: on a clock, with a relay that answers when told."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from messageu.admin.load import Frames, Plan
from messageu.admin.load._connection import LoadConnection
from messageu.admin.load._driver import GRACE, Driver
from messageu.model import ClientId, MessageId
from messageu.wire import NEED_DATA, Parser, v2

USERS = [ClientId(bytes([number]) * 16) for number in (1, 2)]
REFUSAL = v2.GeneralError().encode()


class Peer:
    """A connection of the load, and the relay at its other end."""

    def __init__(self, driver: Driver, number: int) -> None:
        self.connection = LoadConnection(driver, number)
        self.transport = StringTransport()
        self.connection.makeConnection(self.transport)
        self._parser = Parser(v2.RequestCodec())
        self.asked: list[v2.Request] = []

    def read(self) -> int:
        """What has come; how many requests are not answered."""
        self._parser.receive_data(self.transport.value())
        self.transport.clear()
        while (event := self._parser.next_event()) is not NEED_DATA:
            self.asked.append(event)
        return len(self.asked)

    def answer(self, count: int = 1, refused: bool = False) -> None:
        """Answer the oldest ones at once."""
        self.read()
        done, self.asked = self.asked[:count], self.asked[count:]
        answers = [v2.Stored(each.body.recipient, MessageId(7)).encode() for each in done]
        self.connection.dataReceived(REFUSAL * count if refused else b"".join(answers))


class DriverTestCase(SynchronousTestCase):
    """Tests with a driver and its peers.

    :ivar plan: what it is to do.
    """

    plan = Plan("relay", 1, connections=2, mailboxes=2, seconds=10.0, warmup=0.0)

    def setUp(self) -> None:
        self.clock = Clock()
        self.driver = Driver(self.plan, Frames(USERS, b"sealed"), self.clock, self.clock.seconds)
        self.peers = [Peer(self.driver, number) for number in range(self.plan.connections)]
        self.driver.start([peer.connection for peer in self.peers])

    def advance(self, seconds: float) -> None:
        """Let time pass, in small steps."""
        self.clock.pump([2**-10] * round(seconds * 2**10))


class ClosedTests(DriverTestCase):
    """As fast as the relay answers."""

    plan = Plan("relay", 1, 2, in_flight=3, mailboxes=2, seconds=10.0, warmup=1.0)

    def test_window(self) -> None:
        """As many are in flight as is said, before and after answers, to each user in turn."""
        first = self.peers[0]
        self.assertEqual(first.read(), 3)
        recipients = [each.body.recipient for each in first.asked]
        self.assertEqual(recipients, [USERS[0], USERS[1], USERS[0]])
        self.assertEqual(first.asked[0].client_id, USERS[1])
        first.answer(2)
        self.assertEqual(first.read(), 3)

    def test_warmup(self) -> None:
        """What is answered in the warm-up is in the sum of everything alone."""
        self.peers[0].answer()
        self.advance(1.5)
        self.peers[0].answer()
        self.assertEqual(self.driver.everything.stored, 2)
        whole = self.driver.timeline.sum()
        self.assertEqual(whole.stored, 1)
        self.assertLessEqual(abs(whole.latencies.maximum - 1_500_000), 2)

    def test_end(self) -> None:
        """When the time is up nothing more is sent, and it has ended with the last answer."""
        self.advance(11)
        for peer in self.peers:
            self.assertNoResult(self.driver.finished)
            peer.answer(3)
            self.assertEqual(peer.read(), 0)
            self.assertEqual(peer.transport.disconnecting, peer is self.peers[1])
        self.successResultOf(self.driver.finished)
        self.assertEqual((self.driver.everything.sent, self.driver.everything.stored), (6, 6))
        self.assertEqual(self.driver.complaints, ())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ended_early(self) -> None:
        """Who is interrupted sends nothing more, and measures as long as it was."""
        self.advance(3)
        self.driver.end()
        for peer in self.peers:
            peer.answer(3)
        self.successResultOf(self.driver.finished)
        self.assertLessEqual(abs(self.driver.seconds - 2.0), 0.01)

    def test_silence(self) -> None:
        """What is not answered within the grace period is lost, and it ends."""
        self.advance(11)
        self.clock.advance(GRACE)
        self.successResultOf(self.driver.finished)
        self.assertEqual(self.driver.everything.lost, 6)
        self.assertEqual(self.driver.timeline.sum().lost, 6)
        self.assertIn("answers had not come", self.driver.complaints[0])

    def test_refused(self) -> None:
        """A refusal is counted, takes no part in the latencies, and the load goes on."""
        self.advance(2)
        self.peers[0].answer(3, refused=True)
        whole = self.driver.timeline.sum()
        self.assertEqual((whole.refused, whole.stored, whole.latencies.total), (3, 0, 0))
        self.assertEqual(self.peers[0].read(), 3)

    def test_nonsense(self) -> None:
        """A connection is given up whose answer is for somebody else, or for nobody."""
        self.advance(2)
        wrong = v2.Stored(USERS[1], MessageId(1)).encode()
        self.peers[0].connection.dataReceived(wrong)
        self.peers[1].connection.dataReceived(b"nonsense")
        self.successResultOf(self.driver.finished)
        self.assertEqual(self.driver.everything.lost, 6)
        self.assertEqual(len(self.driver.complaints), 3)
        self.assertIn("for somebody else", self.driver.complaints[0])

    def test_closed(self) -> None:
        """What is in flight on a connection that ends is lost; the others go on."""
        self.advance(2)
        self.peers[0].connection.connectionLost()
        self.assertEqual(self.driver.timeline.sum().lost, 3)
        self.peers[1].answer()
        self.assertEqual(self.peers[1].read(), 3)
        self.assertNoResult(self.driver.finished)


class OpenTests(DriverTestCase):
    """At a rate."""

    plan = Plan("relay", 1, 2, in_flight=2, mailboxes=2, seconds=2.0, warmup=0.0, rate=10.0)

    def answer_all(self) -> None:
        """Answer what there is."""
        for peer in self.peers:
            peer.answer(peer.read())

    def test_rate(self) -> None:
        """So many are sent as are due, on all connections in turn."""
        for _ in range(2**11):
            self.advance(2**-10)
            self.answer_all()
        self.successResultOf(self.driver.finished)
        self.assertEqual((self.driver.everything.sent, self.driver.everything.stored), (20, 20))
        self.assertEqual([peer.connection.issued for peer in self.peers], [10, 10])
        self.assertLess(self.driver.timeline.sum().latencies.maximum, 5_000)
        self.assertEqual(self.driver.unsent, 0)

    def test_waiting_is_measured(self) -> None:
        """A relay that is silent for a second is a second late for all that were due meanwhile, also
        for those that could not be sent: its pause does not hide them."""
        self.advance(1.0)
        self.assertEqual(self.driver.everything.sent, 4)
        self.assertEqual(self.driver.unsent, 16)
        for _ in range(5):
            self.answer_all()
        whole = self.driver.timeline.sum()
        self.assertEqual(whole.stored, 11)
        waited = [value for value, count in whole.latencies.buckets() for _ in range(count)]
        expected = [number * 100_000 for number in range(11)]
        for found, meant in zip(waited, expected, strict=True):
            self.assertLessEqual(abs(found - meant), meant / 64 + 5_000)

    def test_too_much(self) -> None:
        """What was due and never sent is counted."""
        self.advance(2.0)
        for peer in self.peers:
            peer.answer(2)
        self.successResultOf(self.driver.finished)
        self.assertEqual((self.driver.everything.sent, self.driver.unsent), (4, 16))
