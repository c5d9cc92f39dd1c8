"""RSA-1024 with OAEP-SHA-1, for handing a symmetric key to a peer.

Keys are taken apart here, and not by the library's own import: that guesses among a dozen formats,
and leaks whichever exception the guess ended with.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Self, cast

from attrs import field, frozen
from Cryptodome.Cipher import PKCS1_OAEP
from Cryptodome.Hash import SHA1
from Cryptodome.IO import PKCS8
from Cryptodome.PublicKey import RSA
from Cryptodome.Util.asn1 import DerBitString, DerNull, DerObjectId, DerSequence

from messageu.model import InvalidValue, PublicKey

from .._errors import CryptoError
from ._symmetric import SymmetricKey

MODULUS_BITS: Final = 1024
EXPONENT: Final = 17
"""Of the keys that we make: a larger exponent than 127 does not fit into 160 bytes."""

WRAPPED_KEY_SIZE: Final = MODULUS_BITS // 8
PRIVATE_KEY_SIZE_LIMIT: Final = 1024
"""Bytes of a private key's DER; an RSA-1024 key has some 635."""

_ALGORITHM: Final = DerSequence([DerObjectId(RSA.oid), DerNull()]).encode()
"""The AlgorithmIdentifier of an RSA key."""

_MALFORMED: Final = (ValueError, IndexError)
"""What the library raises for DER that it cannot read."""


@frozen
class PrivateKey:
    """Half of an RSA-1024 pair, of which the other half fits into v2's 160 bytes.

    Two are equal when their public halves are. The ``repr`` shows nothing.
    """

    public_key: PublicKey = field(repr=False)
    _key: RSA.RsaKey = field(repr=False, eq=False)

    @classmethod
    def generate(cls) -> Self:
        """A new key, with e = 17. Takes some tenths of a second."""
        return cls._from_numbers(RSA.generate(MODULUS_BITS, e=EXPONENT))

    @classmethod
    def from_der(cls, der: bytes) -> Self:
        """Read an unencrypted PKCS#8 PrivateKeyInfo.

        :raises CryptoError: when it is none, or not of an RSA-1024 key that v2 can publish.
        """
        if len(der) > PRIVATE_KEY_SIZE_LIMIT:
            raise CryptoError("the private key is too long")
        try:
            return cls._from_numbers(_private_numbers(der))
        except _MALFORMED:
            raise CryptoError("the private key is not the PKCS#8 of an RSA-1024 key") from None

    @classmethod
    def _from_numbers(cls, key: RSA.RsaKey) -> Self:
        try:
            return cls(PublicKey(key.public_key().export_key("DER")), key)
        except InvalidValue:
            raise CryptoError("the public exponent is too large for v2") from None

    def to_der(self) -> bytes:
        """The unencrypted PKCS#8 PrivateKeyInfo: the secret itself."""
        return self._key.export_key("DER", pkcs=8)

    def unwrap(self, sealed: bytes) -> SymmetricKey:
        """Open a symmetric key that was sealed for this key: 128 bytes of OAEP.

        :raises CryptoError: when it was not. The text is always the same.
        """
        try:
            return SymmetricKey(PKCS1_OAEP.new(self._key, hashAlgo=SHA1).decrypt(sealed))
        except (ValueError, CryptoError):
            raise CryptoError("the symmetric key does not open with this private key") from None


def wrap(public_key: PublicKey, key: SymmetricKey) -> bytes:
    """Seal a symmetric key for a peer: 128 bytes that only its private key opens.

    :raises CryptoError: when what the peer published is no RSA-1024 key.
    """
    try:
        peer = _public_numbers(public_key.raw)
        return PKCS1_OAEP.new(peer, hashAlgo=SHA1).encrypt(key.raw)
    except _MALFORMED:
        raise CryptoError("the public key is not the X.509 form of an RSA-1024 key") from None


def _public_numbers(der: bytes) -> RSA.RsaKey:
    """Read a SubjectPublicKeyInfo. Raises one of ``_MALFORMED`` for anything else."""
    algorithm, bits = cast("Iterable[Any]", DerSequence().decode(der, strict=True, nr_elements=2))
    if algorithm != _ALGORITHM:
        raise ValueError("not an RSA key")
    modulus, exponent = _numbers(DerBitString().decode(bits).value, 2)
    _check_public(modulus, exponent)
    return RSA.construct((modulus, exponent))


def _private_numbers(der: bytes) -> RSA.RsaKey:
    """Read a PrivateKeyInfo. Raises one of ``_MALFORMED`` for anything else.

    What comes after p and q can be computed, and is made anew.
    """
    oid, encoded, _ = PKCS8.unwrap(der)
    if oid != RSA.oid:
        raise ValueError("not an RSA key")
    version, modulus, exponent, d, p, q, *_ = _numbers(encoded, 9)
    _check_public(modulus, exponent)
    if version != 0 or p <= 1 or q <= 1:
        raise ValueError("not a key of two primes")
    return RSA.construct((modulus, exponent, d, p, q))


def _numbers(der: bytes, count: int) -> list[int]:
    """The numbers of which a DER sequence consists."""
    decoded = DerSequence().decode(der, strict=True, nr_elements=count, only_ints_expected=True)
    return list(cast("Iterable[int]", decoded))  # the library's types do not say that it is one


def _check_public(modulus: int, exponent: int) -> None:
    """What the library does not look at: it asks for 1 < e < n without a common divisor."""
    if modulus.bit_length() != MODULUS_BITS:
        raise ValueError("not a modulus of 1024 bits")
    if not modulus & exponent & 1:
        raise ValueError("an even modulus or exponent")
