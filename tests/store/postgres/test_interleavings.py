"""Between any two statements of one relay's batch another relay does something: what comes of both is
what comes of one after the other, in either order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, TypeAlias

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import ClientId, Envelope, UserName
from messageu.model.v3 import Bundle, Handle
from messageu.store import START, Lease, Page, StoreError, StoreUnavailable
from messageu.store.postgres import _engine, _runner
from messageu.store.v3 import Claimed
from messageu.testing.postgres_faults import Execute, FaultyConnection
from tests.store.contract import HUGE, MANY, NOON, contents_of, key
from tests.store.v3.contract import account_id, bundle, envelope, keys, one_time_keys
from tests.torture import FULL

from .fixtures import FaultyFixture, PostgresFixture

Ask: TypeAlias = Callable[["Place", PostgresFixture], Deferred[Any]]
"""Asks a relay for something."""


@define
class Place:
    """One mailbox, or one account, that both relays are asked for.

    :ivar number: names it.
    :ivar leases: of two, which the operations may end.
    """

    number: int
    client: ClientId
    leases: list[Lease]


def shown(result: Any) -> Any:
    """What of a result does not depend on chance."""
    if isinstance(result, Lease):
        return result.count, contents_of(result.first.pieces)
    if isinstance(result, Page):
        return contents_of(result.pieces)
    if isinstance(result, Claimed):
        key_id = None if result.one_time_key is None else result.one_time_key.key_id
        return result.bundle.sequence, key_id, result.left
    if isinstance(result, StoreError):
        return type(result).__name__, str(result)
    return result


def sequence_of(published: bytes | None) -> int:
    """Of a bundle as it is kept."""
    return 0 if published is None else Bundle.decode(published).sequence


def outcome(fixture: PostgresFixture, deferred: Deferred[Any]) -> Any:
    """A result or an error."""
    try:
        return fixture.result(deferred)
    except StoreError as error:
        return error


@frozen
class Both:
    """What came of two operations, and what is in the tables then.

    :ivar waited: whether one had to wait for the other.
    """

    first: Any
    second: Any
    tables: Any
    waited: bool = field(default=False, eq=False)


LOOSE = {
    ("expire", "expire"),  # one relay at a time does that; the other leaves it alone
    ("waiting", "delete"),  # who reads at this moment finds nothing, and is told later
}
"""Pairs that have a third outcome."""


class InterleavingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.numbers = count(1)
        self.here = FaultyFixture(is_everywhere=True)
        self.addCleanup(self.here.dispose)
        # The other relay does not wait for locks: it comes again when the batch is done.
        session = _engine.SESSION
        self.patch(_engine, "SESSION", f"{session}; SET lock_timeout = 1")
        self.patch(_runner, "AGAIN_LIMIT", 0)
        self.there = PostgresFixture(schema=self.here.schema, clock=Clock(), connections=1)
        self.addCleanup(lambda: self.there.result(self.there.store.close()))
        self.there.result(self.there.store.register(UserName(b"Alice"), key()))
        self.there.result(self.there.store.expire(0))
        self.patch(_engine, "SESSION", session)
        self.alice = self.here.result(self.here.store.register(UserName(b"Bob"), key()))

    def make(self) -> Place:
        raise NotImplementedError

    def tables(self, place: Place) -> Any:
        raise NotImplementedError

    def in_order(self, *asks: Ask) -> tuple[list[Any], Any]:
        """What comes of operations one after the other, and what is in the tables then."""
        place = self.make()
        results = [
            shown(outcome(fixture, ask(place, fixture)))
            for ask, fixture in zip(asks, (self.here, self.there), strict=True)
        ]
        return results, self.tables(place)

    def between(self, first: Ask, second: Ask, number: int) -> Both | None:
        """What comes of both when the second is done before a statement of the first; None when there
        is no such statement."""
        place = self.make()
        seconds: list[Any] = []

        def interrupt(_: FaultyConnection, execute: Execute) -> Any:
            seconds.append(outcome(self.there, second(place, self.there)))
            return execute()

        self.here.plan.tell({number: interrupt})
        result = outcome(self.here, first(place, self.here))
        self.here.plan.faults = {}
        if not seconds:
            return None
        waited = isinstance(seconds[0], StoreUnavailable)
        if waited:
            seconds[0] = outcome(self.there, second(place, self.there))
        return Both(shown(result), shown(seconds[0]), self.tables(place), waited)

    def all_pairs(self, firsts: Mapping[str, Ask], seconds: Mapping[str, Ask]) -> None:
        for name, first in firsts.items():
            for other, second in seconds.items():
                if (name, other) not in LOOSE:
                    self.pair(f"{name} and {other}", first, second)

    def pair(self, names: str, first: Ask, second: Ask) -> None:
        results, tables = self.in_order(first, second)
        allowed = [Both(*results, tables)]
        place = self.make()
        before = shown(outcome(self.there, second(place, self.there)))
        after = shown(outcome(self.here, first(place, self.here)))
        allowed.append(Both(after, before, self.tables(place)))
        for number in count():
            both = self.between(first, second, number)
            if both is None:
                break
            with self.subTest(names=names, statement=self.here.plan.statements[number]):
                self.assertIn(both, allowed)
            if both.waited and not FULL:
                break  # so it does until the end


def put(*contents: bytes) -> Ask:
    def ask(place: Place, fixture: PostgresFixture) -> Deferred[Any]:
        envelopes = [Envelope(place.client, place.client, 3, content) for content in contents]
        return fixture.store.put(envelopes)

    return ask


def lease(place: Place, fixture: PostgresFixture) -> Deferred[Any]:
    return fixture.store.lease(place.client, MANY, HUGE, HUGE)


def read(number: int) -> Ask:
    return lambda place, fixture: fixture.store.read(place.leases[number], START, HUGE)


def settle(number: int) -> Ask:
    return lambda place, fixture: fixture.store.settle(place.leases[number])


def release(number: int) -> Ask:
    return lambda place, fixture: fixture.store.release(place.leases[number])


def expire(before: float) -> Ask:
    return lambda _, fixture: fixture.store.expire(before)


class MailboxTests(InterleavingCase):
    """A mailbox of four messages, of which one is old, and two leases: of three of them and of two."""

    def make(self) -> Place:
        number, here = next(self.numbers), self.here
        self.here.sql("DELETE FROM mailbox_message")
        name = UserName.from_text(f"Carol {number}")
        client = here.result(here.store.register(name, key()))
        place = Place(number, client, [])
        for content in (b"one", b"two", b"three", b"four"):
            here.time = NOON + (content != b"one")
            here.result(put(content)(place, here))
        place.leases = [
            here.result(here.store.lease(client, messages, HUGE, HUGE)) for messages in (3, 2)
        ]
        return place

    def tables(self, place: Place) -> Any:
        named = "FROM mailbox_client JOIN mailbox ON client = key WHERE id = %s"
        return (
            self.here.sql(
                f"SELECT last_sequence, settled, epoch, messages, content {named}", place.client.raw
            ),
            self.here.sql(
                "SELECT sequence, content, expired FROM mailbox_message WHERE recipient ="
                f" (SELECT client {named}) ORDER BY sequence",
                place.client.raw,
            ),
            self.here.sql(
                f"SELECT first, last, epoch FROM mailbox_lease WHERE client = (SELECT client {named})"
                " ORDER BY 1, 2, 3",
                place.client.raw,
            ),
        )

    def test_all(self) -> None:
        """Whatever is done with a mailbox by two relays at once."""
        asks: dict[str, Ask] = {
            "put": put(b"five"),
            "lease": lease,
            "settle": settle(0),
            "release": release(0),
            "expire": expire(NOON + 0.5),
        }
        others: dict[str, Ask] = {
            "put": put(b"six", b"seven"),
            "settle": settle(1),
            "lease": lease,
            "expire": expire(NOON + 1.5),
            "release": release(1),
        }
        self.all_pairs(asks, others)

    def test_read(self) -> None:
        """What a lease has is read as it was, whatever becomes of the mailbox meanwhile."""
        for name, other in (("settle", settle(1)), ("expire", expire(NOON + 9)), ("lease", lease)):
            self.pair(f"read and {name}", read(0), other)


NUMBER = 7
"""Of the account that both relays are asked for."""

ACCOUNT_TABLES = (
    *("account", "account_name", "account_prekey"),
    *("account_mailbox", "account_mail", "account_tombstone", "account_rubbish"),
)


def store_mail(*numbers: int) -> Ask:
    return lambda place, fixture: fixture.store.accounts.put(
        [envelope(place.number, number, b"sealed") for number in numbers]
    )


def acknowledge(*sequences: int, term: int | None = None) -> Ask:
    return lambda place, fixture: fixture.store.accounts.acknowledge(
        account_id(place.number), sequences, term
    )


def subscribe(place: Place, fixture: PostgresFixture) -> Deferred[Any]:
    return fixture.store.accounts.subscribe(account_id(place.number))


def waiting(place: Place, fixture: PostgresFixture) -> Deferred[Any]:
    return fixture.store.accounts.waiting(account_id(place.number), 0, MANY, HUGE, 1)


def claim(place: Place, fixture: PostgresFixture) -> Deferred[Any]:
    return fixture.store.accounts.claim(account_id(place.number))


def publish(sequence: int, *ids: int) -> Ask:
    return lambda place, fixture: fixture.store.accounts.publish(
        account_id(place.number), bundle(place.number, sequence), one_time_keys(*ids)
    )


def admit(generation: int) -> Ask:
    return lambda place, fixture: fixture.store.accounts.admit(
        keys(place.number).identity, generation << 16
    )


def register(name: str, generation: int = 1, shift: int = 0) -> Ask:
    return lambda place, fixture: fixture.store.accounts.register(
        keys(place.number + shift), generation << 16, Handle(name), None
    )


def delete(place: Place, fixture: PostgresFixture) -> Deferred[Any]:
    return fixture.store.accounts.delete_account(account_id(place.number))


def expire_mail(place: Place, fixture: PostgresFixture) -> Deferred[Any]:
    return fixture.store.accounts.expire(NOON + 3600)


class AccountTests(InterleavingCase):
    """An account with two one-time keys, three envelopes of which one is old, and a subscription."""

    registered = True

    def make(self) -> Place:
        here = self.here
        here.sql(
            "; ".join(f"DELETE FROM {table}" for table in ACCOUNT_TABLES)
            + "; UPDATE relay_meta SET value = 0 WHERE name LIKE 'last_deleted%'"
        )
        place = Place(NUMBER, self.alice, [])
        if self.registered:
            for step in (register("alice"), publish(1, 1, 2), subscribe, store_mail(1)):
                here.time = NOON
                here.result(step(place, here))
            here.time = NOON + 7200
            here.result(store_mail(2, 3)(place, here))
        return place

    def tables(self, _: Place) -> Any:
        accounts = self.here.sql("SELECT id, generation, highest_key, bundle FROM account")
        return (
            sorted((*row, sequence_of(published)) for *row, published in accounts),
            *(
                self.here.sql(statement)
                for statement in (
                    "SELECT name, account IS NULL FROM account_name ORDER BY name",
                    "SELECT id FROM account_prekey ORDER BY id",
                    "SELECT last_sequence, messages, content, term FROM account_mailbox",
                    "SELECT sequence, envelope_id FROM account_mail ORDER BY sequence",
                    "SELECT sequence, envelope_id FROM account_tombstone ORDER BY sequence",
                    "SELECT count(*) FROM account_rubbish",
                )
            ),
        )

    def test_mail(self) -> None:
        """Whatever is done with the mail of an account by two relays at once."""
        asks: dict[str, Ask] = {
            "put": store_mail(4, 5),
            "acknowledge": acknowledge(1, 2, term=1),
            "subscribe": subscribe,
            "waiting": waiting,
            "expire": expire_mail,
            "delete": delete,
        }
        others: dict[str, Ask] = {
            "put": store_mail(5, 6),
            "acknowledge": acknowledge(2, 3),
            "delete": delete,
            "expire": expire_mail,
            "subscribe": subscribe,
        }
        self.all_pairs(asks, others)

    def test_keys(self) -> None:
        """Whatever is done with its prekeys, its generation and itself."""
        asks: dict[str, Ask] = {
            "claim": claim,
            "publish": publish(2, 3, 4),
            "admit": admit(2),
            "delete": delete,
        }
        others: dict[str, Ask] = {
            "claim": claim,
            "admit": admit(3),
            "publish": publish(3, 5),
            "delete": delete,
        }
        self.all_pairs(asks, others)


class NewAccountTests(AccountTests):
    """An account that is only made now."""

    registered = False

    def test_mail(self) -> None:
        """Registration, and mail that comes with it."""
        firsts: dict[str, Ask] = {
            "register": register("alice", 1),
            "put": store_mail(1, 2),
            "admit": admit(2),
            "subscribe": subscribe,
            "delete": delete,
        }
        for name, first in firsts.items():
            self.pair(f"{name} and register", first, register("alice", 3))

    def test_keys(self) -> None:
        """Two want the same name, or one the same account under two names."""
        for other in (register("alice", 1, 1), register("a1ice", 1, 1), register("carol", 1)):
            self.pair("register and register", register("alice"), other)
