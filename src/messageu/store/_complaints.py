"""What goes wrong in the store, a line a minute for each kind of it: a full disk fails one transaction
after the other, and the news of that should not fill another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define
from twisted.logger import Logger

COMPLAINT_INTERVAL: Final = 60.0
"""Seconds between two lines about the same."""

KINDS_LIMIT: Final = 100
"""Kinds of failures that are remembered; there are far fewer."""


@define
class _Kind:
    since: float
    unsaid: int = 0


class Complaints:
    """Logs failed operations: the first of a kind at once, and of the others how many they were.

    :param seconds: a clock; only differences count.
    """

    _log = Logger()

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def complain(self, name: str, error: str) -> None:
        """An operation of this name has failed, with this kind of error."""
        now = self._seconds()
        kind = self._kinds.get((name, error))
        if kind is not None and now - kind.since < COMPLAINT_INTERVAL:
            kind.unsaid += 1
            return
        self._say(name, error, 1 if kind is None else kind.unsaid + 1)
        self._kinds.pop((name, error), None)
        self._kinds[name, error] = _Kind(now)
        if len(self._kinds) > KINDS_LIMIT:
            self._forget(next(iter(self._kinds)))

    def say_rest(self) -> None:
        """Log what was only counted, and begin anew."""
        while self._kinds:
            self._forget(next(iter(self._kinds)))

    def _forget(self, which: tuple[str, str]) -> None:
        unsaid = self._kinds.pop(which).unsaid
        if unsaid:
            self._say(*which, unsaid)

    def _say(self, name: str, error: str, times: int) -> None:
        self._log.error(
            "the operation {name} failed: {error} ({times})", name=name, error=error, times=times
        )
