"""The mailboxes in memory."""

from twisted.trial.unittest import SynchronousTestCase

from messageu.model import UserName
from messageu.store import MemoryStore, StoreError
from tests.store.contract import MemoryFixture, StoreContract, key, result_of


class MemoryStoreTests(StoreContract, SynchronousTestCase):
    make_fixture = MemoryFixture

    def test_id_given_twice(self):
        """An id is not given to a second client, however it came about."""
        alice = self.register("Alice")
        store = MemoryStore(now=lambda: 0.0, new_client_id=lambda: alice)
        store.open()
        self.assertEqual(result_of(store.register(UserName(b"Alice"), key())), alice)
        with self.assertRaises(StoreError):
            result_of(store.register(UserName(b"Bob"), key()))
