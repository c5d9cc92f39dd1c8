"""One line that shows how far something has come, where somebody sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from messageu.client.v3 import FileProgress

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


class Bars:
    """Bars of files that come and go while something else is shown: one at a time.

    The file that was heard of first keeps its bar until all of it is there, or :meth:`drop`.

    :param title_of: what to call the file of a message, raw.
    """

    def __init__(self, console: Console, title_of: Callable[[bytes], str]) -> None:
        self._console = console
        self._title_of = title_of
        self._current: tuple[bytes, Progress] | None = None

    def show(self, progress: FileProgress) -> None:
        """So much of a file is there."""
        message_id, done, total = progress.message_id, progress.done, progress.total
        if self._current is None and done < total:
            self._current = message_id, Progress(self._console, self._title_of(message_id))
        if self._current is None or self._current[0] != message_id:
            return
        self._current[1].show(done, total)
        if done >= total:
            self.drop(message_id)

    def drop(self, message_id: bytes) -> None:
        """Nothing more comes of a file."""
        if self._current is not None and self._current[0] == message_id:
            self.pause()
            self._current = None

    def pause(self) -> None:
        """Something else is about to be shown: let it begin on a line of its own."""
        if self._current is not None:
            self._current[1].finish()
