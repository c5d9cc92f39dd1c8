"""Keys for the tests, and DER built by hand, right and wrong."""

from functools import cache

from Cryptodome.Util.asn1 import (
    DerBitString,
    DerNull,
    DerObjectId,
    DerOctetString,
    DerSequence,
)

from messageu.crypto.v2 import PrivateKey
from tests.vectors import wild_peers

RSA_OID = "1.2.840.113549.1.1.1"
ALGORITHM = DerSequence([DerObjectId(RSA_OID), DerNull()])


@cache
def wild_ders() -> tuple[bytes, ...]:
    """The PKCS#8 keys of every wild client."""
    return tuple(
        identity.private_key for peer in wild_peers() for identity in peer.identities.values()
    )


@cache
def wild_key(index: int = 0) -> PrivateKey:
    """One of the wild clients' keys: no test has to wait for a new one."""
    return PrivateKey.from_der(wild_ders()[index])


def numbers(der: bytes) -> list[int]:
    """The nine numbers of a PKCS#8 key: version, n, e, d, p, q and three that follow of them."""
    octets = DerOctetString().decode(DerSequence().decode(der)[2]).payload
    return list(DerSequence().decode(octets))


def pkcs8(key: list[int], *, version: int = 0, algorithm: DerSequence = ALGORITHM) -> bytes:
    """A PrivateKeyInfo."""
    octets = DerOctetString(DerSequence(key).encode())
    return DerSequence([version, algorithm, octets]).encode()


def spki(modulus: int, exponent: int, *, algorithm: DerSequence = ALGORITHM) -> bytes:
    """A SubjectPublicKeyInfo."""
    bits = DerBitString(DerSequence([modulus, exponent]).encode())
    return DerSequence([algorithm, bits]).encode()
