"""A key from what a person can remember."""

from __future__ import annotations

from typing import Final
from unicodedata import normalize

from attrs import field, frozen
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from .._errors import CryptoError
from ._fields import between
from ._refusal import refused

MEMORY_LIMIT: Final = 4 * 2**20
"""KiB that a derivation may ask for: what is read from a damaged file asks for no more."""

PASSES_LIMIT: Final = 64
LANES_LIMIT: Final = 16
SALT_SIZE_MIN: Final = 16
_KEY_SIZE: Final = 32
_MEMORY_OF_LANE: Final = 8


@frozen
class Cost:
    """What Argon2id is to cost.

    :ivar memory: in KiB, at least 8 for each lane.
    :raises CryptoError: for what is out of range.
    """

    memory: int = field(validator=between(_MEMORY_OF_LANE, MEMORY_LIMIT, "the memory"))
    passes: int = field(validator=between(1, PASSES_LIMIT, "the number of passes"))
    lanes: int = field(validator=between(1, LANES_LIMIT, "the number of lanes"))

    def __attrs_post_init__(self) -> None:
        if self.memory < _MEMORY_OF_LANE * self.lanes:
            raise CryptoError("the memory is too little for the lanes")


DEFAULT_COST: Final = Cost(memory=64 * 2**10, passes=3, lanes=4)
"""RFC 9106's second recommendation, which fits everywhere."""


def derive_key(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    """32 bytes, by Argon2id. The passphrase is normalised (NFC), so that every keyboard gives one.

    :raises CryptoError: for a salt of less than 16 bytes, a passphrase that is no text, or when
        there is not enough memory.
    """
    if len(salt) < SALT_SIZE_MIN:
        raise CryptoError("the salt is too short")
    try:
        with refused("the passphrase is no text"):
            secret = normalize("NFC", passphrase).encode("utf-8")
        with refused("the key cannot be derived"):
            argon2id = Argon2id(
                salt=salt,
                length=_KEY_SIZE,
                iterations=cost.passes,
                lanes=cost.lanes,
                memory_cost=cost.memory,
            )
            return argon2id.derive(secret)
    except MemoryError:
        raise CryptoError("there is not enough memory for the passphrase's key") from None
