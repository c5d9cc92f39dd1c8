"""``messageu``: the commands and the menu, on standard input and output."""

from __future__ import annotations

import argparse
import io
import os
import select
import sys
import termios
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Semaphore, Thread
from typing import Any, Final, TextIO

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.python.failure import Failure

from messageu import __version__
from messageu.client import AddressInvalid, Client
from messageu.client.v3 import read_relay

from . import (
    Desk,
    EndOfInput,
    Exit,
    Lines,
    Menu,
    MenuV3,
    NoTerminal,
    add_commands,
    run_command,
)
from ._loop import MenuLoop

CHUNK_SIZE: Final = 64 * 1024
"""Bytes that are read from standard input at once."""

reactor: Any = _reactor  # a module that stands for an object, to the type checker


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, or the menu. Returns the exit code."""
    options = _parse(arguments)
    folder: Path = options.dir.absolute()
    console = Terminal()
    outcome: list[object] = []

    def start() -> None:
        running = Deferred.fromCoroutine(_work(options, folder, console))
        reactor.addSystemEventTrigger("before", "shutdown", running.cancel)
        running.addBoth(outcome.append).addBoth(lambda _: _stop())

    reactor.callWhenRunning(start)
    with suppress(KeyboardInterrupt):  # until the reactor looks after it
        reactor.run()
    return _exit_code(outcome, console.output)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="messageu",
        description="A client of MessageU: exchanges texts and files through a relay.",
    )
    parser.add_argument(
        "--dir",
        "--folder",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="the client's directory (default: the current one)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    add_commands(parser)
    options = parser.parse_args(arguments)
    if not options.dir.is_dir():
        parser.error(f"{options.dir} is not a directory")
    return options


async def _work(options: argparse.Namespace, folder: Path, console: Terminal) -> int:
    if options.command is not None:
        desk = Desk(reactor, folder, console, os.environ, options.passphrase_file, options.timeout)
        return await run_command(desk, options)
    try:
        is_v3 = read_relay(folder) is not None
    except AddressInvalid as error:
        console.complain(f"error: {error}")
        return Exit.FAILED
    if is_v3:
        menu = MenuV3(Desk(reactor, folder, console, os.environ))
        await _run(menu, menu.close)
    else:
        client = Client(reactor, folder, warn=lambda line: console.write(f"{line}\n"))
        await _run(Menu(client, folder, console.next_line, console.write), client.close)
    return Exit.DONE


async def _run(menu: MenuLoop, close: Callable[[], Awaitable[None]]) -> None:
    try:
        await menu.run()
    finally:
        await close()


def _standard_input() -> int:
    """Its descriptor; when it is closed the number 0 may already mean something else."""
    return 0 if sys.stdin is not None else os.open(os.devnull, os.O_RDONLY)


def _stop() -> None:
    with suppress(ReactorNotRunning):  # or stopping already
        reactor.stop()


def _exit_code(outcome: list[object], output: Output) -> int:
    match outcome:
        case [Failure() as failure] if not failure.check(CancelledError):
            failure.printTraceback(file=sys.stderr)
            return Exit.FAILED
        case [int() as code]:
            return code
    output.write("\n")
    return Exit.INTERRUPTED


class Terminal:
    """Standard input, output and error, and whoever sits at the terminal."""

    def __init__(self) -> None:
        self.output = Output(sys.stdout, _stop)
        self._errors = Output(sys.stderr, lambda: None)
        self._lines = Source(_standard_input()).lines

    @property
    def interactive(self) -> bool:
        """Whether standard output is a terminal."""
        return sys.stdout is not None and sys.stdout.isatty()

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
            line = await Source(descriptor).lines.next_line()
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

    def __init__(self, descriptor: int) -> None:
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
                reactor.callFromThread(self.lines.end_input)
                return
            reactor.callFromThread(self.lines.receive_data, data)


def _read(descriptor: int) -> bytes:
    """The next chunk; nothing at the end, or when there is nothing to read from any more."""
    while True:
        try:
            return os.read(descriptor, CHUNK_SIZE)
        except BlockingIOError:  # somebody else has made it so
            select.select([descriptor], [], [])
        except OSError:
            return b""


if __name__ == "__main__":
    sys.exit(main())
