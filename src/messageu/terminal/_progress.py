"""One line that shows how far something has come, where somebody sees it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from messageu.client.v3 import FileProgress
from messageu.model.v3 import Identity

from ._console import Console
from ._text import visible

if TYPE_CHECKING:
    from ._bar import Pen


class Progress:
    """A bar. It is drawn anew only when it looks otherwise, and nothing is shown without a terminal.

    :param title: raw; it is cut and made harmless.
    """

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = visible(title)
        self._pen: Pen | None = None
        self._shown = ""

    def show(self, done: int, total: int) -> None:
        """So much of it is done."""
        if not self._console.interactive:
            return
        if self._pen is None:
            from ._bar import Pen  # here: most commands never draw

            self._pen = Pen(self._console.encoding, os.environ)
        line = self._pen.draw(self._title, min(done / total, 1.0) if total > 0 else 1.0)
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

    :param title_of: what to call a file, raw, by its message and its sender; None: it is ours.
    """

    def __init__(self, console: Console, title_of: Callable[[bytes, Identity | None], str]) -> None:
        self._console = console
        self._title_of = title_of
        self._current: tuple[bytes, Identity | None] | None = None
        self._bar = Progress(console, "")

    def show(self, progress: FileProgress) -> None:
        """So much of a file is there."""
        file = progress.message_id, progress.contact
        if self._current is None and progress.done < progress.total:
            self._current = file
            self._bar = Progress(self._console, self._title_of(*file))
        if file == self._current:
            self._bar.show(progress.done, progress.total)
            if progress.done >= progress.total:
                self.drop(*file)

    def drop(self, message_id: bytes, sender: Identity | None) -> None:
        """Nothing more comes of a file."""
        if self._current == (message_id, sender):
            self.pause()
            self._current = None

    def pause(self) -> None:
        """Something else is about to be shown: let it begin on a line of its own."""
        self._bar.finish()
