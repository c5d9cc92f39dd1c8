"""The certificate of a relay, and the pin by which its clients know it."""

from __future__ import annotations

import datetime
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from ._errors import CryptoError

PIN_SIZE: Final = 32

# Nobody looks at names and dates (docs/protocol/v3.md); some libraries want them to be there.
_NAME: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "messageu")])
_BEGIN: Final = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_END: Final = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)


def make_certificate() -> bytes:
    """A new key on the curve P-256 and its certificate, signed by itself; as PEM, key first."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return secret + certificate.public_bytes(Encoding.PEM)


def pin_of(certificate: bytes) -> bytes:
    """The pin of a certificate, which is DER: SHA-256 of its SubjectPublicKeyInfo.

    :raises CryptoError: when it is no certificate.
    """
    try:
        return _pin(x509.load_der_x509_certificate(certificate))
    except ValueError:
        raise CryptoError("this is no certificate") from None


def expiry_of(certificate: bytes) -> datetime.datetime:
    """Until when a certificate, which is DER, says that it is good. No client of ours minds.

    :raises CryptoError: when it is no certificate.
    """
    try:
        return x509.load_der_x509_certificate(certificate).not_valid_after_utc
    except ValueError:
        raise CryptoError("this is no certificate") from None


def check_certificate(pem: bytes) -> bytes:
    """The pin of a key and its certificate, as :func:`make_certificate` makes them.

    :raises CryptoError: when they are none, or do not belong together.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise CryptoError("it does not hold a key and its certificate") from None
    pin = _pin(certificate)
    if sha256(_public(key.public_key())).digest() != pin:
        raise CryptoError("its key and its certificate do not belong together")
    return pin


def _pin(certificate: x509.Certificate) -> bytes:
    return sha256(_public(certificate.public_key())).digest()


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
