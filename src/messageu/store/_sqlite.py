"""The mailboxes in an SQLite database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from messageu.model import ClientId, Envelope, PublicKey, Refusal, UserName

from . import _statements as statements
from ._arrivals import ARRIVALS_LIMIT, Arrivals
from ._backup import BACKUP_PAUSE, Backup, InThread
from ._batches import BatchRunner, Engine
from ._caches import ClientKeys, LastSeen, MailboxUsage, Sequences
from ._check import Check
from ._engine import SqliteEngine
from ._interface import (
    NO_QUOTA,
    BackupFailed,
    Directory,
    DirectoryPage,
    IBackedUp,
    IChecked,
    IMailboxStore,
    Lease,
    Page,
    Position,
    Progress,
    PutOutcome,
    Quota,
    StoreError,
    StoreUnavailable,
)
from ._leases import LeaseLedger
from ._news import Hear
from ._opening import DatabaseLock, open_database
from ._operations import (
    DELETION_BYTES,
    DELETION_STEP,
    DeletePieces,
    EndAllLeases,
    Expire,
    FindPublicKey,
    FindRubbish,
    IndexArrivals,
    ListClients,
    Put,
    ReadDirectoryPage,
    ReadPage,
    Register,
    ReleaseLease,
    SettleLease,
    StoreOperation,
    StoreWork,
    TakeLease,
    WriteLastSeen,
)
from ._statements import PIECE_SIZE
from ._survey import ISurvey, SqlSurvey, SurveyStatements
from ._transactor import Committed, ConnectionPool, Transactor, connection_pool
from .v3 import SqlAccountStore, sqlite_statements

if TYPE_CHECKING:
    from sqlite3 import Cursor

LAST_SEEN_DELAY: Final = 60.0
"""Seconds after which the time of a request is written even when nothing else is."""


HOUSEKEEPING_PAUSE: Final = 0.01
"""Seconds before each step of what nobody waits for, such as the deletion of much mail."""

DOOMED_BACKLOG: Final = 1_024
"""Messages above which that is done without a pause; each is remembered until it is deleted."""

HURRIED_STEPS: Final = 4
"""Steps that are then one."""

RUBBISH_BACKLOG: Final = 16
"""Large messages above which their pieces are deleted without a pause."""


def random_client_id() -> ClientId:
    """A new random UUID."""
    return ClientId(uuid4().bytes)


def _has_large(lease: Lease) -> bool:
    """Whether some of its messages may be in pieces."""
    return lease.size > PIECE_SIZE


@frozen
class _Held:
    """What an open store holds."""

    lock: DatabaseLock
    pool: ConnectionPool
    transactor: Transactor[StoreWork]

    def let_go(self) -> None:
        """Nothing runs any more."""
        self.pool.close()
        self.lock.release()


@implementer(IMailboxStore, IBackedUp, IChecked)
class SqliteStore:
    """The mailboxes in one SQLite database, which belongs to one process (ADR 3).

    :ivar accounts: the accounts of v3 in the same database, over the same connection, as
        :class:`~messageu.store.v3.IAccountStore`.
    :ivar surveys: of both protocols, by their names.
    :param path: the database; ``<path>.lock`` beside it keeps a second server away.
    :param reactor: runs callbacks and timers; its time is the one of delays only.
    :param now: wall-clock seconds since the epoch, for times of arrival and of requests.
    :param new_client_id: makes the id of a new client.
    :param quota: what one mailbox may hold.
    :param account_quota: what the mailbox of an account may hold.
    :param engine: what is particular to SQLite.
    :param new_pool: makes adbapi's pool of the one connection, from the engine and the reactor.
    :param in_thread: calls what waits for a disk elsewhere; by default a thread of the reactor's.
    :param committed: is told of each batch that was written, if anybody wants to know.
    """

    def __init__(
        self,
        path: str | Path,
        reactor: IReactorTime,
        *,
        now: Callable[[], float],
        new_client_id: Callable[[], ClientId] = random_client_id,
        quota: Quota = NO_QUOTA,
        account_quota: Quota = NO_QUOTA,
        engine: SqliteEngine | None = None,
        new_pool: Callable[[Engine, Any], ConnectionPool] = connection_pool,
        in_thread: InThread | None = None,
        committed: Committed | None = None,
    ) -> None:
        self._path = Path(path)
        self._reactor = reactor
        self._now = now
        self._new_client_id = new_client_id
        self._quota = quota
        self._engine = engine or SqliteEngine(self._path)
        self._new_pool = new_pool
        self._in_thread = in_thread or self._defer_to_thread
        self._committed = committed
        self._keys = ClientKeys()
        self._sequences = Sequences()
        self._arrivals = Arrivals()
        self._usage = MailboxUsage()
        self._leases = LeaseLedger()
        self._last_seen = LastSeen[int](reactor.seconds)
        self._held: _Held | None = None
        self._timer: IDelayedCall | None = None
        self._closing: Deferred[None] = succeed(None)
        self._housekeeping = DeferredLock()
        self._pause: Deferred[None] = succeed(None)
        self._clearing = False
        self.surveys: Mapping[str, ISurvey] = {
            "v2": SqlSurvey(
                SurveyStatements("mailbox_client", "mailbox_usage", "recipient"),
                self._submit,
                lambda: self._submit(IndexArrivals()),
            ),
            "v3": SqlSurvey(
                SurveyStatements("account", "account_mailbox", "account"), self._submit
            ),
        }
        self._backup: Backup | None = None
        self._backed_up: Deferred[None] = succeed(None)
        self.accounts = SqlAccountStore(
            submit=self._submit,
            keep_house=lambda operation: self._keep_house(operation, hurry=False),
            now=now,
            quota=account_quota,
        )

    def open(self) -> None:
        # On a connection of its own: no thread is started before all is well.
        lock = open_database(self._path, self._engine, self._now)
        pool = self._new_pool(self._engine, self._reactor)
        runner = BatchRunner(self._engine, self._new_work)
        transactor = Transactor[StoreWork](
            pool, runner, self._reactor.seconds, self._riders, self._committed
        )
        self._keys = ClientKeys()
        self._sequences = Sequences()
        self._arrivals = Arrivals()
        self._usage = MailboxUsage()
        self._held = _Held(lock, pool, transactor)

    def watch(self, hear: Hear) -> None:
        """The database belongs to one process: there is nobody else."""

    def close(self) -> Deferred[None]:
        held, self._held = self._held, None
        if held is not None:
            self._closing = self._close(held)
        closed: Deferred[None] = Deferred()
        self._closing.addCallback(closed.callback)
        return closed

    def _close(self, held: _Held) -> Deferred[None]:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pause.cancel()
        for last in (EndAllLeases(self._leases), WriteLastSeen()):
            # The transactor has logged what failed, and there is nobody else to tell.
            held.transactor.submit(last).addErrback(lambda _: None)
        if self._backup is not None:
            self._backup.stop()
        closed = self._backed_up.addCallback(lambda _: held.transactor.close())
        return closed.addCallback(lambda _: held.let_go())

    def register(self, name: UserName, public_key: PublicKey) -> Deferred[ClientId | Refusal]:
        return self._submit(Register(self._new_client_id(), name, public_key, self._now()))

    def public_key(self, requester: ClientId, client_id: ClientId) -> Deferred[PublicKey | Refusal]:
        return self._submit(FindPublicKey(requester, client_id, self._now()))

    def directory(self, requester: ClientId) -> Deferred[Directory | Refusal]:
        return self._submit(ListClients(requester, self._now()))

    def directory_page(
        self, directory: Directory, start: int, limit: int
    ) -> Deferred[DirectoryPage]:
        return self._submit(ReadDirectoryPage(directory, start, limit))

    def put(self, envelopes: Sequence[Envelope]) -> Deferred[Sequence[PutOutcome]]:
        return self._submit(Put(envelopes, self._now()))

    def lease(
        self, requester: ClientId, max_messages: int, max_bytes: int, page: int
    ) -> Deferred[Lease | Refusal]:
        return self._submit(TakeLease(requester, max_messages, max_bytes, page, self._now()))

    def read(self, lease: Lease, start: Position, page: int) -> Deferred[Page]:
        return self._submit(ReadPage(lease, start, page))

    def settle(self, lease: Lease) -> Deferred[None]:
        if not lease.count:
            return succeed(None)
        # Its first step is in line before anything that is asked for later.
        return Deferred.fromCoroutine(self._settle(lease))

    def release(self, lease: Lease) -> Deferred[None]:
        if not lease.count:
            return succeed(None)
        large = _has_large(lease)
        released = self._submit(ReleaseLease(self._leases, lease.number, large))
        return released.addCallback(lambda _: self._clear_rubbish()) if large else released

    def expire(self, before: float) -> Deferred[int]:
        return Deferred.fromCoroutine(self._expire(before))

    def check(self) -> Deferred[None]:
        return self._submit(Check())

    def back_up(self, target: Path, progress: Progress) -> Deferred[int]:
        if self._held is None:
            return fail(StoreUnavailable("the store is not open"))
        if self._backup is not None:
            return fail(BackupFailed("a backup is being made already"))
        self._backup = backup = Backup(
            self._held.transactor.submit,
            self._in_thread,
            lambda: deferLater(self._reactor, BACKUP_PAUSE),
        )
        made: Deferred[int] = Deferred(lambda _: backup.stop())
        self._backed_up = ended = Deferred[None]()

        def end(result: int | Failure) -> None:
            self._backup = None
            if not made.called:  # or it was cancelled
                made.callback(result)
            ended.callback(None)

        making = Deferred.fromCoroutine(backup.make(self._path, target, progress))
        making.addBoth(end)
        return made

    def _defer_to_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        reactor: Any = self._reactor
        return deferToThreadPool(reactor, reactor.getThreadPool(), function, *arguments)

    async def _settle(self, lease: Lease) -> None:
        large = _has_large(lease)
        # What is in pieces goes later, and is no part of this.
        middle = min(PIECE_SIZE, lease.size // lease.count)
        step = min(DELETION_STEP, DELETION_BYTES // max(1, middle))
        more = await self._submit(SettleLease(self._leases, lease.number, large, step))
        while more:
            hurry = self._leases.doomed > DOOMED_BACKLOG
            size = min(DELETION_STEP, step * HURRIED_STEPS) if hurry else step
            settle = SettleLease(self._leases, lease.number, large, size)
            more = await self._keep_house(settle, hurry=hurry)
        if large:
            self._clear_rubbish()

    async def _expire(self, before: float) -> int:
        total = 0
        after: tuple[float, int] | None = (float("-inf"), 0)
        while after is not None:
            try:
                count, after = await self._submit(Expire(before, after))
            except StoreUnavailable:
                if not total:
                    raise
                # What is gone is gone; the next call goes on.
                break
            total += count
        self._clear_rubbish()
        return total

    def _clear_rubbish(self) -> None:
        """Delete the pieces of messages that are gone, a few at a time; what fails goes later."""
        if not self._clearing:
            self._clearing = True
            cleared = Deferred.fromCoroutine(self._delete_pieces())
            cleared.addErrback(lambda failure: failure.trap(StoreError))
            cleared.addCallback(lambda _: setattr(self, "_clearing", False))

    async def _delete_pieces(self) -> None:
        while rubbish := await self._submit(FindRubbish(RUBBISH_BACKLOG + 1)):
            more = True
            while more:
                more = await self._keep_house(
                    DeletePieces(rubbish[0]), hurry=len(rubbish) > RUBBISH_BACKLOG
                )

    async def _keep_house(self, operation: StoreOperation, *, hurry: bool) -> Any:
        """Do what nobody waits for: one thing at a time, and with a pause unless there is much."""
        await self._housekeeping.acquire()
        try:
            if not hurry and self._held is not None:
                self._pause = deferLater(self._reactor, HOUSEKEEPING_PAUSE)
                with suppress(CancelledError):  # the store closes
                    await self._pause
            return await self._submit(operation)
        finally:
            self._housekeeping.release()

    def _submit(self, operation: StoreOperation) -> Deferred[Any]:
        if self._held is None:
            return fail(StoreUnavailable("the store is not open"))
        if self._timer is None:
            self._timer = self._reactor.callLater(
                LAST_SEEN_DELAY, self._write_last_seen, self._held.transactor
            )
        return self._held.transactor.submit(operation)

    def _new_work(self, cursor: Cursor) -> StoreWork:
        if not self._arrivals.loaded:
            self._arrivals.load(statements.list_unindexed(cursor))
        return StoreWork(
            cursor,
            self._leases,
            self._last_seen,
            self._keys,
            self._sequences,
            self._arrivals,
            self._usage,
            self._quota,
            sqlite_statements,
        )

    def _riders(self) -> Sequence[StoreOperation]:
        riders: list[StoreOperation] = []
        if self._last_seen.is_due():
            riders.append(WriteLastSeen())
        if len(self._arrivals) >= ARRIVALS_LIMIT:
            riders.append(IndexArrivals())
        return riders

    def _write_last_seen(self, transactor: Transactor[StoreWork]) -> None:
        self._timer = None
        if self._last_seen.gathered:
            transactor.submit(WriteLastSeen()).addErrback(lambda _: None)
