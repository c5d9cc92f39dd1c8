"""The simulation on a store in memory, which is what other tests take for one."""

from functools import partial
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from messageu.server._delivery import Delivery
from messageu.store import IMailboxStore, MemoryStore
from messageu.store.v3 import IAccountStore
from tests.torture import scaled

from . import judge
from .judge import Doubter, Judge, digests_elsewhere, settle_however_closed
from .memory import AskedStore, Memory

digest = partial(judge.digest, new_database=Memory)


class SimulationTests(Judge):
    new_database = Memory
    name = "simulation in memory"

    def test_whatever_breaks(self):
        """Nothing acknowledged is lost or goes astray, whatever breaks."""
        self.judge_part(scaled(100, 5_000))


class DeterminismTests(SynchronousTestCase):
    def test_same_again(self):
        """A seed says everything, also in a process that hashes strings in another way."""
        self.assertEqual(digests_elsewhere(__name__, [0]), [digest(0)])
        self.assertNotEqual(digest(0), digest(1))


class InterfaceTests(SynchronousTestCase):
    def test_interfaces(self):
        """What a relay's process is given is a store."""
        store = AskedStore(MemoryStore(now=float), print)
        verifyObject(IMailboxStore, store)
        verifyObject(IAccountStore, store.accounts)


class BrokenTests(Doubter):
    new_database = Memory
    name = "simulation in memory"

    def test_deleted_when_closed(self):
        """Mail that is deleted however the connection has ended is missed."""
        with mock.patch.object(Delivery, "broken", settle_however_closed):
            self.first_noticed("lost")

    def test_not_stored(self):
        """So is mail that was acknowledged and not stored."""
        put = MemoryStore._put

        def forget(store, envelope):
            result = put(store, envelope)
            if len(envelope.content) == 5:
                store._delete([store._last_sequence])
            return result

        with mock.patch.object(MemoryStore, "_put", forget):
            self.first_noticed("lost")
