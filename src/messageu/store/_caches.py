"""What the SQL store remembers between transactions. Both change only after a commit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

CLIENT_KEYS_LIMIT: Final = 65_536
"""Clients whose integer key is remembered; about 200 bytes each."""

LAST_SEEN_LIMIT: Final = 65_536
"""Clients whose last request is remembered until it is written."""

LAST_SEEN_INTERVAL: Final = 5.0
"""Seconds between two writes of what was gathered, when something else is written anyway."""


class ClientKeys:
    """The integer keys of the clients that were last heard of, the longest unused dropped first.

    By their 16 bytes, which are hashed faster than what they are wrapped in.
    """

    def __init__(self, limit: int = CLIENT_KEYS_LIMIT) -> None:
        self._limit = limit
        self._keys: OrderedDict[bytes, int] = OrderedDict()

    def get(self, client_id: bytes) -> int | None:
        """The key, if it is remembered."""
        key = self._keys.get(client_id)
        if key is not None:
            self._keys.move_to_end(client_id)
        return key

    def update(self, learned: Mapping[bytes, int]) -> None:
        """Remember keys that are on the disk."""
        for client_id, key in learned.items():
            self._keys[client_id] = key
            self._keys.move_to_end(client_id)
        while len(self._keys) > self._limit:
            self._keys.popitem(last=False)


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
