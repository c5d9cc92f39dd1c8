"""The pieces of a file: ChaCha20-Poly1305 in the STREAM construction."""

from __future__ import annotations

from struct import Struct
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from messageu.model import v3

from .._errors import CryptoError
from ._refusal import refused

FILE_KEY_SIZE: Final = 32

_LABEL: Final = v3.label("piece")
_NONCE: Final = Struct(">7xIB")


def piece_envelope_id(key: bytes, index: int) -> v3.EnvelopeId:
    """By which its recipient knows a piece of a file.

    :raises CryptoError: for a key of another size than 32 bytes, or an index that is no u32.
    """
    if len(key) != FILE_KEY_SIZE:
        raise CryptoError("the key of a file has another size")
    with refused("a piece cannot have this number"):
        place = index.to_bytes(4, "little")
    code = HMAC(key, SHA256())
    code.update(_LABEL + place)
    return v3.EnvelopeId(code.finalize()[: v3.ENVELOPE_ID_SIZE])


def seal_piece(key: bytes, index: int, last: bool, piece: bytes) -> bytes:
    """262,144 bytes of a file become 262,160. One key, index and ``last`` seal one piece only.

    :raises CryptoError: for any other size, of the key too, and an index that is no u32.
    """
    if len(piece) != v3.PIECE_SIZE:
        raise CryptoError("a piece of a file has another size")
    with refused("a piece of a file cannot be sealed"):
        return ChaCha20Poly1305(key).encrypt(_nonce(index, last), piece, None)


def open_piece(key: bytes, index: int, last: bool, sealed: bytes) -> bytes:
    """The 262,144 bytes again.

    :raises CryptoError: when they were not sealed as this piece with this key.
    """
    if len(sealed) != v3.SEALED_PIECE_SIZE:
        raise CryptoError("a sealed piece of a file has another size")
    with refused("a piece of a file does not open"):
        return ChaCha20Poly1305(key).decrypt(_nonce(index, last), sealed, None)


def _nonce(index: int, last: bool) -> bytes:
    if not 0 <= index < v3.U32_LIMIT:
        raise CryptoError("a piece cannot have this number")
    return _NONCE.pack(index, last)
