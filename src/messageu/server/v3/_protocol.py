"""The edge of v3: a connection is one when its handshake is over and is what we want."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from messageu.model.v3 import CHANNEL_BINDING_SIZE

from ._connection import Connection
from ._exchange import Exchange

ALPN: Final = b"messageu/3"
TLS_VERSION: Final = "TLSv1.3"
BINDING_LABEL: Final = b"EXPORTER-Channel-Binding"


@implementer(IHandshakeListener)
class RelayProtocol(Protocol):
    """One connection of v3. Nothing is written, and nothing heard, before its handshake is over.

    :param gone: is called when the connection has ended.
    :ivar address: where it comes from.
    """

    __slots__ = ("_connection", "_exchange", "_gone", "_since", "address", "connected", "transport")

    transport: Any

    def __init__(
        self, exchange: Exchange, address: str, gone: Callable[[RelayProtocol], None]
    ) -> None:
        self._exchange = exchange
        self._gone = gone
        self._connection: Connection | None = None
        self._since = exchange.clock.seconds()
        self.address = address

    # What the transport tells.

    def handshakeCompleted(self) -> None:
        """Serve whoever speaks our protocol over TLS 1.3."""
        tls = self.transport.getHandle()
        version, protocol = tls.get_protocol_version_name(), self.transport.negotiatedProtocol
        if version != TLS_VERSION or protocol != ALPN:
            self._exchange.limits.hits["not_our_protocol"] += 1
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

    def check(self, now: float, read_size: int) -> None:
        """Close or abort what takes too long, and read so much at once. The factory calls this at
        regular times."""
        socket = self.transport.transport
        if socket is not None and socket.bufferSize != read_size:
            # That many are kept unsent as well before there is a pause.
            socket.bufferSize = read_size
        if self._connection is not None:
            self._connection.check_deadlines(now)
        elif now - self._since > self._exchange.limits.settings.handshake_deadline:
            self._exchange.limits.hit("handshake_deadline", self.address)
            self.transport.abortConnection()
