"""A relay is killed at each call that changes its disk, and started again: `kill -9` before the
call, and in the middle of it."""

from __future__ import annotations

import signal

from tests.torture import report, scaled

from .disk import Action
from .relays import CrashTestCase, spread

EVERY = 1_000_000
DRAINED_EVERY = 10
"""Runs after which all that waits is fetched, so that it does not slow the others down."""


class KillTests(CrashTestCase):
    """A relay that is killed again and again."""

    def setUp(self) -> None:
        super().setUp()
        self.kills = self.missed = 0

    def report(self, fault: str) -> None:
        """Keep what was found, of which nothing was wrong if we have come here."""
        self.assertGreater(self.kills, 0)
        report(
            fault,
            kills=self.kills,
            missed=self.missed,
            acknowledged=len(self.history.acknowledged),
            lost=0,
        )

    def measure(self) -> int:
        """The calls of one run of the clients without a fault."""
        before = self.disk.calls
        self.clients.run("measured")
        self.assertEqual((self.clients.refused, self.clients.broken), (0, 0))
        return self.disk.calls - before

    def was_killed(self) -> bool:
        """Whether the relay has met its end; it runs on when there were fewer calls this time."""
        assert self.relay is not None
        if not self.disk.hits:
            self.missed += 1
            self.disk.mend()
            return False
        self.assertEqual(self.relay.wait(), -signal.SIGKILL)
        self.disk.mend()
        self.kills += 1
        return True

    def test_at_work(self) -> None:
        """Killed at a call while clients register, send and fetch, it has all that it has
        acknowledged when it is started again, in order, and nothing that nobody has sent."""
        self.serve()
        self.clients.begin()
        calls = self.measure()
        for number, point in enumerate(spread(calls, scaled(10, EVERY))):
            for action in scaled([list(Action)[number % 2]], [Action.KILL, Action.TEAR]):
                self.disk.arm(point, action)
                self.clients.run(f"{action.name} {point}", until_broken=True)
                if self.was_killed():
                    self.serve()
                self.check()
            if number % DRAINED_EVERY == DRAINED_EVERY - 1:
                self.clients.drain()
        assert self.relay is not None
        self.relay.stop()
        self.check_database()
        self.report("killed at each write and sync of a workload")

    def test_while_it_starts_again(self) -> None:
        """Killed while it starts on what a kill has left, it loses nothing either."""
        self.serve()
        self.clients.begin()
        self.clients.run("first")
        self.relay.stop(signal.SIGKILL)
        point = 1
        while True:
            self.disk.arm(point, Action.TEAR if point % 2 else Action.KILL)
            try:
                self.serve()
            except RuntimeError:
                self.assertEqual(self.disk.hits, 1)
                self.kills += 1
                point += scaled(3, 1)
            else:
                break
        self.disk.mend()
        self.check()
        self.relay.stop()
        self.check_database()
        self.report("killed at each write and sync of a start after a kill")

    def test_while_it_stops(self) -> None:
        """Killed while it stops, it loses nothing either."""
        self.serve()
        self.clients.begin()
        point = 1
        while True:
            self.clients.run(f"stop {point}")
            self.disk.arm(point, Action.KILL if point % 2 else Action.TEAR)
            status = self.relay.stop()
            if not self.disk.hits:
                break
            self.assertEqual(status, -signal.SIGKILL)
            self.disk.mend()
            self.kills += 1
            point += scaled(12, 1)
            self.serve()
            self.check()
        self.check_database()
        self.report("killed at each write and sync of a stop")

    def test_while_it_is_made(self) -> None:
        """Killed while it makes its database, it makes it when it is started again."""
        point, ended = 1, False
        while not ended:
            self.new_disk()
            self.disk.arm(point, Action.TEAR if point % 2 else Action.KILL)
            try:
                self.serve()
                ended = True
            except RuntimeError:
                self.assertEqual(self.disk.hits, 1)
                self.kills += 1
                self.disk.mend()
                self.serve()
            self.disk.mend()
            self.clients.begin()
            self.clients.run("first")
            self.assertEqual((self.clients.refused, self.clients.broken), (0, 0))
            self.check()
            self.relay.stop(signal.SIGKILL)
            point += scaled(25, 1)
        self.report("killed at each write and sync of the making of a database")
