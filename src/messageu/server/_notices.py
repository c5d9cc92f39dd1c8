"""What peers cause to be logged: a line for each peer and matter a minute, and never more than so
many, because whoever can write the log without end can fill the disk with it."""

from __future__ import annotations

from typing import Final

from attrs import define
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from messageu.store import StoreError
from messageu.wire import LocalProtocolError

from ._answers import AnswerBroken

NOTICE_INTERVAL: Final = 60.0
"""Seconds between two lines about the same."""

NOTICES_LIMIT: Final = 1_000
"""Different matters that have a line within that time; more are only counted."""


@define
class _Matter:
    since: float
    unsaid: int = 0


class Notices:
    """Logs what happens often, seldom."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._matters: dict[tuple[str, str], _Matter] = {}
        self._left_out = 0

    def note(self, who: str, what: str, level: LogLevel = LogLevel.info) -> None:
        """Somebody did, or met, something: log it, or count it for the next line.

        :param who: a name that may be logged.
        :param what: words of ours, of which there are few.
        """
        now = self._clock.seconds()
        matter = self._matters.get((who, what))
        if matter is None:
            self._make_room(now)
            if len(self._matters) >= NOTICES_LIMIT:
                self._left_out += 1
                return
            self._matters[who, what] = _Matter(now)
            self._say(level, who, what, 1)
        elif now - matter.since < NOTICE_INTERVAL:
            matter.unsaid += 1
        else:
            self._say(level, who, what, matter.unsaid + 1)
            # At the end of the row, which is in the order of the last lines.
            del self._matters[who, what]
            self._matters[who, what] = _Matter(now)

    def note_failure(self, failure: Failure, matter: str = "a request gets 9000") -> None:
        """Something could not be done, and this is what comes of it. A failure that is outside of
        the tree of errors is a bug, and logged each time."""
        if failure.check(StoreError, LocalProtocolError, AnswerBroken):
            self.note(matter, str(failure.value), LogLevel.warn)
        else:
            self._log.failure("a bug: {matter}", failure, matter=matter)

    def _make_room(self, now: float) -> None:
        while self._matters:
            oldest = next(iter(self._matters))
            matter = self._matters[oldest]
            if now - matter.since < NOTICE_INTERVAL:
                return
            if matter.unsaid:
                self._say(LogLevel.info, *oldest, matter.unsaid)
            del self._matters[oldest]
            if self._left_out:
                self._say(LogLevel.info, "others", "were left out of the log", self._left_out)
                self._left_out = 0

    def _say(self, level: LogLevel, who: str, what: str, times: int) -> None:
        self._log.emit(level, "{who}: {what} ({times})", who=who, what=what, times=times)
