"""What is inside the ratchet: the message and the bodies that have a layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from struct import Struct
from typing import Final, Self

from attrs import field, frozen

from messageu.model import v3

from .._errors import CryptoError
from ._fields import between, exactly
from ._files import FILE_KEY_SIZE
from ._padding import piece_count
from ._refusal import refused

MESSAGE_ID_SIZE: Final = 16
TEXT_SIZE_LIMIT: Final = 65_536
RECEIPT_IDS_LIMIT: Final = 1_024
DISPLAY_NAME_SIZE_LIMIT: Final = 256
FILE_NAME_SIZE_LIMIT: Final = 255
MEDIA_TYPE_SIZE_LIMIT: Final = 255
DIGEST_SIZE: Final = 32
FILE_SIZE_LIMIT: Final = 2**49
"""Bytes of a file, so that its pieces can be counted in a u32 also when it is filled."""

_LABEL: Final = v3.label("message")
_HEAD: Final = Struct(f"<{len(_LABEL)}s32s32s32s32s16sQQQB")
_OFFER: Final = Struct("<32sQ32sIH")


class Kind(IntEnum):
    """What a message is; the value is its number."""

    TEXT = 1
    RECEIPT = 2
    FILE = 3
    RENEWAL = 4
    PROFILE = 5
    CANCEL = 6


@frozen
class _Rule:
    """What a message of a kind may be: whether it is counted, and the sizes of its body."""

    counted: bool
    least: int
    most: int
    multiple: int = 1

    def allows(self, sequence: int, size: int) -> bool:
        """Whether they fit."""
        fits = self.least <= size <= self.most and size % self.multiple == 0
        return fits and self.counted == bool(sequence)


_IDS: Final = _Rule(False, MESSAGE_ID_SIZE, MESSAGE_ID_SIZE * RECEIPT_IDS_LIMIT, MESSAGE_ID_SIZE)

_RULES: Final[Mapping[int, _Rule]] = {
    Kind.TEXT: _Rule(True, 1, TEXT_SIZE_LIMIT),
    Kind.RECEIPT: _IDS,
    Kind.FILE: _Rule(
        True, _OFFER.size + 1, _OFFER.size + 1 + FILE_NAME_SIZE_LIMIT + MEDIA_TYPE_SIZE_LIMIT
    ),
    Kind.RENEWAL: _Rule(True, 0, 0),
    Kind.PROFILE: _Rule(False, 0, DISPLAY_NAME_SIZE_LIMIT),
    Kind.CANCEL: _IDS,
}


@frozen
class Message:
    """What one person says to another. It names both, by all of their keys.

    A kind that is not known has any body. Texts are not decoded here.

    :ivar message_id: 16 random bytes.
    :ivar sequence: from 1 on, 0 when it is not counted.
    :ivar time: in milliseconds since the epoch, by the sender's clock.
    :ivar expiry: in seconds since the epoch, 0 for never.
    :raises CryptoError: when a value does not fit its field, or sequence or body the kind.
    """

    sender: v3.IdentityKeys
    recipient: v3.IdentityKeys
    message_id: bytes = field(validator=exactly(MESSAGE_ID_SIZE, "a message id"))
    sequence: int = field(validator=between(0, v3.U64_LIMIT - 1, "a sequence"))
    time: int = field(validator=between(0, v3.U64_LIMIT - 1, "a time"))
    expiry: int = field(validator=between(0, v3.U64_LIMIT - 1, "an expiry"))
    kind: int = field(validator=between(0, 255, "a kind"))
    body: bytes = field(repr=False)

    def __attrs_post_init__(self) -> None:
        rule = _RULES.get(self.kind)
        if rule is not None and not rule.allows(self.sequence, len(self.body)):
            raise CryptoError("a message is not what its kind says")

    def encode(self) -> bytes:
        """Its bytes, for the ratchet."""
        head = _HEAD.pack(
            _LABEL,
            self.sender.ed25519,
            self.sender.curve25519,
            self.recipient.ed25519,
            self.recipient.curve25519,
            self.message_id,
            self.sequence,
            self.time,
            self.expiry,
            self.kind,
        )
        return head + self.body

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """What the ratchet gave.

        :raises CryptoError: when it is no message.
        """
        if len(raw) < _HEAD.size:
            raise CryptoError("a message is too short")
        label, *keys, message_id, sequence, time, expiry, kind = _HEAD.unpack_from(raw)
        if label != _LABEL:
            raise CryptoError("what was encrypted is no message")
        sender, recipient = v3.IdentityKeys(*keys[:2]), v3.IdentityKeys(*keys[2:])
        body = raw[_HEAD.size :]
        return cls(sender, recipient, message_id, sequence, time, expiry, kind, body)


def encode_receipt(message_ids: Iterable[bytes]) -> bytes:
    """The body of a receipt, or of a cancel.

    :raises CryptoError: for ids of another size, none, or more than 1,024.
    """
    ids = list(message_ids)
    if not 1 <= len(ids) <= RECEIPT_IDS_LIMIT:
        raise CryptoError("a receipt has another number of ids")
    if any(len(message_id) != MESSAGE_ID_SIZE for message_id in ids):
        raise CryptoError("a message id has another size")
    return b"".join(ids)


def decode_receipt(body: bytes) -> Sequence[bytes]:
    """The ids in the body of a receipt, or of a cancel.

    :raises CryptoError: when it is none.
    """
    count, rest = divmod(len(body), MESSAGE_ID_SIZE)
    if rest or not 1 <= count <= RECEIPT_IDS_LIMIT:
        raise CryptoError("a receipt has another size")
    return [body[at : at + MESSAGE_ID_SIZE] for at in range(0, len(body), MESSAGE_ID_SIZE)]


@frozen
class FileOffer:
    """The body of a file message: what is coming in pieces, and what opens them.

    :ivar digest: SHA-256 of the file.
    :ivar name: as the sender has it, up to 255 bytes of UTF-8: a suggestion and nothing more.
    :ivar media_type: up to 255 bytes of ASCII.
    :raises CryptoError: when a value does not fit, or the number of pieces is not the size's.
    """

    key: bytes = field(repr=False, validator=exactly(FILE_KEY_SIZE, "the key of a file"))
    size: int = field(validator=between(0, FILE_SIZE_LIMIT, "the size of a file"))
    digest: bytes = field(repr=False, validator=exactly(DIGEST_SIZE, "a digest"))
    pieces: int
    name: str = field(repr=False)
    media_type: str = field(repr=False)

    def __attrs_post_init__(self) -> None:
        if self.pieces != piece_count(self.size):
            raise CryptoError("a file cannot have so many pieces")
        _encoded(self.name, "utf-8", FILE_NAME_SIZE_LIMIT)
        _encoded(self.media_type, "ascii", MEDIA_TYPE_SIZE_LIMIT)

    def encode(self) -> bytes:
        """Its bytes, for a message."""
        name = self.name.encode("utf-8")
        media_type = self.media_type.encode("ascii")
        head = _OFFER.pack(self.key, self.size, self.digest, self.pieces, len(name))
        return b"".join((head, name, bytes((len(media_type),)), media_type))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """The offer in the body of a message.

        :raises CryptoError: when there is none, or something follows it.
        """
        if len(body) <= _OFFER.size:
            raise CryptoError("the offer of a file is too short")
        key, size, digest, pieces, name_size = _OFFER.unpack_from(body)
        name, rest = _split(body[_OFFER.size :], name_size)
        type_size, rest = _split(rest, 1)
        media_type, rest = _split(rest, type_size[0])
        if rest:
            raise CryptoError("something follows the offer of a file")
        with refused("a name or a type of a file is no text"):
            texts = name.decode("utf-8"), media_type.decode("ascii")
        return cls(key, size, digest, pieces, *texts)


def _split(raw: bytes, size: int) -> tuple[bytes, bytes]:
    if len(raw) < size:
        raise CryptoError("the offer of a file is too short")
    return raw[:size], raw[size:]


def _encoded(text: str, encoding: str, limit: int) -> None:
    with refused("a name or a type of a file is no text"):
        size = len(text.encode(encoding))
    if size > limit:
        raise CryptoError("a name or a type of a file is too long")
