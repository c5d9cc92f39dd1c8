"""One line that shows how far something has come, where somebody sees it."""

from __future__ import annotations

from typing import Final

from ._console import Console
from ._text import visible

_WIDTH: Final = 30
_TITLE_WIDTH: Final = 28


class Progress:
    """A bar. It is drawn anew only when it looks otherwise, and nothing is shown without a terminal.

    :param title: raw; it is cut and made harmless.
    """

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = visible(title)[:_TITLE_WIDTH]
        self._shown = ""

    def show(self, done: int, total: int) -> None:
        """So much of it is done."""
        if not self._console.interactive:
            return
        part = min(done / total, 1.0) if total > 0 else 1.0
        filled = int(part * _WIDTH)
        bar = "#" * filled + "." * (_WIDTH - filled)
        line = f"{self._title} [{bar}] {int(part * 100):3d} %"
        if line != self._shown:
            self._shown = line
            self._console.write(f"\r{line}")

    def finish(self) -> None:
        """End the line, if there is one."""
        if self._shown:
            self._shown = ""
            self._console.write("\n")
