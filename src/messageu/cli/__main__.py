"""``messageu``: the menu on standard input and output."""

from __future__ import annotations

import argparse
import io
import os
import select
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Semaphore, Thread
from typing import Any, Final, TextIO

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.python.failure import Failure

from messageu import __version__
from messageu.client import Client

from . import Lines, Menu

CHUNK_SIZE: Final = 64 * 1024
"""Bytes that are read from standard input at once."""

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as the shell has it."""

reactor: Any = _reactor  # a module that stands for an object, to the type checker


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the menu. Returns the exit code."""
    folder = _parse(arguments)
    output = Output(sys.stdout, _stop)
    lines = Source(_standard_input()).lines
    client = Client(reactor, folder, warn=lambda line: output.write(f"{line}\n"))
    menu = Menu(client, folder, lines.next_line, output.write)
    outcome: list[object] = []

    def start() -> None:
        running = Deferred.fromCoroutine(_run(menu, client))
        reactor.addSystemEventTrigger("before", "shutdown", running.cancel)
        running.addBoth(outcome.append).addBoth(lambda _: _stop())

    reactor.callWhenRunning(start)
    with suppress(KeyboardInterrupt):  # until the reactor looks after it
        reactor.run()
    return _exit_code(outcome, output)


def _parse(arguments: Sequence[str] | None) -> Path:
    parser = argparse.ArgumentParser(
        prog="messageu",
        description="A client of MessageU v2: exchanges keys, texts and files through a relay.",
        epilog="The directory has server.info, a line of <ip>:<port> that says where the relay is. "
        "me.info (your identity) and me.keys (what is known of others) are made there.",
    )
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="the client's directory (default: the current one)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    folder: Path = parser.parse_args(arguments).dir
    if not folder.is_dir():
        parser.error(f"{folder} is not a directory")
    return folder.absolute()


def _standard_input() -> int:
    """Its descriptor; when it is closed the number 0 may already mean something else."""
    return 0 if sys.stdin is not None else os.open(os.devnull, os.O_RDONLY)


async def _run(menu: Menu, client: Client) -> None:
    try:
        await menu.run()
    finally:
        await client.close()


def _stop() -> None:
    with suppress(ReactorNotRunning):  # or stopping already
        reactor.stop()


def _exit_code(outcome: list[object], output: Output) -> int:
    match outcome:
        case [Failure() as failure] if not failure.check(CancelledError):
            failure.printTraceback(file=sys.stderr)
            return 1
        case [None]:
            return 0
    output.write("\n")
    return INTERRUPTED


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
