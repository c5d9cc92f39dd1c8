"""The streams of the process: what is typed, what is shown, and a passphrase that is not."""

from __future__ import annotations

import io
import os
import select
import sys
import termios
from collections.abc import Callable
from threading import Semaphore, Thread
from typing import Final, TextIO

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from messageu.terminal import NoTerminal

from ._lines import EndOfInput, Lines

CHUNK_SIZE: Final = 64 * 1024
"""Bytes that are read from standard input at once."""


class Terminal:
    """Standard input, output and error, and whoever sits at the terminal.

    :param threads: the reactor, which is told from a thread what was typed.
    :param closed: is called when nobody reads the output any more.
    """

    def __init__(self, threads: IReactorFromThreads, closed: Callable[[], None]) -> None:
        self._threads = threads
        self.output = Output(sys.stdout, closed)
        self._errors = Output(sys.stderr, lambda: None)
        self._lines = Source(_standard_input(), threads).lines

    @property
    def interactive(self) -> bool:
        """Whether standard output is a terminal."""
        return sys.stdout is not None and sys.stdout.isatty()

    @property
    def encoding(self) -> str:
        """That of standard output."""
        return sys.stdout.encoding if sys.stdout is not None else "utf-8"

    def write(self, text: str) -> None:
        """To standard output."""
        self.output.write(text)

    def complain(self, line: str) -> None:
        """To standard error."""
        self._errors.write(f"{line}\n")

    def next_line(self) -> Deferred[bytes]:
        """Of standard input."""
        return self._lines.next_line()

    async def ask_secret(self, question: str) -> str:
        """Ask at the terminal of the program, wherever its input and output are."""
        try:
            descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            raise NoTerminal(
                "there is no terminal to ask for the passphrase: "
                "--passphrase-file or MESSAGEU_PASSPHRASE"
            ) from None
        before = termios.tcgetattr(descriptor)
        silent = list(before)
        silent[3] &= ~termios.ECHO
        try:
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, silent)
            os.write(descriptor, question.encode("utf-8"))
            # A thread is left in `read` when it is interrupted: the descriptor stays open for it.
            line = await Source(descriptor, self._threads).lines.next_line()
        except EndOfInput:
            raise NoTerminal("no passphrase was typed") from None
        finally:
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
            os.write(descriptor, b"\n")
        return line.decode("utf-8", "surrogateescape")


class Output:
    """Standard output, where everything can be written and nothing raises.

    :param closed: is called when nobody reads any more.
    """

    def __init__(self, stream: TextIO | None, closed: Callable[[], None]) -> None:
        self._stream = stream
        self._closed = closed
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> None:
        """Show a text now."""
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            # What is left in its buffer must not fail once more when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            self._stream = None
            self._closed()


class Source:
    """Lines of a descriptor of any kind, which is read one chunk at a time when one is wanted.

    A thread of its own does it, for two reasons: epoll watches no regular file, and a descriptor
    that is made non-blocking stays so for the other programs on the same terminal. The thread
    blocks in ``read`` when the program ends, so that it is a daemon, outside of the reactor's pool.
    """

    def __init__(self, descriptor: int, threads: IReactorFromThreads) -> None:
        self._threads = threads
        self.lines = Lines(self._want)
        self._descriptor = descriptor
        self._wanted = Semaphore(0)
        self._thread: Thread | None = None

    def _want(self) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._work, name="standard input", daemon=True)
            self._thread.start()
        self._wanted.release()

    def _work(self) -> None:
        while True:
            self._wanted.acquire()
            data = _read(self._descriptor)
            if not data:
                self._threads.callFromThread(self.lines.end_input)
                return
            self._threads.callFromThread(self.lines.receive_data, data)


def _read(descriptor: int) -> bytes:
    """The next chunk; nothing at the end, or when there is nothing to read from any more."""
    while True:
        try:
            return os.read(descriptor, CHUNK_SIZE)
        except BlockingIOError:  # somebody else has made it so
            select.select([descriptor], [], [])
        except OSError:
            return b""


def _standard_input() -> int:
    """Its descriptor; when it is closed the number 0 may already mean something else."""
    return 0 if sys.stdin is not None else os.open(os.devnull, os.O_RDONLY)
