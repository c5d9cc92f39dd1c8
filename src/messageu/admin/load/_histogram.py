"""How long things took, in little room: the buckets of the benchmarks' generator
(``benchmarks/load/histogram.h``), which are as wide as a part of their value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

SUB_BITS: Final = 6
SUB_BUCKETS: Final = 1 << SUB_BITS
HALF: Final = SUB_BUCKETS // 2

LONGEST: Final = (1 << 40) - 1
"""Microseconds; what is longer counts as this. So there are at most 1,152 buckets."""


def bucket_of(value: int) -> int:
    """The bucket of a value of 0 or more."""
    shift = max(0, value.bit_length() - SUB_BITS)
    return shift * HALF + (value >> shift)


def value_of(bucket: int) -> int:
    """The middle of a bucket: off by 1.6 % of what is in it at the most."""
    shift = max(0, bucket // HALF - 1)
    return ((bucket - shift * HALF) << shift) + ((1 << shift) >> 1)


class Histogram:
    """How often something took so many microseconds."""

    __slots__ = ("_counts", "maximum", "total")

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.total = 0
        self.maximum = 0

    def record(self, microseconds: int) -> None:
        """It took this, once."""
        value = min(max(0, microseconds), LONGEST)
        self._counts[bucket_of(value)] += 1
        self.total += 1
        if value > self.maximum:
            self.maximum = value

    def add(self, other: Histogram) -> None:
        """Take what another has counted."""
        self._counts.update(other._counts)
        self.total += other.total
        self.maximum = max(self.maximum, other.maximum)

    def percentile(self, part: float) -> int:
        """What this part of all values (0 to 1) does not exceed; 0 when there are none."""
        wanted, seen = int(self.total * part), 0
        for bucket, count in self._sorted():
            seen += count
            if seen > wanted:
                return min(value_of(bucket), self.maximum)
        return self.maximum

    def buckets(self) -> Iterator[tuple[int, int]]:
        """The middles of those that are not empty, rising, and how much is in them."""
        for bucket, count in self._sorted():
            yield value_of(bucket), count

    def _sorted(self) -> list[tuple[int, int]]:
        return sorted(self._counts.items())
