"""Who was last busy: a bounded row, so that only so many keep what they need to be quick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

RECENT_SESSIONS: Final = 512
"""Connections that keep their session while they rest; about 1.2 KiB each. Another that speaks
again gets a new one, which takes some 10 µs."""

Member = TypeVar("Member")


class Recent(Generic[Member]):
    """Remembers so many members, the one that was busy last at the end.

    :param make_way: is called with the one that was quiet for longest when there are too many.
    """

    def __init__(self, limit: int, make_way: Callable[[Member], None]) -> None:
        self._limit = limit
        self._make_way = make_way
        self._row: dict[Member, None] = {}

    def touch(self, member: Member) -> None:
        """This one was busy until now."""
        self._row.pop(member, None)
        self._row[member] = None
        if len(self._row) > self._limit:
            first = next(iter(self._row))
            del self._row[first]
            self._make_way(first)

    def forget(self, member: Member) -> None:
        """This one is gone."""
        self._row.pop(member, None)
