"""Accepts connections of v2."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from secrets import token_bytes

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.interfaces import IAddress, IReactorTime, ITransport

from messageu.store import IMailboxStore
from messageu.wire import v2

from ._accepting import AcceptingFactory
from ._exchange import Exchange
from ._handlers import HANDLERS
from ._intake import Intake
from ._limits import Limits
from ._measured import measured_handlers, measured_send
from ._metrics import NOBODY_ASKS, IMetrics
from ._notices import Notices
from ._postmaster import Postmaster
from ._probe import BlindProbe, SocketProbe, probe_of
from ._protocol import RelayProtocol
from ._recent import RECENT_SESSIONS, Recent


class Pseudonyms:
    """Names for peers in the log: the same for an address within one run, and no more than that."""

    def __init__(self) -> None:
        self._key = token_bytes(16)

    def __call__(self, address: str) -> str:
        """A short name for an address."""
        return "peer-" + blake2b(address.encode(), key=self._key, digest_size=4).hexdigest()


class RelayFactory(AcceptingFactory):
    """Makes a :class:`RelayProtocol` for each connection that the limits admit.

    :param probe_of: the probe of a transport.
    :param metrics: are told what is asked, and how it is answered.
    :ivar exchange: what the connections to come will share.
    """

    def __init__(
        self,
        store: IMailboxStore,
        clock: IReactorTime,
        limits: Limits,
        probe_of: Callable[[ITransport], SocketProbe | BlindProbe] = probe_of,
        metrics: IMetrics = NOBODY_ASKS,
    ) -> None:
        super().__init__(clock, limits)
        notices = Notices(clock)
        limits.on_hit = self._note_hit
        postmaster = Postmaster(
            store,
            limits,
            clock,
            Intake(store, clock, notices.note_failure, limits.hits),
            lambda failure: notices.note_failure(failure, "a lease could not be ended"),
        )
        on, send = metrics.on, postmaster.send
        self.exchange = Exchange(
            postmaster=postmaster,
            send=measured_send(send, metrics, clock) if on else send,
            handlers=measured_handlers(HANDLERS, metrics, clock) if on else HANDLERS,
            metrics=metrics,
            limits=limits,
            clock=clock,
            codec=v2.RequestCodec(limits.settings.content),
            streams=DeferredSemaphore(limits.settings.streams),
            briefs=DeferredSemaphore(limits.settings.streams),
            peer_name=Pseudonyms(),
            notices=notices,
            recent=Recent(RECENT_SESSIONS, RelayProtocol.sleep),
            probe_of=probe_of,
        )

    def make(self, address: str) -> RelayProtocol:
        return RelayProtocol(self.exchange, address, self._gone)

    def buildProtocol(self, addr: IAddress | None) -> RelayProtocol | None:
        """A protocol for a new connection, or None: it is refused, and closed at once."""
        return self.accept(addr)  # type: ignore[return-value]

    def check_deadlines(self) -> None:
        """Also those whose answers keep others waiting."""
        self._limits.check_crowded(self._clock.seconds(), len(self.exchange.streams.waiting))
        super().check_deadlines()

    def _note_hit(self, limit: str, address: str) -> None:
        who = self.exchange.peer_name(address)
        self.exchange.notices.note(who, f"has met a limit: {limit}")
