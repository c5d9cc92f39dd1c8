"""One connection at a time, and the next one after a while: a machine that knows nothing of mail.

::

    idle ──start──▶ dialling ──opened──▶ connected ──gone──▶ waiting ──again, start──▶ dialling
                      │ └──gone──▶ waiting │ └──give_up──▶ leaving ──gone──▶ given up ──start──▶ …
                      ▼ close              ▼ close
                   closing ◀───────────────┘ ──gone──▶ closed

Twisted's ClientService does nearly this, but not for a connection that is lost while it is prepared,
and it knows of no reason to stay away.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from attrs import frozen
from automat import TypeMachineBuilder
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .._errors import AnswerCut, ClientError
from ._connection import RelayConnection

_log = Logger()


@frozen
class Backoff:
    """When a connection is tried again.

    :ivar first: seconds after the first failure; each next one doubles them.
    :ivar most: seconds, at the most, unless the relay asks for more.
    :ivar steady: seconds that a connection must have lasted to count as none that failed.
    :ivar spread: gives a number from 0 to 1. The wait is between one half and the whole of its
        length, so that the clients of a relay that starts do not all come at once.
    """

    first: float = 1.0
    most: float = 60.0
    steady: float = 10.0
    spread: Callable[[], float] = random.random

    def delay(self, failures: int, retry_after: float | None = None) -> float:
        """Seconds to wait after so many failures in a row, of which the relay has said something."""
        longest = min(self.first * 2.0 ** min(failures - 1, 30), self.most)
        delay = longest * (1 + self.spread()) / 2
        if retry_after is None:
            return delay
        return max(delay, retry_after * (1 + self.spread() / 4))


class Reconnector:
    """Keeps a connection, until it is told not to.

    :param dial: begins to open a connection. When it raises a ClientError nothing is tried again by
        itself.
    :param offline: is told why there is no connection now, and in how many seconds the next is
        tried; None: it is not.
    """

    def __init__(
        self,
        clock: IReactorTime,
        dial: Callable[[], Deferred[RelayConnection]],
        offline: Callable[[ClientError, float | None], None],
        backoff: Backoff,
    ) -> None:
        self._clock = clock
        self._dial = dial
        self._offline = offline
        self._backoff = backoff
        self._line = _new_line(self)
        self._attempt: Deferred[None] | None = None
        self._why: ClientError = AnswerCut("the connection was closed", begun=False)
        self._parting: ClientError | None = None
        self._retry_after: float | None = None
        self._failures = 0
        self._online_since: float | None = None
        self._timer: IDelayedCall | None = None
        self._waiters: list[Deferred[None]] = []
        self.connection: RelayConnection | None = None

    def start(self) -> None:
        """Connect; now, if it was only waited for the next attempt."""
        self._line.start()

    def settle(self) -> None:
        """The connection has proven to be of use."""
        self._online_since = self._clock.seconds()

    def lose(self, why: ClientError, retry_after: float | None = None) -> None:
        """The connection is gone; ``retry_after`` is what the relay has said before."""
        self._why, self._retry_after = why, retry_after
        self.connection = None
        self._line.gone()

    def give_up(self, why: ClientError) -> None:
        """Close the connection, and do not come back before :meth:`start`."""
        # What is said when it is gone says less.
        self._parting = why
        self._line.give_up()

    def close(self) -> Deferred[None]:
        """Close the connection for good. The Deferred fires when it is gone."""
        waiting: Deferred[None] = Deferred()
        self._waiters.append(waiting)
        self._line.close()
        return waiting

    # What the machine wants done.

    def _open(self) -> None:
        self._stop_waiting()
        try:
            attempt = self._dial()
        except ClientError as error:
            self._why = error
            self._line.give_up()
            self._line.gone()
            return
        self._attempt = attempt.addCallbacks(self._opened, self._not_opened)

    def _opened(self, connection: RelayConnection) -> None:
        self._attempt = None
        self.connection = connection
        self._line.opened()

    def _not_opened(self, failure: Failure) -> None:
        self._attempt = None
        if isinstance(failure.value, ClientError):
            self._why = failure.value
        elif not failure.check(CancelledError):
            _log.failure("a bug while connecting", failure)
        self._retry_after = None
        self._line.gone()

    def _wait(self) -> None:
        now = self._clock.seconds()
        if self._online_since is not None and now - self._online_since >= self._backoff.steady:
            self._failures = 0
        self._online_since = None
        self._failures += 1
        delay = self._backoff.delay(self._failures, self._retry_after)
        self._timer = self._clock.callLater(delay, self._line.again)
        self._offline(self._why, delay)

    def _stay_away(self) -> None:
        self._stop_waiting()
        self._failures = 0
        why, self._parting = self._parting or self._why, None
        self._offline(why, None)

    def _cancel(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()

    def _leave(self) -> None:
        if self.connection is not None:
            self.connection.close()

    def _end(self) -> None:
        self._stop_waiting()
        waiters, self._waiters = self._waiters, []
        for waiting in waiters:
            waiting.callback(None)

    def _stop_waiting(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


class _Line(Protocol):
    """What can happen to the one connection that there is, or is not."""

    def start(self) -> None:
        """Connect, and now, if it is only waited."""

    def opened(self) -> None:
        """TCP is up."""

    def gone(self) -> None:
        """It could not be opened, or is lost."""

    def again(self) -> None:
        """It was waited for long enough."""

    def give_up(self) -> None:
        """Leave, and do not come back unless somebody wants it."""

    def close(self) -> None:
        """Leave for good."""


_Effect: TypeAlias = Callable[[Reconnector], None]


def _build() -> Callable[[Reconnector], _Line]:
    builder = TypeMachineBuilder(_Line, Reconnector)
    idle = builder.state("idle")
    dialling = builder.state("dialling")
    connected = builder.state("connected")
    waiting = builder.state("waiting")
    leaving = builder.state("leaving")
    given_up = builder.state("given up")
    closing = builder.state("closing")
    closed = builder.state("closed")

    table = {
        (idle, _Line.start): (dialling, Reconnector._open),
        (idle, _Line.close): (closed, Reconnector._end),
        (dialling, _Line.opened): (connected, _nothing),
        (dialling, _Line.gone): (waiting, Reconnector._wait),
        (dialling, _Line.give_up): (leaving, Reconnector._cancel),
        (dialling, _Line.close): (closing, Reconnector._cancel),
        (connected, _Line.gone): (waiting, Reconnector._wait),
        (connected, _Line.give_up): (leaving, Reconnector._leave),
        (connected, _Line.close): (closing, Reconnector._leave),
        (waiting, _Line.start): (dialling, Reconnector._open),
        (waiting, _Line.again): (dialling, Reconnector._open),
        (waiting, _Line.give_up): (given_up, Reconnector._stay_away),
        (waiting, _Line.close): (closed, Reconnector._end),
        (leaving, _Line.opened): (leaving, Reconnector._leave),
        (leaving, _Line.gone): (given_up, Reconnector._stay_away),
        (leaving, _Line.close): (closing, _nothing),
        (given_up, _Line.start): (dialling, Reconnector._open),
        (given_up, _Line.close): (closed, Reconnector._end),
        (closing, _Line.opened): (closing, Reconnector._leave),
        (closing, _Line.gone): (closed, Reconnector._end),
        (closed, _Line.close): (closed, Reconnector._end),
    }
    states = (idle, dialling, connected, waiting, leaving, given_up, closing, closed)
    happenings = (
        *(_Line.start, _Line.opened, _Line.gone),
        *(_Line.again, _Line.give_up, _Line.close),
    )
    for state in states:
        for happening in happenings:
            target, effect = table.get((state, happening), (state, _nothing))
            state.upon(happening).to(target)(_doing(effect))
    return builder.build()


def _doing(effect: _Effect) -> Callable[[_Line, Reconnector], None]:
    def do(_: _Line, reconnector: Reconnector) -> None:
        effect(reconnector)

    do.__name__ = effect.__name__  # what the machine calls it, when it is drawn
    return do


def _nothing(_: Reconnector) -> None:
    """The state says it all."""


_new_line: Final = _build()
