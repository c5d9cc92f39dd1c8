"""Stores that fail when they are told to, and the pool without threads."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from messageu.model import Envelope
from messageu.store import IMailboxStore, StoreError, StoreUnavailable
from messageu.testing.store import FaultyStore
from messageu.testing.threadpool import ThreadlessPool
from tests.store.contract import MemoryFixture, StoreContract, result_of


class FaultyFixture(MemoryFixture):
    """A store that is faulty, but has not been told to fail."""

    def __attrs_post_init__(self):
        super().__attrs_post_init__()
        self.memory, self.store = self.store, FaultyStore(self.store)

    def reopen(self):
        self.memory.quota = self.quota
        super().reopen()

    def set_last_sequence(self, number):
        self.memory._last_sequence = number


class HealthyFaultyStoreTests(StoreContract, SynchronousTestCase):
    """As long as it is not told to fail it is a store as any other."""

    make_fixture = FaultyFixture


class FaultyStoreTests(SynchronousTestCase):
    def setUp(self):
        fixture = FaultyFixture()
        self.store = fixture.store

        class Users(StoreContract):
            def __init__(self):
                self.fixture = fixture

        self.users = Users()
        self.alice, self.bob = self.users.two()

    def test_interface(self):
        """It is a store."""
        self.assertTrue(verifyObject(IMailboxStore, self.store))

    def test_fails(self):
        """What it was told to fail does nothing, until it is mended."""
        self.store.fail("put")
        self.assertRaises(StoreUnavailable, self.users.put, self.alice, self.bob)
        self.store.fail("put", error=StoreError)
        error = self.assertRaises(StoreError, self.users.put, self.alice, self.bob)
        self.assertNotIsInstance(error, StoreUnavailable)
        self.assertEqual(self.users.waiting(self.bob), [])
        self.store.mend()
        self.users.put(self.alice, self.bob, b"content")
        self.assertEqual(self.users.waiting(self.bob), [b"content"])

    def test_failing_end_of_a_lease(self):
        """A lease whose end fails has ended, and its messages wait."""
        self.users.put(self.alice, self.bob, b"content")
        for name in ("settle", "release"):
            lease = self.users.lease(self.bob)
            self.store.fail(name)
            self.assertRaises(StoreUnavailable, getattr(self.users, name), lease)
            self.store.mend()
            self.users.settle(lease)
            self.assertEqual(self.users.waiting(self.bob), [b"content"])

    def test_holds(self):
        """What it was told to hold is done at once, and answered when it is mended."""
        self.store.hold("put")
        self.successResultOf(self.store.directory(self.alice))
        held = [self.store.put([envelope]) for envelope in self.envelopes()]
        self.assertEqual(self.users.waiting(self.bob), [b"0", b"1"])
        for deferred in held:
            self.assertNoResult(deferred)
        self.store.mend()
        numbers = [result_of(deferred)[0].number for deferred in held]
        self.assertEqual(numbers, [1, 2])

    def envelopes(self):
        return [Envelope(self.alice, self.bob, 3, content) for content in (b"0", b"1")]


class ThreadlessPoolTests(SynchronousTestCase):
    def test_later(self):
        """Work is done in the clock's next turn, and its result or failure handed on."""
        clock = Clock()
        pool = ThreadlessPool(clock)
        results = []
        pool.callInThreadWithCallback(lambda *each: results.append(each), divmod, 7, 2)
        pool.callInThreadWithCallback(lambda *each: results.append(each), divmod, 7, 0)
        self.assertEqual(results, [])
        clock.advance(0)
        (first, second) = results
        self.assertEqual(first, (True, (3, 1)))
        self.assertFalse(second[0])
        self.assertIs(second[1].type, ZeroDivisionError)
