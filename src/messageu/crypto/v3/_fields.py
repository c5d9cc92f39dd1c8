"""Checks of the values' fields, whose errors are ours."""

from __future__ import annotations

from collections.abc import Callable

from .._errors import CryptoError


def exactly(size: int, what: str) -> Callable[[object, object, bytes], None]:
    """So many bytes and no other number."""

    def check(_: object, __: object, raw: bytes) -> None:
        if len(raw) != size:
            raise CryptoError(f"{what} has another size")

    return check


def between(least: int, most: int, what: str) -> Callable[[object, object, int], None]:
    """A number of this range, both ends included."""

    def check(_: object, __: object, number: int) -> None:
        if not least <= number <= most:
            raise CryptoError(f"{what} is out of range")

    return check
