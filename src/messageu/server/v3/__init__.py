"""The relay of v3: whom it believes, what it answers, and whom it pushes mail."""

from ._certificate_file import CertificateUnusable, open_certificate
from ._factory import RelayFactory
from ._protocol import ALPN, RelayProtocol
from ._relay import Offer, Relay
from ._tls import TlsFactory

__all__ = [
    "ALPN",
    "CertificateUnusable",
    "Offer",
    "Relay",
    "RelayFactory",
    "RelayProtocol",
    "TlsFactory",
    "open_certificate",
]
