"""What is inside v3's seals and ratchets: it is read as it was written, or raises the one error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from messageu.crypto.v3 import (
    TEXT_SIZE_LIMIT,
    CryptoError,
    FileOffer,
    Kind,
    Message,
    _seals,
    decode_receipt,
    encode_receipt,
)

SEAL: Final = 0
MESSAGE: Final = 1
OFFER: Final = 2
RECEIPT: Final = 3
"""First bytes of an input: what the rest is."""


def contents(data: bytes) -> None:
    """A first byte that says what it is, and the bytes."""
    read = _READERS.get(data[0]) if data else None
    if read is None:
        return
    try:
        written = read(data[1:])
    except CryptoError:
        return
    assert written == data[1:], "something else was read than was written"


def _seal(content: bytes) -> bytes:
    unsealed = _seals.read_content(content)
    assert unsealed.ciphertext.type in {0, 1}, "a type that there is not"
    return _seals._content(unsealed.sender, unsealed.ciphertext)


def _message(raw: bytes) -> bytes:
    message = Message.decode(raw)
    if message.kind == Kind.TEXT:
        assert 1 <= len(message.body) <= TEXT_SIZE_LIMIT, "a text of another size"
        assert message.sequence, "a text that is not counted"
    return message.encode()


def _offer(body: bytes) -> bytes:
    offer = FileOffer.decode(body)
    assert offer.media_type.isascii(), "a type that is not ASCII"
    return offer.encode()


def _receipt(body: bytes) -> bytes:
    return encode_receipt(decode_receipt(body))


_READERS: Final[dict[int, Callable[[bytes], bytes]]] = {
    SEAL: _seal,
    MESSAGE: _message,
    OFFER: _offer,
    RECEIPT: _receipt,
}
