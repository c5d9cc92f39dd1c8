"""What clients of v2 know who repeat what was not answered, and which duplicates they may see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from attrs import asdict, define, field

from tests.crashes.history import Findings, History, Sent
from tests.sockets.client import Waiting


@define(eq=False)
class Post:
    """Something that somebody wants to say, as often as he tries to.

    :ivar attempts: each of which has a content of its own.
    """

    label: bytes
    attempts: list[Sent] = field(factory=list)

    @property
    def is_acknowledged(self) -> bool:
        """Whether there is no need for another attempt."""
        return any(sent.acknowledged is not None for sent in self.attempts)


@define
class Duplicates:
    """How often something came again, as it may.

    :ivar broken: the answer that brought it was not followed by another one on its connection.
    :ivar unanswered: it was sent again, as an attempt before was not answered.
    :ivar refused: it was sent again, as an attempt before was answered with 9000.
    """

    broken: int = 0
    unanswered: int = 0
    refused: int = 0


class Ledger(History):
    """A history of several threads, which looks at each answer as it comes.

    :ivar findings: what was wrong with answers until now.
    :ivar redelivered: contents that came again, as they may.
    """

    def __init__(self) -> None:
        super().__init__()
        self.findings = Findings()
        self.redelivered: Counter[bytes] = Counter()
        self._posts: dict[bytes, Post] = {}

    def moment(self) -> int:
        """Now, as moments are counted here."""
        return next(self._moments)

    def begin(self, label: bytes) -> Post:
        """Somebody wants to say something, which is never the same twice."""
        post = self._posts[label] = Post(label)
        return post

    def attempt(self, post: Post, sender: bytes, recipient: bytes) -> Sent:
        """He tries."""
        content = b"%b, attempt %d" % (post.label, len(post.attempts) + 1)
        sent = self.send(sender, recipient, content)
        post.attempts.append(sent)
        return sent

    def fetched(self, recipient: bytes, waiting: Sequence[Waiting]) -> Sequence[Sent]:
        """Messages have come to somebody in an answer that was read to its end."""
        self._check_mailbox(recipient, waiting, self.findings)
        for each in waiting:
            sent = self.sent.get(each.content)
            if sent is not None and sent.delivered and not sent.settled:
                self.redelivered[each.content] += 1
        return self.deliver(waiting)

    def check_all(self, mailboxes: dict[bytes, Sequence[Waiting]]) -> Findings:
        """Compare what waits in all mailboxes at the end, too; everything that was ever wrong."""
        findings = self.check(mailboxes)
        for name in ("foreign", "doubled", "returned", "disordered", "refused"):
            getattr(findings, name).extend(getattr(self.findings, name))
        return findings

    def duplicates(self, mailboxes: dict[bytes, Sequence[Waiting]]) -> dict[str, int]:
        """What came more than once, or waits to."""
        found = Duplicates(broken=self.redelivered.total())
        there = {each.content for waiting in mailboxes.values() for each in waiting}
        for post in self._posts.values():
            arrived = [sent for sent in post.attempts if sent.delivered or sent.content in there]
            # The last of them is the one that had to come.
            for sent in arrived[:-1]:
                if sent.refused:
                    found.refused += 1
                else:
                    found.unanswered += 1
        return asdict(found)
