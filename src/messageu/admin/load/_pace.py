"""When requests are due, without a clock."""

from __future__ import annotations

from attrs import define, field


@define
class Pace:
    """So many a second, whatever becomes of those before: an open loop.

    A request is measured from when it was due. One that had to wait for a connection, because the
    relay answered others late, has waited: leaving that out would call a relay fast that hangs.

    :ivar began: when the first was due.
    :ivar ends: from when on none is due any more.
    :ivar taken: requests that were begun; the rest of those due is held as a number, not as a list.
    """

    rate: float
    began: float
    ends: float
    taken: int = field(default=0)

    def due(self, now: float) -> int:
        """How many are due by now, and not begun."""
        elapsed = min(now, self.ends) - self.began
        if elapsed < 0:
            return 0
        count = int(elapsed * self.rate) + (now < self.ends)
        return max(0, count - self.taken)

    def take(self) -> float:
        """Begin the next one; when it was due."""
        at = self.next_at()
        self.taken += 1
        return at

    def next_at(self) -> float:
        """When the next one that is not begun is, or was, due."""
        return self.began + self.taken / self.rate
