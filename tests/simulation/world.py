"""One world in memory, driven by one seed: a clock, a network, a disk, a relay, and its clients.

Time passes only when the world says so, and whatever may happen next is drawn from one generator.

A kill of the relay is what ``kill -9`` is. Its memory is gone, its kernel says good-bye in its name
or resets, and the next relay finds on the disk what its ``write`` calls had brought there: a copy of
the database and of its write-ahead log as they are in that moment. It has to be a copy. The dead
relay's connection is still in our process, where SQLite would know of it, and to close it would
tidy up what a crash leaves behind. The shared memory file is not copied: SQLite makes it anew when
nobody else has the database open. What was written and not synced stays, as it does when only the
process dies; what a loss of power leaves is not looked at here.

A kill comes between two events of the world, or before or after any statement that the relay's
store executes, a COMMIT among them.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import ClassVar, Final

from attrs import define, evolve, field, frozen
from twisted.internet.address import IPv4Address
from twisted.internet.defer import succeed
from twisted.internet.interfaces import IListeningPort, IReactorTime, IStreamServerEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from messageu.model import ClientId
from messageu.server import Door, Limits, LimitSettings, RelayService
from messageu.server._probe import BlindProbe
from messageu.store import NO_QUOTA, Quota, SqliteEngine, SqliteStore
from messageu.testing.network import MemoryNetwork
from messageu.testing.store import sqlite_error
from messageu.testing.threadpool import threadless_pool
from messageu.testing.transport import Faults, LineEnd

from .history import RelayKilled, RelayStopped

NOON: Final = 1_000_000_000.0
SHARED_MEMORY: Final = Path("/dev/shm")


class Killed(BaseException):
    """The relay's process has ended, in the midst of whatever it did."""


@implementer(IReactorTime)
@define(eq=False)
class ProcessTime:
    """The clock as one process sees it: when it is dead, nothing of what it planned happens."""

    clock: Clock
    alive: bool = True

    def seconds(self):
        return self.clock.seconds()

    def callLater(self, delay, function, *args, **kwargs):
        return self.clock.callLater(delay, self._call, function, args, kwargs)

    def getDelayedCalls(self):
        return self.clock.getDelayedCalls()

    def _call(self, function, args, kwargs):
        if self.alive:
            function(*args, **kwargs)


class DiskCursor(sqlite3.Cursor):
    """A cursor whose disk knows what is executed, before and after."""

    def execute(self, sql, parameters=()):
        return self._watched(super().execute, sql, parameters)

    def executemany(self, sql, rows):
        return self._watched(super().executemany, sql, rows)

    def _watched(self, execute, sql, values):
        disk = self.connection.disk
        if disk is None:
            return execute(sql, values)
        disk.before(self.connection, sql)
        result = execute(sql, values)
        disk.after()
        return result


class DiskConnection(sqlite3.Connection):
    """What the store's thread has open.

    :ivar disk: None until the connection is prepared.
    """

    disk = None

    def cursor(self, factory=DiskCursor):
        return super().cursor(factory)


class DiskEngine(SqliteEngine):
    """SQLite on the disk of a world."""

    def __init__(self, path, disk):
        super().__init__(path)
        self.connect_arguments["factory"] = DiskConnection
        self._disk = disk

    def prepare(self, connection):
        super().prepare(connection)
        # A process that is killed loses nothing that it wrote, synced or not.
        connection.execute("PRAGMA synchronous = OFF")
        if isinstance(connection, DiskConnection):  # not the one that only looks what there is
            connection.disk = self._disk


@define(eq=False)
class Disk:
    """Where the database is, and what is wrong with it.

    :ivar is_full: what writes fails at its commit, and sometimes before.
    :ivar is_failing: any statement may fail, with an error of the disk or of the statement alone.
    :ivar fuse: steps until the process is killed; each statement has one before it and one after.
    """

    folder: Path
    random: Random
    is_full: bool = False
    is_failing: bool = False
    fuse: int | None = None
    lives: int = 1
    _writing: bool = False

    ERRORS: ClassVar = ("SQLITE_IOERR", "SQLITE_ERROR")
    WRITES: ClassVar = ("INSERT", "UPDATE", "DELETE", "COMMIT")

    @property
    def path(self):
        return self.folder / str(self.lives) / "defensive.db"

    def crash(self):
        """From now on the database is as a process that is killed now leaves it."""
        self.fuse = None
        self.copy_to(self.folder / str(self.lives + 1))
        self.lives += 1

    def copy_to(self, folder):
        """Copy the database as it is now, with what is in its write-ahead log only."""
        folder.mkdir(exist_ok=True)
        for suffix in ("", "-wal"):
            file = self.path.with_name(self.path.name + suffix)
            if file.exists():
                shutil.copyfile(file, folder / file.name)

    def before(self, connection, sql):
        """A statement is about to be executed."""
        self._step()
        verb, *rest = sql.split(maxsplit=2)
        if verb == "BEGIN":
            self._writing = rest == ["IMMEDIATE"]
        if verb in ("ROLLBACK", "PRAGMA"):
            return
        error = None
        if self.is_full and self._writing and verb in self.WRITES:
            error = "SQLITE_FULL" if verb == "COMMIT" or self.random.random() < 0.2 else None
        elif self.is_failing and self.random.random() < 0.05:
            error = self.random.choice(self.ERRORS)
        if error is not None:
            if self.random.random() < 0.5:  # SQLite may undo everything by itself, or leave it so
                connection.rollback()
            raise sqlite_error(error)

    def after(self):
        """A statement was executed."""
        self._step()

    def _step(self):
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self.crash()
                raise Killed


@define(eq=False)
class StoreThread:
    """The store's thread: it takes its time before each call, and the reactor before it learns of
    it. Calls and results keep their order.

    :param draw_delay: seconds, each time anew.
    """

    clock: ProcessTime
    draw_delay: Callable[[], float]
    _calls: deque = field(factory=deque)
    _results: deque = field(factory=deque)

    def callInThreadWithCallback(self, onResult, func, *args, **kwargs):
        self._calls.append((onResult, func, args, kwargs))
        if len(self._calls) == 1:
            self._wait_and(self._work)

    def stop(self):
        """There is no thread to wait for."""

    def _wait_and(self, function):
        self.clock.callLater(self.draw_delay(), function)

    def _work(self):
        on_result, function, args, kwargs = self._calls[0]
        try:
            result = True, function(*args, **kwargs)
        except Exception:  # noqa: BLE001 - it is answered, as a thread pool does
            result = False, Failure()
        self._calls.popleft()
        self._results.append((on_result, result))
        self._wait_and(self._tell)
        if self._calls:
            self._wait_and(self._work)

    def _tell(self):
        on_result, result = self._results.popleft()
        on_result(*result)


@frozen
class Socket:
    """The probe of a line's end with a plain socket under it, to which the relay writes by itself."""

    end: LineEnd

    @property
    def handle(self):
        return self

    def send(self, data):
        return self.end.send(data)

    def unread(self):
        return self.end.unread()

    def unacknowledged(self):
        return self.end.unacknowledged()

    def failed(self):
        return self.end.failed()


PROBES: Final = {"socket": Socket, "transport": lambda end: end, "blind": lambda _: BlindProbe()}
"""What a relay can ask of its kernel, and whether it writes past its transport."""


@implementer(IStreamServerEndpoint, IListeningPort)
class RelayProcess:
    """The relay's service from its start to its end, and its only door.

    :ivar ended: it has stopped in good order.
    """

    def __init__(self, world):
        self.time = ProcessTime(world.clock)
        self.ended = False
        self._world = world
        self.store = SqliteStore(
            world.disk.path,
            self.time,
            now=lambda: NOON + self.time.seconds(),
            new_client_id=lambda: ClientId(world.random.randbytes(16)),
            quota=world.quota,
            account_quota=world.quota,
            engine=DiskEngine(world.disk.path, world.disk),
            new_pool=self._new_pool,
        )
        self.service = self._new_service(world)
        self.service.startService()

    def _new_service(self, world):
        return RelayService([Door("memory", self)], self.store, self.time, Limits(world.settings))

    def _new_pool(self, engine, clock):
        pool = threadless_pool(engine, clock)
        pool.threadpool = StoreThread(self.time, self._world.draw_store_delay)
        return pool

    def listen(self, protocolFactory):  # noqa: N803
        self.factory = protocolFactory
        self.factory.exchange = evolve(self.factory.exchange, probe_of=self._world.probe_of)
        self.factory.doStart()
        self._world.network.listener = self.factory
        return succeed(self)

    def startListening(self):  # noqa: N802
        """It does."""

    def stopListening(self):  # noqa: N802
        self._world.network.listener = None
        return succeed(None)

    def getHost(self):
        return IPv4Address("TCP", "192.0.2.2", 1357)

    def stop(self):
        """SIGTERM."""

        def end(_):
            self.ended = True
            self.time.alive = False

        self.service.stopService().addCallback(end)

    def die(self):
        """It was killed, and the disk has the copy that is to be gone on with."""
        self.time.alive = False
        self._world.network.listener = None
        if self.store._held is not None:
            # Our own process would run out of descriptors.
            self.store._held.let_go()

    def holdings(self):
        """What is held for clients, by name."""
        limits, streams = self.service.limits, self.factory.exchange.streams
        return {
            "connections": limits.connections,
            "input": limits.input_bytes,
            "output": limits.output_bytes,
            "streams": streams.limit - streams.tokens + len(streams.waiting),
            "leases": len(self.store._leases._leases),
        }


WEIGHTS: Final = {
    "move": 60,
    "turn": 25,
    "wait": 8,
    "wait_long": 1,
    "cut": 1,
    "hold": 3,
    "let_go": 3,
    "kill": 1,
    "kill_inside": 2,
    "stop": 1,
    "fill_disk": 1,
    "break_disk": 1,
    "mend_disk": 3,
    "kill_client": 2,
    "vanish": 1,
}
FAULTS: Final = (
    "cut",
    "hold",
    "kill",
    "kill_inside",
    "stop",
    "fill_disk",
    "break_disk",
    "kill_client",
    "vanish",
)

PIECES: Final = (1, 7, 60, 1_000, 65_536)
WINDOWS: Final = (40, 500, 262_144)
SHORT_WAITS: Final = (0.001, 0.02, 0.1, 0.5)
LONG_WAITS: Final = (2.0, 6.0, 25.0)
STORE_DELAYS: Final = ((0.0,), (0.0, 0.0, 0.01), (0.001, 0.05, 1.0))
RESTART_DELAYS: Final = (0.0, 0.1, 3.0)


class World:
    """Everything there is, from a seed to a history.

    :param new_disk: makes the disk; a test may give it one that lies.
    :cvar weights: how often things happen, compared with each other.
    :cvar faults: those of them that not all worlds have: what comes together hides what comes
        alone.
    :ivar history: the events that the rules judge.
    :ivar failures: of programs that are at fault themselves.
    :ivar has_large: some messages are large, and the network carries them quickly.
    :ivar calm: no faults any more, and no program begins anew.
    """

    weights: ClassVar = WEIGHTS
    faults: ClassVar = FAULTS

    def __init__(self, seed, new_disk=Disk):
        self.random = random = Random(seed)
        self.history = []
        self.failures = []
        self.programs = []
        self.calm = False
        self.clock = Clock()
        parent = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        self._folder = tempfile.TemporaryDirectory(prefix="messageu-", dir=parent)
        self.disk = new_disk(Path(self._folder.name), random)
        self.disk.path.parent.mkdir()
        self.network = MemoryNetwork(self.clock, new_faults=self._new_faults)
        self.has_large = random.random() < 0.05
        self.settings = self._draw_settings()
        self.quota = random.choice((NO_QUOTA, NO_QUOTA, Quota(messages=5, content=200_000)))
        self.probe = random.choices(list(PROBES), (4, 2, 1))[0]
        self.probe_of = PROBES[self.probe]
        self._store_delays = random.choice(STORE_DELAYS)
        absent = {fault for fault in self.faults if random.random() < 0.5}
        self._happenings = [name for name in self.weights if name not in absent]
        self._weights = [self.weights[name] for name in self._happenings]
        self._restarting = False
        self.process = self._new_process()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.die()
        self._folder.cleanup()

    def note(self, event):
        """Something has happened that the rules want to know."""
        self.history.append(event)

    def happen(self, moments):
        """Let so many things happen, one after the other."""
        for name in self.random.choices(self._happenings, self._weights, k=moments):
            try:
                getattr(self, f"_{name}")()
            except Killed:
                self._bury()

    def rest(self, seconds, step=1.0):
        """Let so much time pass in which nothing bad happens, and everything that it brings."""
        self.calm = True
        self.disk.is_full = self.disk.is_failing = False
        self.disk.fuse = None
        for line in self.network.lines:
            for end in (line.client, line.server):
                end.held = False
                end.faults = Faults()
        until = self.clock.seconds() + seconds
        while self.clock.seconds() < until:
            self._tidy()
            self.network.wait(step, step)

    def draw_store_delay(self):
        """Seconds that the store takes to begin, or to tell that it is done."""
        return 0.0 if self.calm else self.random.choice(self._store_delays)

    def stop(self):
        """Stop the relay in good order, and start no other. Whether it stops."""
        self.process.stop()
        self.network.wait(self.settings.stop_grace + 1, 1.0)
        return self.process.ended

    def _draw_settings(self):
        return draw_settings(self.random, 10_000 if self.has_large else 15)

    def _new_process(self):
        return RelayProcess(self)

    # What may happen.

    def _move(self):
        lines = self.network.lines
        if len(lines) > 12:
            self._tidy()
        if lines:
            line = self.random.choice(lines)
            for _ in range(self.random.randrange(1, 6)):
                end = line.client if self.random.random() < 0.5 else line.server
                end.step()
                look = getattr(line.client.protocol, "look", None)
                if look is not None:
                    look()

    def _turn(self):
        self.clock.advance(0)

    def _wait(self):
        self.clock.advance(self.random.choice(SHORT_WAITS))

    def _wait_long(self):
        self.clock.advance(self.random.choice(LONG_WAITS))

    def _cut(self):
        if self.network.lines:
            self.random.choice(self.network.lines).reset()

    def _hold(self):
        if self.network.lines:
            line = self.random.choice(self.network.lines)
            self.random.choice((line.client, line.server)).held = True

    def _let_go(self):
        for line in self.network.lines:
            line.client.held = line.server.held = False

    def _kill(self):
        if self.process.time.alive:
            self.disk.crash()
            self._bury()

    def _kill_inside(self):
        self.disk.fuse = self.random.randrange(40)

    def _stop(self):
        if self.process.time.alive and self.network.listener is not None:
            self.note(RelayStopped())
            self.process.stop()
            self._restart_later()

    def _fill_disk(self):
        self.disk.is_full = True

    def _break_disk(self):
        self.disk.is_failing = True

    def _mend_disk(self):
        self.disk.is_full = self.disk.is_failing = False

    def _kill_client(self):
        if self.programs:
            self.random.choice(self.programs).kill()

    def _vanish(self):
        if self.programs:
            self.random.choice(self.programs).vanish()

    # What that needs.

    def _bury(self):
        self.note(RelayKilled())
        self.process.die()
        in_good_order = self.random.random() < 0.7
        for line in self.network.lines:
            line.server.kill()
            if not in_good_order:
                line.reset()
        self._restart_later()

    def _restart_later(self):
        if not self._restarting:
            self._restarting = True
            self.clock.callLater(self.random.choice(RESTART_DELAYS), self._restart)

    def _restart(self):
        if self.process.time.alive:  # it is still stopping
            self.clock.callLater(0.5, self._restart)
        else:
            self._restarting = False
            self.process = self._new_process()

    def _tidy(self):
        self.network.lines[:] = [
            line for line in self.network.lines if not (line.client.closed and line.server.closed)
        ]

    def _new_faults(self):
        if self.calm:
            return Faults(), Faults()
        random, pieces = self.random, PIECES[-2:] if self.has_large else PIECES
        cut = random.randrange(1_500) if "cut" in self._happenings else 10**9
        cuts = [cut if random.random() < 0.15 else None for _ in range(2)]
        return (
            Faults(piece=random.choice(pieces), cut_after=cuts[0]),
            Faults(random.choice(pieces), random.choice(WINDOWS), cuts[1]),
        )


def draw_settings(random, smallest_chunk):
    """Limits that are met, and deadlines that come soon."""
    chunk = random.choice((smallest_chunk, 10 * smallest_chunk, 65_536))
    return LimitSettings(
        content=200_000,
        input_bytes=random.choice((2_000, 2**26)),
        output_bytes=random.choice((chunk + 1_000, 2**25)),
        connection_output=random.choice((100, 65_536)),
        streams=random.choice((1, 2, 256)),
        chunk=chunk,
        read_ahead=random.choice((1, 8, 64)),
        answer_bytes=10_000,
        answer_messages=random.choice((1, 4, 100)),
        frame_deadline=5.0,
        idle_deadline=20.0,
        progress_deadline=4.0,
        crowded_deadline=1.5,
        discard_deadline=3.0,
        drain_deadline=3.0,
        stop_grace=5.0,
    )
