"""Whatever becomes of its connection, a batch is done once, or refused within a bounded time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from itertools import count
from math import ceil
from typing import Any, ClassVar

import psycopg
from attrs import frozen
from psycopg.pq import DiagnosticField
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import Envelope, MessageId, Refusal, UserName
from messageu.model.v3 import Handle
from messageu.store import START, StoreError, StoreUnavailable
from messageu.store.postgres._lanes import STUCK_AFTER
from messageu.store.postgres._runner import (
    AGAIN_LIMIT,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    RETRY_FOR,
)
from messageu.store.v3 import Admission, Claimed, Stored
from messageu.testing.postgres_faults import (
    Execute,
    Fault,
    FaultyConnection,
    cut_after,
    cut_before,
    ended,
    fails,
)
from tests.store.contract import HUGE, MANY, key
from tests.store.v3.contract import account_id, bundle, envelope, keys, one_time_keys
from tests.torture import FULL

from .fixtures import FaultyFixture, PostgresFixture

LOSSES = {"cut before": cut_before, "cut after": cut_after, "ended by its operator": ended}
"""After these the lane connects again, and goes on."""

IN_THE_WAY = {"deadlock": fails("40P01")}
"""After this it does the same again."""

OUTAGES = {"disk full": fails("53100")}
"""This is a refusal."""

MISHAPS = {"bad data": fails("22000")}
"""After this each operation is tried alone."""

MORE_LOSSES = {
    "failed over": fails("25006"),
    "shut down": fails("57P01"),
    "too many connections": fails("53300"),
}
MORE_IN_THE_WAY = {"serialization": fails("40001"), "lock timeout": fails("55P03")}
MORE_OUTAGES = {
    "statement timeout": fails("57014"),
    "read error": fails("58030"),
    "out of memory": fails("53200"),
}
MORE_MISHAPS = {"bad statement": fails("42601"), "damaged page": fails("XX001")}


class Case:
    """An operation, as it is asked for once in each of many states of the same tables.

    :ivar recovers: whether it is tried again by itself after a mishap of a statement.
    """

    recovers: ClassVar[bool] = True

    def __init__(self, fixture: PostgresFixture, number: int) -> None:
        self.fixture = fixture
        self.store = fixture.store
        self.number = number
        self.prepare()

    def done(self, deferred: Deferred[Any]) -> Any:
        return self.fixture.result(deferred)

    def sql(self, statement: str, *arguments: object) -> Any:
        return self.fixture.sql(statement, *arguments)

    def name(self, prefix: str) -> UserName:
        return UserName.from_text(f"{prefix} {self.number}")

    def prepare(self) -> None:
        """What has to be there before."""

    def ask(self) -> Deferred[Any]:
        raise AssertionError

    def check(self, result: Any) -> None:
        """It was done exactly once, and this is what it came to."""

    def check_undone(self) -> None:
        """It was not done at all."""


class Mailboxes(Case):
    def prepare(self) -> None:
        self.alice = self.done(self.store.register(self.name("Alice"), key(1)))
        self.bob = self.done(self.store.register(self.name("Bob"), key(2)))

    def put(self, *contents: bytes) -> Deferred[Any]:
        return self.store.put([Envelope(self.alice, self.bob, 3, each) for each in contents])

    def lease(self, **limits: int) -> Any:
        return self.store.lease(self.bob, MANY, HUGE, limits.get("page", HUGE))

    def rows(self) -> list[tuple[Any, ...]]:
        return self.sql(
            "SELECT content FROM mailbox_message JOIN mailbox_client ON key = recipient"
            " WHERE id = %s ORDER BY sequence",
            self.bob.raw,
        )

    def box(self) -> tuple[Any, ...]:
        """The last sequence, what has arrived, and how much is said to be there."""
        ((*box,),) = self.sql(
            "SELECT last_sequence, settled, messages, content FROM mailbox"
            " JOIN mailbox_client ON key = client WHERE id = %s",
            self.bob.raw,
        )
        return tuple(box)

    def waiting(self) -> list[bytes]:
        lease = self.done(self.lease())
        self.done(self.store.release(lease))
        return [piece[5] for piece in lease.first.pieces]


class Put(Mailboxes):
    def ask(self) -> Deferred[Any]:
        return self.put(b"one", b"two")

    def check(self, result: Any) -> None:
        assert result == [MessageId(1), MessageId(2)], result
        assert self.rows() == [(b"one",), (b"two",)], self.rows()
        assert self.box() == (2, 0, 2, 6), self.box()

    def check_undone(self) -> None:
        assert (self.rows(), self.box()) == ([], (0, 0, 0, 0))


class RegisterClient(Case):
    def ask(self) -> Deferred[Any]:
        return self.store.register(self.name("Carol"), key(3))

    def found(self) -> Any:
        assert self.sql("SELECT value FROM relay_meta WHERE name = 'clients'") == self.sql(
            "SELECT count(*) FROM mailbox_client"
        )
        return self.sql(
            "SELECT id, public_key FROM mailbox_client WHERE name = %s", str(self.name("Carol"))
        )

    def check(self, result: Any) -> None:
        assert self.found() == [(result.raw, key(3).raw)]

    def check_undone(self) -> None:
        assert self.found() == []


class FindKey(Mailboxes):
    def ask(self) -> Deferred[Any]:
        return self.store.public_key(self.alice, self.bob)

    def check(self, result: Any) -> None:
        assert result == key(2)


class ReadDirectory(Mailboxes):
    recovers = False  # it takes no part in a batch: it was tried alone

    def prepare(self) -> None:
        super().prepare()
        self.directory = self.done(self.store.directory(self.alice))

    def ask(self) -> Deferred[Any]:
        return self.store.directory_page(self.directory, 0, MANY)

    def check(self, result: Any) -> None:
        assert self.bob in [client.client_id for client in result.clients]


class TakeLease(Mailboxes):
    def prepare(self) -> None:
        super().prepare()
        self.done(self.put(b"one", b"two"))

    def ask(self) -> Deferred[Any]:
        return self.lease()

    def check(self, result: Any) -> None:
        assert [piece[5] for piece in result.first.pieces] == [b"one", b"two"]
        self.done(self.store.settle(result))
        assert self.waiting() == []

    def check_undone(self) -> None:
        assert self.waiting() == [b"one", b"two"]


class Leased(Mailboxes):
    def prepare(self) -> None:
        super().prepare()
        self.done(self.put(b"one", b"two"))
        self.leased = self.done(self.lease(page=1))

    def check_undone(self) -> None:
        assert self.waiting() == [b"one", b"two"]


class ReadPage(Leased):
    recovers = False

    def ask(self) -> Deferred[Any]:
        # So that it is to be renewed as well.
        self.sql("UPDATE mailbox_lease SET until = clock_timestamp() + interval '9 seconds'")
        return self.store.read(self.leased, START, HUGE)

    def check(self, result: Any) -> None:
        assert [piece[5] for piece in result.pieces] == [b"one", b"two"]


class Settle(Leased):
    def ask(self) -> Deferred[Any]:
        return self.store.settle(self.leased)

    def check(self, result: Any) -> None:
        assert result is None
        assert (self.waiting(), self.rows()) == ([], [])
        assert self.box() == (2, 2, 0, 0), self.box()


class Release(Leased):
    def ask(self) -> Deferred[Any]:
        return self.store.release(self.leased)

    def check(self, result: Any) -> None:
        assert result is None
        assert self.waiting() == [b"one", b"two"]
        assert self.box() == (2, 0, 2, 6), self.box()


class Accounts(Case):
    def prepare(self) -> None:
        self.accounts = self.store.accounts
        self.handle = Handle(
            f"name-{self.number:04}".translate(str.maketrans("0123456789", "abcdefghij"))
        )
        self.raw = account_id(self.number).raw
        self.begin()

    def begin(self) -> None:
        self.done(self.accounts.register(keys(self.number), 1 << 16, self.handle, None))

    def box(self) -> list[tuple[Any, ...]]:
        return self.sql(
            "SELECT last_sequence, messages, content, term FROM account_mailbox"
            " JOIN account ON key = account WHERE id = %s",
            self.raw,
        )

    def key_ids(self) -> list[int]:
        found = self.sql(
            "SELECT account_prekey.id FROM account_prekey JOIN account ON account.key = account"
            " WHERE account.id = %s ORDER BY 1",
            self.raw,
        )
        return [int.from_bytes(each, "big") for (each,) in found]

    def sequences(self) -> list[int]:
        waiting = self.done(self.accounts.waiting(account_id(self.number), 0, MANY, HUGE))
        return [delivery.sequence for delivery in waiting]


class RegisterAccount(Accounts):
    def begin(self) -> None:
        self.token = self.number.to_bytes(16, "big")
        self.done(self.accounts.invite(self.token))

    def ask(self) -> Deferred[Any]:
        return self.accounts.register(keys(self.number), 1 << 16, self.handle, self.token)

    def check(self, result: Any) -> None:
        assert result is None, result
        assert self.box() == [(0, 0, 0, 0)]
        assert self.done(self.accounts.resolve(self.handle)) == keys(self.number)
        assert self.sql("SELECT * FROM account_token") == []

    def check_undone(self) -> None:
        assert self.box() == []
        assert len(self.sql("SELECT * FROM account_token")) == 1


class Admit(Accounts):
    def ask(self) -> Deferred[Any]:
        return self.accounts.admit(keys(self.number).identity, 2 << 16)

    def check(self, result: Any) -> None:
        assert result == Admission(True, 0), result


class Publish(Accounts):
    def ask(self) -> Deferred[Any]:
        published = bundle(self.number)
        return self.accounts.publish(account_id(self.number), published, one_time_keys(1, 2, 3))

    def check(self, result: Any) -> None:
        assert (result, self.key_ids()) == (3, [1, 2, 3])

    def check_undone(self) -> None:
        assert self.key_ids() == []


class Claim(Publish):
    def begin(self) -> None:
        super().begin()
        self.done(Publish.ask(self))

    def ask(self) -> Deferred[Any]:
        return self.accounts.claim(account_id(self.number))

    def check(self, result: Any) -> None:
        (first,) = one_time_keys(1)
        assert result == Claimed(keys(self.number), bundle(self.number), first, 2), result
        assert self.key_ids() == [2, 3]

    def check_undone(self) -> None:
        assert self.key_ids() == [1, 2, 3]


class PutMail(Accounts):
    def ask(self) -> Deferred[Any]:
        return self.accounts.put([envelope(self.number, each, b"sealed") for each in (1, 2)])

    def check(self, result: Any) -> None:
        # As known would be answered what was done by an attempt before.
        assert result == [Stored(1), Stored(2)], result
        assert self.sequences() == [1, 2]
        assert self.box() == [(2, 2, 12, 0)]

    def check_undone(self) -> None:
        assert (self.sequences(), self.box()) == ([], [(0, 0, 0, 0)])


class Acknowledge(PutMail):
    def begin(self) -> None:
        super().begin()
        self.done(PutMail.ask(self))

    def ask(self) -> Deferred[Any]:
        return self.accounts.acknowledge(account_id(self.number), [1])

    def check(self, result: Any) -> None:
        assert result is None
        assert self.sequences() == [2]
        assert self.box() == [(2, 1, 6, 0)]

    def check_undone(self) -> None:
        assert self.sequences() == [1, 2]


class Subscribe(Accounts):
    def ask(self) -> Deferred[Any]:
        return self.accounts.subscribe(account_id(self.number))

    def check(self, result: Any) -> None:
        # A term that nobody was told of may have come before.
        assert 1 <= result <= 2
        assert self.box() == [(0, 0, 0, result)]


class DeleteAccount(PutMail):
    def begin(self) -> None:
        super().begin()
        self.done(PutMail.ask(self))

    def ask(self) -> Deferred[Any]:
        return self.accounts.delete_account(account_id(self.number))

    def check(self, result: Any) -> None:
        assert result is None
        assert (self.box(), self.sequences()) == ([], [])
        assert self.sql("SELECT count(*) FROM account_mail") == [(0,)]

    def check_undone(self) -> None:
        assert len(self.sequences()) == 2


class FaultCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.fixture = FaultyFixture()
        self.addCleanup(self.fixture.dispose)
        self.numbers = count(1)
        self.plan = self.fixture.plan

    def make(self, kind: Callable[..., Case]) -> Case:
        self.plan.tell({})
        return kind(self.fixture, next(self.numbers))

    def ask(self, case: Case, faults: Any) -> Any:
        """The result, or the error, of a case in which statements fail."""
        self.plan.tell(faults)
        try:
            result = self.fixture.result(case.ask())
        except StoreError as error:
            return error
        finally:
            self.plan.faults = {}
        return result

    def statements(self, kind: Callable[..., Case]) -> list[str]:
        """What it takes when nothing fails."""
        case = self.make(kind)
        case.check(self.ask(case, {}))
        case = self.make(kind)  # now that the lane has its connection
        result = self.ask(case, {})
        statements = list(self.plan.statements)
        case.check(result)
        return statements


@frozen
class Ways:
    """In which a statement can fail, by what becomes of its operation."""

    done: Mapping[str, Fault]
    refused: Mapping[str, Fault]
    mishaps: Mapping[str, Fault]

    @property
    def all(self) -> Mapping[str, Fault]:
        return {**self.done, **self.refused, **self.mishaps}


MOST = Ways({**LOSSES, **IN_THE_WAY}, OUTAGES, MISHAPS)
MORE = Ways({**MORE_LOSSES, **MORE_IN_THE_WAY}, MORE_OUTAGES, MORE_MISHAPS)


class EveryStatementTests(FaultCase):
    """Each operation, while each of its statements fails in each of these ways."""

    def each(self, kind: type[Case], ways: Ways = MOST, *, every: bool = False) -> None:
        """:param every: whether in each run, and not only at full size."""
        statements = self.statements(kind)
        for place, statement in enumerate(statements):
            for number, (name, fault) in enumerate(ways.all.items()):
                if not (every or FULL or statement == "COMMIT") and (place + number) % 3:
                    continue
                with self.subTest(place=place, statement=statement, fault=name):
                    is_last = statement == "COMMIT"
                    refused = name in ways.refused or (name in ways.mishaps and is_last)
                    failed = name in ways.mishaps and not refused and not kind.recovers
                    self.once(kind, {place: fault}, refused=refused, failed=failed)

    def once(self, kind: type[Case], faults: Any, *, refused: bool, failed: bool) -> None:
        case = self.make(kind)
        result = self.ask(case, faults)
        if not refused and not failed:
            case.check(result)
            return
        self.assertIs(type(result), StoreUnavailable if refused else StoreError)
        case.check_undone()
        case.check(self.ask(case, {}))

    def test_more(self) -> None:
        """Every kind of error has its answer."""
        self.each(Put, MORE, every=True)

    def test_put(self) -> None:
        """Messages are stored once, and nothing says so that is not."""
        self.each(Put, every=True)

    def test_register(self) -> None:
        """A client is made once, and its name is not refused to itself."""
        self.each(RegisterClient, every=True)

    def test_public_key(self) -> None:
        """A key is found."""
        self.each(FindKey)

    def test_directory(self) -> None:
        """A page of a directory is read."""
        self.each(ReadDirectory)

    def test_lease(self) -> None:
        """A mailbox is leased; a lease that nobody knows of does no harm."""
        self.each(TakeLease)

    def test_read(self) -> None:
        """A page of a lease is read."""
        self.each(ReadPage)

    def test_settle(self) -> None:
        """What is settled is gone, and was counted once."""
        self.each(Settle)

    def test_release(self) -> None:
        """What is released waits."""
        self.each(Release)

    def test_register_account(self) -> None:
        """An account is made once, with one token."""
        self.each(RegisterAccount)

    def test_admit(self) -> None:
        """A generation is not stale because its own first attempt has kept it."""
        self.each(Admit)

    def test_publish(self) -> None:
        """Prekeys are published."""
        self.each(Publish)

    def test_claim(self) -> None:
        """One one-time key is used up, and it is the one that is given."""
        self.each(Claim)

    def test_put_mail(self) -> None:
        """Envelopes are stored once, and are not known from before."""
        self.each(PutMail, every=True)

    def test_acknowledge(self) -> None:
        """Mail is deleted, and its room is given back once."""
        self.each(Acknowledge)

    def test_subscribe(self) -> None:
        """The term that is told is the one that the mailbox has."""
        self.each(Subscribe)

    def test_delete_account(self) -> None:
        """An account is deleted."""
        self.each(DeleteAccount)


def last_commit(statements: list[str]) -> int:
    """Where it is."""
    return max(place for place, each in enumerate(statements) if each == "COMMIT")


class LostCommitTests(FaultCase):
    """The answer to a COMMIT is lost, and then the way to know what became of it is hard."""

    def recover(self, kind: type[Case], lost: Fault) -> None:
        commit = last_commit(self.statements(kind))
        case = self.make(kind)
        case.check(self.ask(case, {commit: lost}))
        recovery = len(self.plan.statements)
        troubles = {**LOSSES, **IN_THE_WAY}
        if lost is cut_after:  # otherwise it is done again, which may be refused
            troubles |= OUTAGES
        for place in range(commit + 1, recovery):
            for name, fault in troubles.items():
                with self.subTest(place=place, statement=self.plan.statements[place], fault=name):
                    case = self.make(kind)
                    case.check(self.ask(case, {commit: lost, place: fault}))

    def test_put(self) -> None:
        """Messages that were stored are not stored again, whatever it takes to know that."""
        self.recover(Put, cut_after)

    def test_put_that_was_not_done(self) -> None:
        """Messages that were not stored are, whatever it takes to know that."""
        self.recover(Put, cut_before)

    def test_register(self) -> None:
        """A name that was given is not refused to whom it was given to."""
        self.recover(RegisterClient, cut_after)

    def test_claim(self) -> None:
        """The key that was used up is the one that is given."""
        self.recover(Claim, cut_after)

    def test_lost_twice(self) -> None:
        """Every attempt of a batch is known by itself."""
        commit = last_commit(self.statements(Put))
        case = self.make(Put)
        self.ask(case, {commit: cut_before})
        again = last_commit(self.plan.statements)
        for first in (cut_before, cut_after):
            for second in (cut_before, cut_after):
                case = self.make(Put)
                case.check(self.ask(case, {commit: first, again: second}))

    def test_rolled_back_instead(self) -> None:
        """A COMMIT that answers ROLLBACK has not committed: the batch is done again."""

        def fail_silently(connection: FaultyConnection, execute: Execute) -> Any:
            with contextlib.suppress(psycopg.Error):
                connection.tell("SELECT 1 / 0")
            return execute()

        commit = last_commit(self.statements(Put))
        case = self.make(Put)
        attempts = self.plan.attempts
        case.check(self.ask(case, {commit: fail_silently}))
        self.assertEqual(self.plan.attempts, attempts + 1)

    def test_warning(self) -> None:
        """A COMMIT that warns counts as unknown, also where the server was told to warn nobody."""
        self.fixture.schema.address += "%20-cclient_min_messages%3Derror"
        self.fixture.reopen()
        commit = last_commit(self.statements(Put))

        def warn(connection: FaultyConnection, execute: Execute) -> Any:
            connection.tell("DO $$ BEGIN RAISE WARNING 'told to warn'; END $$")
            return execute()

        case = self.make(Put)
        attempts = self.plan.attempts
        case.check(self.ask(case, {commit: warn}))
        self.assertEqual(self.plan.attempts, attempts + 1)

    def test_fatal(self) -> None:
        """An error with which the session ends says nothing of what was committed, whatever its
        code."""
        panic = {
            DiagnosticField.SEVERITY_NONLOCALIZED: b"PANIC",
            DiagnosticField.SQLSTATE: b"53100",
        }

        def end(connection: FaultyConnection, execute: Execute) -> Any:
            execute()
            connection.cut()
            raise psycopg.errors.DiskFull("told to panic", info=panic)

        commit = last_commit(self.statements(Put))
        case = self.make(Put)
        case.check(self.ask(case, {commit: end}))

    def when(self, happens: Callable[[], object]) -> None:
        """Something happens, and then the answer to the next COMMIT is lost: a batch is done once."""
        happens()
        case = self.make(RegisterClient)
        case.check(self.ask(case, {}))
        commit = last_commit(self.plan.statements)
        happens()
        case = self.make(RegisterClient)
        case.check(self.ask(case, {commit: cut_after}))

    def test_lane_is_forgotten(self) -> None:
        """A relay that others took for gone notices that before it commits what could not be known."""
        self.statements(RegisterClient)
        self.when(lambda: self.fixture.sql("DELETE FROM relay_lane"))

    def test_lane_is_taken_first(self) -> None:
        """Nothing is done in a lane before it is taken, also if that has failed once."""

        def fail_to_take() -> None:
            self.fixture.reopen()
            case = self.make(RegisterClient)
            take = 4  # after two settings, the end of former connections, and BEGIN
            self.assertIsInstance(self.ask(case, {take: fails("53100")}), StoreUnavailable)
            self.assertIn("relay_lane", self.plan.statements[take])

        self.when(fail_to_take)

    def test_keys_are_looked_up_again(self) -> None:
        """What a server has lost that is replaced is not remembered: the key of a client that is gone
        may be another's."""
        case = self.make(Put)
        assert isinstance(case, Put)
        bob = case.bob
        self.ask(case, {})
        # A standby takes over that was behind by one client.
        self.fixture.sql("DELETE FROM mailbox_message")
        self.fixture.sql("DELETE FROM mailbox WHERE client = (SELECT max(client) FROM mailbox)")
        self.fixture.sql("DELETE FROM mailbox_client WHERE id = %s", bob.raw)
        self.fixture.sql("UPDATE relay_meta SET value = value - 1 WHERE name = 'clients'")
        self.plan.tell({0: cut_before})
        register = self.fixture.store.register(UserName(b"Carol"), key())
        carol = self.fixture.result(register)
        put = self.fixture.store.put([Envelope(carol, each, 3, b"") for each in (bob, carol)])
        self.assertEqual(self.fixture.result(put), [Refusal.UNKNOWN_RECIPIENT, MessageId(1)])


class Always(dict[int, Fault]):
    """Every statement fails in one way."""

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self.fault = fault

    def get(self, _: int, __: Any = None) -> Fault:
        return self.fault


class BoundTests(FaultCase):
    """How long it goes on, and when it begins again."""

    def setUp(self) -> None:
        super().setUp()
        self.statements(RegisterClient)
        self.fixture.pauses.clear()

    def refuse(self) -> Case:
        """An operation that is refused; what was to be done is not."""
        case = self.make(RegisterClient)
        self.assertIsInstance(self.ask(case, {}), StoreUnavailable)
        case.check_undone()
        return case

    def test_gives_up(self) -> None:
        """While the server is away operations wait, less and less often looking for it, and are
        refused after a bounded time."""
        began = self.fixture.clock.seconds()
        self.plan.is_away = True
        self.refuse()
        waited = self.fixture.clock.seconds() - began
        self.assertTrue(RETRY_FOR < waited <= RETRY_FOR + LONGEST_PAUSE, waited)
        pauses = self.fixture.pauses
        self.assertEqual(pauses[:3], [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE])
        self.assertEqual(pauses, sorted(pauses))
        self.assertEqual(pauses[-1], LONGEST_PAUSE)

    def test_refuses_at_once(self) -> None:
        """Once it has been away for too long, operations are refused at once, and only one a second
        looks for it."""
        self.plan.is_away = True
        self.refuse()
        self.fixture.pauses.clear()
        attempts = self.plan.attempts
        for _ in range(3):
            self.refuse()
        self.assertEqual((self.plan.attempts, self.fixture.pauses), (attempts, []))
        self.fixture.clock.rightNow += 2 * LONGEST_PAUSE
        for _ in range(3):
            self.refuse()
        self.assertEqual((self.plan.attempts, self.fixture.pauses), (attempts + 1, []))

    def test_recovers(self) -> None:
        """When it is there again operations are done, and the next time that it is lost is a new
        trouble."""
        self.plan.is_away = True
        case = self.refuse()
        self.plan.is_away = False
        self.fixture.clock.rightNow += 2 * LONGEST_PAUSE
        case.check(self.ask(case, {}))
        case = self.make(RegisterClient)
        case.check(self.ask(case, {0: cut_before}))

    def test_back_in_time(self) -> None:
        """What waits for the server is done when it comes back, once."""
        self.fixture.back_after = 9
        case = self.make(RegisterClient)
        self.plan.is_away = True
        case.check(self.ask(case, {}))
        self.assertEqual(len(self.fixture.pauses), 9)

    def test_trouble_is_over(self) -> None:
        """A server that refuses is there: what it was away for before counts no more."""
        case = self.make(RegisterClient)
        lost_then_full = {0: cut_before, 3: fails("53100")}
        self.assertIsInstance(self.ask(case, lost_then_full), StoreUnavailable)
        self.fixture.clock.rightNow += 2 * RETRY_FOR
        case.check(self.ask(case, {0: cut_before}))

    def test_always_in_the_way(self) -> None:
        """What is always in the way of others is refused after so many attempts, and not what comes
        after it."""
        case = self.make(RegisterClient)
        self.assertIsInstance(self.ask(case, Always(fails("40P01"))), StoreUnavailable)
        self.assertEqual(len(self.plan.statements), AGAIN_LIMIT + 1)
        case.check_undone()
        case.check(self.ask(case, {}))

    def test_in_the_way_for_long(self) -> None:
        """And after a bounded time, if each attempt takes its time."""

        def fail_slowly(connection: FaultyConnection, execute: Execute) -> Any:
            self.fixture.clock.rightNow += 4
            return fails("55P03")(connection, execute)

        case = self.make(RegisterClient)
        self.assertIsInstance(self.ask(case, Always(fail_slowly)), StoreUnavailable)
        self.assertEqual(len(self.plan.statements), ceil(RETRY_FOR / 4))

    def test_stuck(self) -> None:
        """A server that says nothing is cut off, whatever it should have said, and the batch is done
        once, on another connection."""

        def say_nothing(connection: FaultyConnection, execute: Execute) -> Any:
            self.fixture.clock.advance(STUCK_AFTER + 2)
            return execute()

        def do_and_say_nothing(connection: FaultyConnection, execute: Execute) -> Any:
            execute()
            self.fixture.clock.advance(STUCK_AFTER + 2)
            return connection.tell("SELECT 1")

        for place in range(len(self.statements(RegisterClient))):
            for fault in (say_nothing, do_and_say_nothing):
                with self.subTest(place=place, fault=fault):
                    case = self.make(RegisterClient)
                    attempts = self.plan.attempts
                    case.check(self.ask(case, {place: fault}))
                    self.assertEqual(self.plan.attempts, attempts + 1)

    def test_stuck_at_the_beginning(self) -> None:
        """A server that says nothing to a new connection is cut off as well."""

        def say_nothing(connection: FaultyConnection, execute: Execute) -> Any:
            self.fixture.clock.advance(STUCK_AFTER + 2)
            return execute()

        for place in (1, 2):
            case = self.make(RegisterClient)
            attempts = self.plan.attempts
            case.check(self.ask(case, {0: cut_before, place: say_nothing}))
            self.assertEqual(self.plan.attempts, attempts + 2)

    def test_nothing_to_say(self) -> None:
        """A connection on which nothing was asked is left alone."""
        attempts = self.plan.attempts
        self.fixture.clock.advance(10 * STUCK_AFTER)
        case = self.make(RegisterClient)
        case.check(self.ask(case, {}))
        self.assertEqual(self.plan.attempts, attempts)

    def test_useless_connection(self) -> None:
        """A connection that cannot be made ready is closed."""
        made: list[FaultyConnection] = []

        def refuse(connection: FaultyConnection, execute: Execute) -> Any:
            made.append(connection)
            return fails("53100")(connection, execute)

        case = self.make(RegisterClient)
        self.assertIsInstance(self.ask(case, {0: cut_before, 1: refuse}), StoreUnavailable)
        self.assertTrue(made[0].closed)
        case.check(self.ask(case, {}))


class ClosingTests(FaultCase):
    """The store closes, and finishes what was asked for as far as it can without waiting."""

    def setUp(self) -> None:
        super().setUp()
        self.statements(RegisterClient)

    def close_with(self, faults: Any) -> tuple[Case, Any]:
        """What becomes of an operation that was asked for before."""
        case = self.make(RegisterClient)
        self.plan.tell(faults)
        asked = case.ask()
        self.fixture.is_closing = True
        self.fixture.result(self.fixture.store.close())
        try:
            result = self.fixture.result(asked)
        except StoreError as error:
            result = error
        self.plan.faults, self.plan.is_away, self.fixture.is_closing = {}, False, False
        self.fixture.reopen()
        return case, result

    def test_connection_was_lost(self) -> None:
        """A connection that has been dead for long is made anew, once."""
        case, result = self.close_with({0: cut_before})
        case.check(result)

    def test_in_the_way(self) -> None:
        """Who is in the way of others tries again."""
        case, result = self.close_with({0: fails("40P01"), 1: fails("40P01")})
        case.check(result)

    def test_server_is_away(self) -> None:
        """For a server that is away nobody waits: what was asked for is refused after a second look."""
        self.fixture.really_waits = True
        self.fixture.reopen()
        self.statements(RegisterClient)
        attempts = self.plan.attempts
        self.plan.is_away = True
        case, result = self.close_with({})
        self.assertIsInstance(result, StoreUnavailable)
        case.check_undone()
        self.assertEqual(self.plan.attempts, attempts + 1)

    def test_settled_before(self) -> None:
        """What was settled before does not come again."""
        leased = self.make(Settle)
        assert isinstance(leased, Settle)
        settled = leased.ask()
        self.fixture.result(self.fixture.store.close())
        self.assertIsNone(self.fixture.result(settled))
        self.fixture.reopen()
        leased.store = self.fixture.store
        leased.check(None)

    def test_known_until_the_end(self) -> None:
        """The last batch is done once, too, when the answer to its COMMIT is lost."""
        commit = last_commit(self.statements(RegisterClient))
        case, result = self.close_with({commit: cut_after})
        case.check(result)

    def test_nothing_is_left(self) -> None:
        """A store that has closed leaves no lease, no lane and no connection."""
        self.make(Leased)
        self.fixture.result(self.fixture.store.close())
        for table in ("relay", "relay_lane", "mailbox_lease"):
            self.assertEqual(self.fixture.sql(f"SELECT * FROM {table}"), [])
        self.assertEqual(
            self.fixture.sql(
                "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE %s",
                f"messageu %{self.fixture.store._relay}%",
            ),
            [],
        )
