"""The seal around a ciphertext: HPKE to the recipient's published key. It proves no sender."""

from __future__ import annotations

from struct import Struct
from typing import Final, Self

from attrs import define, frozen
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from messageu.model import v3

from .._errors import CryptoError
from ._olm import Ciphertext
from ._padding import padded_content
from ._refusal import refused

HPKE_SECRET_SIZE: Final = 96
"""ML-KEM-768's seed of 64 bytes, and X25519's 32."""

CIPHERTEXT_LIMIT: Final = 2**20
"""Bytes of a ciphertext in a seal; the longest message has some 66,000."""

_VERSION: Final = 1
_SEED_SIZE: Final = 64
_KEM_KEY_SIZE: Final = 1184
_HEAD: Final = Struct("<B32s32sBI")
_LABEL: Final = v3.label("seal")
_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


@define(eq=False, repr=False)
class HpkeKey:
    """A private key that opens seals, of 96 bytes: the library has no other form to keep it in."""

    raw: bytes
    public: bytes
    """1,216 bytes: ML-KEM-768's key of 1,184, and X25519's."""
    _key: MLKEM768X25519PrivateKey

    @classmethod
    def create(cls) -> Self:
        """A new one."""
        seed = MLKEM768PrivateKey.generate().private_bytes_raw()
        return cls.restore(seed + X25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def restore(cls, raw: bytes) -> Self:
        """The key that ``raw`` was of.

        :raises CryptoError: for any other size.
        """
        if len(raw) != HPKE_SECRET_SIZE:
            raise CryptoError("an HPKE key has another size")
        with refused("an HPKE key cannot be used"):
            kem = MLKEM768PrivateKey.from_seed_bytes(raw[:_SEED_SIZE])
            curve = X25519PrivateKey.from_private_bytes(raw[_SEED_SIZE:])
            public = kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
            return cls(raw, public, MLKEM768X25519PrivateKey(kem, curve))


@frozen
class Unsealed:
    """What was in a seal. Anybody can have named this sender: only the ratchet proves one."""

    sender: v3.IdentityKeys
    ciphertext: Ciphertext


def seal(
    sender: v3.IdentityKeys,
    ciphertext: Ciphertext,
    recipient: v3.Identity,
    envelope_id: v3.EnvelopeId,
    hpke_key_id: int,
    hpke_public: bytes,
) -> bytes:
    """Seal a ciphertext for the owner of an HPKE key, in 512 bytes and the overhead or more.

    :raises CryptoError: for a key of another size or without use, or too long a ciphertext.
    """
    if len(ciphertext.raw) > CIPHERTEXT_LIMIT:
        raise CryptoError("a ciphertext is too long for a seal")
    info = _info(recipient, envelope_id, hpke_key_id)
    with refused("a seal cannot be made for this key"):
        return _SUITE.encrypt(_content(sender, ciphertext), _public_key(hpke_public), info)


def unseal(
    sealed: bytes,
    key: HpkeKey,
    recipient: v3.Identity,
    envelope_id: v3.EnvelopeId,
    hpke_key_id: int,
) -> Unsealed:
    """Open a seal, and take its content apart.

    :raises CryptoError: when it was not sealed for this key, recipient, envelope and key id, or
        holds no such thing.
    """
    info = _info(recipient, envelope_id, hpke_key_id)
    with refused("a seal does not open"):
        content = _SUITE.decrypt(sealed, key._key, info)
    return read_content(content)


def _info(recipient: v3.Identity, envelope_id: v3.EnvelopeId, hpke_key_id: int) -> bytes:
    with refused("an HPKE key cannot have this id"):
        number = hpke_key_id.to_bytes(4, "little")
    return _LABEL + recipient.raw + envelope_id.raw + number


def _public_key(raw: bytes) -> MLKEM768X25519PublicKey:
    if len(raw) != v3.HPKE_KEY_SIZE:
        raise CryptoError("an HPKE key has another size")
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(raw[:_KEM_KEY_SIZE]),
        X25519PublicKey.from_public_bytes(raw[_KEM_KEY_SIZE:]),
    )


def _content(sender: v3.IdentityKeys, ciphertext: Ciphertext) -> bytes:
    raw = ciphertext.raw
    head = _HEAD.pack(_VERSION, sender.ed25519, sender.curve25519, ciphertext.type, len(raw))
    return (head + raw).ljust(padded_content(len(head) + len(raw)), b"\0")


def read_content(content: bytes) -> Unsealed:
    """Take apart what was in a seal.

    :raises CryptoError: when it is of another version, type or size, or not filled with zeros.
    """
    if len(content) < _HEAD.size:
        raise CryptoError("the content of a seal is too short")
    version, ed25519, curve25519, kind, size = _HEAD.unpack_from(content)
    if version != _VERSION:
        raise CryptoError("the content of a seal is of another version")
    end = _HEAD.size + size
    if len(content) != padded_content(end):
        raise CryptoError("the content of a seal has another size")
    if content.count(0, end) != len(content) - end:
        raise CryptoError("the content of a seal is not filled with zeros")
    return Unsealed(
        v3.IdentityKeys(ed25519, curve25519), Ciphertext(kind, content[_HEAD.size : end])
    )
