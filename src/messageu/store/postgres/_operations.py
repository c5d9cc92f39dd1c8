"""What the store can be asked about v2's mailboxes, as objects for the transactor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from secrets import randbelow
from typing import ClassVar, Final, TypeAlias, cast

from attrs import field, frozen

from messageu.model import (
    MESSAGE_ID_LIMIT,
    ClientId,
    Envelope,
    ListedClient,
    MessageId,
    PublicKey,
    Refusal,
    UserName,
)

from .._interface import (
    START,
    Directory,
    DirectoryPage,
    Lease,
    Page,
    Piece,
    Position,
    PutOutcome,
    StoreError,
)
from .._pages import MESSAGE_COST, fill_page
from .._work import Needs, Operation
from . import _statements as statements
from ._statements import Head, MessageRow
from ._work import Mailbox, PostgresWork

PostgresOperation: TypeAlias = Operation[PostgresWork]

LEASE_NUMBERS: Final = 2**62
"""Leases have random numbers below this: after a crash of the server nothing is left of them, and
whoever names an old one must not meet another's."""

SETTLED_STEP: Final = 4_096
"""Messages that one transaction deletes, so that others are not kept waiting."""

EXPIRY_STEP: Final = 4_096
"""Messages that one transaction lets expire."""

_NOTHING: Final = Page((), None)


@frozen
class Register(PostgresOperation):
    """Make a client."""

    name: ClassVar[str] = "register"
    writes: ClassVar[bool] = True

    client_id: ClientId
    user_name: UserName
    public_key: PublicKey
    time: float

    @property
    def needs(self) -> Needs:
        return Needs(registry=True)

    def run(self, work: PostgresWork) -> ClientId | Refusal:
        name = str(self.user_name)
        if statements.is_name_taken(work.cursor, name):
            return Refusal.NAME_TAKEN
        raw = self.client_id.raw
        key = statements.add_client(work.cursor, raw, name, self.public_key.raw, self.time)
        work.learn(raw, key)
        return self.client_id


@frozen
class FindPublicKey(PostgresOperation):
    """Look up a client's public key."""

    name: ClassVar[str] = "public key"

    requester: ClientId
    client_id: ClientId

    @property
    def subject(self) -> bytes:
        return self.requester.raw

    def run(self, work: PostgresWork) -> PublicKey | Refusal:
        if work.key_of(self.requester) is None:
            return Refusal.UNKNOWN_CLIENT
        raw = statements.find_public_key(work.cursor, self.client_id.raw)
        return Refusal.UNKNOWN_CLIENT if raw is None else PublicKey(raw)


@frozen
class ListClients(PostgresOperation):
    """Fix who is in a directory."""

    name: ClassVar[str] = "directory"

    requester: ClientId

    def run(self, work: PostgresWork) -> Directory | Refusal:
        if work.key_of(self.requester) is None:
            return Refusal.UNKNOWN_CLIENT
        # Keys are given out one after another, and no client ever goes.
        count = statements.count_clients(work.cursor)
        return Directory(self.requester, count - 1, count)


@frozen
class ReadDirectoryPage(PostgresOperation):
    """List a piece of a directory."""

    name: ClassVar[str] = "directory page"
    commutes: ClassVar[bool] = True

    directory: Directory
    start: int
    limit: int

    def run(self, work: PostgresWork) -> DirectoryPage:
        # One more than asked for tells whether there is a next page.
        rows = statements.list_clients(
            work.cursor,
            self.directory.requester.raw,
            self.start,
            self.directory.last,
            self.limit + 1,
        )
        page = rows[: self.limit]
        return DirectoryPage(
            tuple(ListedClient(ClientId(raw), name.encode("ascii")) for _, raw, name in page),
            page[-1][0] if len(rows) > len(page) else None,
        )


@frozen
class Put(PostgresOperation):
    """Store messages."""

    name: ClassVar[str] = "put"
    writes: ClassVar[bool] = True

    envelopes: Sequence[Envelope]
    time: float

    @property
    def subject(self) -> bytes:
        return self.envelopes[0].recipient.raw if self.envelopes else b""

    @property
    def needs(self) -> Needs:
        return Needs(clients=[envelope.recipient.raw for envelope in self.envelopes])

    @property
    def count(self) -> int:
        return max(1, len(self.envelopes))

    @property
    def size(self) -> int:
        return sum([len(envelope.content) for envelope in self.envelopes])

    def parts(self) -> Sequence[Put]:
        return [Put((envelope,), self.time) for envelope in self.envelopes]

    def join(self, results: Sequence[object]) -> Sequence[object]:
        return [
            result if isinstance(result, StoreError) else cast(Sequence[object], result)[0]
            for result in results
        ]

    @classmethod
    def run_group(cls, work: PostgresWork, group: Sequence[Put]) -> Sequence[Sequence[PutOutcome]]:
        envelopes = list(chain.from_iterable([put.envelopes for put in group]))
        work.find_keys(
            chain.from_iterable((each.sender.raw, each.recipient.raw) for each in envelopes)
        )
        rows: list[MessageRow] = []
        results = [put.place(work, rows) for put in group]
        if rows:
            statements.store_messages(work.cursor, rows, work.take_changed())
        else:
            work.write_mailboxes()
        return results

    def place(self, work: PostgresWork, rows: list[MessageRow]) -> Sequence[PutOutcome]:
        """Make a row of each message that is not refused; what becomes of each message."""
        return [self._place(work, envelope, rows) for envelope in self.envelopes]

    def _place(
        self, work: PostgresWork, envelope: Envelope, rows: list[MessageRow]
    ) -> MessageId | Refusal:
        if work.key_of(envelope.sender) is None:
            return Refusal.UNKNOWN_CLIENT
        recipient = work.key_of(envelope.recipient)
        if recipient is None:
            return Refusal.UNKNOWN_RECIPIENT
        mailbox = work.mailbox(recipient)
        content = envelope.content
        size = len(content)
        if not mailbox.has_room(work.quota, size):
            # It may be full of what has arrived, and was held by a relay of which nothing more is heard.
            # To look for that costs as much as the mailbox is large: only where it is known to be there.
            if not mailbox.is_cleared and statements.has_rubbish(work.cursor, recipient):
                _clear(work, mailbox)
            mailbox.is_cleared = True
            if not mailbox.has_room(work.quota, size):
                return Refusal.MAILBOX_FULL
        mailbox.last_sequence = sequence = mailbox.last_sequence + 1
        mailbox.messages += 1
        mailbox.content += size
        mailbox.changed = True
        sender = envelope.sender.raw
        rows.append((recipient, sequence, sender, envelope.type, self.time, size, content))
        return MessageId(sequence % MESSAGE_ID_LIMIT)


@frozen
class TakeLease(PostgresOperation):
    """Pin what waits for a client, and read the first of it."""

    name: ClassVar[str] = "lease"
    writes: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True  # a lease that nobody knows of ends by itself

    requester: ClientId
    max_messages: int
    max_bytes: int
    page: int

    @property
    def subject(self) -> bytes:
        return self.requester.raw

    @property
    def needs(self) -> Needs:
        return Needs(readers=(self.requester.raw,))

    @property
    def size(self) -> int:
        return self.page

    def run(self, work: PostgresWork) -> Lease | Refusal | StoreError:
        client = work.key_of(self.requester)
        if client is None:
            return Refusal.UNKNOWN_CLIENT
        mailbox = work.mailbox_of_reader(client)
        heads: Sequence[Head] = ()
        if mailbox is not None:
            limit = max(1, self.max_messages)
            heads = _fitting(
                statements.list_heads(work.cursor, client, mailbox.settled, limit), self.max_bytes
            )
        if mailbox is None or not heads:
            return Lease(self.requester, 0, 0, 0, _NOTHING)
        number = 1 + randbelow(LEASE_NUMBERS)
        span = heads[0][0], heads[-1][0]
        statements.add_lease(work.cursor, number, work.relay, client, span, mailbox.epoch)
        first = _read_page(work, client, heads, START, self.page)
        if isinstance(first, StoreError):
            return first
        return Lease(self.requester, number, len(heads), sum(head[3] for head in heads), first)


def _fitting(heads: Sequence[Head], room: int) -> Sequence[Head]:
    """Those that have so many bytes together, but at least one."""
    for index, head in enumerate(heads):
        room -= head[3]
        if index and room < 0:
            return heads[:index]
    return heads


def _read_page(
    work: PostgresWork, client: int, heads: Sequence[Head], start: Position, room: int
) -> Page | StoreError:
    """The page that begins at a position. What is whole in it is read at once."""
    whole: list[int] = []
    left = room
    offset = start[1] if heads and heads[0][0] == start[0] else 0
    for sequence, _, _, size in heads:
        left -= size - offset + MESSAGE_COST
        if left < 0 and (whole or left + MESSAGE_COST < 0):
            break
        if not offset:
            whole.append(sequence)
        offset = 0
    contents: Mapping[int, bytes] = {}
    if whole:
        contents = statements.read_contents(work.cursor, client, whole)
    pieces: Iterable[Piece] = (
        (sequence, sender, kind, size, 0, contents.get(sequence, b""))
        for sequence, sender, kind, size in heads
    )
    read: Callable[[int, int, int], bytes] = partial(statements.read_part, work.cursor, client)
    try:
        return fill_page(pieces, start, room, read)
    except StoreError as error:
        return error


@frozen
class ReadPage(PostgresOperation):
    """Read some of what a lease has pinned."""

    name: ClassVar[str] = "read"
    commutes: ClassVar[bool] = True

    lease: Lease
    start: Position
    page: int

    @property
    def subject(self) -> bytes:
        return self.lease.requester.raw

    def run(self, work: PostgresWork) -> Page | StoreError:
        cursor, number = work.cursor, self.lease.number
        found = statements.find_lease(cursor, number)
        if found is None:
            return StoreError("the lease has ended")
        client, first, last, epoch, is_due = found
        if is_due and not statements.renew_lease(cursor, number):
            return StoreError("the lease has ended")
        # One more than a page can have tells that there is a next one.
        limit = self.page // MESSAGE_COST + 2
        span = max(first, self.start[0]), last
        heads = statements.list_leased(cursor, client, span, epoch, limit)
        return _read_page(work, client, heads, self.start, self.page)


def _clear(work: PostgresWork, mailbox: Mailbox) -> bool:
    """Delete some of what is to go of a mailbox: whether there may be more that can go now."""
    mailbox.is_cleared = True
    messages, content, left = statements.clear_mailbox(
        work.cursor, mailbox.client, mailbox.settled, SETTLED_STEP
    )
    if messages:
        mailbox.messages -= messages
        mailbox.content -= content
        mailbox.changed = True
    if left:
        statements.note_rubbish(work.cursor, mailbox.client)
    else:
        statements.forget_rubbish(work.cursor, mailbox.client)
    return left and messages == SETTLED_STEP


@frozen
class EndOfLease(PostgresOperation):
    """What the two ways in which a lease can end have in common: whether there is more to delete.

    :ivar client: whose it was.
    """

    writes: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True
    essential: ClassVar[bool] = True

    client: ClientId
    number: int

    @property
    def subject(self) -> bytes:
        return self.client.raw

    @property
    def needs(self) -> Needs:
        return Needs(clients=(self.client.raw,))

    def run(self, work: PostgresWork) -> bool:
        client = work.key_of(self.client)
        last = statements.end_lease(work.cursor, self.number)
        if client is None or last is None:
            return False
        mailbox = work.mailbox(client)
        self.mark(mailbox, last)
        more = _clear(work, mailbox)
        work.write_mailboxes()
        return more

    def mark(self, mailbox: Mailbox, last: int) -> None:
        """What the end of a lease up to this sequence means to its mailbox."""


@frozen
class SettleLease(EndOfLease):
    """Delete what a lease has brought, as far as no other lease holds it."""

    name: ClassVar[str] = "settling of a lease"

    def mark(self, mailbox: Mailbox, last: int) -> None:
        # What waits before it was in the lease as well, or came back by a lease that was released
        # and is in it again: a mailbox is always fetched from its beginning.
        if last > mailbox.settled:
            mailbox.settled = last
            mailbox.changed = True


@frozen
class ReleaseLease(EndOfLease):
    """End a lease, and delete what others have settled meanwhile."""

    name: ClassVar[str] = "release of a lease"


@frozen
class EndAllLeases(PostgresOperation):
    """Release every lease of this relay, and forget the relay, because the store closes."""

    name: ClassVar[str] = "end of all leases"
    writes: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True
    essential: ClassVar[bool] = True

    def run(self, work: PostgresWork) -> None:
        statements.end_leases(work.cursor, work.relay)


# What is done in the background


@frozen
class ClearMailbox(PostgresOperation):
    """Delete some of what is to go of a mailbox: whether there may be more that can go now."""

    name: ClassVar[str] = "clearing of a mailbox"
    writes: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True

    client: ClientId

    @property
    def needs(self) -> Needs:
        return Needs(clients=(self.client.raw,))

    def run(self, work: PostgresWork) -> bool:
        client = work.key_of(self.client)
        if client is None:
            return False
        more = _clear(work, work.mailbox(client))
        work.write_mailboxes()
        return more


@frozen
class ClearRubbish(PostgresOperation):
    """Delete some of what is to go of the next mailbox of which nobody took care: its key, or None
    after the last."""

    name: ClassVar[str] = "clearing of mailboxes"
    writes: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True
    alone: ClassVar[bool] = True

    after: int

    def run(self, work: PostgresWork) -> int | None:
        for client in statements.list_rubbish(work.cursor, self.after, 1):
            _clear(work, work.mailbox(client))
            work.write_mailboxes()
            return client
        return None


@frozen
class Expire(PostgresOperation):
    """Delete some of what is too old: how many messages, and whether there may be more."""

    name: ClassVar[str] = "expire"
    writes: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True
    alone: ClassVar[bool] = True

    before: float

    def run(self, work: PostgresWork) -> tuple[int, bool]:
        cursor = work.cursor
        if not statements.may_expire(cursor):
            return 0, False
        rows = statements.list_stored_before(cursor, self.before, EXPIRY_STEP)
        if not rows:
            return 0, False
        work.lock_mailboxes(recipient for recipient, _ in rows)
        gone, kept = statements.expire(cursor, rows)
        for recipient, size in gone:
            mailbox = work.mailbox(recipient)
            mailbox.messages -= 1
            mailbox.content -= size
            mailbox.changed = True
        for recipient in set(kept):
            mailbox = work.mailbox(recipient)
            mailbox.epoch += 1
            mailbox.changed = True
            statements.note_rubbish(cursor, recipient)
        work.write_mailboxes()
        return len(gone) + len(kept), len(rows) == EXPIRY_STEP


@frozen
class WriteLastSeen(PostgresOperation):
    """Write when clients were last heard of."""

    name: ClassVar[str] = "last seen"
    writes: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True

    seen: Mapping[bytes, float] = field(repr=False)

    def run(self, work: PostgresWork) -> None:
        statements.set_last_seen(work.cursor, self.seen)


@frozen
class Beat(PostgresOperation):
    """Say that this relay is there: how many are."""

    name: ClassVar[str] = "sign of life"
    writes: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True

    def run(self, work: PostgresWork) -> int:
        statements.forget_silent(work.cursor)
        return statements.note_relay(work.cursor, work.relay)


@frozen
class Leave(PostgresOperation):
    """This relay is not there any more."""

    name: ClassVar[str] = "good-bye"
    writes: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True
    essential: ClassVar[bool] = True

    def run(self, work: PostgresWork) -> None:
        statements.forget_relay(work.cursor, work.relay)


@frozen
class Announce(PostgresOperation):
    """Tell the other relays something."""

    name: ClassVar[str] = "announcement"
    commutes: ClassVar[bool] = True  # and so is a transaction by itself

    payloads: Sequence[str]

    def run(self, work: PostgresWork) -> None:
        statements.notify(work.cursor, self.payloads)
