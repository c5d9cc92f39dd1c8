"""The accounts in memory."""

from twisted.trial.unittest import SynchronousTestCase

from tests.store.v3.contract import AccountStoreContract, MemoryFixture


class MemoryAccountStoreTests(AccountStoreContract, SynchronousTestCase):
    make_fixture = MemoryFixture
