"""A PostgresStore keeps to what every store keeps to."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from messageu.model import Envelope, UserName
from tests.store.contract import NOON, StoreContract, key
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


class MeasuredTests(SynchronousTestCase):
    """What is told of transactions."""

    def test_apart(self) -> None:
        """A batch that clients wait for is told apart from one that nobody waits for."""
        fixture = PostgresFixture()
        self.addCleanup(fixture.dispose)
        anna = fixture.result(fixture.store.register(UserName.from_text("anna"), key(1)))
        fixture.result(fixture.store.put([Envelope(anna, anna, 3, b"sealed")]))
        fixture.come_to_rest()
        clients, behind = len(fixture.told), len(fixture.told_behind)
        self.assertGreater(clients, 0)
        self.assertEqual(fixture.result(fixture.store.expire(NOON + 1)), 1)
        self.assertEqual(len(fixture.told), clients)
        self.assertGreater(len(fixture.told_behind), behind)
