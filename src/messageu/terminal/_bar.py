"""A bar on one line, drawn by rich: colours where they are wanted, nothing that moves by itself."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.segment import Segment

BAR_WIDTH: Final = 30
TITLE_WIDTH: Final = 28
"""Columns. With the per cent and the spaces a line has room in 80."""


class Pen:
    """Draws bars for a terminal.

    :param encoding: the terminal's; without the characters for it the bar is made of dashes.
    :param environment: what says which colours there are: NO_COLOR, FORCE_COLOR, TERM, COLORTERM.
    """

    def __init__(self, encoding: str, environment: Mapping[str, str]) -> None:
        self._console = Console(
            file=_Paper(encoding),
            force_terminal=True,
            width=BAR_WIDTH,
            legacy_windows=False,
            _environ=environment,
        )

    def draw(self, title: str, part: float) -> str:
        """A line for what is done to a part of 0 to 1. No markup is read in the title.

        :param title: harmless; it is cut.
        """
        bar = ProgressBar(
            total=1.0,
            completed=part,
            width=BAR_WIDTH,
            style="bright_black",
            complete_style="green",
            finished_style="green",
        )
        with self._console.capture() as capture:
            self._console.print(bar, end="")
        # Without colours there is nothing in the place of what is not done.
        drawn = Segment.get_line_length(list(self._console.render(bar)))
        rest = " " * (BAR_WIDTH - drawn)
        cut = title if cell_len(title) <= TITLE_WIDTH else set_cell_size(title, TITLE_WIDTH)
        return f"{cut} {capture.get()}{rest} {int(part * 100):3d} %"


class _Paper(StringIO):
    """A file of an encoding, on which nothing is left."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What rich asks a file for."""
        return self._encoding
