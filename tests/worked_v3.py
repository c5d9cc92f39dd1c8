"""The people of the worked example in docs/protocol/v3.md, whose private keys everybody knows.

Their public keys and signatures are made by ``cryptography`` alone. ``olm_account`` puts the same
keys into an account of vodozemac, through libolm's format of a pickle, which is the one that takes
keys from outside.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from hashlib import sha512

import vodozemac
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.padding import PKCS7

from messageu.model.v3 import IdentityKeys

_PICKLE_KEY = b"worked example"


def x25519_public(private: bytes) -> bytes:
    """The public key of 32 private bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


@frozen
class Person:
    """Somebody, by his private keys: the seed of Ed25519, and Curve25519's scalar."""

    ed25519: bytes
    curve25519: bytes

    @property
    def keys(self) -> IdentityKeys:
        """His public keys."""
        public = Ed25519PrivateKey.from_private_bytes(self.ed25519).public_key().public_bytes_raw()
        return IdentityKeys(public, x25519_public(self.curve25519))

    def sign(self, text: bytes) -> bytes:
        """His signature."""
        return Ed25519PrivateKey.from_private_bytes(self.ed25519).sign(text)


def olm_account(person: Person, one_time_keys: dict[int, bytes]) -> vodozemac.Account:
    """His account, with these private one-time keys by their ids."""
    expanded = bytearray(sha512(person.ed25519).digest())
    expanded[0] &= 248
    expanded[31] = expanded[31] & 127 | 64
    prekeys = b"".join(
        struct.pack(">I?32s32s", key_id, True, x25519_public(private), private)
        for key_id, private in one_time_keys.items()
    )
    next_id = max(one_time_keys, default=0) + 1
    plain = b"".join(
        (
            struct.pack(">I", 4),
            person.keys.ed25519,
            bytes(expanded),
            person.keys.curve25519,
            person.curve25519,
            struct.pack(">I", len(one_time_keys)),
            prekeys,
            struct.pack(">BI", 0, next_id),
        )
    )
    return vodozemac.Account.from_libolm_pickle(_pickled(plain), _PICKLE_KEY)


def _pickled(plain: bytes) -> str:
    keys = HKDF(SHA256(), 80, salt=None, info=b"Pickle").derive(_PICKLE_KEY)
    padder = PKCS7(128).padder()
    padded = padder.update(plain) + padder.finalize()
    encryptor = Cipher(AES256(keys[:32]), CBC(keys[64:])).encryptor()
    encrypted = encryptor.update(padded) + encryptor.finalize()
    code = HMAC(keys[32:64], SHA256())
    code.update(encrypted)
    return b64encode(encrypted + code.finalize()[:8]).decode().rstrip("=")
