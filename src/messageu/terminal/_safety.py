"""A safety number as people read it to each other."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import Final

GROUP: Final = 5
GROUPS_OF_LINE: Final = 4


def safety_lines(number: str) -> Iterator[str]:
    """Groups of five digits, four to a line."""
    groups = wrap(number, GROUP)
    for start in range(0, len(groups), GROUPS_OF_LINE):
        yield " ".join(groups[start : start + GROUPS_OF_LINE])
