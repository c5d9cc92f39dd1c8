"""A relay's side of TLS, on lines in memory."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from functools import cache
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory

from messageu.crypto.certificates import pin_of
from messageu.wire import NEED_DATA, Parser, v3

LONG_AGO = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)


@frozen
class Key:
    """A relay's certificate, and the pin of its key."""

    options: Callable[..., CertificateOptions]
    pin: bytes


@cache
def relay_key(name: str = "relay") -> Key:
    """A self-signed certificate that is over; another for each name."""
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(LONG_AGO)
        .not_valid_after(LONG_AGO + datetime.timedelta(days=1))
        .sign(private, hashes.SHA256())
    )

    def options(**more: Any) -> CertificateOptions:
        return CertificateOptions(
            privateKey=crypto.PKey.from_cryptography_key(private),
            certificate=crypto.X509.from_cryptography(certificate),
            **more,
        )

    return Key(options, pin_of(certificate.public_bytes(serialization.Encoding.DER)))


def listener(
    clock: Clock,
    make: Callable[[], Protocol],
    key: Key | None = None,
    *,
    newest: TLSVersion = TLSVersion.TLSv1_3,
    protocols: tuple[bytes, ...] = (b"messageu/3",),
) -> IProtocolFactory:
    """A relay whose connections are made by ``make``; without protocols it ignores ALPN."""
    options = (key or relay_key()).options(
        insecurelyLowerMinimumTo=TLSVersion.TLSv1_2,
        lowerMaximumSecurityTo=newest,
        acceptableProtocols=list(protocols) or None,
    )
    if not protocols:
        options.getContext().set_alpn_select_callback(lambda *_: SSL.NO_OVERLAPPING_PROTOCOLS)
    factory = Factory()
    factory.buildProtocol = lambda _: make()
    return TLSMemoryBIOFactory(options, False, factory, clock)


class FakeRelay(Protocol):
    """One connection at the relay's side, which says what the test wants.

    :ivar received: every request.
    :ivar lost: whether the connection is gone.
    """

    def __init__(self) -> None:
        self.received: list[v3.Request] = []
        self.lost = False
        self._parser = Parser(v3.RequestCodec())

    def dataReceived(self, data: bytes) -> None:
        self._parser.receive_data(data)
        while (request := self._parser.next_event()) is not NEED_DATA:
            self.received.append(request)
            self.asked(request)

    def connectionLost(self, reason: object = None) -> None:
        self.lost = True

    def asked(self, request: v3.Request) -> None:
        """Nothing is answered by itself."""

    def say(self, body: v3.ResponseBody, correlation: int = 0) -> None:
        """Answer, or push."""
        self.transport.write(v3.Response(correlation, body).encode())
