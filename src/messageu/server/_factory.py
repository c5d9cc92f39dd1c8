"""Accepts connections within the limits, looks after their deadlines, and sees them off."""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from secrets import token_bytes
from typing import Final

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import LoopingCall

from messageu.store import IMailboxStore
from messageu.wire import v2

from ._exchange import Exchange
from ._intake import Intake
from ._limits import Limits
from ._notices import Notices
from ._postmaster import Postmaster
from ._protocol import RelayProtocol
from ._recent import RECENT_SESSIONS, Recent

DEADLINE_INTERVAL: Final = 1.0
"""Seconds between two looks at the deadlines of all connections."""

DEADLINE_STEP: Final = 64
"""Connections that are looked at in one turn of the reactor. All may be overdue at once."""


class Pseudonyms:
    """Names for peers in the log: the same for an address within one run, and no more than that."""

    def __init__(self) -> None:
        self._key = token_bytes(16)

    def __call__(self, address: str) -> str:
        """A short name for an address."""
        return "peer-" + blake2b(address.encode(), key=self._key, digest_size=4).hexdigest()


class RelayFactory(ServerFactory):
    """Makes a :class:`RelayProtocol` for each connection that the limits admit.

    :ivar exchange: what the connections to come will share.
    """

    noisy = False

    def __init__(self, store: IMailboxStore, clock: IReactorTime, limits: Limits) -> None:
        self._limits = limits
        self._clock = clock
        # A dictionary is denser than a set.
        self._connections: dict[RelayProtocol, None] = {}
        self._all_gone: Deferred[None] | None = None
        # Bound once, instead of once for each connection.
        self._gone = self._forget
        notices = Notices(clock)
        limits.on_hit = self._note_hit
        self.exchange = Exchange(
            postmaster=Postmaster(
                store,
                limits,
                clock,
                Intake(store, clock, notices.note_failure, limits.hits),
                lambda failure: notices.note_failure(failure, "a lease could not be ended"),
            ),
            limits=limits,
            clock=clock,
            codec=v2.RequestCodec(limits.settings.content),
            streams=DeferredSemaphore(limits.settings.streams),
            briefs=DeferredSemaphore(limits.settings.streams),
            peer_name=Pseudonyms(),
            notices=notices,
            recent=Recent(RECENT_SESSIONS, RelayProtocol.sleep),
        )
        self._deadlines = LoopingCall(self.check_deadlines)
        self._deadlines.clock = clock
        self._checking: IDelayedCall | None = None

    def doStart(self) -> None:
        """Begin to look after deadlines, with the first port."""
        super().doStart()  # type: ignore[no-untyped-call]
        if not self._deadlines.running:
            self._deadlines.start(DEADLINE_INTERVAL, now=False)

    def buildProtocol(self, addr: IAddress | None) -> RelayProtocol | None:
        """A protocol for a new connection, or None: it is refused, and closed at once."""
        address = str(getattr(addr, "host", addr))
        if self._all_gone is not None or not self._limits.admit(address):
            return None
        connection = RelayProtocol(self.exchange, address, self._gone)
        self._connections[connection] = None
        return connection

    def _forget(self, connection: RelayProtocol) -> None:
        self._limits.leave(connection.address)
        self._connections.pop(connection, None)
        self._see_off()

    def _note_hit(self, limit: str, address: str) -> None:
        who = self.exchange.peer_name(address)
        self.exchange.notices.note(who, f"has met a limit: {limit}")

    def check_deadlines(self) -> None:
        """Close what is overdue, and read less at once where there are many: a few connections at a
        time, so that others are served between."""
        now = self._clock.seconds()
        self._limits.check_crowded(now, len(self.exchange.streams.waiting))
        if self._checking is None:
            self._check_some(deque(self._connections), now)

    def _check_some(self, connections: deque[RelayProtocol], now: float) -> None:
        read_size = self._limits.read_size
        for _ in range(min(DEADLINE_STEP, len(connections))):
            connection = connections.popleft()
            if connection in self._connections:
                connection.check(now, read_size)
        self._checking = (
            self._clock.callLater(0, self._check_some, connections, now) if connections else None
        )

    def drain(self) -> Deferred[None]:
        """Let every connection finish what it is answering, for at most the grace period.

        Fires when the last one is gone; no new one is accepted from now on.
        """
        self._all_gone = all_gone = Deferred[None]()
        grace = self._clock.callLater(self._limits.settings.stop_grace, self._abort_all)
        for connection in tuple(self._connections):
            connection.stop()
        self._see_off()

        def end(result: object) -> object:
            if grace.active():
                grace.cancel()
            if self._deadlines.running:
                self._deadlines.stop()
            if self._checking is not None:
                self._checking.cancel()
                self._checking = None
            return result

        return all_gone.addBoth(end)

    def _abort_all(self) -> None:
        for connection in tuple(self._connections):
            self._limits.hit("stop_grace", connection.address)
            connection.abort()

    def _see_off(self) -> None:
        if self._all_gone is not None and not self._connections and not self._all_gone.called:
            self._all_gone.callback(None)
