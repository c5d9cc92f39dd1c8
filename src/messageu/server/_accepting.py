"""Accepts connections within the limits, looks after their deadlines, and sees them off: what the
relay's listeners have in common."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections import deque
from typing import ClassVar, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import LoopingCall

from ._limits import Limits

DEADLINE_INTERVAL: Final = 1.0
"""Seconds between two looks at the deadlines of all connections."""

DEADLINE_STEP: Final = 64
"""Connections that are looked at in one turn of the reactor. All may be overdue at once."""


class Accepted(Protocol):
    """A connection that was accepted.

    :ivar address: where it comes from.
    """

    address: str

    def check(self, now: float, read_size: int) -> None:
        """Close or abort what takes too long, and read so much at once."""

    def stop(self) -> None:
        """Answer what was taken, take no more, and close."""

    def abort(self) -> None:
        """Give up the connection at once."""


class AcceptingFactory(ServerFactory, metaclass=ABCMeta):
    """Makes a protocol for each connection that the limits admit.

    :cvar kinds: as what its connections count beside ``connections``.
    """

    noisy = False
    kinds: ClassVar[tuple[str, ...]] = ()

    def __init__(self, clock: IReactorTime, limits: Limits) -> None:
        self._limits = limits
        self._clock = clock
        # A dictionary is denser than a set.
        self._connections: dict[Accepted, None] = {}
        self._all_gone: Deferred[None] | None = None
        # Bound once, instead of once for each connection.
        self._gone = self._forget
        self._deadlines = LoopingCall(self.check_deadlines)
        self._deadlines.clock = clock
        self._checking: IDelayedCall | None = None

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    @abstractmethod
    def make(self, address: str) -> Accepted:
        """The protocol of a connection that is admitted; ``_gone`` is to be called at its end."""

    def make_way(self) -> None:
        """All places are taken: let go of a connection that counts less than a new one, if one does."""

    def doStart(self) -> None:
        """Begin to look after deadlines, with the first port."""
        super().doStart()  # type: ignore[no-untyped-call]
        if not self._deadlines.running:
            self._deadlines.start(DEADLINE_INTERVAL, now=False)

    def accept(self, addr: IAddress | None) -> Accepted | None:
        """A protocol for a new connection, or None: it is refused, and closed at once."""
        address = str(getattr(addr, "host", addr))
        if self._all_gone is not None or not self._limits.admit(
            address, *self.kinds, make_way=self.make_way
        ):
            return None
        connection = self.make(address)
        self._connections[connection] = None
        return connection

    def _forget(self, connection: Accepted) -> None:
        self._limits.leave(connection.address, *self.kinds)
        self._connections.pop(connection, None)
        self._see_off()

    def check_deadlines(self) -> None:
        """Close what is overdue, and read less at once where there are many: a few connections at a
        time, so that others are served between."""
        if self._checking is None:
            self._check_some(deque(self._connections), self._clock.seconds())

    def _check_some(self, connections: deque[Accepted], now: float) -> None:
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
