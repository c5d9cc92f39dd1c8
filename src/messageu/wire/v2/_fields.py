"""The sizes and the field layouts of v2. All integers are unsigned and little-endian."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final

from messageu.model import CLIENT_ID_SIZE, PUBLIC_KEY_SIZE, ClientId

from .._codec import Segment
from .._errors import LocalProtocolError

VERSION: Final = 2
"""The version byte of every answer, and of our requests unless the relay wants another."""

REQUEST_HEADER: Final = Struct("<16sBHI")
RESPONSE_HEADER: Final = Struct("<BHI")
SEND_HEAD: Final = Struct("<16sBI")
SEND_FRAME: Final = Struct("<16sBHI16sBI")
"""A request's header and the head of a 603."""
STORED: Final = Struct("<16sI")
STORED_FRAME: Final = Struct("<BHI16sI")
WAITING_HEAD: Final = Struct("<16sIBI")

REQUEST_HEADER_SIZE: Final = REQUEST_HEADER.size
RESPONSE_HEADER_SIZE: Final = RESPONSE_HEADER.size
WAITING_HEAD_SIZE: Final = WAITING_HEAD.size

NAME_FIELD_SIZE: Final = 255
REGISTER_SIZE: Final = NAME_FIELD_SIZE + PUBLIC_KEY_SIZE
LISTED_CLIENT_SIZE: Final = CLIENT_ID_SIZE + NAME_FIELD_SIZE
PUBLIC_KEY_OF_SIZE: Final = CLIENT_ID_SIZE + PUBLIC_KEY_SIZE

PAYLOAD_SIZE_LIMIT: Final = 2**32 - 1


CLIENT_IDS_LIMIT: Final = 16_384
"""Client ids that are kept, so that those in most frames need not be made and checked anew."""

client_id = lru_cache(CLIENT_IDS_LIMIT)(ClientId)
"""The id in 16 bytes that come out of a field."""


def copy(stored: Segment, start: int, end: int) -> bytes:
    """A piece of what is stored, copied once."""
    if isinstance(stored, bytes):
        return stored[start:end]
    with memoryview(stored) as view:
        return bytes(view[start:end])


def name_field(name: bytes) -> bytes:
    """A name in its 255 bytes, ended by a NUL and filled with zeros.

    :raises LocalProtocolError: for a name that is too long or holds a NUL.
    """
    if len(name) >= NAME_FIELD_SIZE or b"\0" in name:
        raise LocalProtocolError("the name does not fit into its field")
    return name.ljust(NAME_FIELD_SIZE, b"\0")


def checked_payload_size(size: int) -> int:
    """The size again, when a header can announce it.

    :raises LocalProtocolError: when it needs more than 32 bits.
    """
    if size > PAYLOAD_SIZE_LIMIT:
        raise LocalProtocolError("the payload is larger than a header can announce")
    return size


def checked_type(number: int) -> int:
    """The message type again, when a byte can hold it.

    :raises LocalProtocolError: when it cannot.
    """
    return _checked_byte(number, "a message type is one byte")


def checked_version(number: int) -> int:
    """The version again, when a byte can hold it.

    :raises LocalProtocolError: when it cannot.
    """
    return _checked_byte(number, "a version is one byte")


def _checked_byte(number: int, complaint: str) -> int:
    if not 0 <= number <= 255:
        raise LocalProtocolError(complaint)
    return number
