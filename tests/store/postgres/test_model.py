"""The store in PostgreSQL beside the models of what the interfaces say, as the one in SQLite."""

from __future__ import annotations

from typing import Any
from unittest import mock

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from messageu.store.postgres import _operations, _work
from messageu.store.v3 import _operations as account_operations
from messageu.store.v3 import _rules
from messageu.testing.postgres_faults import Execute, FaultyConnection, Plan, fails
from messageu.testing.store import POISON, POISON_KEY_ID
from tests.store.test_model import NO_QUOTA, SMALL_QUOTA, StoreMachine
from tests.store.v3 import test_model as v3
from tests.store.v3.test_model import AccountMachine
from tests.torture import scaled

from .fixtures import FaultyFixture

SMALL_STEPS = {"SETTLED_STEP": 2, "EXPIRY_STEP": 2}
"""So low that a few messages are deleted in many steps."""

POISONS = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'poison' USING ERRCODE = '22000'; END $$;
    CREATE TRIGGER poison BEFORE INSERT ON mailbox_message
        FOR EACH ROW WHEN (NEW.type = {kind}) EXECUTE FUNCTION refuse();
    CREATE TRIGGER poison BEFORE INSERT ON account_mail
        FOR EACH ROW WHEN (NEW.hpke_key_id = {key_id}) EXECUTE FUNCTION refuse();
"""


@define
class FaultyServer(Plan):
    """A server as the machines know a faulty engine.

    :ivar is_full: whether no transaction finds space.
    :ivar failing_commits: whether no transaction can be committed.
    """

    is_full: bool = False
    failing_commits: int = 0

    def execute(self, connection: FaultyConnection, statement: str, execute: Execute) -> Any:
        self.statements.clear()  # there are many
        if self.is_full and statement.startswith("BEGIN"):
            return fails("53100")(connection, execute)
        if self.failing_commits and statement == "COMMIT":
            return fails("58030")(connection, execute)
        return super().execute(connection, statement, execute)


@define
class ModelFixture(FaultyFixture):
    """A store on such a server, which cannot insert what is poisoned."""

    plan: FaultyServer = field(factory=FaultyServer)
    is_everywhere: bool = True

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.sql(POISONS.format(kind=POISON, key_id=POISON_KEY_ID))

    @property
    def engine(self) -> FaultyServer:
        """What the machines make fail."""
        return self.plan

    def reopen(self) -> None:
        """When everything has happened that can."""
        super().reopen()
        self.come_to_rest()


@define
class LanesFixture(ModelFixture):
    """The same with several lanes."""

    connections: int = 3


class PostgresMachine(StoreMachine):
    """Between mailboxes nothing has an order but what a test waits for.

    :ivar in_lanes: whether every operation is carried out before the next is asked for.
    """

    in_lanes = False

    @invariant()
    def run_each(self) -> None:
        """One after the other, where there are several lanes."""
        if self.in_lanes:
            self.run()

    @rule(age=st.integers(0, 4))
    def expire(self, age: int) -> None:
        # This is done in the background.
        self.run()
        super().expire(age)
        self.run()

    def fail_to_end(self) -> None:
        """A lease whose end fails ends by itself, later."""

    def check_rows(self) -> None:
        """Nothing is left in the database of what is gone, and mailboxes hold what they say."""
        for held in self.held:
            self.fixture.result(self.store.release(held.lease))
            for message in held.messages:
                message.pins -= 1
        self.forget()
        self.fixture.result(self.store.expire(-1e9))
        self.fixture.come_to_rest()
        wanted = sum(len(each.content) for each in self.messages)
        for statement, expected in (
            ("SELECT count(*) FROM messages", len(self.messages)),
            ("SELECT count(*) FROM mailbox_message", len(self.messages)),
            ("SELECT coalesce(sum(messages), 0) FROM mailbox", len(self.messages)),
            ("SELECT coalesce(sum(content), 0) FROM mailbox", wanted),
            ("SELECT count(*) FROM mailbox_lease", 0),
            ("SELECT count(*) FROM mailbox_rubbish", 0),
        ):
            self.equal((statement, self.fixture.sql(statement)), (statement, [(expected,)]))


class LanesMachine(PostgresMachine):
    in_lanes = True


class StoreModelTests(SynchronousTestCase):
    def run_machine(
        self, machine: Any, make_fixture: Any, examples: int, quota: Any = NO_QUOTA
    ) -> None:
        run_state_machine_as_test(
            lambda: machine(make_fixture, quota),
            settings=settings(max_examples=examples, stateful_step_count=30),
        )

    def test_one_lane(self) -> None:
        """The store in PostgreSQL does what the interface says, however operations are grouped, also
        while the server is full or fails to commit."""
        self.run_machine(PostgresMachine, ModelFixture, scaled(10, 500))

    def test_lanes(self) -> None:
        """So it does where mailboxes have different connections."""
        self.run_machine(LanesMachine, LanesFixture, scaled(6, 300))

    def test_with_quota(self) -> None:
        """So it does where mailboxes become full."""
        self.run_machine(PostgresMachine, ModelFixture, scaled(6, 300), SMALL_QUOTA)

    def test_in_steps(self) -> None:
        """So it does where what deletes takes many transactions."""
        with mock.patch.multiple(_operations, **SMALL_STEPS):
            self.run_machine(PostgresMachine, ModelFixture, scaled(6, 300))


class AccountModelTests(SynchronousTestCase):
    def run_machine(self, examples: int, quota: Any = NO_QUOTA, *, in_steps: bool = False) -> None:
        with mock.patch.object(_rules, "ONE_TIME_KEYS_LIMIT", v3.SMALL_LIMIT):
            run_state_machine_as_test(
                lambda: AccountMachine(ModelFixture, quota, in_steps=in_steps),
                settings=settings(max_examples=examples, stateful_step_count=30),
            )

    def test_accounts(self) -> None:
        """The accounts in PostgreSQL do what the interface says, however operations are grouped, also
        while the server is full or fails to commit."""
        self.run_machine(scaled(8, 300))

    def test_with_quota(self) -> None:
        """So they do where mailboxes become full."""
        self.run_machine(scaled(5, 200), v3.SMALL_QUOTA)

    def test_in_steps(self) -> None:
        """So they do where what deletes takes many transactions."""
        with (
            mock.patch.object(_work, "DELETABLE", 8),
            mock.patch.object(account_operations, "TOMBSTONES_STEP", 2),
        ):
            self.run_machine(scaled(8, 300), in_steps=True)
