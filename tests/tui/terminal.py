"""A program on a terminal of its own, and what is to be seen there."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import pyte

from tests.sockets.client import wait_until

COLUMNS: Final = 80
ROWS: Final = 24
_CHUNK: Final = 65_536


class Terminal:
    """80×24, as an emulator shows them.

    :ivar raw: all that was written to it.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self._descriptor, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.settings = termios.tcgetattr(inner)
        self._inner = inner  # so that it outlives the program
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", **environment},
            stdin=inner,
            stdout=inner,
            stderr=inner,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - nothing in it takes a lock
        )

    @property
    def text(self) -> str:
        """What is to be seen by now."""
        while select.select([self._descriptor], [], [], 0)[0]:
            data = os.read(self._descriptor, _CHUNK)
            self.raw += data
            self._stream.feed(data)
        return "\n".join(line.rstrip() for line in self._screen.display)

    @property
    def is_as_it_was(self) -> bool:
        """Whether its settings are those from before."""
        return termios.tcgetattr(self._inner) == self.settings

    def wait_for(self, words: str) -> None:
        """Wait until something is to be seen."""
        wait_until(lambda: words in self.text, f"{words!r} is shown")

    def type(self, keys: str) -> None:
        """Somebody types."""
        os.write(self._descriptor, keys.encode("utf-8"))

    def wait(self) -> int:
        """Wait for the end, and have all that is written until then; the exit status."""
        wait_until(lambda: bool(self.text) and self.process.poll() is not None, "it ends")
        return self.process.returncode

    def close(self) -> None:
        """End it, however it is."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._descriptor)
        os.close(self._inner)


def _take_terminal() -> None:
    """In the child: its terminal is the one that it has as its input."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
