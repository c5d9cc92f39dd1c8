"""One world in memory, driven by one seed: a clock, a network, a database, relays, and their clients.

Time passes only when the world says so, and whatever may happen next is drawn from one generator.

A kill of a relay is what ``kill -9`` is. Its memory is gone, its kernel says good-bye in its name
or resets, and the next process finds the database as the one before has left it. A kill comes between
two events of the world, or before or after anything that the relay's store executes, a commit among
them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random
from typing import ClassVar, Final

from attrs import frozen
from twisted.internet.task import Clock

from messageu.model import ClientId
from messageu.server import LimitSettings
from messageu.store import NO_QUOTA, Quota
from messageu.testing.network import MemoryNetwork
from messageu.testing.transport import Faults

from .database import Killed
from .history import RelayKilled, RelayStopped
from .relay import PROBES, RelayProcess
from .sqlite import Disk

NOON: Final = 1_000_000_000.0
SHARED_MEMORY: Final = Path("/dev/shm")


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


@frozen
class Door:
    """The way to whichever relays listen, as a load balancer is one."""

    world: World

    def buildProtocol(self, address):
        listening = [relay for relay in self.world.relays if relay.listener is not None]
        return self.world.one_of(listening).accept(address) if listening else None


class World:
    """Everything there is, from a seed to a history.

    :param new_database: makes the database of a world; a test may give it one that lies.
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

    def __init__(self, seed, new_database=Disk):
        self.random = random = Random(seed)
        self.history = []
        self.failures = []
        self.programs = []
        self.relays = []
        self.calm = False
        self.clock = Clock()
        parent = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        self._folder = tempfile.TemporaryDirectory(prefix="messageu-", dir=parent)
        self.folder = Path(self._folder.name)
        self.database = database = new_database(self)
        self.network = MemoryNetwork(self.clock, Door(self), new_faults=self._new_faults)
        self.has_large = random.random() < 0.05
        self.settings = self._draw_settings()
        self.quota = random.choice((NO_QUOTA, NO_QUOTA, Quota(messages=5, content=200_000)))
        self.probe = random.choices(list(PROBES), (4, 2, 1))[0]
        self.probe_of = PROBES[self.probe]
        self._store_delays = random.choice(STORE_DELAYS)
        weights = {**self.weights, **database.weights}
        faults = (*self.faults, *database.faults)
        absent = {fault for fault in faults if random.random() < 0.5}
        self._happenings = [name for name in weights if name not in absent]
        self._weights = [weights[name] for name in self._happenings]
        self._acts = {
            name: getattr(database, name) if name in database.weights else getattr(self, f"_{name}")
            for name in self._happenings
        }
        self._restarting = set()
        try:
            for _ in range(database.relays):
                self.relays.append(self._new_process())
        except BaseException:
            self._end()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end()

    def _end(self):
        try:
            for relay in self.relays:
                relay.die()
        finally:
            self.database.close()
            self._folder.cleanup()

    def note(self, event):
        """Something has happened that the rules want to know."""
        self.history.append(event)

    def happen(self, moments):
        """Let so many things happen, one after the other."""
        for name in self.random.choices(self._happenings, self._weights, k=moments):
            try:
                self._acts[name]()
            except Killed as killed:
                self._bury(killed.relay)
        self.database.fuse = None

    def rest(self, seconds, step=1.0):
        """Let so much time pass in which nothing bad happens, and everything that it brings."""
        self.calm = True
        self.database.mend()
        self.database.fuse = None
        for line in self.network.lines:
            for end in (line.client, line.server):
                end.held = False
                end.faults = Faults()
        until = self.clock.seconds() + seconds
        while self.clock.seconds() < until:
            self._tidy()
            self.network.wait(step, step)
            self.database.look()

    def draw_store_delay(self):
        """Seconds that the store takes to begin, or to tell that it is done."""
        return 0.0 if self.calm else self.random.choice(self._store_delays)

    def holdings(self):
        """What the relays hold for clients, and what is wrong in their database, by name."""
        held = [item for relay in self.relays for item in relay.holdings().items()]
        return [*held, *self.database.audit()]

    def stop(self):
        """Stop the relays in good order, and start no other. Whether they stop."""
        for relay in self.relays:
            relay.stop()
        self.network.wait(self.settings.stop_grace + 1, 1.0)
        return all(relay.ended for relay in self.relays)

    def now(self):
        """Seconds since the epoch."""
        return NOON + self.clock.seconds()

    def store_options(self):
        """What any store is made with."""
        return {
            "now": self.now,
            "new_client_id": lambda: ClientId(self.random.randbytes(16)),
            "quota": self.quota,
            "account_quota": self.quota,
        }

    def one_of(self, choices):
        """One of several; where there is only one that is no matter of chance."""
        return choices[0] if len(choices) == 1 else self.random.choice(choices)

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
        relay = self.one_of(self.relays)
        if relay.time.alive:
            self.database.crash(relay)
            self._bury(relay)

    def _kill_inside(self):
        self.database.fuse = self.random.randrange(40)

    def _stop(self):
        relay = self.one_of(self.relays)
        if relay.time.alive and relay.listener is not None:
            self.note(RelayStopped())
            relay.stop()
            self._restart_later(relay)

    def _fill_disk(self):
        self.database.is_full = True

    def _break_disk(self):
        self.database.is_failing = True

    def _mend_disk(self):
        self.database.mend()

    def _kill_client(self):
        if self.programs:
            self.random.choice(self.programs).kill()

    def _vanish(self):
        if self.programs:
            self.random.choice(self.programs).vanish()

    # What that needs.

    def _bury(self, relay):
        self.note(RelayKilled())
        self.database.fuse = None
        relay.die()
        in_good_order = self.random.random() < 0.7
        for line in self.network.lines:
            if relay.has(line):
                line.server.kill()
                if not in_good_order:
                    line.reset()
        self._restart_later(relay)

    def _restart_later(self, relay):
        place = self.relays.index(relay)
        if place not in self._restarting:
            self._restarting.add(place)
            self.clock.callLater(self.random.choice(RESTART_DELAYS), self._restart, place)

    def _restart(self, place):
        # It may still be stopping.
        if self.relays[place].time.alive or not self.database.can_open():
            self.clock.callLater(0.5, self._restart, place)
        else:
            self._restarting.remove(place)
            self.relays[place] = self._new_process()

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
