"""The simulation of v3 on PostgreSQL: one to three relays on a real server, which fails, too."""

from functools import partial
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from messageu.store.postgres._listener import Listener
from tests.simulation.judge import digests_elsewhere
from tests.simulation.postgres import Postgres
from tests.torture import scaled

from . import judge
from .history import Proved
from .judge import DoubterOfV3, JudgeOfV3

digest = partial(judge.digest, new_database=Postgres)


class SimulationTests(JudgeOfV3):
    new_database = Postgres
    name = "simulation of v3 on PostgreSQL"

    def test_whatever_breaks(self):
        """Each accepted text or file is shown once, as it was, or reported to its sender, whichever
        relays he and its reader are connected to."""
        self.judge_all(scaled(2, 250), first=scaled(4, 0))


class ArrivalTests(JudgeOfV3):
    """What one of two relays has taken is pushed by the other."""

    def prove(self, *, hears, seed):
        self.new_database = partial(Postgres, relays=2, hears=hears)
        history, found = self.judge(seed)
        self.assertEqual(found, [])
        self.assertTrue([event for event in history if isinstance(event, Proved)])

    def test_heard(self):
        """So it is where they hear of each other."""
        self.prove(hears=True, seed=3)

    def test_looked_for(self):
        """So it is where they have to look."""
        self.prove(hears=False, seed=0)


class DeterminismTests(SynchronousTestCase):
    def test_same_again(self):
        """A seed says everything, also in a process that hashes strings in another way."""
        mine = digest(1)
        self.assertEqual(digests_elsewhere(__name__, [1]), [mine])


class BrokenTests(DoubterOfV3):
    """Relays that are broken, and how soon that is noticed."""

    new_database = Postgres
    name = "simulation of v3 on PostgreSQL"

    def test_deaf(self):
        """Mail that one relay has taken does not come where another neither hears of it nor looks."""
        with (
            mock.patch.object(Listener, "_look", lambda _: None),
            mock.patch.object(Listener, "_take", lambda *_: None),
        ):
            self.first_noticed("left", "lost", first=4)
