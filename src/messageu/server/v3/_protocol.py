"""The edge of v3: a connection is one when its handshake is over and is what we want."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from messageu.model.v3 import CHANNEL_BINDING_SIZE

from ._connection import Connection
from ._exchange import Exchange
from ._session import Standing

ALPN: Final = b"messageu/3"
TLS_VERSION: Final = "TLSv1.3"
BINDING_LABEL: Final = b"EXPORTER-Channel-Binding"


@implementer(IHandshakeListener)
class RelayProtocol(Protocol):
    """One connection of v3. Nothing is written, and nothing heard, before its handshake is over.

    :param gone: is called when the connection has ended.
    :ivar address: where it comes from.
    :ivar in_handshake: TLS has not begun.
    """

    __slots__ = (
        "_connection",
        "_exchange",
        "_gone",
        "_handshake",
        "_left",
        "_since",
        "address",
        "connected",
        "in_handshake",
        "transport",
    )

    transport: Any

    def __init__(
        self, exchange: Exchange, address: str, gone: Callable[[RelayProtocol], None]
    ) -> None:
        self._exchange = exchange
        self._gone = gone
        self._connection: Connection | None = None
        self._since = exchange.clock.seconds()
        self._handshake = 0
        self._left = False
        self.address = address
        self.in_handshake = True

    @property
    def is_stranger(self) -> bool:
        """Whether nobody has authenticated here."""
        connection = self._connection
        return connection is None or connection.session.missing(Standing.AUTHENTICATED) is not None

    # What the transport tells.

    def count_handshake(self, size: int) -> None:
        """The client has sent so many bytes more of its handshake, which is of TLS, and holds them."""
        self._handshake += size
        limits = self._exchange.limits
        if self.in_handshake and self._handshake > limits.settings.handshake_bytes:
            limits.hit("handshake_bytes", self.address)
            self.transport.abortConnection()

    def handshakeCompleted(self) -> None:
        """Serve whoever speaks our protocol over TLS 1.3."""
        self.in_handshake = False
        tls = self.transport.getHandle()
        version, protocol = tls.get_protocol_version_name(), self.transport.negotiatedProtocol
        if version != TLS_VERSION or protocol != ALPN:
            self._refuse()
            self.transport.abortConnection()
            return
        # What is pushed does not wait for the client's kernel, which delays its acknowledgements.
        self.transport.setTcpNoDelay(True)
        binding: bytes = tls.export_keying_material(BINDING_LABEL, CHANNEL_BINDING_SIZE)
        self._connection = Connection(self._exchange, self.address, self.transport, binding)

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._connection is not None:
            self._connection.receive(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.lose()
        elif self.in_handshake and reason.check(SSL.Error):
            self._refuse()
        self._leave()

    def _refuse(self) -> None:
        self._exchange.limits.hits["not_our_protocol"] += 1

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._gone(self)

    # What the relay tells.

    def stop(self) -> None:
        """Answer what was taken, take no more, and close."""
        if self._connection is None:
            self.transport.abortConnection()
        else:
            self._connection.stop()

    def abort(self) -> None:
        """Give up the connection at once."""
        if self._connection is None:
            self.transport.abortConnection()
        else:
            self._connection.abort()

    def make_way(self) -> None:
        """All places are taken, and somebody else needs this one at once."""
        self._exchange.limits.hit("v3_connections", self.address)
        self.abort()
        self._leave()

    def check(self, now: float, read_size: int) -> None:
        """Close or abort what takes too long, and read so much at once. The factory calls this at
        regular times."""
        self.transport.read_limit = read_size
        if self._connection is not None:
            self._connection.check_deadlines(now)
        elif now - self._since > self._exchange.limits.settings.handshake_deadline:
            self._exchange.limits.hit("handshake_deadline", self.address)
            self.transport.abortConnection()
