"""What the SQL store remembers between transactions. Both change only after a commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

CLIENT_KEYS_LIMIT: Final = 65_536
"""Clients whose integer key is remembered; about 200 bytes each."""

USAGE_LIMIT: Final = 16_384
"""Mailboxes whose usage is remembered; about 150 bytes each."""

SEQUENCES_RESERVED: Final = 4_096
"""Sequences that are reserved with one write."""

LAST_SEEN_LIMIT: Final = 65_536
"""Clients whose last request is remembered until it is written."""

LAST_SEEN_INTERVAL: Final = 5.0
"""Seconds between two writes of what was gathered, when something else is written anyway."""


class Remembered(Generic[K, V]):
    """What was needed lately.

    There are two generations: when the younger one has half of what may be remembered, it becomes
    the older one, and what was in that and not asked for since is forgotten. To ask costs no more
    than one look, which a row in the order of use would double.
    """

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._younger: dict[K, V] = {}
        self._older: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """What belongs to a key, if it is remembered."""
        value = self._younger.get(key)
        if value is None:
            value = self._older.get(key)
            if value is not None:
                self.remember(key, value)
        return value

    def remember(self, key: K, value: V) -> None:
        """This belongs to that."""
        if len(self._younger) >= self._half:
            self._younger, self._older = {}, self._younger
        self._younger[key] = value

    def forget(self, key: K) -> None:
        """It has changed."""
        self._younger.pop(key, None)
        self._older.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._younger, self._older = {}, {}


class ClientKeys(Remembered[bytes, int]):
    """The integer keys of clients that were heard of lately.

    By their 16 bytes, which are hashed faster than what they are wrapped in.
    """

    def __init__(self, limit: int = CLIENT_KEYS_LIMIT) -> None:
        super().__init__(limit)

    def update(self, learned: Mapping[bytes, int]) -> None:
        """Remember keys that are on the disk."""
        for client_id, key in learned.items():
            self.remember(client_id, key)


class MailboxUsage(Remembered[int, tuple[int, int]]):
    """How many messages and bytes of a mailbox are in the index, by its owner's key."""

    def __init__(self, limit: int = USAGE_LIMIT) -> None:
        super().__init__(limit)


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


class LastSeen(Generic[K]):
    """When clients were last heard of, by a key of theirs, gathered until it is written.

    Above its limit nobody new is gathered until the next write: it is a courtesy, no promise.

    :ivar seconds: a clock; only differences count.
    """

    def __init__(self, seconds: Callable[[], float], limit: int = LAST_SEEN_LIMIT) -> None:
        self._seconds = seconds
        self._limit = limit
        self._gathered: dict[K, float] = {}
        self._next_write = seconds() + LAST_SEEN_INTERVAL

    @property
    def gathered(self) -> Mapping[K, float]:
        """Keys of clients, and wall-clock seconds since the epoch."""
        return self._gathered

    def is_due(self) -> bool:
        """Whether a transaction that writes anyway should write this too."""
        if not self._gathered:
            return False
        return len(self._gathered) * 2 >= self._limit or self._seconds() >= self._next_write

    def gather(self, seen: Mapping[K, float]) -> None:
        """Add what was seen."""
        for key, time in seen.items():
            if key in self._gathered or len(self._gathered) < self._limit:
                self._gathered[key] = time

    def written(self, seen: Mapping[K, float]) -> None:
        """Forget what is on the disk, unless there is something newer."""
        self._next_write = self._seconds() + LAST_SEEN_INTERVAL
        for key, time in seen.items():
            if self._gathered.get(key) == time:
                del self._gathered[key]
