"""The mailboxes in an SQLite database."""

from twisted.trial.unittest import SynchronousTestCase

from tests.store.contract import SqliteFixture, StoreContract


class SqliteStoreTests(StoreContract, SynchronousTestCase):
    make_fixture = SqliteFixture
