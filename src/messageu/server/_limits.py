"""What all connections may use together: the one budget. Times are seconds, sizes are bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from itertools import takewhile
from math import ceil
from typing import Final, Generic, Protocol, TypeVar

from attrs import frozen

from ._settings import LEAST_LEASE, LimitSettings

CROWDED: Final = 0.8
"""The part of all connections above which the address that holds most is refused more."""

LEASED_AT_MOST: Final = 2
"""Times ``leased_messages``, above which an answer is given up: each may have a few messages, and
there can be very many answers."""

TRACKED_ADDRESSES: Final = 10_000
"""Addresses whose registrations are counted, and accounts whose requests are; beyond them the
longest quiet one is forgotten."""


PLACES: Final = ("connections", "v3_connections")
"""Settings that say how many connections of a kind there may be."""

RATES: Final = (
    "registrations_a_minute",
    "authentications_a_minute",
    "resolves_a_minute",
    "publishes_a_minute",
    "claims_a_minute",
    "claims_of_one_a_minute",
    "sends_a_minute",
)
"""Settings of which each has a token bucket for each key."""

READ_SIZES: Final = (4_096, 65_536)
"""Bytes that are read from a connection at once, at the least and at the most."""


class Evictable(Protocol):
    """A connection that can be told to give back what it holds.

    :ivar address: where it comes from.
    """

    address: str

    def evict(self) -> None:
        """Give up the frame that is not complete yet, and with it the connection."""

    def abort(self) -> None:
        """Give up the connection at once."""


Holder = TypeVar("Holder")


class Pool(Generic[Holder]):
    """Bytes that are held, and by whom; the one that has held some for longest stands first.

    :ivar limit: bytes that may be held in all.
    :ivar used: bytes that are held now.
    :ivar time: what is noted as the time of progress, in seconds. Somebody moves it on.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.time = 0.0
        self._held: dict[Holder, int] = {}
        self._since: dict[Holder, float] = {}

    @property
    def full(self) -> bool:
        """Whether more is held than may be."""
        return self.used > self.limit

    def held_by(self, holder: Holder) -> int:
        """Bytes that this one holds."""
        return self._held.get(holder, 0)

    def hold(self, holder: Holder, size: int) -> None:
        """From now on this one holds so many bytes: it keeps its place unless it is none."""
        self.used += size - self._held.get(holder, 0)
        if size:
            self._held[holder] = size
            self._since.setdefault(holder, self.time)
        else:
            self._held.pop(holder, None)
            self._since.pop(holder, None)

    def moved(self, holder: Holder) -> None:
        """This one, which holds some, has made progress: it goes to the end of the row."""
        self._held[holder] = self._held.pop(holder)
        self._since[holder] = self.time

    def first(self) -> Holder | None:
        """The one that has held bytes for longest without progress."""
        return next(iter(self._held), None)

    def stuck_since(self, before: float) -> list[Holder]:
        """Those that have held bytes without progress since before a time, the longest first."""
        stuck = takewhile(lambda holder: self._since[holder] < before, self._held)
        return list(stuck)


class Places:
    """How many connections of some kind there are, and from where.

    :ivar limit: how many there may be.
    :ivar taken: how many there are.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self._addresses: Counter[str] = Counter()

    @property
    def full(self) -> bool:
        """Whether there may be no more."""
        return self.taken >= self.limit

    def most_are_of(self, address: str) -> bool:
        """Whether there are many, and no address holds more of them than this one."""
        held = self._addresses.get(address, 0)
        crowded = self.taken >= self.limit * CROWDED
        return crowded and held > 1 and held == max(self._addresses.values())

    def take(self, address: str) -> None:
        """There is one more, from this address."""
        self.taken += 1
        self._addresses[address] = self._addresses.get(address, 0) + 1

    def leave(self, address: str) -> None:
        """One from this address is gone."""
        self.taken -= 1
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]


@frozen
class _Bucket:
    tokens: float
    at: float


class RateLimiter:
    """Token buckets, one for each key; a key that is not tracked has a full bucket.

    :param a_minute: how many a key may have each minute, and at once.
    """

    def __init__(self, a_minute: int, tracked: int = TRACKED_ADDRESSES) -> None:
        self._a_minute = a_minute
        self._size = a_minute
        self._tracked = tracked
        self._buckets: dict[Hashable, _Bucket] = {}

    def share_among(self, count: int) -> None:
        """So many have such buckets, and a key may go to all of them: each gives its share."""
        self._size = max(1, self._a_minute // count) if self._a_minute else 0

    @property
    def wait(self) -> int:
        """Seconds after which an empty bucket has a token again; a minute, if it never has."""
        return ceil(60 / self._size) if self._size else 60

    def take(self, key: Hashable, now: float) -> bool:
        """Take one token of this key's, if there is one."""
        bucket = self._buckets.pop(key, None) or _Bucket(self._size, now)
        tokens = min(self._size, bucket.tokens + (now - bucket.at) * self._size / 60)
        allowed = tokens >= 1
        self._buckets[key] = _Bucket(tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._tracked:
            del self._buckets[next(iter(self._buckets))]
        return allowed


class Limits:
    """The budget that every connection of a relay reserves from and gives back to.

    :ivar hits: how often each limit was met, by its name.
    :ivar on_hit: is called with the name of a limit and the address that has met it.
    :ivar requests: how many requests are not answered yet; whose connection is gone is counted
        until the store has done with it.
    :ivar leased: messages of answers in progress, until the store has ended their leases.
    """

    def __init__(self, settings: LimitSettings | None = None) -> None:
        self.settings = settings or LimitSettings()
        self.hits: Counter[str] = Counter()
        self.on_hit: Callable[[str, str], object] = lambda _limit, _address: None
        self.requests = 0
        self.leased = 0
        self._places = {name: Places(getattr(self.settings, name)) for name in PLACES}
        self._input: Pool[Evictable] = Pool(self.settings.input_bytes)
        self._output: Pool[Evictable] = Pool(self.settings.output_bytes)
        self._kept: Pool[Evictable] = Pool(LEASED_AT_MOST * self.settings.leased_messages)
        self._incomplete: dict[Evictable, None] = {}
        self._evicting = False
        self._rates = {name: RateLimiter(getattr(self.settings, name)) for name in RATES}

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return self._places["connections"].taken

    @property
    def connection_limit(self) -> int:
        """How many there may be at the most."""
        return self._places["connections"].limit

    @property
    def v3_connections(self) -> int:
        """How many of them are of v3."""
        return self._places["v3_connections"].taken

    @property
    def input_bytes(self) -> int:
        """Bytes of requests that are held between their arrival and their commit."""
        return self._input.used

    @property
    def output_bytes(self) -> int:
        """Bytes of answers that the kernel has not taken yet."""
        return self._output.used

    def hit(self, limit: str, address: str) -> None:
        """Somebody from this address has met a limit: count it, and say so."""
        self.hits[limit] += 1
        self.on_hit(limit, address)

    @property
    def read_size(self) -> int:
        """Bytes to read from a connection at once, so that as much from each is not too much.

        A power of two: it seldom changes.
        """
        share = self.settings.input_bytes // max(1, self.connections)
        least, most = READ_SIZES
        return max(least, min(most, 1 << (share.bit_length() - 1)))

    def lower_connections(self, limit: int) -> None:
        """There can be no more connections than this, whatever the settings say."""
        places = self._places["connections"]
        places.limit = min(places.limit, limit)

    def admit(
        self, address: str, *kinds: str, make_way: Callable[[], object] = lambda: None
    ) -> bool:
        """Whether one more connection from this address is accepted; if so it is counted.

        When there are many, the address that holds most of the connections gets no more.

        :param kinds: as what it counts beside ``connections``, of ``PLACES``.
        :param make_way: is called when all places are taken; perhaps one is free after that.
        """
        names = ("connections", *kinds)
        for name in names:
            places = self._places[name]
            if places.taken < places.limit * CROWDED:  # as nearly always: no more is asked then
                continue
            refused = places.most_are_of(address)
            if places.full and not refused:
                make_way()
            if refused or places.full:
                self.hit(name, address)
                return False
        for name in names:
            self._places[name].take(address)
        return True

    def leave(self, address: str, *kinds: str) -> None:
        """A connection from this address that was admitted is gone."""
        for name in ("connections", *kinds):
            self._places[name].leave(address)

    def admit_unknown(self, balancer: str) -> bool:
        """Whether one more connection is accepted that a balancer passes on, before it has said
        whose it is; if so it is counted, as nobody's."""
        places = self._places["connections"]
        if places.full:
            self.hit("connections", balancer)
            return False
        places.taken += 1
        return True

    def leave_unknown(self) -> None:
        """Such a connection is gone, or is about to be admitted as somebody's."""
        self._places["connections"].taken -= 1

    def hold_input(self, holder: Evictable, size: int, *, incomplete: bool) -> None:
        """This connection now holds so many bytes of requests.

        When all hold too much, the oldest frame that is not complete is given up; if there is
        none, the connection that asked for more.

        :param incomplete: whether some of them belong to a frame that is not complete.
        """
        if size <= self.settings.unreserved:
            size, incomplete = 0, False
        self._input.hold(holder, size)
        if incomplete:
            self._incomplete.setdefault(holder)
        else:
            self._incomplete.pop(holder, None)
        if self._input.full and not self._evicting:
            self._evict(holder)

    def _evict(self, holder: Evictable) -> None:
        # Who is evicted gives back at once, through hold_input. A few large pieces can cost a
        # great many small frames: that is a loop, for which a stack would not be deep enough.
        self._evicting = True
        while self._input.full and self._incomplete:
            oldest = next(iter(self._incomplete))
            del self._incomplete[oldest]
            self.hit("input_bytes", oldest.address)
            oldest.evict()
        self._evicting = False
        if self._input.full:
            self.hit("input_bytes", holder.address)
            holder.evict()

    def hold_output(self, holder: Evictable, size: int) -> None:
        """This connection now holds so many bytes of answers; fewer than before is progress.

        When all hold too much, the one without progress for longest is aborted.
        """
        if size < self._output.held_by(holder):
            self._output.moved(holder)
        self._output.hold(holder, size)
        if self._output.full:
            slowest = self._output.first() or holder
            self.hit("output_bytes", slowest.address)
            slowest.abort()

    def check_crowded(self, now: float, waiting: int) -> None:
        """Make room for so many answers that wait for a place among the streams.

        The readers that have made no progress for longest are aborted, as many as wait at the
        most, and only those that have made none for ``crowded_deadline``. This is called at
        regular times: what the readers do meanwhile counts as done when it was called last.
        """
        stuck = self._output.stuck_since(now - self.settings.crowded_deadline) if waiting else []
        for holder in stuck[:waiting]:
            self.hit("crowded_deadline", holder.address)
            holder.abort()
        self._output.time = now

    def lease_room(self, *, brief: bool) -> int:
        """How many messages one more answer may hold, which may be a brief one."""
        left = self.settings.leased_messages - self.leased
        return min(self.settings.answer_messages, LEAST_LEASE if brief else max(left, LEAST_LEASE))

    def keep_leased(self, holder: Evictable, count: int) -> None:
        """So many messages are on their way to this connection, and wait again if it breaks.

        When all have too many, the one that has had some for longest is aborted.
        """
        self._kept.hold(holder, count)
        while self._kept.full:
            oldest = self._kept.first() or holder
            self._kept.hold(oldest, 0)
            self.hit("leased_messages", oldest.address)
            oldest.abort()

    def share_among(self, relays: int) -> None:
        """What there may be so many of a minute holds for so many relays together."""
        for limiter in self._rates.values():
            limiter.share_among(relays)

    def may_register(self, address: str, now: float) -> bool:
        """Whether this address may register one more client now."""
        return self.take("registrations_a_minute", address, address, now) == 0

    def take(self, rate: str, key: Hashable, address: str, now: float) -> int:
        """Take one of what there may be so many of a minute, for each key.

        :param rate: its name in the settings, one of ``RATES``.
        :param address: where whoever asks comes from.
        :returns: 0, or after how many seconds there is one again.
        """
        limiter = self._rates[rate]
        if limiter.take(key, now):
            return 0
        self.hit(rate, address)
        return limiter.wait
