"""What happened in each stretch of a load."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any, Final

from attrs import Factory, define, frozen

from ._histogram import Histogram

INTERVALS_LIMIT: Final = 100
"""Stretches in which a load is told; those after its end, in which late answers come, aside."""

LATE_LIMIT: Final = 8
"""Of those after the end; what comes later counts in the last."""

WIDTHS: Final = (0.05, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
"""Seconds that a stretch may have."""

PERCENTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@define
class Interval:
    """One stretch: what was sent, how much was answered how fast, and what went wrong in it.

    :ivar lost: requests whose connection ended before the answer.
    """

    sent: int = 0
    stored: int = 0
    refused: int = 0
    lost: int = 0
    latencies: Histogram = Factory(Histogram)

    def add(self, other: Interval) -> None:
        """Take what another has counted."""
        self.sent += other.sent
        self.stored += other.stored
        self.refused += other.refused
        self.lost += other.lost
        self.latencies.add(other.latencies)

    def numbers(self) -> dict[str, int]:
        """As plain values; times in microseconds."""
        return {
            "sent": self.sent,
            "stored": self.stored,
            "refused": self.refused,
            "lost": self.lost,
            **{name: self.latencies.percentile(part) for name, part in PERCENTILES.items()},
            "max": self.latencies.maximum,
        }


class Timeline:
    """Stretches of equal width, from 0 on.

    :ivar width: seconds of each.
    """

    def __init__(self, seconds: float) -> None:
        self.width = next(
            (width for width in WIDTHS if seconds <= width * INTERVALS_LIMIT), WIDTHS[-1]
        )
        self._limit = ceil(seconds / self.width) + LATE_LIMIT
        self._intervals: list[Interval] = []

    def at(self, second: float) -> Interval:
        """The stretch in which this second is."""
        place = min(max(0, int(second / self.width)), self._limit - 1)
        while len(self._intervals) <= place:
            self._intervals.append(Interval())
        return self._intervals[place]

    def __iter__(self) -> Iterator[tuple[float, Interval]]:
        """When each begins, and what it holds."""
        for place, interval in enumerate(self._intervals):
            yield place * self.width, interval

    def sum(self) -> Interval:
        """All of them together."""
        whole = Interval()
        for interval in self._intervals:
            whole.add(interval)
        return whole


@frozen
class Measured:
    """What a load has found.

    :ivar seconds: that were measured.
    :ivar everything: with the warm-up, what the relay has counted as well.
    :ivar unsent: requests that were due, and could not be sent until the end.
    :ivar taken_back: messages that were fetched again, so that they do not stay.
    :ivar interrupted: whether it was ended early.
    :ivar users: the beginning of the names of those that stay registered.
    """

    seconds: float
    timeline: Timeline
    everything: Interval
    unsent: int
    taken_back: int
    interrupted: bool
    users: str
    complaints: tuple[str, ...] = ()

    @property
    def whole(self) -> Interval:
        """All that was measured."""
        return self.timeline.sum()

    @property
    def rate(self) -> float:
        """Messages stored a second."""
        return self.whole.stored / self.seconds if self.seconds else 0.0

    @property
    def clean(self) -> bool:
        """Whether every request was answered as it should be, and everything came back."""
        everything = self.everything
        return not (
            everything.refused
            or everything.lost
            or self.complaints
            or self.taken_back != everything.stored
        )

    def as_json(self) -> dict[str, Any]:
        """As plain values. Times are microseconds, but for ``seconds``, ``width`` and ``at``."""
        whole, everything = self.whole, self.everything
        return {
            "seconds": self.seconds,
            "rate": self.rate,
            "measured": whole.numbers(),
            "with_warmup": {
                name: everything.numbers()[name] for name in ("sent", "stored", "refused", "lost")
            },
            "unsent": self.unsent,
            "taken_back": self.taken_back,
            "interrupted": self.interrupted,
            "users": self.users,
            "complaints": list(self.complaints),
            "width": self.timeline.width,
            "timeline": [{"at": at, **each.numbers()} for at, each in self.timeline],
            "histogram": [list(each) for each in whole.latencies.buckets()],
        }
