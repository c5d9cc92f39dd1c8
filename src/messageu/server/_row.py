"""Answers leave in the order of their requests, whatever the order in which they are ready."""

from __future__ import annotations

from collections import deque

from attrs import define


@define(eq=False)
class Place:
    """The place of one answer. ``size``: bytes that its request holds until the answer is there."""

    size: int
    answer: bytes | None = None


class AnswerRow:
    """The requests of one connection that are not answered yet, oldest first.

    :ivar waiting: how many they are.
    :ivar held: bytes that they hold.
    """

    __slots__ = ("_places", "held", "waiting")

    def __init__(self) -> None:
        self._places: deque[Place] = deque()
        self.waiting = 0
        self.held = 0

    @property
    def first(self) -> Place | None:
        """The place whose answer is to leave next."""
        return self._places[0] if self._places else None

    def add(self, size: int) -> Place:
        """A place at the end, for a request that holds so many bytes."""
        place = Place(size)
        self._places.append(place)
        self.waiting += 1
        self.held += size
        return place

    def fill(self, place: Place, answer: bytes) -> bytes:
        """Put an answer into its place; all that may leave now, in order."""
        self.held -= place.size
        place.answer = answer
        places = self._places
        ready: list[bytes] = []
        while places and (first := places[0].answer) is not None:
            places.popleft()
            ready.append(first)
        self.waiting -= len(ready)
        return ready[0] if len(ready) == 1 else b"".join(ready)
