"""A world of v3: the one of v2 with the relay's other door, and clients that have a disk as well.

What libraries draw by themselves, keys and nonces, differs from run to run. It decides one thing
only: which of two sessions that were begun at once has the lower id. So the ids of sessions are
drawn from the seed, and a seed says everything.

Files go in pieces of 64 bytes: there are as many of them, and they do not take the time of all.

A client's kill is a relay's: what its next process finds is a copy of its files as they are then.
"""

from __future__ import annotations

from contextlib import ExitStack
from itertools import count
from typing import ClassVar, Final
from unittest import mock

from attrs import evolve, frozen
from twisted.internet.defer import succeed
from twisted.internet.protocol import Protocol

from messageu.crypto.certificates import make_certificate
from messageu.crypto.v3 import Ciphertext, Session
from messageu.model.v3 import CHANNEL_BINDING_SIZE, Registration
from messageu.server import Door, Limits, RelayService
from messageu.server.v3 import ALPN, Offer
from messageu.testing.transport import Faults
from tests.client.v3.small_pieces import small_pieces
from tests.simulation.relay import RelayProcess
from tests.simulation.sqlite import Disk
from tests.simulation.world import FAULTS, WEIGHTS, World

from .history import Cut, LongWait

CERTIFICATE: Final = make_certificate()
DAY: Final = 86_400.0
LONG_WAITS: Final = (0.6, 3.0, 9.0, 35.0)
PIECES: Final = (90, 700, 5_000, 65_536)
WINDOWS: Final = (3_000, 262_144)


@frozen
class _Tls:
    """What a connection over TLS would tell of itself."""

    binding: bytes

    def get_protocol_version_name(self):
        return "TLSv1.3"

    def export_keying_material(self, _label, _size):
        return self.binding


class _Inside:
    """A plain transport that looks like TLS from the inside."""

    negotiatedProtocol = ALPN

    def __init__(self, transport, binding):
        self.transport = transport
        self._tls = _Tls(binding)

    def getHandle(self):
        return self._tls

    def __getattr__(self, name):
        return getattr(self.transport, name)


class _Plain(Protocol):
    """A connection that is given its channel binding, and is not encrypted."""

    def __init__(self, inner, binding):
        self._inner = inner
        self.binding = binding

    def connectionMade(self):
        self._inner.makeConnection(_Inside(self.transport, self.binding))
        self._inner.handshakeCompleted()

    def dataReceived(self, data):
        self._inner.dataReceived(data)

    def connectionLost(self, reason=None):
        self._inner.connectionLost(reason)


@frozen
class _PlainFactory:
    """Connections of a relay's factory without the TLS around them."""

    inner: object
    numbers: count

    def buildProtocol(self, address):
        inner = self.inner.buildProtocol(address)
        binding = next(self.numbers).to_bytes(CHANNEL_BINDING_SIZE, "big")
        return None if inner is None else _Plain(inner, binding)


class RelayOfV3(RelayProcess):
    """A relay whose only door is v3's."""

    def _new_service(self, world):
        offer = Offer(
            [Door("memory", self)],
            world.certificate,
            self.store.accounts,
            Registration.OPEN,
            world.now,
        )
        return RelayService([], self.store, self.time, Limits(world.settings), offer=offer)

    def listen(self, protocolFactory):  # noqa: N803
        factory = protocolFactory.wrappedFactory
        factory.doStart()
        self.listener = _PlainFactory(factory, self._world.bindings)
        return succeed(self)

    def holdings(self):
        limits = self.service.limits
        return {
            "connections": limits.connections,
            "input": limits.input_bytes,
            "output": limits.output_bytes,
            "requests": limits.requests,
        }


class WorldOfV3(World):
    """Everything there is, from a seed to a history. Its programs are v3's.

    :ivar names: of identities.
    :ivar files: what was in the files that were sent, by their names.
    :ivar bindings: numbers of connections, by which channels are bound.
    """

    weights: ClassVar = {
        **WEIGHTS,
        "move": 40,
        "flow": 20,
        "wait": 12,
        "wait_long": 2,
        "say": 14,
        "send_file": 5,
        "spoil_file": 1,
        "cut": 2,
        "vanish": 1,
        "kill_client": 2,
        "kill_client_inside": 3,
        "fill_client": 1,
        "break_client": 1,
        "withhold": 1,
        "copy": 2,
        "restore": 3,
        "wait_days": 0.5,
    }
    faults: ClassVar = (
        *FAULTS,
        "kill_client_inside",
        "fill_client",
        "break_client",
        "withhold",
        "restore",
        "wait_days",
        "spoil_file",
    )

    def __init__(self, seed, new_database=Disk):
        self.names = {}
        self.files = {}
        self.bindings = count()
        self._session_ids = {}
        super().__init__(seed, new_database)

    @property
    def certificate(self):
        """The relay's."""
        path = self.folder / "certificate.pem"
        if not path.exists():
            path.touch(0o600)
            path.write_bytes(CERTIFICATE)
        return path

    def __enter__(self):
        # Olm's ids are digests of keys.
        ids = mock.patch.object(Session, "id", _renamed(Session.id, self._session_id))
        ids_of_first = mock.patch.object(
            Ciphertext, "session_id", _renamed(Ciphertext.session_id, self._session_id)
        )
        self._patches = ExitStack()
        for patch in (ids, ids_of_first, small_pieces()):
            self._patches.enter_context(patch)
        return super().__enter__()

    def __exit__(self, *how):
        try:
            for program in self.programs:
                program.close()
            super().__exit__(*how)
        finally:
            self._patches.close()

    def rest(self, seconds, step=1.0):
        for program in self.programs:
            program.calm_down()
        super().rest(seconds, step)

    def let_pass(self, days):
        """Let days go by at once."""
        self.clock.advance(days * DAY)

    def _session_id(self, real):
        if real is None:
            return None
        if real not in self._session_ids:
            self._session_ids[real] = self.random.randbytes(16).hex()
        return self._session_ids[real]

    def _draw_settings(self):
        settings, random = super()._draw_settings(), self.random
        return evolve(
            settings,
            input_bytes=random.choice((30_000, 2**26)),
            output_bytes=random.choice((70_000, 2**25)),
            connection_output=random.choice((4_000, 65_536)),
            read_ahead=random.choice((1, 8, 64)),
            window_messages=random.choice((1, 3, 1_024)),
            window_bytes=random.choice((65_536, 2**23)),
            idle_deadline=random.choice((20.0, 600.0)),
            mail_life=random.choice((2 * DAY, 30 * DAY)),
            chunk=random.choice((3_000, 65_536)),
        )

    def _new_process(self):
        return RelayOfV3(self)

    def _new_faults(self):
        if self.calm:
            return Faults(), Faults()
        random = self.random
        cut = random.randrange(12_000) if "cut" in self._happenings else 10**9
        cuts = [cut if random.random() < 0.15 else None for _ in range(2)]
        return tuple(
            Faults(random.choice(PIECES), random.choice(WINDOWS), cut_after) for cut_after in cuts
        )

    # What may happen.

    def _flow(self):
        self._tidy()
        self.network.run()

    def _cut(self):
        self.note(Cut())
        super()._cut()

    def _say(self):
        self._somebody().say()

    def _send_file(self):
        self._somebody().send_file()

    def _spoil_file(self):
        self._somebody().spoil_file()

    def _kill_client_inside(self):
        self._somebody().disk.fuse = self.random.randrange(10)

    def _fill_client(self):
        self._somebody().disk.is_full = True

    def _break_client(self):
        self._somebody().disk.is_failing = True

    def _mend_disk(self):
        super()._mend_disk()
        for program in self.programs:
            program.disk.is_full = program.disk.is_failing = False

    def _withhold(self):
        self._somebody().withheld = self.random.randint(1, 3)

    def _copy(self):
        self._somebody().copy()

    def _restore(self):
        self._somebody().restore()

    def _wait_days(self):
        days = self.random.choice(LONG_WAITS)
        self.note(LongWait(days))
        self.let_pass(days)

    def _somebody(self):
        return self.random.choice(self.programs)


def _renamed(real, rename):
    """A property that answers what another one does, renamed."""
    return property(lambda it: rename(real.fget(it)))
