"""Answers leave in the order of their requests, whatever the order in which they are ready."""

from __future__ import annotations

from typing import Protocol

from attrs import define


class Tally(Protocol):
    """Counts the requests of all connections that are not answered yet."""

    requests: int


@define(eq=False)
class Place:
    """The place of the answers to ``count`` requests, which hold ``size`` bytes until then."""

    size: int
    count: int
    answer: bytes | None = None


class AnswerRow:
    """The requests of one connection that are not answered yet, oldest first.

    :param tally: counts them, too.
    :ivar waiting: how many they are.
    :ivar held: bytes that they hold.
    """

    __slots__ = ("_places", "_tally", "held", "waiting")

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._places: list[Place] = []  # smaller than a deque, and never long
        self.waiting = 0
        self.held = 0

    @property
    def first(self) -> Place | None:
        """The place whose answer is to leave next."""
        return self._places[0] if self._places else None

    def add(self, size: int, count: int = 1) -> Place:
        """A place at the end, for so many requests, which hold so many bytes together."""
        place = Place(size, count)
        self._places.append(place)
        self.waiting += count
        self._tally.requests += count
        self.held += size
        return place

    def fill(self, place: Place, answer: bytes) -> bytes:
        """Put an answer into its place; all that may leave now, in order."""
        self.held -= place.size
        place.answer = answer
        places = self._places
        ready: list[bytes] = []
        while places and (first := places[0].answer) is not None:
            count = places.pop(0).count
            self.waiting -= count
            self._tally.requests -= count
            ready.append(first)
        return ready[0] if len(ready) == 1 else b"".join(ready)
