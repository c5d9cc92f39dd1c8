"""What a message may be."""

from __future__ import annotations

from enum import IntEnum


class MessageType(IntEnum):
    """The type byte of a message. A relay carries any value; a client knows these."""

    KEY_REQUEST = 1
    SYMMETRIC_KEY = 2
    TEXT = 3
    FILE = 4
