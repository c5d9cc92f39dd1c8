"""The check of what clients know who repeat what was not answered sees what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.crashes.history import Sent
from tests.sockets.client import Waiting

from .ledger import Ledger, Post
from .progress import Progress

ANNA, BERN = b"anna" * 4, b"bern" * 4


class LedgerTests(SynchronousTestCase):
    """Anna says things to Bern, some of them more than once."""

    def setUp(self) -> None:
        self.ledger = Ledger()
        self.number = 0

    def say(self, label: bytes) -> Post:
        """Begin to say something."""
        return self.ledger.begin(label)

    def attempt(self, post: Post, *, answered: bool = True) -> Sent:
        """Try, and be answered with 2103 or not."""
        self.number += 1
        sent = self.ledger.attempt(post, ANNA, BERN)
        if answered:
            self.ledger.acknowledge(sent, self.number)
        return sent

    def waiting(self, *sent: Sent) -> list[Waiting]:
        """These messages, as an answer has them."""
        numbers = {content: place for place, content in enumerate(self.ledger.sent, 1)}
        return [Waiting(each.sender, numbers[each.content], 3, each.content) for each in sent]

    def wrong(self, *waiting: Sent) -> dict[str, Sequence[bytes]]:
        """What is wrong when these wait for Bern in the end."""
        return dict(self.ledger.check_all({BERN: self.waiting(*waiting)}).wrong)

    def duplicates(self, *waiting: Sent) -> dict[str, int]:
        """How often something came twice, when these wait for Bern in the end."""
        found = self.ledger.duplicates({BERN: self.waiting(*waiting)})
        return {name: count for name, count in found.items() if count}

    def test_repeated(self) -> None:
        """What was not answered may come with each attempt; only the last one must."""
        post = self.say(b"hello")
        first = self.attempt(post, answered=False)
        second = self.attempt(post)
        self.assertTrue(post.is_acknowledged)
        self.assertEqual(self.wrong(second), {})
        self.assertEqual(self.duplicates(second), {})
        self.assertEqual(self.wrong(first, second), {})
        self.assertEqual(self.duplicates(first, second), {"unanswered": 1})
        self.assertEqual(self.wrong(first), {"lost": [second.content]})

    def test_refused(self) -> None:
        """What was refused and is there all the same is counted apart."""
        post = self.say(b"hello")
        first = self.attempt(post, answered=False)
        first.refused = True
        self.assertEqual(self.duplicates(first, self.attempt(post)), {"refused": 1})

    def test_once_for_each_attempt(self) -> None:
        """One attempt that comes twice in an answer is an error, whatever was answered."""
        sent = self.attempt(self.say(b"hello"), answered=False)
        self.ledger.fetched(BERN, self.waiting(sent, sent))
        self.assertEqual(self.wrong(sent)["doubled"], [sent.content])

    def test_comes_again(self) -> None:
        """What came in an answer that nothing followed may come again, and is counted."""
        sent = self.attempt(self.say(b"hello"))
        for _ in range(2):
            self.ledger.fetched(BERN, self.waiting(sent))
        sent.proven = True
        self.assertEqual(self.wrong(), {})
        self.assertEqual(self.duplicates(), {"broken": 1})

    def test_comes_again_after_it_was_settled(self) -> None:
        """What was followed by another answer does not come again."""
        sent = self.attempt(self.say(b"hello"))
        self.ledger.fetched(BERN, self.waiting(sent))
        sent.proven = sent.settled = True
        self.ledger.fetched(BERN, self.waiting(sent))
        self.assertEqual(self.wrong(), {"returned": [sent.content]})

    def test_disordered(self) -> None:
        """What was said later does not come before."""
        one, two = (self.attempt(self.say(label)) for label in (b"one", b"two"))
        self.ledger.fetched(BERN, self.waiting(two, one))
        self.assertEqual(self.wrong(one, two)["disordered"], [one.content])


class ProgressTests(SynchronousTestCase):
    """How long nobody was served."""

    def test_gaps(self) -> None:
        """A gap begins with the last success before, and ends with the first one after."""
        progress = Progress()
        for time in (1.0, 2.0, 5.0, 5.5, 9.0):
            progress.note("anna", time)
        progress.note("bern", 3.0)
        self.assertEqual(progress.gaps(2.5, 6.0), {"anna": 3.0, "bern": 0.0})
        self.assertEqual(progress.gaps(2.0, 4.0), {"anna": 0.0, "bern": 0.0})
        self.assertEqual(progress.count(2.0, 5.0), 2)

    def test_all_since(self) -> None:
        """Somebody who was never served has not been since."""
        progress = Progress()
        progress.note("anna", 1.0)
        self.assertTrue(progress.all_since(["anna"], 0.5))
        self.assertFalse(progress.all_since(["anna"], 1.0))
        self.assertFalse(progress.all_since(["anna", "bern"], 0.5))
