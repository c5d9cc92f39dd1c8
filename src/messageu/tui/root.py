"""The screen's composition root: Textual as a task in the loop of Twisted's asyncio reactor.

The loop is Twisted's. It runs before the screen and after it, so that connections are closed when the
terminal is one's own again, and signals end both in order.
"""

from __future__ import annotations

import asyncio
import getpass
import io
import os
import shlex
import sys
from pathlib import Path
from typing import Any, Final

from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner
from twisted.python.failure import Failure
from zope.interface import implementer

from messageu.client import ADDRESS_FILE, IDENTITY_FILES, Client, ClientError, read_address
from messageu.client.v3 import NoProfile, read_relay
from messageu.terminal import (
    DEFAULT_TIMEOUT,
    Console,
    Desk,
    Exit,
    NoTerminal,
    describe,
    how_to_begin,
)

from ._app import ChatApp
from ._port import Conversations
from ._seen import Seen
from ._texts import glyphs_for
from ._v2 import V2Conversations
from ._v3 import V3Conversations

FAULTS_LIMIT: Final = 10
"""Faults of the program that are told of when the screen is gone."""


def run(
    folder: Path, *, passphrase_file: Path | None = None, timeout: float = DEFAULT_TIMEOUT
) -> int:
    """Show the screen until somebody leaves it. Returns the exit code.

    No reactor may have been installed before.
    """
    asyncioreactor.install(asyncio.new_event_loop())
    from twisted.internet import reactor

    console = _BeforeTheScreen()
    if not console.interactive:
        console.complain("error: the screen needs a terminal")
        return Exit.USAGE
    desk = Desk(reactor, folder, console, os.environ, passphrase_file, timeout)
    try:
        port, close = _open(reactor, desk)
    except (ClientError, NoTerminal) as error:
        console.complain(f"error: {describe(error)}")
        return Exit.FAILED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return _Run(reactor, port, close, folder, console).run()


def _open(reactor: Any, desk: Desk) -> tuple[Conversations, Any]:
    """Whatever is in the folder; what closes it."""
    if read_relay(desk.folder) is None:
        _check_v2(desk.folder)
        client = Client(reactor, desk.folder, warn=lambda _: None)
        conversations = V2Conversations(reactor, client)
        return conversations, conversations.close
    passphrase: list[Any] = []
    # Nothing in it waits: it is asked for at once, or read.
    Deferred.fromCoroutine(desk.passphrase()).addBoth(passphrase.append)
    if isinstance(passphrase[0], Failure):
        passphrase[0].raiseException()
    messenger = desk.open(passphrase[0])
    if not messenger.core.profile.registered:
        messenger.close()
        raise NoProfile("this profile has no account yet: register first")
    return V3Conversations(desk, messenger), messenger.close


def _check_v2(folder: Path) -> None:
    """Whether somebody is registered at a relay of v2; what is done first, if not."""
    if not (folder / ADDRESS_FILE).exists():
        raise NoProfile(how_to_begin(folder))
    read_address(folder)
    if not any((folder / name).exists() for name in IDENTITY_FILES):
        raise NoProfile(
            "nobody is registered in this folder of MessageU v2 yet: register with 110 of the menu, "
            f"which is: messageu --dir {shlex.quote(str(folder))}"
        )


class _BeforeTheScreen:
    """The terminal, as long as it is not the screen's."""

    @property
    def interactive(self) -> bool:
        """Whether it is one."""
        streams = (sys.__stdin__, sys.__stdout__)
        return all(stream is not None and stream.isatty() for stream in streams)

    @property
    def encoding(self) -> str:
        """That of standard output."""
        return getattr(sys.__stdout__, "encoding", None) or "utf-8"

    def write(self, text: str) -> None:
        """To standard output."""
        print(text, end="", flush=True)

    def complain(self, line: str) -> None:
        """To standard error."""
        print(line, file=sys.stderr, flush=True)

    async def next_line(self) -> bytes:
        """Nobody asks for one."""
        raise NoTerminal("nothing is asked here")

    async def ask_secret(self, question: str) -> str:
        """At the terminal, unseen."""
        try:
            return getpass.getpass(question)
        except EOFError:
            raise NoTerminal("no passphrase was typed") from None


class _Run:
    """The reactor with the screen in it, from the beginning to the end."""

    def __init__(
        self, reactor: Any, port: Conversations, close: Any, folder: Path, console: Console
    ) -> None:
        self._reactor = reactor
        self._close = close
        self._faults = _Faults()
        self._app = ChatApp(
            port, Seen(folder), glyphs=glyphs_for(console.encoding), environment=os.environ
        )
        self._left: Deferred[None] = Deferred()
        self._code: int = Exit.INTERRUPTED

    def run(self) -> int:
        """Until it is over."""
        stream = sys.__stdout__
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show ends nothing
            stream.reconfigure(errors="replace")
        globalLogBeginner.beginLoggingTo([self._faults], redirectStandardIO=False)
        # Not when running: then the loop, which a task is begun in, does not run yet.
        self._reactor.callLater(0, self._start)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._leave)
        self._reactor.run()
        for line in self._faults.lines:
            print(line, file=sys.stderr)
        return self._code

    def _start(self) -> None:
        showing = Deferred.fromFuture(asyncio.ensure_future(self._app.run_async()))
        showing.addBoth(self._over)

    def _over(self, outcome: object) -> None:
        """The terminal is one's own again."""
        if isinstance(outcome, int):
            self._code = outcome
        elif isinstance(outcome, Failure):
            self._code = Exit.FAILED
            self._faults.lines.append(outcome.getTraceback())
        elif self._app.return_code:
            self._code = Exit.FAILED
        self._left.callback(None)
        try:
            self._reactor.stop()
        except ReactorNotRunning:  # or stopping already
            return

    def _leave(self) -> Deferred[None]:
        """The reactor stops, by a signal maybe: the screen goes first, then the connection."""
        if not self._left.called:
            self._app.exit()
        return self._left.addCallback(lambda _: self._close())


@implementer(ILogObserver)
class _Faults:
    """Faults of the program: they are shown when the screen is gone, not over it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_level") is not LogLevel.critical or len(self.lines) >= FAULTS_LIMIT:
            return
        failure = event.get("log_failure")
        trace = "" if failure is None else f"\n{failure.getTraceback()}"
        self.lines.append(f"{formatEvent(event)}{trace}")
