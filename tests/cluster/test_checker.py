"""What a cluster is checked with notices relays that break a promise."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from unittest import skipUnless

from tests.processes.children import COMMANDS, one_port
from tests.torture import FULL

from .case import ClusterTestCase
from .test_cluster import LONG

BROKEN = Path(__file__).resolve().with_name("broken.py")


@skipUnless(FULL, LONG)
class CheckerTests(ClusterTestCase):
    """Relays that are broken on purpose.

    :cvar times: how often they meet what they break at. Each time it is the batch that waits for the
        standby then, one of each connection: what is in it is decided by chance.
    """

    patience = 10.0
    times = 1
    broken: str | None = None
    query = ""

    def command(self, way: str, *options: str, before: tuple[str, ...] = ()) -> list[str]:
        if self.broken is None:
            return super().command(way, *options, before=before)
        own = COMMANDS[way][1:]
        return [
            *(sys.executable, str(BROKEN), self.broken, *own),
            *(*before, "messageu", *one_port(options)),
        ]

    def relay_options(self) -> Sequence[str]:
        return ("--database", f"{self.pair.address}{self.query}")

    def lose_what_was_acknowledged(self) -> None:
        """There is no standby for a while, and then the primary is lost: that is noticed."""
        self.begin()
        for _ in range(self.times):
            self.round(self.lose_both)
        problems = self.find_problems()
        self.assertLessEqual({"lost", "v3"}, problems.keys())


class NotWaitingTests(CheckerTests):
    """The server does not wait for its standby."""

    query = "?options=-csynchronous_commit%3Dlocal"

    def test_lost(self) -> None:
        """What only the primary had is lost: of v3 what it kept for somebody who was away. The others
        have theirs before it is killed."""
        self.lose_what_was_acknowledged()
        lost = [line for line in self.talk.violations if line.startswith("lost: ")]
        noticed = [text for text in self.talk.kept if any(repr(text) in line for line in lost)]
        self.assertTrue(noticed, lost)


class BelievingTests(CheckerTests):
    """A commit that was not confirmed is taken for one that was."""

    broken = "believes"
    times = 3

    def relay_options(self) -> Sequence[str]:
        """With many connections, so that not every batch is of one version."""
        return (*super().relay_options(), "--database-connections", "12")

    def test_lost(self) -> None:
        """What was not confirmed is lost."""
        self.lose_what_was_acknowledged()


class ForgetfulTests(CheckerTests):
    """A relay does not ask whether a batch was committed, and does it again."""

    broken = "ignores markers"
    times = 3

    def test_doubled(self) -> None:
        """A connection that is lost while a commit waits for the standby makes messages twice."""
        self.begin()
        standby = 1 - self.pair.primary
        for _ in range(self.times):
            self.settle(1.0)
            self.pair.hang(standby)
            self.settle(2.0)
            self.pair.disconnect()
            self.pair.wake(standby)
            self.settle(2.0)
        # One of the two has another number than its sender was told.
        self.assertTrue({"doubled", "foreign"} & self.find_problems().keys())
