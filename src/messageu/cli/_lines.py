"""Bytes in, lines out, and only on demand: a line is read when somebody waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred

LINE_LIMIT: Final = 1024 * 1024
"""Bytes of a line. Of a longer one nothing is kept."""


class EndOfInput(Exception):
    """There are no more lines."""


class LineTooLong(Exception):
    """A line had more than :data:`LINE_LIMIT` bytes and was skipped."""


class Lines:
    """Splits what arrives into lines.

    :param want: is called when a line is waited for and none is there. After it, at most one
        chunk is to be given; so no queue can grow.
    """

    def __init__(self, want: Callable[[], None], limit: int = LINE_LIMIT) -> None:
        self._want = want
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0
        self._skipping = False
        self._ended = False
        self._waiting: Deferred[bytes] | None = None

    def next_line(self) -> Deferred[bytes]:
        """The next line, without its end; what stands before the end of input is a line, too.

        The Deferred fails with :class:`LineTooLong` or :class:`EndOfInput`. One at a time.
        """
        waiting: Deferred[bytes] = Deferred()
        self._waiting = waiting
        self._go_on()
        return waiting

    def receive_data(self, data: bytes) -> None:
        """Take a chunk."""
        self._buffer += data
        self._go_on()

    def end_input(self) -> None:
        """There will be no more."""
        self._ended = True
        self._go_on()

    def _go_on(self) -> None:
        if self._waiting is None:
            return
        end = self._buffer.find(b"\n", self._searched)
        if end >= 0:
            self._answer(end, end + 1)
        elif self._ended and (self._buffer or self._skipping):
            self._answer(len(self._buffer), len(self._buffer))
        elif self._ended:
            self._fail(EndOfInput())
        else:
            self._searched = len(self._buffer)
            if self._searched > self._limit:
                self._skipping = True
                self._buffer.clear()
                self._searched = 0
            self._want()

    def _answer(self, size: int, consumed: int) -> None:
        line = bytes(self._buffer[:size])
        del self._buffer[:consumed]
        self._searched = 0
        skipped, self._skipping = self._skipping, False
        if skipped or len(line) > self._limit:
            self._fail(LineTooLong())
        elif self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(line.removesuffix(b"\r"))

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.errback(error)
