"""The simulation of v3 on a store in memory, which is what other tests take for one."""

from functools import partial
from unittest import mock

from messageu.store.v3 import MemoryAccountStore, Stored
from tests.simulation.memory import Memory
from tests.torture import scaled

from . import judge
from .judge import DoubterOfV3, JudgeOfV3

digest = partial(judge.digest, new_database=Memory)


class SimulationTests(JudgeOfV3):
    new_database = Memory
    name = "simulation of v3 in memory"

    def test_whatever_breaks(self):
        """Each accepted text or file is shown once, as it was, or reported to its sender."""
        self.judge_all(scaled(4, 250))

    def test_same_again(self):
        """A seed says everything."""
        self.assertEqual(digest(1), digest(1))


class BrokenTests(DoubterOfV3):
    new_database = Memory
    name = "simulation of v3 in memory"

    def test_not_stored(self):
        """Mail that was acknowledged and not stored is missed."""
        put = MemoryAccountStore._put

        def forget(store, envelope):
            result = put(store, envelope)
            if isinstance(result, Stored) and not result.known and result.sequence % 4 == 0:
                store._delete(store._accounts[envelope.recipient], result.sequence)
            return result

        with mock.patch.object(MemoryAccountStore, "_put", forget):
            self.first_noticed("left", "lost", "needless")
