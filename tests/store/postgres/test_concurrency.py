"""Real connections in real threads: two relays at once at the same mailboxes, while the server ends
their connections."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from messageu.model import ClientId, Envelope, MessageId, UserName
from messageu.model.v3 import Handle, Reason
from messageu.store import START
from messageu.store.postgres import PostgresAddress, PostgresStore
from messageu.store.v3 import Claimed, Stored
from tests.store.contract import HUGE, NOON, contents_of, key
from tests.store.v3.contract import account_id, bundle, envelope, keys, one_time_keys
from tests.torture import scaled

from .fixtures import make_schema

ROUNDS = scaled(40, 1_000)
"""What each of those does who are at it at once."""

SENDERS = 6
CLIENTS = 5


class ConcurrencyTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.schema = make_schema()
        self.addCleanup(self.schema.remove)
        self.dice = random.Random(ROUNDS)
        self.before = self.deadlocks()
        self.stores = [self.make() for _ in range(2)]

    def make(self) -> PostgresStore:
        store = PostgresStore(
            PostgresAddress.parse(self.schema.address), reactor, now=lambda: NOON, connections=3
        )
        store.open()
        return store

    def deadlocks(self) -> int:
        """Of the whole server, so far."""
        ((count,),) = self.schema.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        return int(count)

    async def close(self) -> None:
        for store in self.stores:
            await store.close()
        # Backends count what they have met when they end.
        self.assertEqual(self.deadlocks(), self.before)

    def end_connections(self) -> None:
        """The server ends whatever one of the lanes is doing."""
        self.schema.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = (SELECT pid"
            " FROM pg_stat_activity WHERE application_name LIKE 'messageu %'"
            " AND datname = current_database() ORDER BY random() LIMIT 1)"
        )

    async def all(self, *tasks: Awaitable[Any]) -> Sequence[Any]:
        """Do these at once."""
        return await gatherResults([Deferred.fromCoroutine(task) for task in tasks])

    async def put_all(self, sender: int, clients: Sequence[ClientId]) -> dict[bytes, ClientId]:
        """One message after the other, through either relay; what was sent to whom."""
        sent = {}
        for number in range(ROUNDS):
            content = f"{sender} {number:06}".encode()
            recipients = self.dice.sample(clients, 2)
            store = self.dice.choice(self.stores)
            outcomes = await store.put(
                [
                    Envelope(clients[0], each, 3, content + bytes([index]))
                    for index, each in enumerate(recipients)
                ]
            )
            for index, (recipient, outcome) in enumerate(zip(recipients, outcomes, strict=True)):
                self.assertIsInstance(outcome, MessageId)
                sent[content + bytes([index])] = recipient
            if not number % 20:
                self.end_connections()
        return sent

    async def fetch_all(self, client: ClientId, arrived: Counter[bytes]) -> None:
        """Again and again, through either; what is settled has arrived."""
        for _ in range(ROUNDS):
            store = self.dice.choice(self.stores)
            lease = await store.lease(client, self.dice.randint(1, 9), HUGE, 100)
            if lease.count:
                pieces = list(lease.first.pieces)
                if lease.first.next is not None:
                    pieces += (await store.read(lease, lease.first.next, HUGE)).pieces
                self.assertEqual([each[0] for each in pieces], sorted({each[0] for each in pieces}))
                if self.dice.random() < 0.7:
                    arrived.update(contents_of(pieces))
                    await store.settle(lease)
                else:
                    await store.release(lease)

    async def test_mailboxes(self) -> None:
        """No message is lost or stored twice, mailboxes keep their order, and nobody's batches stand
        in each other's way for ever."""
        names = [UserName.from_text(f"client {number}") for number in range(CLIENTS)]
        clients = await self.all(*(self.register(name) for name in names))
        arrived: dict[ClientId, Counter[bytes]] = defaultdict(Counter)
        ended = await self.all(
            *(self.put_all(sender, clients) for sender in range(SENDERS)),
            *(self.fetch_all(client, arrived[client]) for client in clients for _ in range(2)),
            self.expire_all(),
        )
        sent: dict[bytes, ClientId] = {}
        for each in ended[:SENDERS]:
            sent |= each
        waiting = {client: await self.take(client) for client in clients}
        for client in clients:
            mine = {content for content, recipient in sent.items() if recipient == client}
            self.assertEqual(len(waiting[client]), len(set(waiting[client])))
            self.assertEqual({*arrived[client], *waiting[client]}, mine)
            for sender in range(SENDERS):
                theirs = [each for each in waiting[client] if each.startswith(b"%d " % sender)]
                self.assertEqual(theirs, sorted(theirs))
        self.assertEqual(
            self.schema.execute("SELECT sum(messages), sum(content), count(*) FROM mailbox"),
            [(0, 0, CLIENTS)],
        )
        self.assertEqual(
            self.schema.execute("SELECT sum(last_sequence) FROM mailbox"), [(len(sent),)]
        )
        await self.close()
        self.assertEqual(self.schema.execute("SELECT count(*) FROM mailbox_message"), [(0,)])

    async def register(self, name: UserName) -> ClientId:
        """Through both at once: one of them gets it."""
        asked = [store.register(name, key()) for store in self.stores]
        (client,) = [each for each in await gatherResults(asked) if isinstance(each, ClientId)]
        return client

    async def expire_all(self) -> None:
        """Nothing is old enough; but it is looked for."""
        for _ in range(ROUNDS // 4):
            for store in self.stores:
                self.assertEqual(await store.expire(NOON), 0)

    async def take(self, client: ClientId) -> list[bytes]:
        """All that waits, which is settled."""
        store = self.dice.choice(self.stores)
        lease = await store.lease(client, 10**6, HUGE, HUGE)
        pieces = list((await store.read(lease, START, HUGE)).pieces) if lease.count else []
        await store.settle(lease)
        return contents_of(pieces)

    async def test_accounts(self) -> None:
        """No envelope is stored twice, and no one-time key given twice."""
        for number in (1, 3):
            await self.stores[0].accounts.register(
                keys(number), 1 << 16, Handle(f"name{number}"), None
            )
        await self.stores[0].accounts.publish(account_id(1), bundle(1), one_time_keys(*range(30)))
        ended = await self.all(
            *(self.send_all(store, 1) for store in self.stores),
            *(self.send_all(store, 3) for store in self.stores),
            *(self.claim_all(store) for store in self.stores),
            *(self.subscribe_all(store) for store in self.stores),
        )
        for one, other in (ended[:2], ended[2:4]):
            self.assertEqual(
                sorted(each.sequence for each in one), sorted(each.sequence for each in other)
            )
            fresh = [each.sequence for each in (*one, *other) if not each.known]
            self.assertEqual(sorted(fresh), list(range(1, ROUNDS + 1)))
        given = [claimed.one_time_key for each in ended[4:6] for claimed in each]
        ids = [each.key_id for each in given if each is not None]
        self.assertEqual(sorted(ids), list(range(min(30, 2 * ROUNDS))))
        terms = [term for each in ended[6:8] for term in each]
        self.assertEqual(len(terms), len(set(terms)))
        await self.close()
        self.assertEqual(
            self.schema.execute("SELECT messages, last_sequence FROM account_mailbox"),
            [(ROUNDS, ROUNDS)] * 2,
        )

    async def send_all(self, store: PostgresStore, recipient: int) -> list[Stored]:
        """The same envelopes as the other relay, in an order of its own."""
        numbers = list(range(ROUNDS))
        self.dice.shuffle(numbers)
        stored = []
        for number in numbers:
            (outcome,) = await store.accounts.put([envelope(recipient, number)])
            assert isinstance(outcome, Stored), outcome
            stored.append(outcome)
            if not number % 20:
                self.end_connections()
        return stored

    async def claim_all(self, store: PostgresStore) -> list[Claimed]:
        claimed = []
        for _ in range(ROUNDS):
            each = await store.accounts.claim(account_id(1))
            assert isinstance(each, Claimed)
            claimed.append(each)
        return claimed

    async def subscribe_all(self, store: PostgresStore) -> list[int]:
        terms = []
        for _ in range(ROUNDS):
            term = await store.accounts.subscribe(account_id(3))
            assert not isinstance(term, Reason)
            terms.append(term)
            waiting = await store.accounts.waiting(account_id(3), 0, 9, HUGE, term)
            if not isinstance(waiting, Reason):
                self.assertEqual(
                    [each.sequence for each in waiting],
                    list(range(1, 1 + len(waiting))),
                )
        return terms
