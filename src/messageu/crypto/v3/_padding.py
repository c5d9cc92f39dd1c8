"""By how much sizes are rounded, so that they tell little."""

from __future__ import annotations

from typing import Final

from messageu.model import v3

SEAL_FLOOR: Final = 512
"""Bytes that the content of every seal has at least."""


def padme(size: int) -> int:
    """A size, rounded up by less than an eighth: few sizes are left to be told apart."""
    exponent = max(size, 1).bit_length() - 1
    kept = exponent.bit_length()
    mask = (1 << max(exponent - kept, 0)) - 1
    return (size + mask) & ~mask


def padded_content(size: int) -> int:
    """Bytes to which the content of a seal is filled."""
    return max(SEAL_FLOOR, padme(size))


def piece_count(size: int) -> int:
    """Into how many pieces a file of so many bytes goes; an empty one has one piece."""
    return max(-(-padme(size) // v3.PIECE_SIZE), 1)


def padded_size(size: int) -> int:
    """Bytes to which a file is filled with zeros before it is cut into pieces."""
    return piece_count(size) * v3.PIECE_SIZE
