"""The part of a load that is measured: when to send on which connection, and what is written down."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from messageu.wire import v2

from ._connection import AnswerMakesNoSense, LoadConnection
from ._frames import Frames
from ._pace import Pace
from ._plan import Plan
from ._timeline import Interval, Timeline

GRACE: Final = 10.0
"""Seconds for the last answers."""

FINEST: Final = 0.001
"""Seconds between two looks at what is due. What was due meanwhile is measured from when it was."""

COMPLAINTS_LIMIT: Final = 8
"""Kinds of complaints that are kept."""

_MICRO: Final = 1_000_000


class Driver:
    """Sends on all connections, until the time is up and the last answer is there.

    :param now: seconds, for what is measured.
    :ivar finished: fires when nothing more will come.
    """

    def __init__(
        self, plan: Plan, frames: Frames, clock: IReactorTime, now: Callable[[], float]
    ) -> None:
        self._plan = plan
        self._frames = frames
        self._clock = clock
        self._now = now
        self._connections: set[LoadConnection] = set()
        self._idle: deque[LoadConnection] = deque()
        self._outstanding = 0
        self._complaints: Counter[str] = Counter()
        self._ticking: IDelayedCall | None = None
        self._ending: IDelayedCall | None = None
        self._pace: Pace | None = None
        self._measured_from = self._ends = 0.0
        self._next = 0
        self.timeline = Timeline(plan.seconds)
        self.everything = Interval()
        self.finished: Deferred[None] = Deferred()

    @property
    def seconds(self) -> float:
        """How long it was measured until now."""
        return max(0.0, min(self._now(), self._ends) - self._measured_from)

    @property
    def stage(self) -> str:
        """How far it is, in words."""
        if self._now() < self._measured_from:
            return "warming up"
        return f"{self.seconds:.0f} of {self._plan.seconds:g} s"

    @property
    def unsent(self) -> int:
        """Requests that are due, and wait for a connection."""
        return 0 if self._pace is None else self._pace.due(self._ends)

    @property
    def complaints(self) -> tuple[str, ...]:
        """What went wrong, and how often."""
        return tuple(f"{why} ({count} ×)" for why, count in self._complaints.items())

    def start(self, connections: list[LoadConnection]) -> None:
        """Begin."""
        plan, now = self._plan, self._now()
        self._connections.update(connections)
        self._measured_from = now + plan.warmup
        self._ends = self._measured_from + plan.seconds
        self._ending = self._clock.callLater(plan.warmup + plan.seconds, self.end)
        if plan.rate is None:
            for connection in connections:
                self.free(connection)
            return
        self._pace = Pace(plan.rate, now, self._ends)
        self._idle.extend(connections)
        for connection in connections:
            connection.idle = True
        self._tick()

    def end(self) -> None:
        """Send nothing more, and wait for the answers."""
        self._ends = min(self._ends, self._now())
        if self._pace is not None:
            self._pace.ends = self._ends
        self._stop(self._ending)
        self._ending = self._clock.callLater(GRACE, self._give_up)
        self._finish_if_done()

    # What connections tell.

    def answered(
        self, connection: LoadConnection, due: float, mailbox: int, event: v2.ResponseEvent
    ) -> None:
        now = self._now()
        interval = self._interval(now)
        if isinstance(event, v2.Stored):
            if event.recipient != self._frames.users[mailbox]:
                raise AnswerMakesNoSense("a 2103 for somebody else")
            self.everything.stored += 1
            if interval is not None:
                interval.stored += 1
                interval.latencies.record(int((now - due) * _MICRO))
        elif isinstance(event, v2.GeneralError):
            self.everything.refused += 1
            if interval is not None:
                interval.refused += 1
        else:
            raise AnswerMakesNoSense("an answer to another request")
        self._outstanding -= 1

    def free(self, connection: LoadConnection) -> None:
        now = self._now()
        while len(connection.waiting) < self._plan.in_flight:
            due = self._due(now)
            if due is None:
                self._rest(connection)
                break
            self._send(connection, due, now)
        self._finish_if_done()

    def lost(self, connection: LoadConnection, why: str) -> None:
        count = len(connection.waiting)
        self._connections.discard(connection)
        self._complain(why)
        self.everything.lost += count
        interval = self._interval(self._now())
        if interval is not None:
            interval.lost += count
        self._outstanding -= count
        if not self._connections:
            self._complain("no connection was left")
            self.end()
        self._finish_if_done()

    # Inside.

    def _due(self, now: float) -> float | None:
        if now >= self._ends:
            return None
        if self._pace is None:
            return now
        return self._pace.take() if self._pace.due(now) else None

    def _send(self, connection: LoadConnection, due: float, now: float) -> None:
        mailbox = (connection.number + connection.issued) % self._plan.mailboxes
        self.everything.sent += 1
        interval = self._interval(now)
        if interval is not None:
            interval.sent += 1
        self._outstanding += 1
        connection.send(self._frames.send(mailbox), due, mailbox)

    def _rest(self, connection: LoadConnection) -> None:
        if self._pace is not None and not connection.idle:
            connection.idle = True
            self._idle.append(connection)

    def _tick(self) -> None:
        pace = self._pace
        now = self._now()
        if pace is None or now >= self._ends:
            return
        for _ in range(min(pace.due(now), len(self._idle) * self._plan.in_flight)):
            connection = self._idle.popleft()
            connection.idle = False
            if connection in self._connections and len(connection.waiting) < self._plan.in_flight:
                self._send(connection, pace.take(), now)
                if len(connection.waiting) < self._plan.in_flight:
                    self._rest(connection)
            if not self._idle:
                break
        wait = FINEST if pace.due(now) else max(FINEST, pace.next_at() - self._now())
        self._ticking = self._clock.callLater(wait, self._tick)

    def _interval(self, now: float) -> Interval | None:
        second = now - self._measured_from
        return None if second < 0 else self.timeline.at(second)

    def _complain(self, why: str) -> None:
        if why in self._complaints or len(self._complaints) < COMPLAINTS_LIMIT:
            self._complaints[why] += 1

    def _give_up(self) -> None:
        if self._outstanding:
            self._complain(f"answers had not come {GRACE:g} seconds after the end")
            self.everything.lost += self._outstanding
            self.timeline.at(self._now() - self._measured_from).lost += self._outstanding
            self._outstanding = 0
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._outstanding or self._now() < self._ends or self.finished.called:
            return
        self._stop(self._ending)
        self._stop(self._ticking)
        for connection in self._connections:
            connection.leave()
        self.finished.callback(None)

    @staticmethod
    def _stop(call: IDelayedCall | None) -> None:
        if call is not None and call.active():
            call.cancel()
