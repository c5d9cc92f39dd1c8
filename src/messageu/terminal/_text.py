"""Words of a peer on a terminal of ours: nothing in them may move the cursor or lie about us."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_KEPT_IN_TEXTS: Final = "\n\t"
_HEAD_SIZE: Final = 256
"""Characters in which a frame is looked for, where something begins to be seen in a line."""

_BLANKS: Final = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols that look like spaces."""

_UNSEEN: Final = "\u034f\u17b4\u17b5" + "".join(map(chr, range(0xFE00, 0xFE10)))
"""Marks of which nothing is to be seen: joiners, and selectors of variations."""

_INDENT: Final = "\t \xa0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""All spaces that there are, and the tab."""

_PLAIN: Final = str.maketrans(
    dict.fromkeys(_BLANKS, " ") | dict.fromkeys(_UNSEEN, "") | {"\N{MINUS SIGN}": "-"}
)

_END: Final = re.compile(r"\s*-+\s*<\s*eom")
_FRAME: Final = re.compile(r"\s*(?:-+\s*<\s*eom|from\s*:|content\s*:)")


class _Escapes(dict[int, str]):
    """A table for ``str.translate`` that fills itself.

    Escaped is whatever is no printable character and no space: controls, the marks that turn the
    direction of writing, other invisible ones, separators of lines, surrogates, and code points
    that nobody has assigned or that are private.
    """

    def __init__(self, kept: str) -> None:
        super().__init__({ord(character): character for character in kept})

    def __missing__(self, code: int) -> str:
        character = chr(code)
        shown = character.isprintable() or unicodedata.category(character) == "Zs"
        self[code] = character if shown else character.encode("unicode_escape").decode("ascii")
        return self[code]


_ALL: Final = _Escapes("")
_ALL_BUT_KEPT: Final = _Escapes(_KEPT_IN_TEXTS)


def visible(text: str) -> str:
    """A text on one line, with everything that is not to be seen written as an escape."""
    return text.translate(_ALL)


def visible_name(name: bytes) -> str:
    """A name on one line; bytes that are no UTF-8 are written as escapes, too."""
    return visible(name.decode("utf-8", "backslashreplace"))


def visible_text(text: str) -> str:
    """A text as it may stand between ``Content:`` and the end mark.

    New lines and tabs stay. A line that could be taken for the end mark, or, from the second line
    on, for the beginning of another message, is given a backslash in front; so are lines that only
    look like it, with other dashes, wide letters, or whatever is not to be seen before and within.
    Ordinary texts stay as they are.
    """
    lines = text.replace("\r\n", "\n").translate(_ALL_BUT_KEPT).split("\n")
    marked = [_marked(line, _FRAME if number else _END) for number, line in enumerate(lines)]
    return "\n".join(marked)


def _marked(line: str, frame: re.Pattern[str]) -> str:
    head = line.lstrip(_INDENT + _BLANKS + _UNSEEN)[:_HEAD_SIZE].translate(_PLAIN)
    plain = "".join(map(_undashed, unicodedata.normalize("NFKC", head).casefold()))
    return f"\\{line}" if frame.match(plain) else line


def _undashed(character: str) -> str:
    """A character, or the plain dash for any of them."""
    return "-" if unicodedata.category(character) == "Pd" else character
