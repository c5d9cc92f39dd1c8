"""Three relays on one database, while relays, servers and the network between them fail."""

from __future__ import annotations

from collections.abc import Callable
from unittest import skipUnless

from tests.torture import FULL

from .case import CALM, STEADY, ClusterTestCase

ROUNDS = 10
LONG = "it takes minutes: make cluster-test"


class ClusterTests(ClusterTestCase):
    """Nothing that was acknowledged is lost, and nobody of v3 sees a text twice."""

    def test_one_of_each(self) -> None:
        """A relay is killed, the connections to the database are cut, and the primary is killed and
        its standby takes its place."""
        self.begin()
        for fault in (self.kill_relay, self.cut, self.kill_primary):
            self.round(fault)
        self.conclude("one of each")


@skipUnless(FULL, LONG)
class FullClusterTests(ClusterTestCase):
    """The same, one kind of fault after another, each many times."""

    def try_often(self, name: str, *faults: Callable[[], object], calm: float = CALM) -> None:
        self.begin()
        for number in range(ROUNDS):
            self.round(faults[number % len(faults)], calm)
        self.conclude(name)

    def test_relay_killed(self) -> None:
        """A relay is killed; clients go to another one, and repeat what was not answered."""
        self.try_often("kill -9 of a relay", self.kill_relay, calm=STEADY)

    def test_primary_killed(self) -> None:
        """The primary is killed, and its standby takes its place."""
        self.try_often("kill -9 of the primary, promotion of the standby", self.kill_primary)

    def test_primary_restarted(self) -> None:
        """The primary is killed, and started again."""
        self.try_often("kill -9 of the primary, which is started again", self.restart_primary)

    def test_primary_replaced(self) -> None:
        """The primary hangs, its standby takes its place, and then there are two for a while."""
        self.try_often(
            "a primary that hangs is replaced, and wakes up", self.replace_hanging_primary
        )

    def test_cut(self) -> None:
        """The connections to the database are reset, or ended by it."""
        self.try_often("connections cut, and ended by the server", self.cut, self.disconnect)

    def test_silence(self) -> None:
        """The server hangs, or nothing comes through to it."""
        self.try_often("a server that hangs, a network that passes nothing", self.hang, self.hold)

    def test_standby_lost(self) -> None:
        """Without a standby nothing is acknowledged; when it is back everything goes on."""
        self.try_often("no standby for a while", self.lose_standby)

    def test_both_lost(self) -> None:
        """What was committed without a standby, and acknowledged to nobody, may be lost."""
        self.try_often("no standby, then kill -9 of the primary", self.lose_both)

    def test_everything(self) -> None:
        """Relays, servers and what is between them fail together."""
        self.try_often("all of these at once", self.everything, calm=STEADY)
