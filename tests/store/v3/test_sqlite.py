"""The accounts in an SQLite database."""

from twisted.trial.unittest import SynchronousTestCase

from tests.store.v3.contract import AccountStoreContract, SqliteFixture


class SqliteAccountStoreTests(AccountStoreContract, SynchronousTestCase):
    make_fixture = SqliteFixture
