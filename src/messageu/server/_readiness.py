"""Whether the relay should be given connections now: asked often, its store seldom."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from messageu.store import StoreError

ANSWER_KEPT: Final = 1.0
"""Seconds for which an answer of the store holds."""

STORE_DEADLINE: Final = 2.0
"""Seconds in which the store must answer. It is not asked again before it has."""

_log = Logger()


class Condition(Enum):
    """How the relay is, in the word that is told. Only the first is good."""

    READY = "ready"
    STARTING = "starting"
    DRAINING = "draining"
    STORE_FAILING = "store-failing"
    STORE_SLOW = "store-slow"


class Readiness:
    """Tells whether the relay is ready, within the deadline.

    One question to the store is under way at a time, however many ask and however long it takes.

    :param check: lets the store commit something.
    """

    def __init__(self, check: Callable[[], Deferred[None]], clock: IReactorTime) -> None:
        self._check = check
        self._clock = clock
        self._relay = Condition.STARTING
        self._store = Condition.READY
        self._answered_at = float("-inf")
        self._asked_at: float | None = None  # and not answered yet
        self._deadline: IDelayedCall | None = None  # and not over yet
        self._waiting: list[Deferred[Condition]] = []

    def serve(self) -> None:
        """The relay serves."""
        self._relay = Condition.READY

    def drain(self) -> None:
        """It still serves, but wants no more connections."""
        self._relay = Condition.DRAINING
        self._tell()

    def ask(self) -> Deferred[Condition]:
        """How the relay is."""
        now = self._clock.seconds()
        if self._relay is Condition.READY:
            if self._asked_at is None and now - self._answered_at >= ANSWER_KEPT:
                self._ask_store(now)
            if self._deadline is not None:
                waiting: Deferred[Condition] = Deferred()
                self._waiting.append(waiting)
                return waiting
        return succeed(self._condition)

    @property
    def _condition(self) -> Condition:
        return self._store if self._relay is Condition.READY else self._relay

    def _ask_store(self, now: float) -> None:
        self._asked_at = now
        self._deadline = self._clock.callLater(STORE_DEADLINE, self._conclude, Condition.STORE_SLOW)
        maybeDeferred(self._check).addCallbacks(lambda _: Condition.READY, _failing).addCallback(
            self._answer
        )

    def _answer(self, condition: Condition) -> None:
        self._asked_at = None
        self._answered_at = self._clock.seconds()
        if self._deadline is not None:  # else it came too late to be a good one
            self._conclude(condition)

    def _conclude(self, condition: Condition) -> None:
        self._store = condition
        self._tell()

    def _tell(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(self._condition)


def _failing(failure: Failure) -> Condition:
    if not failure.check(StoreError):
        _log.failure("a bug: the store could not be asked how it is", failure)
    return Condition.STORE_FAILING
