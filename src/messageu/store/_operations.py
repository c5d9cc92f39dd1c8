"""What the SQL store can be asked, as objects for the transactor."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, ClassVar, Final, cast

from attrs import define, field, frozen

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

from . import _statements as statements
from ._arrivals import Arrivals
from ._caches import SEQUENCES_RESERVED, ClientKeys, LastSeen, MailboxUsage, Sequences
from ._interface import (
    START,
    Directory,
    DirectoryPage,
    Lease,
    Page,
    Piece,
    Position,
    Quota,
    StoreError,
)
from ._leases import LeaseLedger
from ._pages import fill_page
from ._statements import MessageRow
from ._work import Operation

if TYPE_CHECKING:
    from sqlite3 import Cursor

    from .v3 import AccountStatements

EXPIRY_STEP: Final = 4_096
"""Messages that one transaction lets expire, so that others are not kept waiting."""

DELETION_STEP: Final = 256
DELETION_BYTES: Final = 256 * 2**10
"""What one transaction deletes of a settled lease, for the same reason: as many messages of its
middle size."""

DELETABLE: Final = 2 * 2**20
"""Bytes of accounts' mail that one transaction deletes, but at least one envelope of it."""

PIECES_STEP: Final = 4
"""Pieces of large messages that one transaction deletes."""


@define
class StoreWork:
    """What the operations of one attempt work on; what they learn is kept if it is committed."""

    cursor: Cursor
    leases: LeaseLedger
    last_seen: LastSeen[int]
    _keys: ClientKeys
    _sequences: Sequences
    _arrivals: Arrivals
    _usage: MailboxUsage
    _quota: Quota
    accounts: AccountStatements
    _arrived: list[int] = field(init=False, factory=list)
    _gone: list[int] = field(init=False, factory=list)
    _indexed: bool = field(init=False, default=False)
    _room: dict[int, list[int]] = field(init=False, factory=dict)
    _changed: list[int] = field(init=False, factory=list)
    _reserved: bool = field(init=False, default=False)
    _known: dict[bytes, int] = field(init=False, factory=dict)
    _learned: dict[bytes, int] = field(init=False, factory=dict)
    _seen: dict[int, float] = field(init=False, factory=dict)
    _written: dict[int, float] = field(init=False, factory=dict)
    _mark: int = field(init=False)
    _deletable: int = field(init=False, factory=lambda: DELETABLE)

    def __attrs_post_init__(self) -> None:
        self._mark = self.leases.mark()

    def key_of(self, client_id: ClientId) -> int | None:
        """A client's integer key; None when there is no such client."""
        raw = client_id.raw
        key = self._known.get(raw)
        if key is None:
            key = self._keys.get(raw)
            if key is None:
                key = statements.find_client(self.cursor, raw)
                if key is None:
                    return None
                self._learned[raw] = key
            self._known[raw] = key
        return key

    def requester(self, client_id: ClientId, time: float) -> int | None:
        """The key of the client who asks, whose time is kept; None when there is none."""
        key = self.key_of(client_id)
        if key is not None:
            self._seen[key] = time
        return key

    def take_sequences(self, count: int) -> int:
        """Use up so many sequences that follow one another; the first of them."""
        first = self._sequences.take(count)
        if first is None:
            reserved = max(count, SEQUENCES_RESERVED)
            first = statements.reserve_sequences(self.cursor, reserved)
            self._sequences.add(first + count, first + reserved)
            self._reserved = True
        return first

    def add(self, rows: Sequence[MessageRow]) -> None:
        """Store messages."""
        statements.add_messages(self.cursor, rows)
        self._arrivals.add([(row[0], row[1], len(row[5])) for row in rows])
        self._arrived += [row[0] for row in rows]

    def delete(self, sequences: Sequence[int], *, large: bool) -> None:
        """Delete messages, of which some may be large."""
        indexed = self._arrivals.unknown(sequences)
        if indexed:
            self._changed += statements.delete_from_index(self.cursor, indexed)
        statements.delete_messages(self.cursor, sequences, large=large)
        self._gone += sequences

    def take_room(self, recipient: int, size: int) -> bool:
        """Use up room for a message of this size in a mailbox, if there is enough."""
        room = self._room.get(recipient)
        if room is None:
            room = self._room[recipient] = self._measure_room(recipient)
        if room[0] < 1 or room[1] < size:
            return False
        room[0] -= 1
        room[1] -= size
        return True

    def _measure_room(self, recipient: int) -> list[int]:
        indexed = self._usage.get(recipient)
        if indexed is None:
            indexed = statements.find_usage(self.cursor, recipient)
            self._usage.remember(recipient, indexed)
            if self._changed or self._indexed:  # it may be undone
                self._changed.append(recipient)
        messages, content = self._arrivals.usage(recipient)
        return [
            self._quota.messages - indexed[0] - messages,
            self._quota.content - indexed[1] - content,
        ]

    def take_deletable(self, sizes: Iterable[int]) -> int:
        """How many of what has these sizes this transaction may still delete, from the first on."""
        taken = 0
        for size in sizes:
            if self._deletable < size and self._deletable < DELETABLE:
                break
            self._deletable -= size
            taken += 1
        return taken

    def waiting(self, recipient: int, first: int) -> Generator[Piece, None, None]:
        """What waits for a client from a sequence on, without what is in pieces."""
        arrived = self._arrivals.of(recipient, first)
        return statements.iterate_waiting(self.cursor, recipient, first, arrived)

    def heads(self, recipient: int, first: int) -> Generator[Piece, None, None]:
        """The same without any content."""
        arrived = self._arrivals.of(recipient, first)
        return statements.iterate_heads(self.cursor, recipient, first, arrived)

    def index_arrivals(self) -> None:
        """Put what has arrived into the index. Nothing may arrive in this transaction after it."""
        statements.index_messages(self.cursor)
        self._indexed = True

    def read(self, sequence: int, offset: int, size: int) -> bytes:
        """A part of a content that is in pieces; less of it when it is not there."""
        return statements.read_content(self.cursor, sequence, offset, size)

    def write_last_seen(self) -> None:
        """Write what was gathered, in this transaction too."""
        self._written = {**self.last_seen.gathered, **self._seen}
        statements.set_last_seen(self.cursor, ((time, key) for key, time in self._written.items()))

    def committed(self) -> None:
        """What was learned is on the disk."""
        self._keys.update(self._learned)
        self.last_seen.gather(self._seen)
        if self._written:
            self.last_seen.written(self._written)
        self.leases.commit()
        if self._indexed:
            self._arrivals.clear()
        else:
            self._arrivals.discard(self._gone)
        self._forget_usage()

    def rolled_back(self) -> None:
        """What was learned is void."""
        self.leases.rollback(self._mark)
        if self._reserved:
            self._sequences.forget()
        self._arrivals.discard(self._arrived)
        self._forget_usage()

    def _forget_usage(self) -> None:
        if self._indexed:
            self._usage.clear()
        for recipient in self._changed:
            self._usage.forget(recipient)


StoreOperation = Operation[StoreWork]


@frozen
class Register(StoreOperation):
    """Make a client."""

    name: ClassVar[str] = "register"
    writes: ClassVar[bool] = True

    client_id: ClientId
    user_name: UserName
    public_key: PublicKey
    time: float

    def run(self, work: StoreWork) -> ClientId | Refusal:
        name = str(self.user_name)
        if statements.is_name_taken(work.cursor, name):
            return Refusal.NAME_TAKEN
        statements.add_client(work.cursor, self.client_id.raw, name, self.public_key.raw, self.time)
        return self.client_id


@frozen
class FindPublicKey(StoreOperation):
    """Look up a client's public key."""

    name: ClassVar[str] = "public key"

    requester: ClientId
    client_id: ClientId
    time: float

    def run(self, work: StoreWork) -> PublicKey | Refusal:
        if work.requester(self.requester, self.time) is None:
            return Refusal.UNKNOWN_CLIENT
        raw = statements.find_public_key(work.cursor, self.client_id.raw)
        return Refusal.UNKNOWN_CLIENT if raw is None else PublicKey(raw)


@frozen
class ListClients(StoreOperation):
    """Fix who is in a directory."""

    name: ClassVar[str] = "directory"

    requester: ClientId
    time: float

    def run(self, work: StoreWork) -> Directory | Refusal:
        if work.requester(self.requester, self.time) is None:
            return Refusal.UNKNOWN_CLIENT
        count, last = statements.count_clients(work.cursor)
        return Directory(self.requester, count - 1, last)


@frozen
class ReadDirectoryPage(StoreOperation):
    """List a piece of a directory."""

    name: ClassVar[str] = "directory page"
    commutes: ClassVar[bool] = True

    directory: Directory
    start: int
    limit: int

    def run(self, work: StoreWork) -> DirectoryPage:
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
class Put(StoreOperation):
    """Store messages."""

    name: ClassVar[str] = "put"
    writes: ClassVar[bool] = True

    envelopes: Sequence[Envelope]
    time: float

    @property
    def count(self) -> int:
        return len(self.envelopes)

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
    def run_group(
        cls, work: StoreWork, group: Sequence[Put]
    ) -> Sequence[Sequence[MessageId | Refusal]]:
        rows: list[MessageRow] = []
        results = []
        # Those of what is refused are never used.
        sequence = work.take_sequences(sum([put.count for put in group]))
        for put in group:
            results.append(put.place(work, sequence, rows))
            sequence += put.count
        if rows:
            work.add(rows)
        return results

    def place(
        self, work: StoreWork, sequence: int, rows: list[MessageRow]
    ) -> Sequence[MessageId | Refusal]:
        """Make a row of each message that is not refused; what becomes of each message."""
        result: list[MessageId | Refusal] = []
        time, requester, key_of = self.time, work.requester, work.key_of
        take_room = work.take_room
        for number, envelope in enumerate(self.envelopes, sequence):
            sender = envelope.sender
            recipient = key_of(envelope.recipient)
            if requester(sender, time) is None:
                result.append(Refusal.UNKNOWN_CLIENT)
            elif recipient is None:
                result.append(Refusal.UNKNOWN_RECIPIENT)
            elif not take_room(recipient, len(envelope.content)):
                result.append(Refusal.MAILBOX_FULL)
            else:
                rows.append((number, recipient, sender.raw, envelope.type, time, envelope.content))
                result.append(MessageId(number % MESSAGE_ID_LIMIT))
        return result


@frozen
class TakeLease(StoreOperation):
    """Pin what waits for a client, and read the first of it."""

    name: ClassVar[str] = "lease"

    requester: ClientId
    max_messages: int
    max_bytes: int
    page: int
    time: float

    @property
    def size(self) -> int:
        return self.page

    def run(self, work: StoreWork) -> Lease | Refusal | StoreError:
        recipient = work.requester(self.requester, self.time)
        if recipient is None:
            return Refusal.UNKNOWN_CLIENT
        listed = _Listing(work.leases, self.max_messages, self.max_bytes)
        with closing(work.waiting(recipient, 0)) as rows:
            try:
                first = fill_page(listed.take(rows), START, self.page, work.read)
            except StoreError as error:
                return error
        if first.next is not None:
            # What is not given yet is listed without reading its content.
            after = listed.sequences[-1] + 1
            with closing(work.heads(recipient, after)) as heads:
                for _ in listed.take(heads):
                    pass
        number = work.leases.grant(listed.sequences)
        return Lease(self.requester, number, len(listed.sequences), listed.size, first)


@define
class _Listing:
    """The messages of a lease to come, within its limits."""

    leases: LeaseLedger
    max_messages: int
    max_bytes: int
    sequences: list[int] = field(factory=list)
    size: int = 0

    def take(self, messages: Iterable[Piece]) -> Iterator[Piece]:
        """Those of these messages that have a place, one by one."""
        is_doomed = self.leases.is_doomed
        sequences = self.sequences
        for message in messages:
            sequence = message[0]
            if is_doomed(sequence):
                continue
            size = self.size + message[3]
            if sequences and (len(sequences) >= self.max_messages or size > self.max_bytes):
                return
            sequences.append(sequence)
            self.size = size
            yield message


@frozen
class ReadPage(StoreOperation):
    """Read some of what a lease has pinned."""

    name: ClassVar[str] = "read"
    commutes: ClassVar[bool] = True

    lease: Lease
    start: Position
    page: int

    def run(self, work: StoreWork) -> Page | StoreError:
        recipient = work.key_of(self.lease.requester)
        held = work.leases.held(self.lease.number)
        if recipient is None or not held:
            return StoreError("the lease has ended")
        waiting = map(held.__getitem__, range(bisect_left(held, self.start[0]), len(held)))
        with closing(work.waiting(recipient, self.start[0])) as rows:
            try:
                return fill_page(_only(waiting, rows), self.start, self.page, work.read)
            except StoreError as error:
                return error


def _only(sequences: Iterator[int], rows: Iterator[Piece]) -> Iterator[Piece]:
    """The rows of these messages; others between them were settled before, and do not count.

    :raises StoreError: when one is not there.
    """
    for sequence in sequences:
        row = next(rows, None)
        while row is not None and row[0] < sequence:
            row = next(rows, None)
        if row is None or row[0] != sequence:
            raise StoreError("there is no such message")
        yield row


@frozen
class EndOfLease(StoreOperation):
    """What the two ways in which a lease can end have in common.

    :ivar large: whether some of its messages may be in pieces.
    """

    writes: ClassVar[bool] = True
    essential: ClassVar[bool] = True

    leases: LeaseLedger = field(repr=False)
    number: int
    large: bool

    def give_up(self) -> None:
        # What could not be deleted waits again, rather than stay pinned for ever.
        self.leases.release(self.number)
        self.leases.commit()


@frozen
class SettleLease(EndOfLease):
    """Delete some of what a lease has brought, unless others hold it: whether there is more."""

    name: ClassVar[str] = "settling of a lease"

    limit: int

    def run(self, work: StoreWork) -> bool:
        gone, more = work.leases.settle(self.number, self.limit)
        work.delete(gone, large=self.large)
        return more


@frozen
class ReleaseLease(EndOfLease):
    """End a lease, and delete what others have settled meanwhile."""

    name: ClassVar[str] = "release of a lease"

    def run(self, work: StoreWork) -> None:
        gone = work.leases.release(self.number)
        work.delete(gone, large=self.large)


@frozen
class EndAllLeases(StoreOperation):
    """Release every lease, because the store closes."""

    name: ClassVar[str] = "end of all leases"
    writes: ClassVar[bool] = True
    essential: ClassVar[bool] = True

    leases: LeaseLedger = field(repr=False)

    def run(self, work: StoreWork) -> None:
        work.delete(work.leases.release_all(), large=True)

    def give_up(self) -> None:
        self.leases.release_all()
        self.leases.commit()


@frozen
class Expire(StoreOperation):
    """Delete some of what is too old: the number of messages, and where to go on, or None."""

    name: ClassVar[str] = "expire"
    writes: ClassVar[bool] = True

    before: float
    after: tuple[float, int]

    def run(self, work: StoreWork) -> tuple[int, tuple[float, int] | None]:
        rows = statements.list_stored_before(work.cursor, self.before, self.after, EXPIRY_STEP)
        gone, count = work.leases.expire(sequence for _, sequence in rows)
        work.delete(gone, large=True)
        return count, rows[-1] if len(rows) == EXPIRY_STEP else None


@frozen
class FindRubbish(StoreOperation):
    """Find messages that are gone and whose pieces are not."""

    name: ClassVar[str] = "look for rubbish"

    limit: int

    def run(self, work: StoreWork) -> Sequence[int]:
        return statements.find_rubbish(work.cursor, self.limit)


@frozen
class DeletePieces(StoreOperation):
    """Delete some pieces of a message that is gone: whether there are more."""

    name: ClassVar[str] = "deletion of pieces"
    writes: ClassVar[bool] = True

    message: int

    def run(self, work: StoreWork) -> bool:
        return statements.delete_pieces(work.cursor, self.message, PIECES_STEP)


@frozen
class IndexArrivals(StoreOperation):
    """Put what has arrived into the index of what waits for whom."""

    name: ClassVar[str] = "indexing of arrivals"
    writes: ClassVar[bool] = True
    essential: ClassVar[bool] = True

    def run(self, work: StoreWork) -> None:
        work.index_arrivals()


@frozen
class WriteLastSeen(StoreOperation):
    """Write when clients were last heard of."""

    name: ClassVar[str] = "last seen"
    writes: ClassVar[bool] = True
    essential: ClassVar[bool] = True

    def run(self, work: StoreWork) -> None:
        work.write_last_seen()
