"""Percentiles out of buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.admin.load import Histogram
from messageu.admin.load._histogram import LONGEST, bucket_of, value_of

VALUES = st.lists(st.integers(0, 10**9) | st.integers(0, 200), min_size=1, max_size=200)
ERROR = 1 / 64
BUCKETS = 1152


def histogram_of(values: list[int]) -> Histogram:
    """One that was told all of these."""
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


class BucketTests(SynchronousTestCase):
    """Where a value goes."""

    @given(st.integers(0, LONGEST))
    def test_close(self, value: int) -> None:
        """The middle of a bucket is off by a 64th of each value in it at the most."""
        self.assertLessEqual(abs(value_of(bucket_of(value)) - value), value * ERROR)

    @given(st.integers(0, LONGEST - 1))
    def test_rising(self, value: int) -> None:
        """A larger value is never in a lower bucket, and no bucket is left out."""
        self.assertIn(bucket_of(value + 1) - bucket_of(value), (0, 1))

    def test_bounded(self) -> None:
        """There are as many buckets as is said, however long something takes."""
        self.assertEqual(bucket_of(LONGEST), BUCKETS - 1)
        histogram = histogram_of([-5, LONGEST * 1000])
        self.assertEqual(next(value for value, _ in histogram.buckets()), 0)
        self.assertEqual(histogram.maximum, LONGEST)


class PercentileTests(SynchronousTestCase):
    """What a part of all values does not exceed."""

    @given(VALUES, st.floats(0, 1))
    def test_like_sorting(self, values: list[int], part: float) -> None:
        """A percentile is, within a bucket, what stands there when all values are sorted."""
        exact = sorted(values)[min(int(len(values) * part), len(values) - 1)]
        found = histogram_of(values).percentile(part)
        self.assertLessEqual(abs(found - exact), exact * ERROR)
        self.assertLessEqual(found, max(values))

    @given(VALUES)
    def test_largest(self, values: list[int]) -> None:
        """The largest is exact, and the count is right."""
        histogram = histogram_of(values)
        self.assertEqual(histogram.maximum, max(values))
        self.assertEqual(histogram.total, len(values))
        self.assertEqual(sum(count for _, count in histogram.buckets()), len(values))

    @given(VALUES, VALUES)
    def test_added(self, some: list[int], others: list[int]) -> None:
        """Two together tell what one would that was told everything."""
        both = histogram_of(some)
        both.add(histogram_of(others))
        whole = histogram_of(some + others)
        self.assertEqual(list(both.buckets()), list(whole.buckets()))
        self.assertEqual((both.total, both.maximum), (whole.total, whole.maximum))

    def test_nothing(self) -> None:
        """Of nothing, it is 0."""
        self.assertEqual(Histogram().percentile(0.99), 0)
