"""The same with Patroni and etcd, who decide by themselves which server is the primary."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SkipTest

from tests.torture import FULL

from .case import STEADY, ClusterTestCase
from .patroni import PatroniPair, missing

ROUNDS = 3


class PatroniTests(ClusterTestCase):
    """Nothing that was acknowledged is lost when Patroni makes another server the primary."""

    def make_pair(self) -> PatroniPair:
        """Two servers under Patroni.

        :raises SkipTest: when it is not installed.
        """
        if why := missing():
            raise SkipTest(why)
        if not FULL:
            raise SkipTest("it takes minutes: make cluster-test")
        pair = PatroniPair()
        self.addCleanup(pair.close)
        pair.begin()
        return pair

    def lose_leader(self) -> Callable[[], object]:
        """The machine of the primary is gone; it comes back when everybody is served."""
        self.pair.leader.kill()
        return self.pair.renew_standby

    def kill_server(self) -> Callable[[], object]:
        """The primary is killed; its Patroni lives."""
        self.pair.leader.kill_server()
        return self.pair.renew_standby

    def test_machine_lost(self) -> None:
        """``kill -9`` of the primary and its Patroni: the standby takes its place."""
        self.begin()
        for _ in range(ROUNDS):
            self.round(self.lose_leader, STEADY)
        self.conclude("Patroni: kill -9 of the primary and its Patroni")

    def test_server_killed(self) -> None:
        """``kill -9`` of the primary: its Patroni starts it again, or leaves it to the other one."""
        self.begin()
        for _ in range(ROUNDS):
            self.round(self.kill_server, STEADY)
        self.conclude("Patroni: kill -9 of the primary")
