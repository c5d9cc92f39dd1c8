"""Accepts connections of v3: TLS first, then what is inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IAddress, IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.ssl import CertificateOptions, PrivateCertificate, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from messageu.model.v3 import Registration
from messageu.store.v3 import IAccountStore
from messageu.wire import v3

from .._accepting import AcceptingFactory
from .._limits import Limits
from .._notices import Notices
from ._exchange import TOO_LARGE_READ, Exchange
from ._feeder import Feeder
from ._intake import Intake
from ._postmaster import Postmaster
from ._protocol import ALPN, RelayProtocol
from ._subscriptions import Subscriptions


class RelayFactory(AcceptingFactory):
    """Makes a :class:`RelayProtocol` for each connection that the limits admit, for inside of TLS.

    :param now: the time, in seconds since the epoch.
    :param peer_name: what a peer is called in the log, by its address.
    :ivar exchange: what the connections share.
    """

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
    ) -> None:
        super().__init__(clock, limits)

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
                Feeder(
                    store,
                    clock,
                    subscriptions,
                    limits.settings.streams,
                    complain("mail is not pushed"),
                ),
                subscriptions,
            ),
            limits=limits,
            clock=clock,
            codec=v3.RequestCodec(limits.settings.sealed_size + TOO_LARGE_READ),
            peer_name=peer_name,
            notices=notices,
        )

    def make(self, address: str) -> RelayProtocol:
        return RelayProtocol(self.exchange, address, self._gone)

    def buildProtocol(self, addr: IAddress | None) -> RelayProtocol | None:
        """A protocol for a new connection, or None: it is refused, and closed at once."""
        return self.accept(addr)  # type: ignore[return-value]


@implementer(IOpenSSLServerConnectionCreator)
class _Tls:
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


class TlsFactory(TLSMemoryBIOFactory):
    """TLS around the connections of a :class:`RelayFactory`.

    Ports are bound before there may be a certificate: ``load`` comes before the first connection.
    """

    def __init__(self, factory: RelayFactory, clock: IReactorTime) -> None:
        self._tls = _Tls()
        super().__init__(self._tls, isClient=False, wrappedFactory=factory, clock=clock)

    def load(self, pem: bytes) -> None:
        """Serve with this certificate and its key."""
        self._tls.load(pem)

    def buildProtocol(  # type: ignore[override]
        self, addr: IAddress | None
    ) -> TLSMemoryBIOProtocol | None:
        """TLS for a new connection, or None: it is refused, and closed at once."""
        # As any other factory's may; only that of wrappers says that it never does.
        wrapped: Any = self.wrappedFactory.buildProtocol(addr)
        return None if wrapped is None else self.protocol(self, wrapped)
