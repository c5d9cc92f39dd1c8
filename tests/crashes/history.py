"""What clients know of a relay, and whether what it says later agrees with that."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import count

from attrs import define, evolve, field

from tests.sockets.client import Waiting


@define(eq=False)
class Sent:
    """A message that somebody has sent.

    :ivar begun: the moment before it was sent.
    :ivar acknowledged: the moment after its 2103 came; None when it did not.
    :ivar number: its id in the 2103.
    :ivar refused: whether it was answered with 9000.
    :ivar delivered: whether it came in an answer that was read to its end.
    :ivar proven: whether, after that, something was asked on the same connection.
    :ivar settled: whether that was answered, too.
    """

    sender: bytes
    recipient: bytes
    content: bytes
    begun: int
    acknowledged: int | None = None
    number: int | None = None
    refused: bool = False
    delivered: bool = False
    proven: bool = False
    settled: bool = False


@define
class Findings:
    """How what waits disagrees with what is known: the beginnings of contents.

    :ivar lost: acknowledged, not known to have arrived, and not there.
    :ivar foreign: there, and not as anybody has sent it.
    :ivar doubled: there more than once.
    :ivar returned: there again after it had been settled.
    :ivar disordered: there after something that was sent later.
    :ivar refused: there though its sender was told that it is not.
    """

    lost: list[bytes] = field(factory=list)
    foreign: list[bytes] = field(factory=list)
    doubled: list[bytes] = field(factory=list)
    returned: list[bytes] = field(factory=list)
    disordered: list[bytes] = field(factory=list)
    refused: list[bytes] = field(factory=list)

    @property
    def wrong(self) -> Mapping[str, Sequence[bytes]]:
        """What must never be. What was refused may be there after all when the relay has been
        started again, as it may have reached the disk when the disk said that it had not."""
        every = {name: getattr(self, name) for name in _NEVER}
        return {name: found for name, found in every.items() if found}


_NEVER = ("lost", "foreign", "doubled", "returned", "disordered")


class History:
    """What clients have done, and what they were answered.

    :ivar clients: public keys of those who were registered, by id.
    :ivar sent: by content, which is never the same twice.
    """

    def __init__(self) -> None:
        self.clients: dict[bytes, bytes] = {}
        self.sent: dict[bytes, Sent] = {}
        self._moments = count()

    def send(self, sender: bytes, recipient: bytes, content: bytes) -> Sent:
        """Somebody is about to send a message."""
        assert content not in self.sent
        sent = self.sent[content] = Sent(sender, recipient, content, next(self._moments))
        return sent

    def acknowledge(self, sent: Sent, number: int) -> None:
        """Its 2103 has come."""
        sent.acknowledged = next(self._moments)
        sent.number = number

    @property
    def acknowledged(self) -> Sequence[Sent]:
        """All whose 2103 has come."""
        return [sent for sent in self.sent.values() if sent.acknowledged is not None]

    def deliver(self, waiting: Sequence[Waiting]) -> Sequence[Sent]:
        """Messages have come in an answer that was read to its end."""
        delivered = [self.sent[each.content] for each in waiting if each.content in self.sent]
        for sent in delivered:
            sent.delivered = True
        return delivered

    def as_of(self, acknowledged: Collection[int], delivered: Collection[int]) -> History:
        """What was known when only these messages, by their numbers, had been acknowledged and
        delivered."""
        earlier = History()
        earlier.clients = self.clients
        for sent in self.sent.values():
            known = sent.acknowledged if sent.number in acknowledged else None
            arrived = sent.number in delivered
            earlier.sent[sent.content] = evolve(
                sent,
                acknowledged=known,
                delivered=arrived,
                proven=arrived,
                settled=False,
                refused=False,
            )
        return earlier

    def check(self, mailboxes: Mapping[bytes, Sequence[Waiting]]) -> Findings:
        """Compare with what waits for these clients, in its order."""
        findings = Findings()
        for recipient, waiting in mailboxes.items():
            self._check_mailbox(recipient, waiting, findings)
        found = {each.content for waiting in mailboxes.values() for each in waiting}
        for sent in self.acknowledged:
            arrived = sent.delivered and sent.proven
            if sent.recipient in mailboxes and not arrived and sent.content not in found:
                findings.lost.append(sent.content[:40])
        return findings

    def _check_mailbox(
        self, recipient: bytes, waiting: Sequence[Waiting], findings: Findings
    ) -> None:
        seen: list[Sent] = []
        contents: set[bytes] = set()
        for each in waiting:
            sent = self.sent.get(each.content)
            if sent is None or not _is_same(sent, recipient, each):
                findings.foreign.append(each.content[:40])
                continue
            if each.content in contents:
                findings.doubled.append(each.content[:40])
            contents.add(each.content)
            if sent.settled:
                findings.returned.append(each.content[:40])
            if sent.refused:
                findings.refused.append(each.content[:40])
            seen.append(sent)
        findings.disordered += [sent.content[:40] for sent in _disordered(seen)]


def _is_same(sent: Sent, recipient: bytes, waiting: Waiting) -> bool:
    return (
        (sent.sender, sent.recipient) == (waiting.sender, recipient)
        and waiting.type == 3
        and sent.number in (None, waiting.number)
    )


def _disordered(seen: Sequence[Sent]) -> Iterator[Sent]:
    """Those that stand after what was sent only when they had been acknowledged, or after what
    the same sender has sent later."""
    latest = -1
    of_sender: dict[bytes, int] = {}
    for sent in seen:
        known = -1 if sent.acknowledged is None else sent.acknowledged
        if -1 < known < latest or sent.begun < of_sender.get(sent.sender, -1):
            yield sent
        latest = max(latest, sent.begun)
        of_sender[sent.sender] = max(sent.begun, of_sender.get(sent.sender, -1))
