"""What the tests of migrations have in common: a database in which there is something of everything,
and all that a store can be asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import cache
from itertools import chain, count
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import ClientId, Envelope, MessageId, UserName
from messageu.model.v3 import GENERATION_BITS, Handle, Reason
from messageu.store import NO_QUOTA, START, Quota, SqliteStore
from messageu.store.postgres import Moved, PostgresAddress, _filling, migrate
from messageu.testing.postgres import Schema
from messageu.testing.threadpool import threadless_pool
from tests.store.contract import HUGE, MANY, STRANGER, SqliteFixture, contents_of, key
from tests.store.v3.contract import account_id, bundle, envelope, keys, one_time_keys

from .fixtures import PostgresFixture, make_schema

TOKEN = b"invitation token"
SIZES = (0, 1, 300, 2**16, 2**16 + 1, 200_000)
"""Of contents: some are in pieces."""

CLIENTS = 4
"""How many there are after a little of everything."""

NAMES = ("alice", "bob", "carol", "dave", "erin")
PEOPLE = range(1, 6)
"""Numbers of those who may have accounts."""


def id_of(number: int) -> ClientId:
    """The id of the client that is made after so many others."""
    return ClientId(b"client".ljust(8) + number.to_bytes(8, "big"))


def new_ids() -> Callable[[], ClientId]:
    """Gives such ids one after another."""
    return map(id_of, count()).__next__


@define
class Source(SqliteFixture):
    """An SqliteStore with both kinds of quotas, whose clients have known ids."""

    account_quota: Quota = NO_QUOTA
    new_client_id: Callable[[], ClientId] = field(factory=new_ids)

    def make(self) -> SqliteStore:
        return SqliteStore(
            self.path,
            self.clock,
            now=lambda: self.time,
            new_client_id=self.new_client_id,
            quota=self.quota,
            account_quota=self.account_quota,
            new_pool=threadless_pool,
            engine=self.engine,
        )

    def close(self) -> None:
        """End as a relay does that is stopped."""
        self.result(self.store.close())


@define
class Life:
    """What clients and accounts do with a store.

    :ivar clients: the ids of all clients.
    """

    fixture: Any
    clients: list[ClientId] = field(factory=list)
    envelopes: Iterator[int] = field(factory=lambda: count(1))

    def do(self, deferred: Any) -> Any:
        """The result of an operation."""
        return self.fixture.result(deferred)

    def register(self, number: int) -> None:
        """A client comes, if the name is free."""
        name = UserName(f"client {number}".encode())
        client = self.do(self.fixture.store.register(name, key(number)))
        if isinstance(client, ClientId):
            self.clients.append(client)

    def client(self, number: int) -> ClientId:
        """The id of one of the clients, or of nobody."""
        return self.clients[number] if number < len(self.clients) else STRANGER

    def put(self, sender: int, recipient: int, size: int) -> None:
        """A message is sent, if both are there."""
        content = bytes([sender, recipient]) * (size // 2) + bytes(size % 2)
        kind = 1 + recipient % 4
        sent = Envelope(self.client(sender), self.client(recipient), kind, content)
        self.do(self.fixture.store.put([sent]))

    def fetch(self, client: int, messages: int, end: str) -> None:
        """Some mail is fetched, and settled, released, or on its way when all ends."""
        if client < len(self.clients):
            lease = self.do(self.fixture.store.lease(self.client(client), messages, HUGE, HUGE))
            if end != "nothing":
                self.do(getattr(self.fixture.store, end)(lease))

    def pass_time(self, seconds: int) -> None:
        """It is later."""
        self.fixture.time += seconds

    def expire(self, age: int) -> None:
        """What is so old is deleted."""
        self.do(self.fixture.store.expire(self.fixture.time - age))
        self.do(self.fixture.store.accounts.expire(self.fixture.time - age))

    def enrol(self, number: int, name: str, token: bytes | None = None) -> None:
        """Somebody makes an account, if he has none and the name is free."""
        generation = number << GENERATION_BITS
        accounts = self.fixture.store.accounts
        self.do(accounts.register(keys(number), generation, Handle(name), token))

    def admit(self, number: int, generation: int) -> None:
        """Somebody connects."""
        accounts = self.fixture.store.accounts
        self.do(accounts.admit(keys(number).identity, generation << GENERATION_BITS | number))

    def publish(self, number: int, sequence: int, first: int) -> None:
        """Somebody publishes a bundle and two one-time keys."""
        accounts = self.fixture.store.accounts
        published = bundle(number, sequence)
        self.do(accounts.publish(account_id(number), published, one_time_keys(first, first + 1)))

    def claim(self, number: int) -> None:
        """Somebody's prekeys are claimed."""
        self.do(self.fixture.store.accounts.claim(account_id(number)))

    def send(self, number: int, size: int) -> None:
        """An envelope is sent."""
        sealed = bytes([number]) * size
        sent = envelope(number, next(self.envelopes), sealed, 2**32 - 1)
        self.do(self.fixture.store.accounts.put([sent]))

    def subscribe(self, number: int) -> None:
        """Somebody subscribes to his mailbox."""
        self.do(self.fixture.store.accounts.subscribe(account_id(number)))

    def acknowledge(self, number: int, sequence: int) -> None:
        """Mail has arrived."""
        self.do(self.fixture.store.accounts.acknowledge(account_id(number), [sequence]))

    def leave(self, number: int) -> None:
        """Somebody deletes his account."""
        self.do(self.fixture.store.accounts.delete_account(account_id(number)))

    def release_name(self, name: str) -> None:
        """The operator lets a name be given out again."""
        self.do(self.fixture.store.accounts.release_name(Handle(name)))

    def invite(self, token: bytes) -> None:
        """The operator makes a token."""
        self.do(self.fixture.store.accounts.invite(token))


def live(fixture: Any) -> Life:
    """A little of everything."""
    life = Life(fixture)
    for number in range(CLIENTS):
        life.register(number)
    for number, size in enumerate(SIZES * 2):
        life.put(number % 4, number % 3, size)
        life.pass_time(1)
    life.fetch(0, 2, "settle")
    life.fetch(1, 1, "release")
    life.fetch(2, 1, "nothing")
    life.invite(TOKEN)
    for number, name in zip(PEOPLE, NAMES, strict=True):
        life.enrol(number, name)
        life.publish(number, 1, 2**32)
        for size in SIZES:
            life.send(number, size)
    life.publish(1, 2, 2**63)
    life.claim(2)
    life.admit(3, 77)
    life.subscribe(4)
    life.subscribe(4)
    life.subscribe(5)
    life.acknowledge(2, 3)
    life.leave(5)
    life.leave(3)
    life.release_name("carol")
    return life


def answers(fixture: Any, clients: Sequence[ClientId]) -> Iterator[object]:
    """What a store says to everything that it can be asked. It is another one after that.

    Ids of messages that are made meanwhile are left out: in PostgreSQL each mailbox counts for itself.
    """
    ids = [*clients, STRANGER]
    yield "mailboxes", [list(_of_client(fixture, each, ids)) for each in ids]
    yield "expiry", fixture.result(fixture.store.expire(fixture.time - 6))
    for each in ids:
        yield "after expiry", list(_fetched(fixture, each, settle=True))
    sent = [Envelope(ids[0], each, 3, b"new") for each in ids]
    yield "put", [_but_ids(each) for each in fixture.result(fixture.store.put(sent))]
    yield from (("new", list(_fetched(fixture, each, settle=False))[3:]) for each in ids)
    for number in PEOPLE:
        yield "account", number, list(_of_account(fixture, number))
    yield "expiry", fixture.result(fixture.store.accounts.expire(fixture.time - 1800))
    for number in PEOPLE:
        yield number, fixture.result(_waiting(fixture, number))
    yield from _about_names(fixture)


def _of_client(fixture: Any, client: ClientId, ids: Sequence[ClientId]) -> Iterator[object]:
    store, do = fixture.store, fixture.result
    for each in ids:
        yield do(store.public_key(client, each))
    directory = do(store.directory(client))
    if hasattr(directory, "count"):
        yield directory.count
        start = 0
        while start is not None:
            page = do(store.directory_page(directory, start, 2))
            yield page.clients
            start = page.next
    yield from _fetched(fixture, client, settle=False)


def _fetched(fixture: Any, client: ClientId, *, settle: bool) -> Iterator[object]:
    store, do = fixture.store, fixture.result
    lease = do(store.lease(client, MANY, HUGE, 100))
    if not hasattr(lease, "count"):
        yield lease
        return
    yield lease.count, lease.size
    pages, start = [lease.first], START
    while start is not None and lease.count:
        pages.append(do(store.read(lease, start, 50_000)))
        start = pages[-1].next
    pieces = list(chain.from_iterable(page.pieces for page in pages[1:]))
    yield [piece[0] for piece in pieces]
    yield [piece[1:5] for piece in pieces]
    yield contents_of(pieces)
    do(store.settle(lease) if settle else store.release(lease))


def _but_ids(outcome: object) -> object:
    return "stored" if isinstance(outcome, MessageId) else outcome


def _waiting(fixture: Any, number: int, **options: Any) -> Any:
    return fixture.store.accounts.waiting(account_id(number), 0, MANY, HUGE, **options)


def _of_account(fixture: Any, number: int) -> Iterator[object]:
    accounts, do, account = fixture.store.accounts, fixture.result, account_id(number)
    yield do(_waiting(fixture, number))
    yield do(_waiting(fixture, number, term=1))
    for generation in (1, 76, 77, 78):
        admitted = accounts.admit(keys(number).identity, generation << GENERATION_BITS | number)
        yield do(admitted)
    for sequence, first in ((1, 2**32), (2, 2**32 + 1), (3, 2**63 + 2)):
        yield do(accounts.publish(account, bundle(number, sequence), one_time_keys(first)))
    claimed = None
    while not isinstance(claimed, Reason) and getattr(claimed, "left", 1):
        claimed = do(accounts.claim(account))
        yield claimed
    # With the same bytes as before, or with others.
    sealed = [bytes([number]) * size for size in SIZES[:3]]
    yield do(
        accounts.put([envelope(number, known, each) for known in range(60) for each in sealed])
    )
    yield do(accounts.subscribe(account))
    yield do(accounts.acknowledge(account, [1, 2, 3]))
    yield do(_waiting(fixture, number))


def _about_names(fixture: Any) -> Iterator[object]:
    accounts, do = fixture.store.accounts, fixture.result
    for name in (*NAMES, "al1ce", "zoe"):
        yield do(accounts.resolve(Handle(name)))
    yield do(accounts.register(keys(50), 1, Handle("zoe"), b"no such token...".ljust(16)))
    yield do(accounts.register(keys(50), 1, Handle("zoe"), TOKEN))
    for number in PEOPLE:
        yield do(accounts.delete_account(account_id(number)))
    for name in NAMES:
        yield do(accounts.register(keys(60), 1, Handle(name), None))
        yield do(accounts.release_name(Handle(name)))
    for number, name in zip(PEOPLE, NAMES, strict=True):
        # Sequences and terms go on behind those of accounts that are gone.
        yield do(accounts.register(keys(number), 1, Handle(name), None))
        yield do(accounts.put([envelope(number, 1000)]))
        yield do(accounts.subscribe(account_id(number)))


def dump(schema: Schema) -> dict[str, list[tuple[Any, ...]]]:
    """All rows in these tables, but for those about relays and migrations."""
    tables = schema.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace = current_schema()::regnamespace"
        " AND relname NOT IN ('relay', 'relay_lane', 'relay_migration')"
    )
    return {name: sorted(schema.execute(f"SELECT * FROM {name}"), key=repr) for (name,) in tables}


@cache
def _lived() -> tuple[bytes, float]:
    """A database in which there is a little of everything, and what time it is then."""
    source = Source()
    live(source)
    source.close()
    content, time = source.path.read_bytes(), source.time
    source.dispose()
    return content, time


class MovingCase(SynchronousTestCase):
    """Tests that move a database, in which there is a little of everything, in small steps.

    :ivar source: its store, which is closed.
    """

    def setUp(self) -> None:
        self.patch(_filling, "STEP_ROWS", 3)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        content, time = _lived()
        (folder / "defensive.db").write_bytes(content)
        self.source = Source(folder=folder, time=time)
        self.addCleanup(self.source.dispose)
        self.source.close()

    def make_schema(self) -> Schema:
        """Tables of their own, empty."""
        schema = make_schema()
        self.addCleanup(schema.remove)
        return schema

    def migrate(self, schema: Schema, path: Path | None = None) -> Moved:
        """Move the source, or another database."""
        return migrate(
            path or self.source.path, PostgresAddress.parse(schema.address), lambda *_: None
        )

    def opened(self, schema: Schema) -> PostgresFixture:
        """A store on these tables, of which the rest is as with the source."""
        source = self.source
        fixture = PostgresFixture(
            time=source.time,
            quota=source.quota,
            account_quota=source.account_quota,
            new_client_id=new_ids(),
            schema=schema,
        )
        self.addCleanup(lambda: fixture.result(fixture.store.close()))
        return fixture

    def sql(self, *statements: str) -> None:
        """Change the source, which is closed, as no relay does."""
        with closing(sqlite3.connect(self.source.path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)
