"""When something was done for whom, and for how long nothing was."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from time import monotonic


class Progress:
    """The times at which somebody was served, by the clock that all processes of a machine share."""

    def __init__(self) -> None:
        self._times: dict[object, list[float]] = defaultdict(list)

    def note(self, who: object, time: float | None = None) -> None:
        """Somebody was served, now or then; times only grow."""
        self._times[who].append(monotonic() if time is None else time)

    def count(self, since: float = 0.0, until: float = float("inf")) -> int:
        """How often anybody was, within a time."""
        return sum(
            bisect_right(times, until) - bisect_right(times, since)
            for times in self._times.values()
        )

    def all_since(self, who: Iterable[object], time: float) -> bool:
        """Whether each of these was served after a time."""
        return all(self._times[each] and self._times[each][-1] > time for each in who)

    def gaps(self, begin: float, end: float) -> Mapping[object, float]:
        """The longest time, in seconds, in which somebody was not served, of those that ended in
        an interval."""
        found: dict[object, float] = {}
        for who, times in self._times.items():
            first = bisect_right(times, begin)
            ended = times[max(0, first - 1) : bisect_right(times, end)]
            pauses = [later - earlier for earlier, later in pairwise(ended)]
            found[who] = max(pauses, default=0.0)
        return found
