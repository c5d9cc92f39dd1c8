"""When requests are due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.admin.load import Pace, Timeline
from messageu.admin.load._timeline import INTERVALS_LIMIT, LATE_LIMIT


class PaceTests(SynchronousTestCase):
    """An open loop."""

    @given(st.floats(0.5, 5000), st.lists(st.floats(0, 12), max_size=30))
    def test_none_is_left_out(self, rate: float, looks: list[float]) -> None:
        """However late it is looked at, all that is due is begun, each measured from its own time,
        and nothing before."""
        pace, taken = Pace(rate, 100.0, 110.0), []
        for now in [100.0 + each for each in sorted(looks)] + [111.0]:
            while pace.due(now) and len(taken) < 2000:
                taken.append(pace.take())
                self.assertLessEqual(taken[-1], now + 1e-6)
        self.assertEqual(taken, [100.0 + number / rate for number in range(len(taken))])
        if len(taken) < 2000:
            self.assertLessEqual(abs(len(taken) - 10.0 * rate), 1.01)

    def test_before(self) -> None:
        """Before it begins nothing is due, and at its beginning the first one is."""
        pace = Pace(10.0, 5.0, 6.0)
        self.assertEqual([pace.due(4.0), pace.due(5.0), pace.due(5.55)], [0, 1, 6])


class TimelineTests(SynchronousTestCase):
    """Stretches of time."""

    @given(st.floats(0.1, 86_400), st.floats(0, 10**6))
    def test_bounded(self, seconds: float, second: float) -> None:
        """There are never more of them than is said, whatever comes when."""
        timeline = Timeline(seconds)
        timeline.at(second).sent += 1
        self.assertLessEqual(len(list(timeline)), INTERVALS_LIMIT + LATE_LIMIT)
        self.assertEqual(timeline.sum().sent, 1)

    def test_places(self) -> None:
        """Each second is in the stretch that holds it."""
        timeline = Timeline(100.0)
        timeline.at(0.2).stored += 1
        timeline.at(2.9).stored += 2
        self.assertEqual([(at, each.stored) for at, each in timeline], [(0, 1), (1, 0), (2, 2)])
