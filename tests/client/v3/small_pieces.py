"""Files in pieces that are small, where many files go through many clients and what matters is the order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from messageu.client.v3 import _file_reading, _file_receiver, _file_sender
from messageu.model import v3

SMALL_PIECE: int = 64
_OVERHEAD = v3.SEALED_PIECE_SIZE - v3.PIECE_SIZE
_MANY = 10**6


@contextmanager
def small_pieces() -> Iterator[None]:
    """Pieces of 64 bytes, as many files at once as are sent, and a disk that is not waited for."""
    with ExitStack() as patches:
        for module in (v3, _file_reading, _file_receiver, _file_sender):
            patches.enter_context(mock.patch.object(module, "PIECE_SIZE", SMALL_PIECE))
        for target, name, value in (
            (v3, "SEALED_PIECE_SIZE", SMALL_PIECE + _OVERHEAD),
            (_file_receiver, "OPEN_LIMIT", _MANY),
            (_file_receiver, "OPEN_OF_CONTACT_LIMIT", _MANY),
            (_file_sender, "FILES_LIMIT", _MANY),
        ):
            patches.enter_context(mock.patch.object(target, name, value))
        patches.enter_context(mock.patch("os.fsync"))
        yield


def free_space(_: object) -> int:
    """More than all files need, whatever the disk has that the tests run on."""
    return 2**60
