"""What a user is shown of what others have sent."""

from __future__ import annotations

import unicodedata
from typing import Final

from messageu.terminal import visible, visible_name, visible_text

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""The categories of characters that move a cursor, hide, or turn text around."""

_BLANKS: Final = dict.fromkeys(
    (0x034F, 0x115F, 0x1160, 0x2800, 0x3164, 0xFFA0, *range(0xFE00, 0xFE10)), " "
)
"""Characters that are none of these, and of which nothing is to be seen all the same."""


def terminal(data: bytes) -> None:
    """Names, texts and lines: nothing invisible comes through, nothing looks like our frame."""
    text = data.decode("utf-8", "backslashreplace")
    _check_harmless(visible_name(data))
    _check_harmless(visible(data.decode("utf-8", "surrogateescape")))
    shown = visible_text(text)
    _check_harmless(shown.replace("\n", "").replace("\t", ""))
    for number, line in enumerate(shown.split("\n")):
        plain = unicodedata.normalize("NFKC", line.translate(_BLANKS)).casefold().strip()
        assert not (plain.startswith("-") and plain.strip("-") == "<eom>"), (
            "a text can end its message"
        )
        assert not (number and plain.startswith("from:")), "a text can begin another message"


def _check_harmless(line: str) -> None:
    for character in line:
        assert unicodedata.category(character) not in _HIDDEN, f"{character!a} came through"
