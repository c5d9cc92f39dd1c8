"""The database of a world on a PostgreSQL server, a real one, which several relays share.

Statements are the server's, and so are locks; its time is the world's. Whatever would be decided by
which of two real processes is quicker is decided beforehand: a connection that is lost has been
rolled back, whoever would have to wait for a lock comes again, and what was announced is heard when
the world says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import partial
from select import select
from typing import Any, ClassVar, Final
from unittest import mock
from uuid import uuid4

import psycopg
from attrs import define, field
from twisted.internet.defer import Deferred, execute, fail

from messageu.store import Arrived, Lease
from messageu.store.postgres import PostgresStore, _engine, _lanes
from messageu.store.postgres._connection import Wire
from messageu.store.postgres._operations import Put
from messageu.store.postgres._runner import RETRY_FOR, PersistentRunner
from messageu.store.postgres._statements import LEASE_GRACE, LEASE_LIFE
from messageu.testing.postgres_faults import FaultyConnection, FaultyPool, Plan, ended, fails
from messageu.testing.threadpool import threadless
from tests.store.postgres.fixtures import NOBODY

from .database import Database, Killed
from .history import InDoubt
from .strands import StrandThread, pause
from .tables import Tables, tables

LANES: Final = 2
"""Connections of a relay for what clients wait for."""

HANG_STEP: Final = 0.5
"""Seconds between two looks of a thread at a server that says nothing."""

MOMENTS: Final = (0.0, 0.0, 0.001, 0.05)
"""Seconds between two statements of one transaction, when others do something meanwhile."""

LONG_MOMENTS: Final = (0.05, 0.5)
"""The same behind one that reads what the transaction is about to change."""

PATIENCE: Final = 30
"""Real seconds after which what must be heard is missed."""

SESSION: Final = (
    f"{_engine.SESSION}; SET lock_timeout = 1; SET statement_timeout = 0;"
    " SET idle_in_transaction_session_timeout = 0"
)
"""Whoever holds a lock in this world does not let it go while somebody waits; and no time counts but the
world's."""

READINGS: Final = ("FROM mailbox WHERE", "FOR NO KEY UPDATE")
"""What is in statements behind which others should do something: the transaction goes on from what it has
read."""

WRITES: Final = ("INSERT", "UPDATE", "DELETE", "WITH")


def settle(connection: Any) -> None:
    """Have a session rolled back that is about to be lost, if it has not been."""
    with suppress(psycopg.Error):
        connection.pgconn.exec_(b"ROLLBACK")


def lose(connection: Any) -> None:
    """Have a connection lost, if it has not been."""
    settle(connection)
    with suppress(psycopg.Error):
        FaultyConnection.cut(connection)


def lost_before(connection: Any, execute: Any) -> Any:
    """The connection is lost before the server has heard of a statement."""
    lose(connection)
    return execute()


def lost_after(connection: Any, execute: Any) -> Any:
    """The server has done it, and nobody hears its answer."""
    execute()
    return lost_before(connection, lambda: connection.tell("SELECT 1"))


def dismissed(connection: Any, execute: Any) -> Any:
    """The server ends the session, and says so."""
    settle(connection)
    return ended(connection, execute)


LOSSES: Final = (lost_before, lost_after, dismissed)
FAULTS: Final = (
    *(fails(state) for state in ("40001", "40P01", "55P03", "58030", "XX000")),
    *LOSSES,
)
"""What becomes of a statement where anything may fail."""


class SettlingWire(Wire):
    """Before somebody cuts it the session is rolled back."""

    def __init__(self, pool):
        super().__init__()
        self._pool = pool

    def cut(self):
        for connection in self._pool.connections.values():
            settle(connection)
        super().cut()


@define
class RelayPlan(Plan):
    """What becomes of the statements of a relay: the database of its world says so."""

    database: Any = None
    relay: Any = None
    connections: list[Any] = field(factory=list)

    def connect(self, **parameters):
        self.is_away = self.database.is_away
        connection = super().connect(**parameters)
        connection.has_written = False
        self.connections.append(connection)
        return connection

    def execute(self, connection, statement, execute):
        return self.database.execute(self.relay, connection, statement, execute)


class WatchedStore(PostgresStore):
    """A store that tells news in an order that does not depend on chance, and knows which leases its
    relay has not ended."""

    def __init__(self, *arguments, number_of, **options):
        super().__init__(*arguments, **options)
        self._number_of = number_of
        self.held = set()

    def lease(self, *asked):
        return super().lease(*asked).addCallback(self._hold)

    def settle(self, lease):
        self.held.discard(lease.number)
        return super().settle(lease)

    def release(self, lease):
        self.held.discard(lease.number)
        return super().release(lease)

    def _hold(self, lease):
        if isinstance(lease, Lease) and lease.count:
            self.held.add(lease.number)
        return lease

    def _tell(self, news):
        if isinstance(news, Arrived):
            news = Arrived(sorted(news.accounts, key=lambda account: self._number_of(account.raw)))
        super()._tell(news)


@define(eq=False)
class Postgres(Database):
    """Tables of their own, for one to three relays.

    :ivar loses_commits: connections are lost while something is committed.
    :ivar is_away: there is no server to be reached.
    :ivar is_hanging: it says nothing.
    :ivar interleaves: others do something between two statements of one transaction.
    :ivar hears: the relays hear what others announce, and need not look again and again.
    """

    weights: ClassVar[Mapping[str, float]] = {
        "hear": 12,
        "deafen": 1,
        "lose_commits": 2,
        "lose_server": 1,
        "hang_server": 1,
    }
    faults: ClassVar = ("deafen", "lose_commits", "lose_server", "hang_server")
    lease_life: ClassVar = LEASE_LIFE + LEASE_GRACE

    loses_commits: bool = False
    is_away: bool = False
    is_hanging: bool = False
    interleaves: bool = False
    relays: int | None = None
    hears: bool | None = None
    _tables: Tables = field(factory=tables)
    _patches: ExitStack = field(factory=ExitStack)
    _plans: dict[Any, RelayPlan] = field(factory=dict)
    _pools: dict[Any, list[FaultyPool]] = field(factory=dict)
    _opening: list[Any] = field(factory=list)
    _numbers: dict[bytes, int] = field(factory=dict)
    _shown: float | None = None

    def __attrs_post_init__(self):
        draw = self.random.random
        relays, interleaves, hears = self.random.choice((1, 2, 2, 3)), draw() < 0.6, draw() < 0.7
        self.is_crowded = draw() < 0.4
        self.relays = self.relays or relays
        self.interleaves = interleaves or self.is_crowded
        self.hears = hears if self.hears is None else self.hears
        self._tables.renew()
        self._patches.enter_context(mock.patch.object(_engine, "SESSION", SESSION))
        self._patches.enter_context(mock.patch.object(_lanes, "crc32", self._number_of))
        run = PersistentRunner.run

        def run_and_look(runner, connection, batch):
            before, began = runner._unsure, runner._seconds()
            outcome = run(runner, connection, batch)
            is_unsure = runner._unsure is not None and runner._unsure is not before
            if is_unsure and (runner._seconds() - began > RETRY_FOR or self._is_closing(runner)):
                self._note_doubt(batch)
            return outcome

        self._patches.enter_context(mock.patch.object(PersistentRunner, "run", run_and_look))

    def make_store(self, relay):
        plan = self._plans[relay] = RelayPlan(database=self, relay=relay)
        pools = self._pools[relay] = []

        def new_pool(*arguments, **options):
            pool = threadless(partial(FaultyPool, plan), relay.time, *arguments, **options)
            pool.threadpool = StrandThread(relay.time, self.world.draw_store_delay)
            pool.wire = SettlingWire(pool)
            pools.append(pool)
            return pool

        def wait(seconds):
            pause(seconds)
            return store._last_lanes._closing.is_set()

        self._show_time()
        store = WatchedStore(
            self._tables.address,
            relay.time,
            **self.world.store_options(),
            connections=LANES,
            new_pool=new_pool,
            in_thread=partial(self._in_thread, relay),
            wait=wait,
            number_of=self._number_of,
        )
        return store

    def can_open(self):
        return not (self.is_away or self.is_hanging)

    def crash(self, relay):
        for connection in self._plans[relay].connections:
            settle(connection)
            connection.close()

    def let_go(self, relay):
        for connection in self._plans.pop(relay, RelayPlan()).connections:
            connection.close()
        for ear in list(relay.time.readers):
            ear.close()
        for pool in self._pools.pop(relay, ()):
            pool.wire.detach()
            pool.threadpool.end(relay)

    def leases(self, relay):
        return len(relay.store.held)

    def audit(self):
        return self._tables.audit()

    def mend(self):
        super().mend()
        self.loses_commits = self.is_away = self.is_hanging = False
        opening, self._opening = self._opening, []
        for open_now in opening:
            open_now()

    def look(self):
        self.hear()

    def close(self):
        self._patches.close()

    # What may happen.

    def hear(self):
        """What was announced until now reaches those who listen, up to what means nothing."""
        ears = [(relay, ear) for relay in self.world.relays for ear in relay.time.readers]
        if ears:
            fence = f"{NOBODY} fence {uuid4().hex}"
            self._tables.announce(fence)
            for relay, ear in ears:
                self._hear(relay, ear, fence)

    def deafen(self):
        """Somebody's connection that listens is lost."""
        ears = [ear for relay in self.world.relays for ear in relay.time.readers]
        if ears:
            self.seen["ears lost"] += 1
            lose(self.world.one_of(ears)._connection)

    def lose_commits(self):
        """Connections begin to be lost while something is committed."""
        self.loses_commits = True

    def lose_server(self):
        """All connections are lost, and none can be made. It may have crashed."""
        self.is_away = True
        for plan in self._plans.values():
            for connection in plan.connections:
                lose(connection)
        for relay in self.world.relays:
            for ear in relay.time.readers:
                lose(ear._connection)
        if self.random.random() < 0.5:
            self._tables.crash()

    def hang_server(self):
        """The server says nothing."""
        self.is_hanging = True

    # What that needs.

    def execute(self, relay, connection, statement, execute):
        """Execute a statement of a relay's, or do to it what is meant for it.

        :raises Killed: when its process dies of it.
        """
        if not relay.time.alive:
            raise Killed(relay)
        if self.interleaves and not self.world.calm and self.random.random() < 0.2:
            pause(self.random.choice(MOMENTS))
        self.step(relay)
        is_late = self.is_hanging and self.random.random() < 0.5
        if not is_late:
            self._wait_for_server(connection)
        self._show_time()
        verb, *rest = statement.split(maxsplit=2)
        if verb.startswith("BEGIN"):
            connection.has_written = bool(rest)
        connection.has_written |= verb in WRITES
        fault = self._draw_fault(connection, verb)
        self.seen["commits lost"] += verb == "COMMIT" and fault in LOSSES
        try:
            result = execute() if fault is None else fault(connection, execute)
        except psycopg.errors.LockNotAvailable:
            self.seen["locks held by others"] += fault is None
            raise
        is_reading = any(each in statement for each in READINGS)
        if is_reading and self.interleaves and not self.world.calm:
            pause(self.random.choice(LONG_MOMENTS))
        if is_late and not self._wait_for_server(connection):
            # It was done, and nobody has heard of it.
            connection.tell("SELECT 1")
        self.step(relay)
        return result

    def _wait_for_server(self, connection):
        """Wait until the server says something again: whether the connection is still there."""
        while self.is_hanging:
            pause(HANG_STEP)
            (is_cut, _, _) = select([connection], [], [], 0)
            if is_cut:
                self.seen["hanging connections cut"] += 1
                return False
        return True

    def _draw_fault(self, connection, verb):
        if verb in ("ROLLBACK", "SET"):
            return None
        if self.is_full and connection.has_written and (verb in WRITES or verb == "COMMIT"):
            is_refused = verb == "COMMIT" or self.random.random() < 0.2
            return fails("53100") if is_refused else None
        if self.loses_commits and verb == "COMMIT":
            return self.random.choice(LOSSES) if self.random.random() < 0.4 else None
        is_broken = self.is_failing and self.random.random() < 0.05
        return self.random.choice(FAULTS) if is_broken else None

    def _is_closing(self, runner):
        lanes = (relay.store._last_lanes for relay in self._plans)
        return any(
            each is not None
            and each._closing.is_set()
            and runner in [lane.runner for lane in each._lanes]
            for each in lanes
        )

    def _note_doubt(self, batch):
        contents = [
            envelope.content
            for operation in batch
            if isinstance(operation, Put)
            for envelope in operation.envelopes
        ]
        self.world.note(InDoubt(tuple(contents)))

    def _number_of(self, subject):
        """The same for the same, and not as libraries draw keys: by it lanes are chosen."""
        return self._numbers.setdefault(subject, len(self._numbers))

    def _show_time(self):
        now = self.world.now()
        if now != self._shown:
            self._tables.show_time(now)
            self._shown = now

    def _in_thread(self, relay, function, *arguments):
        if not self.hears:
            return Deferred()
        if self.is_away:
            return fail(psycopg.OperationalError("told that nobody is there"))
        if self.is_hanging:
            opened = Deferred()
            self._opening.append(lambda: opened.callback(None) if relay.time.alive else None)
            return opened.addCallback(lambda _: function(*arguments))
        return execute(function, *arguments)

    def _hear(self, relay, ear, fence):
        lines = []
        hear, ear._hear = ear._hear, lambda line: (lines.append(line), hear(line))
        while fence not in lines and ear in relay.time.readers:
            (readable, _, _) = select([ear], [], [], PATIENCE)
            assert readable, "nothing was heard"
            ear.doRead()
        ear._hear = hear
