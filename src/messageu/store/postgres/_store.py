"""The mailboxes in a PostgreSQL database, which several relays may serve."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from messageu.model import ClientId, Envelope, PublicKey, Refusal, UserName

from .._caches import CLIENT_KEYS_LIMIT, ClientKeys, LastSeen
from .._interface import (
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
from .._news import Hear, News, Sharers
from .._sqlite import random_client_id
from .._survey import ISurvey, SqlSurvey, SurveyStatements
from .._transactor import Committed
from . import _account_statements as account_statements
from ._accounts import PostgresAccountStore
from ._address import PostgresAddress
from ._announcements import Announcements
from ._connection import LanePool
from ._engine import Cursor
from ._lanes import Lanes
from ._listener import Listener
from ._operations import (
    Announce,
    Beat,
    ClearMailbox,
    ClearRubbish,
    EndAllLeases,
    Expire,
    FindPublicKey,
    Leave,
    ListClients,
    PostgresOperation,
    Put,
    ReadDirectoryPage,
    ReadPage,
    Register,
    ReleaseLease,
    SettleLease,
    TakeLease,
    WriteLastSeen,
)
from ._schema import open_database
from ._work import PostgresWork

CONNECTIONS: Final = 4
"""Connections for what clients wait for; there are two more, one of which only listens."""

BEAT: Final = 10.0
"""Seconds between two signs of life of a relay, with which is written what was gathered."""


@frozen
class _Open:
    """What an open store holds."""

    lanes: Lanes
    listener: Listener
    beating: LoopingCall


@implementer(IMailboxStore, IBackedUp, IChecked)
class PostgresStore:
    """The mailboxes in one PostgreSQL database, as one of the relays that share it.

    What an operation did is on the server's disk when its Deferred fires, and on that of a
    synchronous standby if there is one. While the server is away operations wait; they fail when it
    has been away for too long. Then it may be unknown whether one was carried out.

    What is about one mailbox is done in the order in which it was asked for; so are registrations.

    :ivar accounts: the accounts of v3 in the same database, as
        :class:`~messageu.store.v3.IAccountStore`.
    :ivar surveys: of both protocols, by their names.
    :param reactor: runs callbacks and timers, and watches a connection; its time is the one of delays.
    :param now: wall-clock seconds since the epoch, for times of arrival and of requests.
    :param new_client_id: makes the id of a new client.
    :param quota: what one mailbox may hold.
    :param account_quota: what the mailbox of an account may hold.
    :param connections: how many clients' operations share.
    :param new_pool: makes adbapi's pool of one connection, as :class:`LanePool` is made.
    :param in_thread: calls what waits for the server elsewhere; by default a thread of the reactor's.
    :param wait: waits so many seconds in the thread of a connection whose server is away.
    :param committed: is told of each batch that was written for clients, if anybody wants to know.
    :param behind: is told of each batch that nobody waits for.
    """

    def __init__(
        self,
        address: PostgresAddress,
        reactor: IReactorTime,
        *,
        now: Callable[[], float],
        new_client_id: Callable[[], ClientId] = random_client_id,
        quota: Quota = NO_QUOTA,
        account_quota: Quota = NO_QUOTA,
        connections: int = CONNECTIONS,
        new_pool: Callable[..., LanePool] = LanePool,
        in_thread: Callable[..., Deferred[Any]] | None = None,
        wait: Callable[[float], bool] | None = None,
        committed: Committed | None = None,
        behind: Committed | None = None,
    ) -> None:
        self._address = address
        self._reactor = reactor
        self._now = now
        self._new_client_id = new_client_id
        self._quota = quota
        self._connections = connections
        self._new_pool = new_pool
        self._in_thread = in_thread or self._defer_to_thread
        self._wait = wait
        self._committed = committed
        self._behind = behind
        self._relay = uuid4().hex
        self._last_seen = LastSeen[bytes](reactor.seconds)
        self._hear: Hear = lambda _: None
        self._sharers = 1
        self._is_open: _Open | None = None
        self._last_lanes: Lanes | None = None
        self._closing: Deferred[None] = succeed(None)
        self._announcements = Announcements(self._relay)
        self._is_announcing = False
        self.surveys: Mapping[str, ISurvey] = {
            "v2": SqlSurvey(
                SurveyStatements("mailbox_client", "mailbox", "client", "%s"),
                self._in_the_background,
            ),
            "v3": SqlSurvey(
                SurveyStatements("account", "account_mailbox", "account", "%s"),
                self._in_the_background,
            ),
        }
        self.accounts = PostgresAccountStore(
            submit=self._submit_account,
            keep_house=self._keep_house,
            scatter=self._scatter,
            announcements=self._announcements,
            announce=self._announce,
            relay=self._relay,
            now=now,
            quota=account_quota,
        )

    def open(self) -> None:
        open_database(self._address, self._relay)
        lanes = Lanes(
            self._address,
            self._relay,
            self._reactor,
            self._new_work,
            self._connections,
            self._new_pool,
            self._wait,
            self._committed,
            self._behind,
        )
        listener = Listener(
            self._address.parameters,
            self._relay,
            self._reactor,
            self._tell,
            self._in_thread,
        )
        beating = LoopingCall(self._beat)
        beating.clock = self._reactor
        self._is_open = _Open(lanes, listener, beating)
        self._last_lanes = lanes
        beating.start(BEAT)
        self._clear_rubbish()

    def watch(self, hear: Hear) -> None:
        self._hear = hear

    def close(self) -> Deferred[None]:
        is_open, self._is_open = self._is_open, None
        if is_open is not None:
            self._closing = self._close(is_open)
        closed: Deferred[None] = Deferred()
        self._closing.addCallback(closed.callback)
        return closed

    def _close(self, is_open: _Open) -> Deferred[None]:
        is_open.beating.stop()
        is_open.listener.stop()
        lanes = is_open.lanes
        # First what was asked for, which may end leases, and be announced.
        finished = lanes.finish()
        finished.addCallback(lambda _: self._leave(lanes))
        return finished.addCallback(lambda _: lanes.close())

    def _leave(self, lanes: Lanes) -> Deferred[None]:
        seen = WriteLastSeen(dict(self._last_seen.gathered))
        for last in (EndAllLeases(), seen, Leave()):
            # It does not matter much if one fails.
            left = lanes.submit_background(last).addErrback(lambda _: None)
        return left

    def register(self, name: UserName, public_key: PublicKey) -> Deferred[ClientId | Refusal]:
        return self._submit(Register(self._new_client_id(), name, public_key, self._now()))

    def public_key(self, requester: ClientId, client_id: ClientId) -> Deferred[PublicKey | Refusal]:
        return self._seen([requester], self._submit(FindPublicKey(requester, client_id)))

    def directory(self, requester: ClientId) -> Deferred[Directory | Refusal]:
        return self._seen([requester], self._submit(ListClients(requester)))

    def directory_page(
        self, directory: Directory, start: int, limit: int
    ) -> Deferred[DirectoryPage]:
        return self._submit(ReadDirectoryPage(directory, start, limit))

    def put(self, envelopes: Sequence[Envelope]) -> Deferred[Sequence[PutOutcome]]:
        time = self._now()
        put: Deferred[Sequence[PutOutcome]] = self._scatter(
            envelopes, lambda envelope: envelope.recipient.raw, partial(Put, time=time)
        )
        return self._seen([envelope.sender for envelope in envelopes], put)

    def lease(
        self, requester: ClientId, max_messages: int, max_bytes: int, page: int
    ) -> Deferred[Lease | Refusal]:
        lease = self._submit(TakeLease(requester, max_messages, max_bytes, page))
        return self._seen([requester], lease)

    def read(self, lease: Lease, start: Position, page: int) -> Deferred[Page]:
        return self._submit(ReadPage(lease, start, page))

    def settle(self, lease: Lease) -> Deferred[None]:
        return self._end_lease(lease, SettleLease)

    def release(self, lease: Lease) -> Deferred[None]:
        return self._end_lease(lease, ReleaseLease)

    def expire(self, before: float) -> Deferred[int]:
        return Deferred.fromCoroutine(self._expire(before))

    def check(self) -> Deferred[None]:
        # A sign of life: a commit as any other, in a lane for which clients wait.
        return self._submit(Beat()).addCallback(self._count)

    def back_up(self, _target: Path, _progress: Progress) -> Deferred[int]:
        return fail(
            BackupFailed("PostgreSQL is backed up by its own means: pg_basebackup, pg_dump")
        )

    def _end_lease(
        self, lease: Lease, end: Callable[[ClientId, int], PostgresOperation]
    ) -> Deferred[None]:
        if not lease.count:
            return succeed(None)

        def clear(more: bool) -> None:
            if more:
                self._in_background(self._clear_mailbox(lease.requester))

        return self._submit(end(lease.requester, lease.number)).addCallback(clear)

    async def _clear_mailbox(self, client: ClientId) -> None:
        while await self._keep_house(ClearMailbox(client)):
            pass

    async def _expire(self, before: float) -> int:
        total, more = 0, True
        while more:
            try:
                count, more = await self._keep_house(Expire(before))
            except StoreUnavailable:
                if not total:
                    raise
                # What is gone is gone; the next call goes on.
                break
            total += count
        self._clear_rubbish()
        return total

    def _clear_rubbish(self) -> None:
        """Take care of what others have left when they ended, or a lease held."""
        self._in_background(self._clear_all())

    async def _clear_all(self) -> None:
        after: int | None = 0
        while after is not None:
            after = await self._keep_house(ClearRubbish(after))

    def _in_background(self, work: Any) -> None:
        # The transactor has logged what failed, and it is done again some time.
        Deferred.fromCoroutine(work).addErrback(lambda failure: failure.trap(StoreError))

    def _seen(self, clients: Sequence[ClientId], asked: Deferred[Any]) -> Deferred[Any]:
        """These clients have asked for something: keep the time, if it shows that there are such."""
        time = self._now()

        def gather(result: Any) -> Any:
            if result is not Refusal.UNKNOWN_CLIENT:
                self._last_seen.gather({client.raw: time for client in clients})
            return result

        return asked.addCallback(gather)

    def _beat(self) -> None:
        if self._is_open is None:
            return
        lanes = self._is_open.lanes
        seen = dict(self._last_seen.gathered)
        if seen:
            written = lanes.submit_background(WriteLastSeen(seen))
            written.addCallbacks(lambda _: self._last_seen.written(seen), lambda _: None)
        lanes.submit_background(Beat()).addCallbacks(self._count, lambda _: None)

    def _count(self, relays: int) -> None:
        if relays != self._sharers:
            self._sharers = max(1, relays)
            self._tell(Sharers(self._sharers))

    def _tell(self, news: News) -> None:
        self._hear(news)

    def _announce(self) -> None:
        # Also while it closes: what is finished then concerns others as well.
        if self._is_announcing or self._last_lanes is None:
            return
        lines = self._announcements.take()
        if not lines:
            return
        self._is_announcing = True
        announced = self._last_lanes.submit_background(Announce(lines))
        # Whoever does not hear it looks by himself some time.
        announced.addErrback(lambda failure: failure.trap(StoreError))
        announced.addCallback(self._end_announcement)

    def _end_announcement(self, _: object) -> None:
        self._is_announcing = False
        self._announce()

    def _submit_account(self, operation: Any) -> Deferred[Any]:
        return self._submit(operation)

    def _submit(self, operation: Any) -> Deferred[Any]:
        if self._is_open is None:
            return fail(StoreUnavailable("the store is not open"))
        return self._is_open.lanes.submit(operation)

    def _scatter(self, *arguments: Any) -> Deferred[Any]:
        if self._is_open is None:
            return fail(StoreUnavailable("the store is not open"))
        return self._is_open.lanes.scatter(*arguments)

    def _keep_house(self, operation: Any) -> Awaitable[Any]:
        return self._in_the_background(operation)

    def _in_the_background(self, operation: Any) -> Deferred[Any]:
        if self._is_open is None:
            return fail(StoreUnavailable("the store is not open"))
        return self._is_open.lanes.submit_background(operation)

    def _new_work(self) -> Callable[[Cursor], PostgresWork]:
        """For one lane: what its operations work on."""
        keys = ClientKeys(CLIENT_KEYS_LIMIT // self._connections)
        quota, relay = self._quota, self._relay
        return lambda cursor: PostgresWork(cursor, account_statements, quota, relay, keys)

    def _defer_to_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        reactor: Any = self._reactor
        return deferToThreadPool(reactor, reactor.getThreadPool(), function, *arguments)
