"""Accepts connections of v3, and knows which of them may make way for others."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.python.failure import Failure

from messageu.model.v3 import Registration
from messageu.store.v3 import IAccountStore
from messageu.wire import v3

from .._accepting import AcceptingFactory
from .._limits import Limits
from .._metrics import NOBODY_ASKS, IMetrics
from .._notices import Notices
from ._exchange import TOO_LARGE_READ, Exchange
from ._feeder import Feeder
from ._handlers import HANDLERS
from ._intake import Intake
from ._measured import measured_handlers
from ._postmaster import Postmaster
from ._protocol import RelayProtocol
from ._subscriptions import Subscriptions
from ._turns import Turns


class RelayFactory(AcceptingFactory):
    """Makes a :class:`RelayProtocol` for each connection that the limits admit, for inside of TLS.

    :param now: the time, in seconds since the epoch.
    :param peer_name: what a peer is called in the log, by its address.
    :ivar exchange: what the connections share.
    """

    kinds = ("v3_connections",)

    def __init__(
        self,
        store: IAccountStore,
        clock: IReactorTime,
        limits: Limits,
        *,
        now: Callable[[], float],
        registration: Registration,
        peer_name: Callable[[str], str],
        notices: Notices,
        metrics: IMetrics = NOBODY_ASKS,
    ) -> None:
        super().__init__(clock, limits)
        # The oldest first. Who has authenticated stays in it until somebody looks.
        self._strangers: dict[RelayProtocol, None] = {}
        self._lost = self._lose

        subscriptions = Subscriptions()

        def complain(matter: str) -> Callable[[Failure], None]:
            return lambda failure: notices.note_failure(failure, matter)

        self.exchange = Exchange(
            postmaster=Postmaster(
                store,
                limits,
                clock,
                now,
                registration,
                Intake(store, clock, complain("an envelope is refused")),
                Feeder(store, clock, subscriptions, limits, complain("mail is not pushed")),
                subscriptions,
            ),
            limits=limits,
            clock=clock,
            codec=v3.RequestCodec(limits.settings.sealed_size + TOO_LARGE_READ),
            peer_name=peer_name,
            notices=notices,
            turns=Turns(clock),
            handlers=measured_handlers(HANDLERS, metrics, clock) if metrics.on else HANDLERS,
            metrics=metrics,
        )

    def make(self, address: str) -> RelayProtocol:
        protocol = RelayProtocol(self.exchange, address, self._lost)
        self._strangers[protocol] = None
        return protocol

    def make_way(self) -> None:
        """Let go of the oldest of those who have not authenticated."""
        while self._strangers:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            if oldest.is_stranger:
                oldest.make_way()
                return

    def check_deadlines(self) -> None:
        """Also those whose answers keep others waiting."""
        feeder = self.exchange.postmaster.feeder
        self._limits.check_crowded(self._clock.seconds(), feeder.held_back)
        feeder.go_on()
        super().check_deadlines()

    def _lose(self, protocol: RelayProtocol) -> None:
        self._strangers.pop(protocol, None)
        self._gone(protocol)

    def buildProtocol(self, addr: IAddress | None) -> RelayProtocol | None:
        """A protocol for a new connection, or None: it is refused, and closed at once."""
        return self.accept(addr)  # type: ignore[return-value]
