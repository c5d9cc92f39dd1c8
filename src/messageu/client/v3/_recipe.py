"""How a passphrase becomes the key of a database: what stands beside it in the clear."""

from __future__ import annotations

import hmac
import json
import secrets
from typing import Any, Final, Self

from attrs import field, frozen

from messageu.crypto import CryptoError
from messageu.crypto.v3 import Cost, derive_key
from messageu.model.v3 import label

from ._passphrase import checked
from ._vault_errors import PassphraseNeeded, PassphraseWrong, VaultDamaged, VaultUnusable

RECIPE_LIMIT: Final = 4096
"""Bytes of a recipe that are read."""

MEMORY_LIMIT: Final = 2**20
"""KiB that a recipe may ask for: whoever can write it must not exhaust the machine with it."""

PASSES_LIMIT: Final = 64
LANES_LIMIT: Final = 16

KEY_SIZE: Final = 32
SALT_SIZE: Final = 16
SALT_LIMIT: Final = 64

_CHECK_SIZE: Final = 8
_CHECK_LABEL: Final = label("vault check")
_VERSION: Final = 1
_ARGON2ID: Final = "argon2id"
_NONE: Final = "none"


@frozen
class Recipe:
    """Leads from a passphrase to a key: Argon2id's cost and salt, or the key where there is none.

    :ivar cost: None when the profile was made without a passphrase.
    :ivar secret: the salt; without a passphrase the key itself.
    :ivar check: tells a wrong passphrase from a damaged database. 8 bytes of a MAC under the key.
    """

    cost: Cost | None
    secret: bytes = field(repr=False)
    check: bytes = field(repr=False)

    @classmethod
    def make(cls, passphrase: str | None, cost: Cost) -> tuple[Self, bytes]:
        """A new one, and the key that it leads to. It takes as long as ``cost`` says.

        :raises PassphraseInvalid: when the passphrase can be none.
        :raises VaultUnusable: when there is not enough memory.
        """
        if passphrase is None:
            key = secrets.token_bytes(KEY_SIZE)
            return cls(None, key, _check_of(key)), key
        salt = secrets.token_bytes(SALT_SIZE)
        key = _derive(passphrase, salt, cost)
        return cls(cost, salt, _check_of(key)), key

    def key(self, passphrase: str | None) -> bytes:
        """The key, 32 bytes. It takes as long as the cost says.

        :raises PassphraseNeeded: when there is one and it was not given.
        :raises PassphraseInvalid: when it can be none.
        :raises PassphraseWrong: when it is not this one, or there is none.
        :raises VaultDamaged: when the key that lies in the clear is not what was written.
        """
        if self.cost is None:
            if passphrase is not None:
                raise PassphraseWrong("it was made without a passphrase, and one was given")
            key = self.secret
        elif passphrase is None:
            raise PassphraseNeeded("it has a passphrase, and none was given")
        else:
            key = _derive(passphrase, self.secret, self.cost)
        if hmac.compare_digest(_check_of(key), self.check):
            return key
        if self.cost is None:
            raise VaultDamaged("the key is damaged")
        raise PassphraseWrong("the passphrase is wrong")

    def encode(self) -> bytes:
        """Its bytes, JSON for whoever looks at it."""
        fields: dict[str, object] = {"version": _VERSION}
        if self.cost is None:
            fields |= {"kdf": _NONE, "key": self.secret.hex()}
        else:
            fields |= {
                "kdf": _ARGON2ID,
                "memory": self.cost.memory,
                "passes": self.cost.passes,
                "lanes": self.cost.lanes,
                "salt": self.secret.hex(),
            }
        return json.dumps(fields | {"check": self.check.hex()}, indent=1).encode("ascii") + b"\n"

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read what somebody may have changed.

        :raises VaultDamaged: when it is none, or asks for more than a machine should give.
        """
        try:
            fields = json.loads(raw)
            return cls._from(fields)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise VaultDamaged("how its key is made cannot be read") from None

    @classmethod
    def _from(cls, fields: dict[str, Any]) -> Self:
        if fields["version"] != _VERSION:
            raise ValueError
        check = _raw(fields["check"], _CHECK_SIZE, _CHECK_SIZE)
        if fields["kdf"] == _NONE:
            return cls(None, _raw(fields["key"], KEY_SIZE, KEY_SIZE), check)
        if fields["kdf"] != _ARGON2ID:
            raise ValueError
        lanes = _within(fields["lanes"], 1, LANES_LIMIT)
        cost = Cost(
            memory=_within(fields["memory"], 8 * lanes, MEMORY_LIMIT),
            passes=_within(fields["passes"], 1, PASSES_LIMIT),
            lanes=lanes,
        )
        return cls(cost, _raw(fields["salt"], SALT_SIZE, SALT_LIMIT), check)


def _derive(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    try:
        return derive_key(checked(passphrase), salt, cost)
    except CryptoError as error:
        raise VaultUnusable(str(error)) from None


def _check_of(key: bytes) -> bytes:
    return hmac.digest(key, _CHECK_LABEL, "sha256")[:_CHECK_SIZE]


def _within(number: object, least: int, most: int) -> int:
    if type(number) is not int or not least <= number <= most:
        raise ValueError
    return number


def _raw(text: object, least: int, most: int) -> bytes:
    if not isinstance(text, str):
        raise TypeError
    raw = bytes.fromhex(text)
    if not least <= len(raw) <= most:
        raise ValueError
    return raw
