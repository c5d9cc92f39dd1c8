"""Where commands and menus meet the reactor and the streams of the process."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.python.failure import Failure

from messageu.client import AddressInvalid, Client
from messageu.client.v3 import read_relay
from messageu.commands import Exit, Invocation
from messageu.terminal import Desk

from ._loop import MenuLoop
from ._menu import Menu
from ._menu_v3 import MenuV3
from ._streams import Output, Terminal
from ._work import WORK, run_command

reactor: Any = _reactor  # a module that stands for an object, to the type checker


def run(said: Invocation) -> int:
    """Do what was said, or be the menu. Returns the exit code."""
    console = Terminal(reactor, _stop)
    outcome: list[object] = []

    def start() -> None:
        running = Deferred.fromCoroutine(_work(said, console))
        reactor.addSystemEventTrigger("before", "shutdown", running.cancel)
        running.addBoth(outcome.append).addBoth(lambda _: _stop())

    reactor.callWhenRunning(start)
    with suppress(KeyboardInterrupt):  # until the reactor looks after it
        reactor.run()
    return _exit_code(outcome, console.output)


async def _work(said: Invocation, console: Terminal) -> int:
    folder = said.folder.absolute()
    desk = Desk(reactor, folder, console, os.environ, said.passphrase_file, said.timeout)
    if said.command in WORK:
        return await run_command(desk, said.command, said.options)
    try:
        is_v3 = read_relay(folder) is not None
    except AddressInvalid as error:
        console.complain(f"error: {error}")
        return Exit.FAILED
    if is_v3:
        menu = MenuV3(desk)
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
