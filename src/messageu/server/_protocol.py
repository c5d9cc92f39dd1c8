"""One connection of v2. While it rests it costs little more than its socket."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from ._exchange import Exchange, IRelayTransport
from ._session import Session


@implementer(IHalfCloseableProtocol)
class RelayProtocol(Protocol):
    """Hands what the transport tells to a session, which is made when the client speaks.

    A session at rest holds nothing that a new one would not know, so that it can go when others
    were busy more lately.

    :param gone: is called when the connection has ended.
    :ivar address: where it comes from.
    """

    # Named here, what Twisted sets needs no dictionary.
    __slots__ = ("_exchange", "_gone", "_session", "_since", "address", "connected", "transport")

    transport: IRelayTransport

    def __init__(
        self, exchange: Exchange, address: str, gone: Callable[[RelayProtocol], None]
    ) -> None:
        self._exchange = exchange
        self._gone = gone
        self._session: Session | None = None
        self._since = exchange.clock.seconds()
        self.address = address

    # What the transport tells.

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client."""
        session = self._session or self._wake()
        session.receive(data)

    def readConnectionLost(self) -> None:
        """The client has shut down its sending half. It still gets its answers."""
        if self._session is None:
            self.transport.loseConnection()
        else:
            self._session.end_input()

    def writeConnectionLost(self) -> None:
        """Our own half is shut down, as we wanted."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        """It is over. The reason is not believed: it says the same after our own close."""
        session, self._session = self._session, None
        if session is not None:
            session.lose()
        self._exchange.recent.forget(self)
        self._gone(self)

    def _wake(self) -> Session:
        session = Session(self._exchange, self.address, self.transport, self._rest)
        self._session = session
        return session

    # What the session tells.

    def _rest(self) -> None:
        self._exchange.recent.touch(self)

    # What the relay tells.

    def sleep(self) -> None:
        """Others were busy more lately: do with less, if there is nothing to do now."""
        if self._session is not None and self._session.at_rest:
            self._since = self._session.heard_at
            self._session = None

    def stop(self) -> None:
        """Answer what has arrived, take no more, and close."""
        if self._session is not None:
            self._session.stop()
        elif self._exchange.probe_of(self.transport).unread():
            self._wake().stop()
        else:
            self.transport.loseConnection()

    def abort(self) -> None:
        """Give up the connection at once."""
        if self._session is None:
            self.transport.abortConnection()
        else:
            self._session.abort()

    def check(self, now: float, read_size: int) -> None:
        """Close or abort what takes too long, and read so much at once. The factory calls this at
        regular times."""
        if self.transport.bufferSize != read_size:
            self.transport.bufferSize = read_size
        if self._session is not None:
            self._session.check_deadlines(now)
        elif now - self._since > self._exchange.limits.settings.idle_deadline:
            self._exchange.limits.hit("idle_deadline", self.address)
            self.stop()
