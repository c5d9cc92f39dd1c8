"""Bytes to value objects and back, without I/O: the pull parser and the codecs it is given."""

from ._codec import Codec, Frame, Items, Run, Segment, Skipped, Whole
from ._errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from ._parser import NEED_DATA, NeedData, Parser

__all__ = [
    "NEED_DATA",
    "Codec",
    "Frame",
    "Items",
    "LocalProtocolError",
    "NeedData",
    "Parser",
    "ProtocolError",
    "RemoteProtocolError",
    "Run",
    "Segment",
    "Skipped",
    "Whole",
]
