"""Two relays of v3 on one PostgreSQL database: what is sent through one arrives at the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from attrs import define
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from messageu.model.v3 import Reason
from messageu.store import News
from messageu.store.postgres import PostgresStore
from messageu.store.postgres._listener import INSURANCE, POLL
from messageu.wire import v3
from tests.store.postgres.fixtures import HearingFixture

from .relay import MemoryClient, MemoryRelay, Person, envelope


@define
class DeafFixture(HearingFixture):
    """Stores on a database where nobody can listen."""

    def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return fail(psycopg.OperationalError("told to be deaf"))


class SharedDatabaseTests(SynchronousTestCase):
    """Anna is at one relay, and Bert at the other."""

    def set_up(self, fixture: HearingFixture) -> None:
        self.fixture = fixture
        self.addCleanup(fixture.dispose)
        other = fixture.make()
        other.open()
        self.addCleanup(lambda: fixture.result(other.close()))
        self.here, self.there = (self.relay(store) for store in (fixture.store, other))
        self.anna, self.bert = Person(), Person()
        self.sender = self.here.log_in(self.anna, name="anna")
        self.taker = self.there.log_in(self.bert, name="bert")
        self.hear()

    def relay(self, store: PostgresStore) -> MemoryRelay:
        relay = MemoryRelay(store.accounts, clock=self.fixture.clock)

        def hear(news: News) -> None:
            relay.hear(news)

        store.watch(hear)
        return relay

    def hear(self, *clients: MemoryClient) -> None:
        """What was announced is heard, and what follows happens, at once."""
        now = self.fixture.clock.seconds()
        self.fixture.hear()
        for client in clients:
            client.line.run()
        self.assertEqual(self.fixture.clock.seconds(), now)

    def send(self, client: MemoryClient, count: int = 1) -> None:
        for _ in range(count):
            self.assertIsInstance(client.ask(envelope(self.bert)), v3.Stored)

    def test_pushed(self) -> None:
        """Mail for somebody at the other relay is pushed there as soon as that is heard, and once."""
        self.set_up(HearingFixture())
        self.taker.subscribe()
        self.send(self.sender, 3)
        self.hear(self.taker)
        self.assertEqual(self.taker.sequences(), [1, 2, 3])
        self.assertEqual(self.taker.ask(v3.Acknowledge((1, 2, 3))), v3.Acknowledged())
        self.send(self.sender)
        self.hear(self.taker)
        self.assertEqual(self.taker.sequences(), [4])

    def test_answered(self) -> None:
        """And his answer comes back in the same way."""
        self.set_up(HearingFixture())
        self.sender.subscribe()
        self.assertIsInstance(self.taker.ask(envelope(self.anna)), v3.Stored)
        self.hear(self.sender)
        self.assertEqual(self.sender.sequences(), [1])

    def test_displaced(self) -> None:
        """Who comes to another relay takes his mailbox with him."""
        self.set_up(HearingFixture())
        self.send(self.sender)
        self.taker.subscribe()
        self.assertEqual(self.taker.sequences(), [1])
        moved = self.here.log_in(self.bert, 2)
        moved.subscribe()
        self.hear(self.taker)
        self.assertEqual(self.taker.pushed(), [v3.Displaced()])
        self.assertEqual(moved.sequences(), [1])
        self.assertEqual(self.taker.ask(v3.Acknowledge((1,))), v3.Error(Reason.NOT_SUBSCRIBED))
        self.assertEqual(moved.ask(v3.Acknowledge((1,))), v3.Acknowledged())

    def test_prekeys(self) -> None:
        """Who loses one-time keys to claims at another relay is warned."""
        self.set_up(HearingFixture())
        published = self.bert.bundle(), self.bert.one_time_keys(1, 2)
        self.assertEqual(self.taker.ask(v3.Publish(*published)), v3.Published(2))
        self.taker.subscribe()
        claimed = self.sender.ask(v3.Claim(self.bert.account))
        self.assertIsInstance(claimed, v3.Claimed)
        self.hear(self.taker)
        self.assertEqual(self.taker.pushed(), [v3.PrekeysLow(1)])

    def test_deaf(self) -> None:
        """Where nobody can hear anything, the other relay looks by itself, every two seconds."""
        self.set_up(DeafFixture())
        self.taker.subscribe()
        for number in range(1, 4):
            self.send(self.sender)
            self.assertEqual(self.taker.pushed(), [])
            self.fixture.clock.advance(POLL)
            self.assertEqual(self.taker.sequences(), [number])
        moved = self.here.log_in(self.bert, 2)
        moved.subscribe()
        self.fixture.clock.advance(POLL)
        self.assertEqual(self.taker.pushed(), [v3.Displaced()])

    def test_nothing_announced(self) -> None:
        """What a relay has stored that had no time to announce it is found after half a minute."""
        self.set_up(HearingFixture())
        self.taker.subscribe()
        self.patch(self.fixture.store, "_last_lanes", None)
        self.send(self.sender)
        self.hear(self.taker)
        self.assertEqual(self.taker.pushed(), [])
        for _ in range(int(INSURANCE / POLL)):
            self.fixture.clock.advance(POLL)
        self.assertEqual(self.taker.sequences(), [1])
