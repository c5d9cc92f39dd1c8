"""What becomes of a relay that has seen what a failover has lost, and goes on with the new primary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from messageu.model import Envelope, PublicKey, Refusal, UserName
from messageu.testing.postgres import QUICK, NoServerError
from tests.store.contract import HUGE, MANY
from tests.store.postgres.fixtures import PostgresFixture
from tests.store.v3.contract import AccountStoreCase, envelope

from .servers import Pair


@frozen
class _Tables:
    """The database of a pair, as a fixture has one."""

    pair: Pair

    @property
    def address(self) -> str:
        return self.pair.address

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        return self.pair.execute(statement)

    def remove(self) -> None:
        """The pair is closed by whoever has made it."""


class LostCommitTests(AccountStoreCase, SynchronousTestCase):
    """A commit that no standby has is seen by others when its wait is cut short."""

    def make_fixture(self) -> PostgresFixture:
        try:
            self.pair = Pair(*QUICK)
        except NoServerError as error:
            raise SkipTest(str(error)) from None
        self.addCleanup(self.pair.close)
        self.pair.renew_standby()
        return PostgresFixture(schema=_Tables(self.pair))

    def lose(self, do: Callable[[], object]) -> None:
        """Something is done that only the primary knows, and the standby takes its place."""
        self.pair.kill_standby()
        self.pair.stop_waiting()
        do()
        self.pair.kill_primary()
        self.pair.start_standby()
        self.pair.promote()

    def test_sequences(self) -> None:
        """The place of mail that was pushed and lost is not given to other mail: an acknowledgement
        of the one does not delete the other, and who has had the one gets the other."""
        self.two()
        self.put(envelope(2, 1))
        seen: list[int] = []

        def put_and_see() -> None:
            self.put(envelope(2, 2))
            seen.extend(self.sequences(2))

        self.lose(put_and_see)
        self.put(envelope(2, 3))
        self.acknowledge(2, *seen)
        (left,) = self.waiting(2, after=seen[-1])
        self.assertEqual(left.envelope_id, envelope(2, 3).envelope_id)

    def test_clients(self) -> None:
        """Who was registered, was written to, and is lost is not taken for the next who registers."""
        store = self.fixture.store
        lost: list[Any] = []

        def register(name: bytes) -> Any:
            return self.result(store.register(UserName(name), PublicKey(bytes(160))))

        def write(recipient: Any) -> Any:
            sent = store.put([Envelope(anna, recipient, 3, b"for nobody else")])
            return self.result(sent)[0]

        def register_and_write() -> None:
            lost.append(register(b"bern"))
            write(lost[0])

        anna = register(b"anna")
        self.lose(register_and_write)
        cora = register(b"cora")
        self.assertEqual(write(lost[0]), Refusal.UNKNOWN_RECIPIENT)
        self.assertEqual(self.result(store.lease(cora, MANY, HUGE, HUGE)).count, 0)
