"""A PostgresStore keeps to what every store keeps to."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.store.contract import StoreContract
from tests.store.v3.contract import AccountStoreContract

from .fixtures import PostgresFixture


class PostgresStoreTests(StoreContract, SynchronousTestCase):
    """Mailboxes of v2, over two connections."""

    def make_fixture(self) -> PostgresFixture:
        return PostgresFixture()


class PostgresAccountStoreTests(AccountStoreContract, SynchronousTestCase):
    """Accounts of v3, over two connections."""

    def make_fixture(self) -> PostgresFixture:
        return PostgresFixture()
