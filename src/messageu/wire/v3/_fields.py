"""The sizes and the field layouts of v3. All integers are unsigned and little-endian."""

from __future__ import annotations

import struct
from struct import Struct
from typing import Final

from messageu.model import InvalidValue

from .._errors import LocalProtocolError

VERSION: Final = 3
"""The version byte that is written. Nobody looks at it: the port and ALPN have decided."""

REQUEST_HEADER: Final = Struct("<16sBHI")
RESPONSE_HEADER: Final = Struct("<BHI")
CORRELATION: Final = Struct("<I")
AUTHENTICATE: Final = Struct("<32s32sQ64s")
SEND_HEAD: Final = Struct("<16s16sI")
SUBSCRIBE: Final = Struct("<HI")
SEQUENCE: Final = Struct("<Q")
WELCOME: Final = Struct("<32sQIIQHIHIIBB")
AUTHENTICATED: Final = Struct("<BH")
DELIVER_HEAD: Final = Struct("<Q16sI")
ERROR: Final = Struct("<HI")
U16: Final = Struct("<H")
U32: Final = Struct("<I")

REQUEST_HEADER_SIZE: Final = REQUEST_HEADER.size
RESPONSE_HEADER_SIZE: Final = RESPONSE_HEADER.size
CORRELATION_SIZE: Final = CORRELATION.size

PAYLOAD_SIZE_LIMIT: Final = 2**32 - 1

UNKNOWN_SIZE_LIMIT: Final = 65_536
"""Bytes of a payload whose code is not known, which is read for its correlation alone."""

PUSH: Final = 0
"""The correlation of what was not asked for."""


def pack(layout: Struct, *values: object) -> bytes:
    """The values in their fields.

    :raises LocalProtocolError: when one of them does not fit.
    """
    try:
        return layout.pack(*values)
    except struct.error as error:
        raise LocalProtocolError("a value does not fit into its field") from error


def sized(size: int, raw: bytes) -> bytes:
    """The bytes again, when they fill their field: a Struct would cut them, or fill it up.

    :raises LocalProtocolError: when they do not.
    """
    if len(raw) != size:
        raise LocalProtocolError("a value does not fit into its field")
    return raw


def payload(min_size: int, max_size: int | None, raw: bytes) -> bytes:
    """What follows a correlation again, when its code can have so many bytes.

    :raises LocalProtocolError: when it cannot: whoever gets it would hang up.
    """
    if len(raw) < min_size or (max_size is not None and len(raw) > max_size):
        raise LocalProtocolError("a size that the code cannot have")
    return raw


def exactly(size: int, raw: bytes) -> bytes:
    """The bytes again, when they are so many.

    :raises InvalidValue: when they are not.
    """
    if len(raw) != size:
        raise InvalidValue("a field has another size")
    return raw
