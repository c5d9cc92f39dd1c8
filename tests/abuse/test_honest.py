"""The honest client notices what it is there to notice."""

from __future__ import annotations

from messageu.wire import v3
from tests.processes.children import ANY_PORT, ProcessTestCase

from .honest import HonestClient, Ledger, percentile
from .honest_v3 import WINDOW, HonestPeople, Sealed
from .relay_v3 import v3_port


class HonestClientTests(ProcessTestCase):
    """An honest client of a real relay."""

    def test_nothing_is_lost(self) -> None:
        """In peace it is answered each time, and finds all that was acknowledged."""
        honest = HonestClient(self.start(*ANY_PORT).ports[0])
        for _ in range(20):
            honest.send_and_fetch()
        honest.fetch_rest()
        honest.close()
        self.assertEqual((honest.refused, honest.ledger.lost, honest.ledger.invented), (0, 0, 0))
        self.assertEqual(len(honest.take_latencies()), 40)

    def test_loss_is_noticed(self) -> None:
        """Mail that was acknowledged and that somebody else has taken is counted as lost."""
        relay = self.start(*ANY_PORT)
        honest = HonestClient(relay.ports[0])
        honest.send_only()
        thief = relay.dial()
        self.assertEqual(len(thief.fetch_all(honest.bern)), 1)
        thief.close()
        honest.send_and_fetch()
        honest.fetch_rest()
        honest.close()
        self.assertEqual((honest.ledger.lost, honest.ledger.invented), (1, 0))


class HonestPeopleTests(ProcessTestCase):
    """Honest people at a real relay of v3."""

    def setUp(self) -> None:
        super().setUp()
        relay = self.start(*ANY_PORT, "--v3", ANY_PORT[1])
        self.port = v3_port(relay)
        self.honest = HonestPeople(self.port)
        self.addCleanup(self.honest.close)

    def figures(self) -> tuple[int, int, int]:
        """How often they were refused, what was lost, and what came that should not."""
        return self.honest.refused, self.honest.lost, self.honest.invented

    def test_nothing_is_lost(self) -> None:
        """In peace they are answered each time, and all that was acknowledged is pushed once."""
        for _ in range(20):
            self.honest.send_and_take()
        self.honest.take_rest()
        self.assertEqual(self.figures(), (0, 0, 0))
        self.assertEqual(len(self.honest.take_latencies()), 60)

    def test_loss_is_noticed(self) -> None:
        """Mail that was acknowledged and that somebody else has taken is counted as lost, and that
        somebody else is in one's place as a refusal."""
        thief = Sealed(self.port, self.honest.bern)
        thief.log_in()
        thief.ask(WINDOW)
        self.honest.send_only()
        thief.ask(v3.Acknowledge((thief.take().delivery.sequence,)))
        thief.close()
        self.assertIsNone(self.honest.take_only())
        self.honest.take_rest()
        self.assertEqual(self.figures(), (1, 1, 0))

    def test_repetition_is_noticed(self) -> None:
        """Mail that comes again is counted."""
        self.honest.send_only()
        self.honest.take_only()
        self.honest.take_rest()
        self.assertEqual(self.figures(), (0, 0, 1))


class FiguresTests(ProcessTestCase):
    """What is made of what it has seen."""

    def test_ledger(self) -> None:
        """Mail that comes twice is no loss, and mail that nobody has sent is noticed."""
        ledger = Ledger()
        ledger.acknowledge(b"first")
        ledger.find([b"first", b"first", b"strange"])
        self.assertEqual((ledger.lost, ledger.invented), (0, 1))

    def test_percentile(self) -> None:
        """The 99th percentile of a hundred latencies is the longest, of a thousand it is not."""
        self.assertEqual(percentile(list(map(float, range(100))), 0.99), 99)
        self.assertEqual(percentile(list(map(float, range(1_000))), 0.99), 990)
