"""AES-128-CBC with an IV of zeros and PKCS#7 padding, for texts and files."""

from __future__ import annotations

from typing import Final, Self

from attrs import field, frozen
from Cryptodome.Random import get_random_bytes
from Cryptodome.Util.Padding import pad, unpad

from .._errors import CryptoError
from ._cbc import BLOCK_SIZE, INSTALLED

KEY_SIZE: Final = 16
_CBC: Final = INSTALLED[0]


@frozen
class SymmetricKey:
    """The 16 bytes of AES-128 that two clients share.

    :raises CryptoError: for any other size.
    """

    raw: bytes = field(repr=False)

    @raw.validator
    def _check(self, _: object, raw: bytes) -> None:
        if len(raw) != KEY_SIZE:
            raise CryptoError(f"a symmetric key has {KEY_SIZE} bytes")

    @classmethod
    def generate(cls) -> Self:
        """A new random key."""
        return cls(get_random_bytes(KEY_SIZE))

    def seal(self, plaintext: bytes) -> bytes:
        """Encrypt a text or a file: 1 to 16 bytes longer, a multiple of 16."""
        return _CBC.encrypt(self.raw, pad(plaintext, BLOCK_SIZE))

    def open(self, sealed: bytes) -> bytes:
        """Decrypt a text or a file. A wrong key may go unnoticed: nothing authenticates.

        :raises CryptoError: when it cannot have been sealed with this key. The text is always the
            same, since whoever can tell a bad size from a bad padding can decrypt by asking.
        """
        try:
            return unpad(_CBC.decrypt(self.raw, sealed), BLOCK_SIZE)
        except ValueError:
            raise CryptoError("the message does not open with this key") from None
