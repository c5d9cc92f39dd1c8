"""A name for a file that somebody else has named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from typing import Final
from unicodedata import category, normalize

NAME_SIZE_LIMIT: Final = 200
"""Bytes of a name in UTF-8, so that a number and a marker of a part fit behind it."""

FALLBACK: Final = "file"

_NO_LETTERS: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Kinds of characters that show nothing, or turn what is around them."""

_PUNCTUATION: Final = frozenset('<>:"|?*')
_RESERVED: Final = re.compile(r"(?i:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.DOTALL)
_SUFFIX_LIMIT: Final = 20


def safe_name(suggestion: str) -> str:
    """A name that is good in each folder of each system, and shows what it is.

    It has no path, no character that hides or turns others, no dot at its beginning or end, and
    is none of the names that some systems keep for devices.
    """
    last = re.split(r"[/\\]", normalize("NFC", suggestion))[-1]
    shown = "".join(
        "_" if letter in _PUNCTUATION else letter
        for letter in last
        if category(letter) not in _NO_LETTERS
    )
    name = _shortened(shown.strip(". \u00a0\u3000")) or FALLBACK
    return f"_{name}" if _RESERVED.fullmatch(name) else name


def names(suggestion: str) -> Iterator[str]:
    """A safe name, and after it the same with numbers, without end."""
    name = safe_name(suggestion)
    yield name
    stem, suffix = _split(name)
    for number in count(1):
        yield f"{stem} ({number}){suffix}"


def _shortened(name: str) -> str:
    stem, suffix = _split(name)
    room = NAME_SIZE_LIMIT - len(suffix.encode("utf-8"))
    return stem.encode("utf-8")[:room].decode("utf-8", "ignore").rstrip(". ") + suffix


def _split(name: str) -> tuple[str, str]:
    """The name without its last suffix, and that, if it looks like one."""
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode("utf-8")) > _SUFFIX_LIMIT:
        return name, ""
    return stem, dot + suffix
