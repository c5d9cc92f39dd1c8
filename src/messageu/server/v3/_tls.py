"""TLS around the connections of v3: 1.3 and nothing else, and what it may cost."""

from __future__ import annotations

from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.interfaces import IAddress, IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.ssl import CertificateOptions, PrivateCertificate, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from ._factory import RelayFactory
from ._protocol import ALPN, RelayProtocol

HANDSHAKE: Final = 0.001
"""Seconds of work that a handshake is taken for."""

LIGHT: Final = 0.001
"""Seconds of work at once after which a connection waits for its next turn."""

CHEAP: Final = 0.3e-6
"""Seconds of work for a byte, above which bytes are costly. Large requests are cheap; small ones,
small records and new keys are not."""

READ: Final = 8 * 1024
"""Bytes that are read at once from whoever says little: the prekeys of an account, and less."""

READ_MORE: Final = 64 * 1024
"""The same, when it is his turn, from whoever has more to say."""

READ_COSTLY: Final = 2 * 1024
"""The same, if his bytes are costly."""

LEAST_WORK: Final = 0.002
"""Seconds of work that as much is taken for, however cheap it was before."""

REMEMBERED: Final = 64 * 1024
"""Bytes after which what they were of work counts half for what is expected of others."""


@implementer(IOpenSSLServerConnectionCreator)
class _Context:
    """TLS 1.3 and nothing else, without resumption; with a certificate that comes later."""

    def __init__(self) -> None:
        self._context: SSL.Context | None = None

    def load(self, pem: bytes) -> None:
        own = PrivateCertificate.loadPEM(pem)
        self._context = CertificateOptions(
            privateKey=own.privateKey.original,
            certificate=own.original,
            raiseMinimumTo=TLSVersion.TLSv1_3,
            acceptableProtocols=[ALPN],
        ).getContext()

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        if self._context is None:  # pragma: no cover - nobody is accepted before it is loaded
            raise RuntimeError("there is no certificate yet")
        return SSL.Connection(self._context, None)


class TlsConnection(TLSMemoryBIOProtocol):
    """TLS of one connection.

    It is read from when the protocol inside wants it, and it is its turn: a little at once, and
    whoever has more to say, or was work, waits for the next turn.

    Twisted would gather small writes here; that is done inside, where they are counted.

    :ivar read_limit: bytes that may be read at once.
    """

    factory: TlsFactory
    transport: Any
    wrappedProtocol: RelayProtocol

    def __init__(self, factory: TlsFactory, wrapped: RelayProtocol) -> None:
        super().__init__(factory, wrapped)  # type: ignore[no-untyped-call]
        self.read_limit = READ_MORE
        self._wanted = True
        self._resting = False
        self._heard = 0
        self._work = 0.0

    def makeConnection(self, transport: Any) -> None:
        """A handshake is work: it waits for its turn."""
        super().makeConnection(transport)  # type: ignore[no-untyped-call]
        self._read_at_once(READ)
        self._rest(HANDSHAKE)

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client."""
        clock, inside = self.factory.turns.clock, self.wrappedProtocol
        began, in_handshake = clock.seconds(), inside.in_handshake
        super().dataReceived(data)  # type: ignore[no-untyped-call]
        if in_handshake:
            inside.count_handshake(len(data))
        else:
            self._remember(len(data), clock.seconds() - began)
        full = len(data) >= self.transport.bufferSize
        more = READ_COSTLY if self._cost > CHEAP else READ_MORE
        self._read_at_once(more if full else READ)
        if (full or clock.seconds() - began > LIGHT) and not self._resting:
            size = self.transport.bufferSize
            self._rest(max(self._cost * size, LEAST_WORK * size / READ_MORE))

    def _remember(self, heard: int, work: float) -> None:
        # As an average: the work of a whole record is done with its last byte.
        if self._heard > REMEMBERED:
            self._heard //= 2
            self._work /= 2
        self._heard += heard
        self._work += work

    @property
    def _cost(self) -> float:
        """Seconds of work that its bytes have been, each."""
        return self._work / self._heard if self._heard else 0.0

    def _rest(self, work: float) -> None:
        self._resting = True
        self.transport.pauseProducing()
        self.factory.turns.wait(self, work)

    def _read_at_once(self, size: int) -> None:
        size = min(size, self.read_limit)
        if self.transport.bufferSize != size:
            # That many are kept unsent as well before there is a pause.
            self.transport.bufferSize = size

    # What the protocol inside asks for.

    def pauseProducing(self) -> None:
        """Read no more for now."""
        self._wanted = False
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again, when it is its turn."""
        self._wanted = True
        if not self._resting:
            self.transport.resumeProducing()

    # What the turns tell.

    def wake(self) -> None:
        """It is its turn."""
        self._resting = False
        if self._wanted:
            self.transport.resumeProducing()


class TlsFactory(TLSMemoryBIOFactory):
    """TLS around the connections of a :class:`RelayFactory`.

    Ports are bound before there may be a certificate: ``load`` comes before the first connection.
    """

    protocol = TlsConnection

    def __init__(self, factory: RelayFactory, clock: IReactorTime) -> None:
        self._context = _Context()
        self.turns = factory.exchange.turns
        super().__init__(self._context, isClient=False, wrappedFactory=factory, clock=clock)

    def load(self, pem: bytes) -> None:
        """Serve with this certificate and its key."""
        self._context.load(pem)

    def buildProtocol(  # type: ignore[override]
        self, addr: IAddress | None
    ) -> TlsConnection | None:
        """TLS for a new connection, or None: it is refused, and closed at once."""
        # As any other factory's may; only that of wrappers says that it never does.
        wrapped: Any = self.wrappedFactory.buildProtocol(addr)
        return None if wrapped is None else self.protocol(self, wrapped)
