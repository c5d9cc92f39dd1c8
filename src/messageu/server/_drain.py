"""The time between the wish to stop and the end of listening, in which balancers notice."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Final, TypeAlias

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime
from twisted.logger import Logger

Heed: TypeAlias = Callable[[Callable[[], object]], object]
"""Lets something be called whenever the operator wants an end at once."""

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_log = Logger()


class Drain:
    """Waits, for whoever stops a relay.

    :param seconds: how long; with 0, there is no such time.
    :param heed: how impatience is heard of.
    """

    def __init__(self, seconds: float, clock: IReactorTime, heed: Heed) -> None:
        self._seconds = seconds
        self._clock = clock
        self._heed = heed
        self._timer: IDelayedCall | None = None
        self._ended: Deferred[None] = Deferred()

    def begin(self) -> Deferred[None]:
        """Fires when the time is over, or somebody is impatient."""
        if not self._seconds:
            return succeed(None)
        _log.info("draining: the relay still serves for {seconds} s", seconds=self._seconds)
        self._timer = self._clock.callLater(self._seconds, self._end)
        self._heed(self.cut_short)
        return self._ended

    def cut_short(self) -> None:
        """End it, if it has not ended."""
        if self._timer is not None and self._timer.active():
            _log.info("the drain is cut short")
            self._timer.cancel()
            self._end()

    def _end(self) -> None:
        self._ended.callback(None)


def heed_signals(reactor: IReactorFromThreads) -> Heed:
    """Impatience is another signal to stop. The reactor, which stops already, would fail at it."""

    def heed(call: Callable[[], object]) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: reactor.callFromThread(call))

    return heed
