"""Turns: whoever has kept the relay busy is not served before others had their turn.

All connections share one thread. Few bytes can be much work: a handshake, a thousand requests that
are answered at once, a thousand records of one byte. Without turns each turn of the reactor would
last as long as all that everybody has sent, and whoever asks seldom would wait for it each time.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

ROUND: Final = 0.01
"""Seconds of work that are let in during one turn of the reactor."""


class Guest(Protocol):
    """Whoever takes turns."""

    def wake(self) -> None:
        """It is your turn: do a little."""


class Turns:
    """Those whose turn it is not, in the order in which it will be.

    :ivar clock: only differences of its times count.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self._row: deque[tuple[Guest, float]] = deque()
        self._next: IDelayedCall | None = None

    def wait(self, guest: Guest, work: float) -> None:
        """Let this one, which does not wait, wait for a turn.

        :param work: how much that is thought to be, in seconds.
        """
        self._row.append((guest, work))
        self._schedule()

    def _schedule(self) -> None:
        if self._next is None:
            self._next = self.clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._next = None
        left = ROUND
        while self._row and left > 0:
            guest, work = self._row.popleft()
            left -= work
            guest.wake()
        if self._row:
            self._schedule()
