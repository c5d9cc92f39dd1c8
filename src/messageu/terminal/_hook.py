"""A command of the user's own that is run on each message."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from ._text import visible

HOOK_TIMEOUT: Final = 60.0
"""Seconds after which a command is told to end."""

HOOK_GRACE: Final = 5.0
"""Seconds after which it is killed then."""

OUTPUT_PATIENCE: Final = 1.0
"""Seconds for which the output of a command is read that has ended: whatever it has left in the
background may keep it open for ever."""

LINE_LIMIT: Final = 1024
"""Bytes of its output in a line; what is longer is shown in several."""

OUTPUT_LIMIT: Final = 64 * 1024
"""Bytes of its output that are shown; the rest is read, and dropped."""

OURS: Final = "MESSAGEU_"
"""What the variables begin with that are ours; no command is given those of our environment, a
passphrase among them."""

_LEADER: Final = (
    "import os, signal, sys; os.setsid(); signal.signal(signal.SIGPIPE, signal.SIG_DFL);"
    " os.execv('/bin/sh', ['sh', '-c', sys.argv[1]])"
)
"""Has the shell lead a session of its own, so that all that it starts can be ended with it, and
none of it has our terminal."""

Kill = Callable[[int, int], None]


def without_ours(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what is meant for us alone."""
    return {name: value for name, value in environment.items() if not name.startswith(OURS)}


class Hook:
    """Runs a command, once at a time, in the order in which it is asked to.

    :param reactor: of IReactorProcess and IReactorTime.
    :param command: for ``/bin/sh -c``; the user's own words, nothing of a message is put there.
    :param environment: ours, of which it is given what is not :data:`OURS`.
    :param complain: is told a harmless line: what the command writes, and what is wrong with it.
    :param kill: sends a signal to a group of processes.
    """

    def __init__(
        self,
        reactor: Any,
        command: str,
        environment: Mapping[str, str],
        complain: Callable[[str], None],
        *,
        timeout: float = HOOK_TIMEOUT,
        kill: Kill = os.killpg,
    ) -> None:
        self._reactor = reactor
        self._command = command
        self._environment = without_ours(environment)
        self._complain = complain
        self._timeout = timeout
        self._kill = kill
        self._turn = DeferredLock()

    async def run(self, data: bytes, facts: Mapping[str, str]) -> None:
        """Run it to its end with something on its standard input. Whatever becomes of it is said,
        and no error; when this is cancelled it is killed.

        :param facts: more variables of its environment, harmless.
        """
        await self._turn.acquire()
        try:
            running = _Running(self._reactor, data, self._complain, self._timeout, self._kill)
            try:
                self._reactor.spawnProcess(
                    running,
                    sys.executable,
                    [sys.executable, "-ISc", _LEADER, self._command],
                    {**self._environment, **facts},
                    childFDs={0: "w", 1: "r", 2: "r"},
                )
            except OSError as error:
                self._complain(f"the command cannot be run: {error.strerror}")
                return
            await running.over
        finally:
            self._turn.release()


class _Running(ProcessProtocol):
    """A command that runs."""

    def __init__(
        self,
        reactor: Any,
        data: bytes,
        complain: Callable[[str], None],
        timeout: float,
        kill: Kill,
    ) -> None:
        self._reactor = reactor
        self._data = data
        self._complain = complain
        self._timeout = timeout
        self._kill = kill
        self._timer: IDelayedCall | None = None
        self._shown = 0
        self._unfinished: dict[int, bytes] = {1: b"", 2: b""}
        self._pid: int | None = None
        self.over: Deferred[None] = Deferred(self._cancel)

    def connectionMade(self) -> None:
        assert self.transport is not None  # noqa: S101 - for the type checker
        self._pid = self.transport.pid
        self._arm(self._timeout, self._end_it)
        self.transport.write(self._data)
        self.transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        room = max(OUTPUT_LIMIT - self._shown, 0)
        self._shown += len(data)
        if room and len(data) > room:
            data = data[:room] + b"\n(more of its output is not shown)\n"
        elif not room:
            return
        *lines, rest = (self._unfinished[childFD] + data).split(b"\n")
        for line in lines:
            self._show(line)
        while len(rest) > LINE_LIMIT:
            self._show(rest[:LINE_LIMIT])
            rest = rest[LINE_LIMIT:]
        self._unfinished[childFD] = rest

    def processExited(self, reason: Failure) -> None:
        self._arm(OUTPUT_PATIENCE, self._close)

    def processEnded(self, reason: Failure) -> None:
        self._disarm()
        for rest in self._unfinished.values():
            if rest:
                self._show(rest)
        ended: Any = reason.value
        if self.over.called:
            return
        if ended.signal is not None:
            self._complain(f"the command was ended by signal {ended.signal}")
        elif ended.exitCode:
            self._complain(f"the command has failed with exit code {ended.exitCode}")
        self.over.callback(None)

    def _show(self, line: bytes) -> None:
        for start in range(0, len(line), LINE_LIMIT):
            text = line[start : start + LINE_LIMIT].decode("utf-8", "backslashreplace")
            self._complain(visible(text))

    def _end_it(self) -> None:
        self._complain(f"the command takes more than {self._timeout:g} seconds: it is ended")
        self._signal(signal.SIGTERM)
        self._arm(HOOK_GRACE, lambda: self._signal(signal.SIGKILL))

    def _cancel(self, over: Deferred[None]) -> None:
        self._disarm()
        self._signal(signal.SIGKILL)
        over.errback(CancelledError())

    def _signal(self, number: signal.Signals) -> None:
        if self._pid is None:
            return
        try:
            self._kill(self._pid, number)
        except ProcessLookupError:  # it leads no group yet, or is gone
            with suppress(ProcessExitedAlready):
                assert self.transport is not None  # noqa: S101 - for the type checker
                self.transport.signalProcess(number.value)

    def _close(self) -> None:
        assert self.transport is not None  # noqa: S101 - for the type checker
        self.transport.loseConnection()

    def _arm(self, seconds: float, act: Callable[[], object]) -> None:
        self._disarm()
        self._timer = self._reactor.callLater(seconds, act)

    def _disarm(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
