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

    :ivar held: bytes that these requests hold.
    """

    __slots__ = ("_places", "held")

    def __init__(self) -> None:
        self._places: deque[Place] = deque()
        self.held = 0

    def __len__(self) -> int:
        return len(self._places)

    @property
    def first(self) -> Place | None:
        """The place whose answer is to leave next."""
        return self._places[0] if self._places else None

    def add(self, size: int) -> Place:
        """A place at the end, for a request that holds so many bytes."""
        place = Place(size)
        self._places.append(place)
        self.held += size
        return place

    def fill(self, place: Place, answer: bytes) -> bytes:
        """Put an answer into its place; all that may leave now, in order."""
        self.held -= place.size
        place.answer = answer
        ready: list[bytes] = []
        while self._places and (first := self._places[0].answer) is not None:
            self._places.popleft()
            ready.append(first)
        return b"".join(ready)
