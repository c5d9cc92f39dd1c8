"""What the SQL store remembers between transactions. Both change only after a commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

CLIENT_KEYS_LIMIT: Final = 65_536
"""Clients whose integer key is remembered; about 200 bytes each."""

SEQUENCES_RESERVED: Final = 4_096
"""Sequences that are reserved with one write."""

LAST_SEEN_LIMIT: Final = 65_536
"""Clients whose last request is remembered until it is written."""

LAST_SEEN_INTERVAL: Final = 5.0
"""Seconds between two writes of what was gathered, when something else is written anyway."""


class ClientKeys:
    """The integer keys of clients that were heard of lately.

    By their 16 bytes, which are hashed faster than what they are wrapped in. There are two
    generations: when the younger one has half of what may be remembered, it becomes the older
    one, and what was in that and not asked for since is forgotten. To ask costs no more than one
    look, which a row in the order of use would double.
    """

    def __init__(self, limit: int = CLIENT_KEYS_LIMIT) -> None:
        self._half = limit // 2
        self._younger: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}

    def get(self, client_id: bytes) -> int | None:
        """The key, if it is remembered."""
        key = self._younger.get(client_id)
        if key is None:
            key = self._older.get(client_id)
            if key is not None:
                self._remember(client_id, key)
        return key

    def update(self, learned: Mapping[bytes, int]) -> None:
        """Remember keys that are on the disk."""
        for client_id, key in learned.items():
            self._remember(client_id, key)

    def _remember(self, client_id: bytes, key: int) -> None:
        if len(self._younger) >= self._half:
            self._younger, self._older = {}, self._younger
        self._younger[client_id] = key


class Sequences:
    """Sequences that are reserved on the disk, and given out without a write for each.

    What is left of a block when the process ends is never used. A block whose reservation is
    undone must be forgotten.
    """

    def __init__(self) -> None:
        self._next = self._end = 0

    def take(self, count: int) -> int | None:
        """The first of so many that follow one another; None when too few are left."""
        if self._end - self._next < count:
            return None
        first = self._next
        self._next += count
        return first

    def add(self, first: int, end: int) -> None:
        """These were reserved, in place of what was left."""
        self._next, self._end = first, end

    def forget(self) -> None:
        """Give out none of what is left."""
        self._next = self._end = 0


class LastSeen:
    """When clients were last heard of, by their key, gathered until it is written.

    Above its limit nobody new is gathered until the next write: it is a courtesy, no promise.

    :ivar seconds: a clock; only differences count.
    """

    def __init__(self, seconds: Callable[[], float], limit: int = LAST_SEEN_LIMIT) -> None:
        self._seconds = seconds
        self._limit = limit
        self._gathered: dict[int, float] = {}
        self._next_write = seconds() + LAST_SEEN_INTERVAL

    @property
    def gathered(self) -> Mapping[int, float]:
        """Keys of clients, and wall-clock seconds since the epoch."""
        return self._gathered

    def is_due(self) -> bool:
        """Whether a transaction that writes anyway should write this too."""
        if not self._gathered:
            return False
        return len(self._gathered) * 2 >= self._limit or self._seconds() >= self._next_write

    def gather(self, seen: Mapping[int, float]) -> None:
        """Add what was seen."""
        for key, time in seen.items():
            if key in self._gathered or len(self._gathered) < self._limit:
                self._gathered[key] = time

    def written(self, seen: Mapping[int, float]) -> None:
        """Forget what is on the disk, unless there is something newer."""
        self._next_write = self._seconds() + LAST_SEEN_INTERVAL
        for key, time in seen.items():
            if self._gathered.get(key) == time:
                del self._gathered[key]
