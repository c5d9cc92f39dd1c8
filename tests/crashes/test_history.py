"""The check of a history sees what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.sockets.client import Waiting

from .history import History, Sent

ANNA, BERN = b"anna" * 4, b"bern" * 4


class HistoryTests(SynchronousTestCase):
    """Anna sends to Bern, and gets an answer before she sends again."""

    def setUp(self) -> None:
        self.history = History()
        self.number = 0

    def send(self, content: bytes) -> Sent:
        """A message that is acknowledged."""
        self.number += 1
        sent = self.history.send(ANNA, BERN, content)
        self.history.acknowledge(sent, self.number)
        return sent

    def waiting(self, *sent: Sent) -> list[Waiting]:
        """The same messages in a mailbox."""
        return [Waiting(each.sender, each.number or 0, 3, each.content) for each in sent]

    def wrong(self, waiting: Sequence[Waiting]) -> dict[str, Sequence[bytes]]:
        """What is wrong when this is Bern's mailbox."""
        return dict(self.history.check({BERN: waiting}).wrong)

    def test_all_is_well(self) -> None:
        """What was acknowledged waits, in order; what was not may wait or not."""
        one, two = self.send(b"one"), self.send(b"two")
        three = self.history.send(ANNA, BERN, b"three")
        self.assertEqual(self.wrong(self.waiting(one, two)), {})
        self.assertEqual(self.wrong(self.waiting(one, two, three)), {})

    def test_lost(self) -> None:
        """A message that was acknowledged and does not wait is lost, unless it has arrived and
        somebody has said so."""
        one = self.send(b"one")
        self.assertEqual(self.wrong([]), {"lost": [b"one"]})
        one.delivered = True
        self.assertEqual(self.wrong([]), {"lost": [b"one"]})
        one.proven = True
        self.assertEqual(self.wrong([]), {})

    def test_lost_as_of_a_moment(self) -> None:
        """What was known at a moment can be asked for."""
        self.send(b"one")
        for acknowledged, delivered, wrong in (
            ({1}, (), {"lost": [b"one"]}),
            ({1}, {1}, {}),
            ((), (), {}),
        ):
            earlier = self.history.as_of(acknowledged, delivered)
            self.assertEqual(earlier.check({BERN: []}).wrong, wrong)

    def test_foreign(self) -> None:
        """A message that nobody has sent so is foreign: its content, number, sender, type."""
        one = self.send(b"one")
        (good,) = self.waiting(one)
        for change in ({"number": 2}, {"sender": BERN}, {"type": 4}):
            self.assertEqual(self.wrong([good._replace(**change)]), {"foreign": [b"one"]})
        found = self.wrong([good._replace(content=b"on")])
        self.assertEqual(found, {"foreign": [b"on"], "lost": [b"one"]})
        found = self.history.check({ANNA: [good]}).wrong
        self.assertEqual(found, {"foreign": [b"one"]})

    def test_doubled(self) -> None:
        """A message that waits twice is doubled."""
        one = self.send(b"one")
        self.assertEqual(self.wrong(self.waiting(one, one)), {"doubled": [b"one"]})

    def test_returned(self) -> None:
        """A message that waits after it was settled has returned."""
        one = self.send(b"one")
        one.settled = True
        self.assertEqual(self.wrong(self.waiting(one)), {"returned": [b"one"]})

    def test_disordered(self) -> None:
        """A message that stands after a later one is in disorder."""
        one, two = self.send(b"one"), self.send(b"two")
        self.assertEqual(self.wrong(self.waiting(two, one)), {"disordered": [b"one"]})

    def test_refused(self) -> None:
        """A message that was refused and waits is found, and is not wrong."""
        one = self.history.send(ANNA, BERN, b"one")
        one.refused = True
        findings = self.history.check({BERN: self.waiting(one)})
        self.assertEqual((findings.refused, findings.wrong), ([b"one"], {}))
