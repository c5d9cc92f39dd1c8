"""Two relays on the same tables: what one does the other knows, and nobody gets what is not due."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any
from unittest import mock

import psycopg
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import ClientId, Envelope, ListedClient, MessageId, Refusal, UserName
from messageu.model.v3 import Handle, Reason
from messageu.store import NO_QUOTA, START, Lease, Quota, StoreError
from messageu.store._caches import ClientKeys
from messageu.store.postgres import PostgresStore
from messageu.store.postgres import _account_statements as account_statements
from messageu.store.postgres import _statements as mailbox_statements
from messageu.store.postgres._engine import STATEMENT_PATIENCE
from messageu.store.postgres._operations import ClearMailbox, ClearRubbish, Expire
from messageu.store.postgres._statements import LEASE_GRACE, LEASE_LIFE
from messageu.store.postgres._work import PostgresWork
from messageu.store.v3 import Admission, Stored
from messageu.store.v3._operations import ExpireMail
from tests.store.contract import HUGE, MANY, NOON, contents_of, ids_of, key
from tests.store.v3.contract import (
    TOKEN,
    account_id,
    bundle,
    envelope,
    keys,
    one_time_keys,
)

from .fixtures import FaultyFixture, PostgresFixture

MOMENT = 1
"""Seconds in which a test gets on."""


class TwoRelaysCase(SynchronousTestCase):
    quota = NO_QUOTA

    def setUp(self) -> None:
        self.fixture = PostgresFixture(quota=self.quota, account_quota=self.quota)
        self.addCleanup(self.fixture.dispose)
        self.here = self.fixture.store
        self.there = self.fixture.make()
        self.there.open()
        self.addCleanup(lambda: self.result(self.there.close()))

    def result(self, deferred: Deferred[Any]) -> Any:
        return self.fixture.result(deferred)

    def both(self, here: Deferred[Any], there: Deferred[Any]) -> tuple[Any, Any]:
        """The results of what was asked for at once."""
        return self.result(here), self.result(there)

    def sql(self, statement: str, *arguments: object) -> Any:
        return self.fixture.sql(statement, *arguments)

    @contextmanager
    def other_transaction(self) -> Iterator[PostgresWork]:
        """A third relay is in the midst of something."""
        with psycopg.connect(self.fixture.schema.address) as connection:
            yield PostgresWork(
                connection.cursor(), account_statements, NO_QUOTA, "3" * 32, ClientKeys(9)
            )


class MailboxCase(TwoRelaysCase):
    """Alice, who sends, and Bob, of whose mailbox this is about."""

    def setUp(self) -> None:
        super().setUp()
        self.alice = self.register(self.here, "Alice")
        self.bob = self.register(self.there, "Bob")

    def register(self, store: PostgresStore, name: str) -> Any:
        return self.result(store.register(UserName.from_text(name), key()))

    def put(self, store: PostgresStore, *contents: bytes) -> Any:
        return self.result(
            store.put([Envelope(self.alice, self.bob, 3, content) for content in contents])
        )

    def lease(self, store: PostgresStore, max_messages: int = MANY, page: int = HUGE) -> Lease:
        lease = self.result(store.lease(self.bob, max_messages, HUGE, page))
        assert isinstance(lease, Lease)
        return lease

    def contents(self, store: PostgresStore, lease: Lease, page: int = HUGE) -> list[bytes]:
        """What a lease has, read page by page."""
        pieces = []
        start: Any = START
        while start is not None:
            read = self.result(store.read(lease, start, page))
            pieces.append(read.pieces)
            start = read.next
        return contents_of(chain.from_iterable(pieces))

    def waiting(self, store: PostgresStore) -> list[bytes]:
        lease = self.lease(store)
        self.result(store.release(lease))
        return contents_of(lease.first.pieces)

    def rows(self) -> list[bytes]:
        """What is in the table of Bob's mail."""
        found = self.sql("SELECT content FROM mailbox_message ORDER BY sequence")
        return [content for (content,) in found]

    def box(self) -> tuple[int, int]:
        """How much Bob's mailbox says that it holds."""
        ((messages, content),) = self.sql(
            "SELECT messages, content FROM mailbox JOIN mailbox_client ON key = client"
            " WHERE id = %s",
            self.bob.raw,
        )
        return messages, content

    def let_pass(self, seconds: float) -> None:
        """Time passes by the clock of the database, as far as leases know of it."""
        self.sql("UPDATE mailbox_lease SET until = until - %s * interval '1 second'", seconds)

    def has_ended(self, store: PostgresStore, lease: Lease) -> None:
        error = self.assertRaises(StoreError, self.contents, store, lease)
        self.assertEqual(str(error), "the lease has ended")


class DeliveryTests(MailboxCase):
    """One mailbox is fetched through both (what comes of mail, docs/adr/0002)."""

    def test_same_mail(self) -> None:
        """Both get the same, in the same order, wherever it was stored."""
        for number, store in enumerate((self.here, self.there, self.there, self.here)):
            self.put(store, bytes([number]))
        one, two = self.lease(self.here), self.lease(self.there)
        self.assertEqual(one.first, two.first)
        self.assertNotEqual(one.number, two.number)
        self.assertEqual(self.contents(self.there, two), [b"\0", b"\1", b"\2", b"\3"])

    def test_settled_while_the_other_streams(self) -> None:
        """What one has delivered the other reads to its end, and nobody gets it again."""
        sent = [bytes([number]) * 100 for number in range(9)]
        self.put(self.here, *sent)
        streaming = self.lease(self.there, page=120)
        self.result(self.here.settle(self.lease(self.here)))
        self.put(self.here, b"later")
        self.assertEqual(self.contents(self.there, streaming, page=120), sent)
        for store in (self.here, self.there):
            self.assertEqual(self.waiting(store), [b"later"])
        self.assertEqual(len(self.rows()), 10)
        self.result(self.there.release(streaming))
        self.assertEqual((self.rows(), self.box()), ([b"later"], (1, 5)))
        self.has_ended(self.there, streaming)

    def test_settled_by_both(self) -> None:
        """What both have delivered goes once."""
        self.put(self.here, b"one", b"two")
        one, two = self.lease(self.here), self.lease(self.there)
        for settled in self.both(self.here.settle(one), self.there.settle(two)):
            self.assertIsNone(settled)
        self.assertEqual((self.rows(), self.box()), ([], (0, 0)))

    def test_overlapping(self) -> None:
        """Of two fetches that overlap each ends for its own, wherever it was."""
        self.put(self.here, b"one", b"two", b"three")
        small, large = self.lease(self.here, 1), self.lease(self.there, 2)
        self.result(self.there.settle(large))
        self.assertEqual(self.waiting(self.here), [b"three"])
        self.assertEqual(self.contents(self.here, small), [b"one"])
        self.assertEqual(self.rows(), [b"one", b"three"])
        self.result(self.here.settle(small))
        self.assertEqual(self.rows(), [b"three"])

    def test_returned_by_one(self) -> None:
        """What one could not deliver and the other has is delivered."""
        self.put(self.here, b"one")
        one, two = self.lease(self.here), self.lease(self.there)
        self.result(self.here.release(one))
        self.assertEqual(self.waiting(self.here), [b"one"])
        self.result(self.there.settle(two))
        self.assertEqual((self.waiting(self.here), self.rows()), ([], []))

    def test_expires_meanwhile(self) -> None:
        """What expires while it is on its way through the other is counted once, comes to nobody any
        more, and goes when the last has ended."""
        self.put(self.here, b"one", b"two")
        one, two = self.lease(self.here), self.lease(self.there)
        self.assertEqual(self.result(self.there.expire(NOON + 1)), 2)
        self.assertEqual(self.result(self.here.expire(NOON + 1)), 0)
        self.put(self.here, b"new")
        for store in (self.here, self.there):
            self.assertEqual(self.waiting(store), [b"new"])
        for store, lease in ((self.here, one), (self.there, two)):
            self.assertEqual(self.contents(store, lease), [b"one", b"two"])
            self.result(store.release(lease))
        self.assertEqual((self.rows(), self.box()), ([b"new"], (1, 3)))

    def test_expires_and_is_settled(self) -> None:
        """What has expired and is delivered all the same takes what came later with it as little as
        otherwise."""
        self.put(self.here, b"one")
        one = self.lease(self.here)
        self.put(self.there, b"two")
        self.fixture.time += 10
        self.put(self.there, b"three")
        self.assertEqual(self.result(self.there.expire(NOON + 1)), 2)
        two = self.lease(self.there)
        self.assertEqual(self.contents(self.there, two), [b"three"])
        self.result(self.here.settle(one))
        self.assertEqual(self.contents(self.there, two), [b"three"])
        self.assertEqual((self.rows(), self.box()), ([b"three"], (1, 5)))

    def test_expired_between_two_leases(self) -> None:
        """A lease has what waited when it was given: what expired before is not in its pages, though
        an older one still has it."""
        self.put(self.here, b"one")
        self.fixture.time += 10
        self.put(self.here, b"two", b"three")
        old = self.lease(self.here)
        self.result(self.there.expire(NOON + 1))
        new = self.lease(self.there, page=1)
        self.result(self.here.expire(NOON + 11))
        self.assertEqual(self.contents(self.here, old), [b"one", b"two", b"three"])
        self.assertEqual((new.count, self.contents(self.there, new)), (2, [b"two", b"three"]))
        self.assertEqual(self.waiting(self.there), [])

    def test_close_of_one(self) -> None:
        """A relay that stops gives back its own, and leaves to the other what is its."""
        self.put(self.here, b"one", b"two")
        one, two = self.lease(self.here), self.lease(self.there)
        self.result(self.there.settle(self.lease(self.there, 1)))
        self.result(self.here.close())
        self.assertEqual(self.contents(self.there, two), [b"one", b"two"])
        self.assertEqual(self.waiting(self.there), [b"two"])
        self.result(self.there.release(two))
        self.assertEqual(self.rows(), [b"two"])
        self.has_ended(self.there, one)

    def test_crash_of_the_server(self) -> None:
        """A server that crashes forgets what was on its way: it comes again, but for what has
        arrived, and what was kept for it goes some time."""
        self.put(self.here, b"one", b"two")
        one, two = self.lease(self.here, 1), self.lease(self.there)
        self.result(self.here.settle(one))
        self.assertEqual(self.rows(), [b"one", b"two"])
        self.sql("TRUNCATE mailbox_lease")
        self.has_ended(self.there, two)
        self.result(self.there.settle(two))
        self.assertEqual(self.waiting(self.there), [b"two"])
        self.result(self.here.expire(NOON))
        self.fixture.clock.pump([0] * 9)
        self.assertEqual((self.rows(), self.box()), ([b"two"], (1, 3)))


class LeaseTimeTests(MailboxCase):
    """A relay that is gone holds mail for a bounded time, by the database's clock."""

    def test_patience(self) -> None:
        """Others respect a lease for longer than a statement can take that began before it was
        renewed."""
        self.assertGreater(LEASE_GRACE * 1_000, STATEMENT_PATIENCE)

    def test_ends_by_itself(self) -> None:
        """When nobody reads a lease any more it ends: what was settled meanwhile goes with the next
        that comes along."""
        self.put(self.here, b"one", b"two")
        gone = self.lease(self.here, 1)
        self.result(self.there.settle(self.lease(self.there, 1)))
        self.let_pass(LEASE_LIFE + MOMENT)
        self.has_ended(self.here, gone)
        # For some seconds whoever deletes respects it all the same.
        self.release_next()
        self.assertEqual(self.rows(), [b"one", b"two"])
        self.let_pass(LEASE_GRACE)
        self.release_next()
        self.assertEqual(self.rows(), [b"two"])

    def release_next(self) -> None:
        self.result(self.there.release(self.lease(self.there)))

    def test_expiry_respects_it(self) -> None:
        """So it is with what expires."""
        self.put(self.here, b"one")
        self.lease(self.here)
        self.let_pass(LEASE_LIFE + MOMENT)
        self.assertEqual(self.result(self.there.expire(NOON + 1)), 1)
        self.assertEqual(self.rows(), [b"one"])
        self.let_pass(LEASE_GRACE)
        self.result(self.there.expire(NOON + 1))
        self.fixture.clock.pump([0] * 9)
        self.assertEqual((self.rows(), self.box()), ([], (0, 0)))

    def test_reading_renews(self) -> None:
        """Who reads keeps a lease for as long as he likes."""
        self.put(self.here, b"one", b"two")
        lease = self.lease(self.here, page=1)
        for _ in range(3):
            self.let_pass(LEASE_LIFE - 2 * MOMENT)
            self.assertEqual(self.contents(self.here, lease), [b"one", b"two"])
            self.result(self.there.expire(NOON + 1))
        self.assertEqual(self.rows(), [b"one", b"two"])

    def test_renewed_when_it_pays(self) -> None:
        """It is not renewed with every page."""
        self.put(self.here, b"one")
        lease = self.lease(self.here)
        until = self.sql("SELECT until FROM mailbox_lease")
        self.contents(self.here, lease)
        self.assertEqual(self.sql("SELECT until FROM mailbox_lease"), until)

    def test_settled_late(self) -> None:
        """What arrives after its lease has run out has arrived: it does not come again, and nothing
        goes with it that came later."""
        self.put(self.here, b"one", b"two")
        late = self.lease(self.here)
        self.let_pass(LEASE_LIFE + LEASE_GRACE + MOMENT)
        self.put(self.there, b"three")
        again = self.lease(self.there)
        self.assertEqual(again.count, 3)
        self.result(self.here.settle(late))
        self.assertEqual(self.contents(self.there, again), [b"one", b"two", b"three"])
        self.assertEqual(self.waiting(self.there), [b"three"])
        self.result(self.there.release(again))
        self.assertEqual(self.rows(), [b"three"])

    def test_settled_when_all_has_gone(self) -> None:
        """Also when others have let it expire by then."""
        self.put(self.here, b"one", b"two")
        late = self.lease(self.here)
        self.let_pass(LEASE_LIFE + LEASE_GRACE + MOMENT)
        self.assertEqual(self.result(self.there.expire(NOON + 1)), 2)
        self.put(self.there, b"three")
        self.result(self.here.settle(late))
        self.assertEqual(self.waiting(self.there), [b"three"])
        self.assertEqual(self.box(), (1, 5))

    def test_forgotten(self) -> None:
        """A lease that nobody ends is forgotten at last, and so is a relay that is gone."""
        self.put(self.here, b"one")
        self.lease(self.here)
        self.let_pass(86_400)
        self.sql("UPDATE relay SET seen = seen - interval '2 days'")
        self.fixture.clock.advance(10)
        self.fixture.clock.pump([0] * 9)
        self.assertEqual(self.sql("SELECT * FROM mailbox_lease"), [])
        # Both beat, and so are none of those that are gone.
        self.assertEqual(self.sql("SELECT count(*) FROM relay"), [(2,)])


class SharedMailboxTests(MailboxCase):
    """What a mailbox takes, through whichever relay it comes."""

    def test_ids(self) -> None:
        """A message's id in its mailbox is nobody else's, and they grow in the order of arrival."""
        ids = []
        for store in (self.here, self.there) * 3:
            ids += self.put(store, b"", b"")
        self.assertEqual(ids, [MessageId(number) for number in range(1, 13)])
        self.assertEqual(ids_of(self.lease(self.here)), ids)

    def test_at_once(self) -> None:
        """So they do when both store at once."""
        envelopes = [[Envelope(self.alice, self.bob, 3, each) for each in (b"1", b"2")]] * 2
        here, there = self.both(self.here.put(envelopes[0]), self.there.put(envelopes[1]))
        self.assertEqual(sorted(each.number for each in here + there), [1, 2, 3, 4])
        self.assertEqual(self.waiting(self.here), [b"1", b"2"] * 2)

    def test_unknown_recipient(self) -> None:
        """Who was nobody a moment ago is known to both as soon as he is registered."""
        for store, other in ((self.here, self.there), (self.there, self.here)):
            carol = ClientId(bytes([len(self.sql("SELECT * FROM mailbox_client"))]) * 16)
            put = [Envelope(self.alice, carol, 3, b"")]
            self.assertEqual(self.result(store.put(put)), [Refusal.UNKNOWN_RECIPIENT])
            self.patch(other, "_new_client_id", lambda carol=carol: carol)
            self.register(other, carol.raw.hex())
            self.assertEqual(self.result(store.put(put)), [MessageId(1)])

    def test_last_seen(self) -> None:
        """Of when a client was heard of last through either, the later counts."""
        self.fixture.time += 500
        self.put(self.there, b"")
        self.fixture.time -= 400
        self.put(self.here, b"")
        self.fixture.clock.advance(10)
        self.fixture.clock.pump([0] * 9)
        self.assertEqual(
            self.sql("SELECT last_seen FROM mailbox_client WHERE id = %s", self.alice.raw),
            [(NOON + 500,)],
        )


class QuotaTests(MailboxCase):
    quota = Quota(messages=4, content=20)

    def test_messages(self) -> None:
        """A mailbox holds so many messages, whoever has taken them."""
        self.put(self.here, b"", b"")
        self.put(self.there, b"", b"")
        for store in (self.here, self.there):
            self.assertEqual(self.put(store, b""), [Refusal.MAILBOX_FULL])
        self.result(self.here.settle(self.lease(self.here, 1)))
        self.assertEqual(self.put(self.there, b"", b"")[1], Refusal.MAILBOX_FULL)

    def test_content(self) -> None:
        """And so many bytes."""
        self.put(self.here, bytes(12))
        self.put(self.there, bytes(8))
        self.assertEqual(self.put(self.here, b"1"), [Refusal.MAILBOX_FULL])
        self.assertEqual(self.result(self.there.expire(NOON + 1)), 2)
        self.assertIsInstance(self.put(self.here, bytes(20))[0], MessageId)

    def test_full_of_what_has_arrived(self) -> None:
        """A mailbox that is full of mail which has arrived, and which a relay held that was killed,
        takes mail again when the time of that relay's lease is over."""
        for content in (b"", bytes(5)):
            self.put(self.here, *[content] * 4)
            self.lease(self.there)  # of which nothing more is heard
            self.result(self.here.settle(self.lease(self.here)))
            self.assertEqual(self.put(self.here, b"1"), [Refusal.MAILBOX_FULL])
            self.let_pass(LEASE_LIFE + LEASE_GRACE + MOMENT)
            taken = self.put(self.here, b"2", b"3")
            self.assertEqual([type(each) for each in taken], [MessageId] * 2)
            self.assertEqual((self.rows(), self.box()), ([b"2", b"3"], (2, 2)))
            self.result(self.here.settle(self.lease(self.here)))
        self.assertEqual(self.sql("SELECT count(*) FROM mailbox_rubbish"), [(0,)])

    def test_full_of_what_waits(self) -> None:
        """One that is full of mail that waits stays full, and what is held is not deleted."""
        self.put(self.here, b"1", b"2")
        lease = self.lease(self.there)
        self.result(self.here.settle(self.lease(self.here)))
        self.put(self.here, b"3", b"4")
        self.assertEqual(self.put(self.here, b"5", b"6"), [Refusal.MAILBOX_FULL] * 2)
        self.assertEqual(self.contents(self.there, lease), [b"1", b"2"])
        self.assertEqual((self.waiting(self.here), self.box()), ([b"3", b"4"], (4, 4)))

    def test_full_costs_little(self) -> None:
        """A send that is refused does not look through a mailbox in which nothing is to be deleted."""
        self.put(self.here, b"1", b"2", b"3", b"4")
        with mock.patch.object(mailbox_statements, "clear_mailbox", self.fail):
            self.assertEqual(self.put(self.here, b"5", b"6"), [Refusal.MAILBOX_FULL] * 2)

    def test_at_once(self) -> None:
        """When both want the last places, so many get them as there are."""
        envelopes = [Envelope(self.alice, self.bob, 3, b"")] * 3
        here, there = self.both(self.here.put(envelopes), self.there.put(envelopes))
        taken = [isinstance(each, MessageId) for each in (*here, *there)]
        self.assertEqual((sum(taken), self.box()), (4, (4, 0)))

    def test_mail(self) -> None:
        """The same holds for v3."""
        self.result(self.here.accounts.register(keys(1), 1 << 16, Handle("alice"), None))
        for store, number in ((self.here, 1), (self.there, 2), (self.here, 3)):
            self.result(store.accounts.put([envelope(1, number, b"12345")]))
        put = self.there.accounts.put([envelope(1, 4, b"123456"), envelope(1, 5, b"12345")])
        self.assertEqual(self.result(put), [Reason.MAILBOX_FULL, Stored(4)])
        self.result(self.here.accounts.acknowledge(account_id(1), [1]))
        self.assertEqual(
            self.result(self.there.accounts.put([envelope(1, 6, b"123456"), envelope(1, 7, b"")])),
            [Reason.MAILBOX_FULL, Stored(5)],
        )


class RegistryTests(TwoRelaysCase):
    def register(self, store: PostgresStore, name: str) -> Deferred[Any]:
        return store.register(UserName.from_text(name), key())

    def test_name_at_once(self) -> None:
        """Of two who want one name at once, through different relays, one gets it."""
        outcomes = self.both(self.register(self.here, "Alice"), self.register(self.there, "Alice"))
        self.assertEqual({type(each) for each in outcomes}, {ClientId, Refusal})

    def test_directory(self) -> None:
        """A directory is whole and of one moment, whoever registers meanwhile elsewhere, and however
        its pages are read."""
        ids = [self.result(self.register(self.here, f"client {number}")) for number in range(5)]
        directory = self.result(self.there.directory(ids[2]))
        start, listed = 0, []
        while start is not None:
            newer = len(listed) + 5
            page = self.result(self.there.directory_page(directory, start, 1))
            self.result(self.register(self.here, f"client {newer}"))
            listed += page.clients
            start = page.next
        expected = [
            ListedClient(each, f"client {number}".encode())
            for number, each in enumerate(ids)
            if number != 2
        ]
        self.assertEqual((listed, directory.count), (expected, 4))
        self.assertEqual(self.result(self.here.directory(ids[0])).count, 8)

    def test_refused_registration(self) -> None:
        """A registration that is refused leaves no gap in a directory."""
        alice = self.result(self.register(self.here, "Alice"))
        for store in (self.here, self.there):
            self.assertIs(self.result(self.register(store, "Alice")), Refusal.NAME_TAKEN)
        self.result(self.register(self.there, "Bob"))
        directory = self.result(self.here.directory(alice))
        page = self.result(self.here.directory_page(directory, 0, MANY))
        self.assertEqual((directory.count, len(page.clients)), (1, 1))

    def account(self, store: PostgresStore, number: int, name: str, token: Any = None) -> Any:
        return store.accounts.register(keys(number), 1 << 16, Handle(name), token)

    def test_account_at_once(self) -> None:
        """Who registers through both at once, as he has not heard an answer, has one account."""
        outcomes = self.both(
            self.account(self.here, 1, "alice"), self.account(self.there, 1, "alice")
        )
        self.assertEqual(outcomes, (None, None))
        self.assertEqual(self.sql("SELECT count(*) FROM account"), [(1,)])

    def test_handle_at_once(self) -> None:
        """Of two who want names that look alike one gets his."""
        for number, (one, other) in enumerate((("alice", "alice"), ("bill", "bi11"))):
            outcomes = self.both(
                self.account(self.here, 10 * number + 1, one),
                self.account(self.there, 10 * number + 3, other),
            )
            self.assertCountEqual(outcomes, [None, Reason.NAME_TAKEN])

    def test_two_names_at_once(self) -> None:
        """Who wants two names has one."""
        outcomes = self.both(
            self.account(self.here, 1, "alice"), self.account(self.there, 1, "carol")
        )
        self.assertCountEqual(outcomes, [None, Reason.ALREADY_REGISTERED])

    def test_token_at_once(self) -> None:
        """A token makes one account, wherever it is used."""
        self.result(self.here.accounts.invite(TOKEN))
        outcomes = self.both(
            self.account(self.here, 1, "alice", TOKEN), self.account(self.there, 3, "bob", TOKEN)
        )
        self.assertCountEqual(outcomes, [None, Reason.TOKEN_INVALID])

    def test_released_name(self) -> None:
        """A name that one has released the other can give."""
        self.result(self.account(self.here, 1, "alice"))
        self.result(self.there.accounts.delete_account(account_id(1)))
        self.assertIs(self.result(self.account(self.here, 3, "alice")), Reason.NAME_TAKEN)
        self.assertTrue(self.result(self.here.accounts.release_name(Handle("alice"))))
        self.assertIsNone(self.result(self.account(self.there, 3, "alice")))


class AccountTests(TwoRelaysCase):
    def setUp(self) -> None:
        super().setUp()
        for number, name in ((1, "alice"), (3, "bob")):
            self.result(self.here.accounts.register(keys(number), 1 << 16, Handle(name), None))

    def publish(self, *ids: int) -> None:
        self.result(self.here.accounts.publish(account_id(1), bundle(1), one_time_keys(*ids)))

    def claim_both(self) -> list[int | None]:
        claimed = self.both(
            self.here.accounts.claim(account_id(1)), self.there.accounts.claim(account_id(1))
        )
        keys_given = [each.one_time_key for each in claimed]
        return [None if each is None else each.key_id for each in keys_given]

    def waiting(self, store: PostgresStore, term: int | None = None) -> Any:
        waiting = self.result(store.accounts.waiting(account_id(1), 0, MANY, HUGE, term))
        return waiting if isinstance(waiting, Reason) else list(waiting)

    def put(self, store: PostgresStore, *numbers: int) -> Any:
        return self.result(store.accounts.put([envelope(1, number) for number in numbers]))

    def test_claimed_at_once(self) -> None:
        """A one-time key is given once, though two ask for it through different relays at once."""
        self.publish(1, 2, 3)
        self.assertCountEqual(self.claim_both(), [1, 2])
        self.assertCountEqual(self.claim_both(), [3, None])
        self.assertEqual(self.claim_both(), [None, None])

    def test_stored_through_both(self) -> None:
        """An envelope that is sent again, to another relay, is stored once; other bytes under its id
        are a conflict."""
        here, there = self.both(
            self.here.accounts.put([envelope(1, 1)]), self.there.accounts.put([envelope(1, 1)])
        )
        self.assertCountEqual([*here, *there], [Stored(1), Stored(1, known=True)])
        changed = self.there.accounts.put([envelope(1, 1, b"other")])
        self.assertEqual(self.result(changed), [Reason.CONFLICT])
        self.result(self.here.accounts.acknowledge(account_id(1), [1]))
        self.assertEqual(self.put(self.there, 1), [Stored(1, known=True)])
        self.assertEqual(self.waiting(self.here), [])

    def test_order(self) -> None:
        """Mail of one mailbox has one order, through whichever it came."""
        self.assertEqual(self.put(self.here, 1, 2), [Stored(1), Stored(2)])
        self.assertEqual(self.put(self.there, 3), [Stored(3)])
        self.assertEqual(self.put(self.here, 4), [Stored(4)])
        for store in (self.here, self.there):
            self.assertEqual([each.sequence for each in self.waiting(store)], [1, 2, 3, 4])

    def test_displaced(self) -> None:
        """Only the subscription of the last term reads and acknowledges, wherever it is."""
        self.put(self.here, 1)
        old = self.result(self.here.accounts.subscribe(account_id(1)))
        new = self.result(self.there.accounts.subscribe(account_id(1)))
        self.assertGreater(new, old)
        self.assertIs(self.waiting(self.here, old), Reason.NOT_SUBSCRIBED)
        acknowledge = self.here.accounts.acknowledge(account_id(1), [1], old)
        self.assertIs(self.result(acknowledge), Reason.NOT_SUBSCRIBED)
        self.assertEqual(len(self.waiting(self.there, new)), 1)
        self.assertIsNone(self.result(self.there.accounts.acknowledge(account_id(1), [1], new)))
        self.assertEqual(self.waiting(self.there, new), [])

    def test_subscribed_at_once(self) -> None:
        """Two subscriptions at once have different terms."""
        terms = self.both(
            self.here.accounts.subscribe(account_id(1)),
            self.there.accounts.subscribe(account_id(1)),
        )
        self.assertCountEqual(terms, [1, 2])

    def test_generations(self) -> None:
        """A copy of a client is noticed, through whichever it connects."""
        identity = keys(1).identity
        self.assertEqual(
            self.result(self.here.accounts.admit(identity, 5 << 16)), Admission(True, 0)
        )
        self.assertIs(
            self.result(self.there.accounts.admit(identity, 5 << 16 | 1)), Reason.STALE_STATE
        )
        outcomes = self.both(
            self.here.accounts.admit(identity, 6 << 16 | 1),
            self.there.accounts.admit(identity, 6 << 16 | 2),
        )
        self.assertCountEqual(outcomes, [Admission(True, 0), Reason.STALE_STATE])

    def test_deleted(self) -> None:
        """What one deletes is deleted, and subscriptions of a later account have higher terms."""
        self.put(self.here, 1)
        term = self.result(self.here.accounts.subscribe(account_id(1)))
        self.result(self.there.accounts.delete_account(account_id(1)))
        self.assertIs(self.waiting(self.here, term), Reason.NOT_SUBSCRIBED)
        self.assertEqual(self.put(self.here, 2), [Reason.NOT_FOUND])
        self.result(self.here.accounts.register(keys(1), 1 << 16, Handle("carol"), None))
        self.assertGreater(self.result(self.here.accounts.subscribe(account_id(1))), term)
        self.assertEqual(self.put(self.there, 1), [Stored(2)])

    def test_made_meanwhile(self) -> None:
        """A mailbox that is made while a batch takes its locks is locked like any other, when it is
        used."""
        account = account_id(5).raw
        with self.other_transaction() as work:
            account_statements.lock_accounts(work.cursor, [account])
            self.result(self.here.accounts.register(keys(5), 1 << 16, Handle("eve"), None))
            self.assertIn(account, account_statements.find_mailboxes(work.cursor, [account]))
            self.assertRaises(
                psycopg.errors.LockNotAvailable,
                self.sql,
                "SELECT 1 FROM account_mailbox WHERE account = (SELECT max(key) FROM account)"
                " FOR NO KEY UPDATE NOWAIT",
            )


class ExpiryTests(MailboxCase):
    """Mail expires once, whoever sees to it."""

    def test_by_both(self) -> None:
        """What both let expire at once is counted once."""
        self.put(self.here, b"one", b"two")
        counts = self.both(self.here.expire(NOON + 1), self.there.expire(NOON + 1))
        self.assertEqual((sum(counts), self.rows(), self.box()), (2, [], (0, 0)))

    def test_mail_by_both(self) -> None:
        """So is mail of v3."""
        self.result(self.here.accounts.register(keys(1), 1 << 16, Handle("alice"), None))
        self.result(self.here.accounts.put([envelope(1, 1), envelope(1, 2)]))
        later = NOON + 7_200
        counts = self.both(self.here.accounts.expire(later), self.there.accounts.expire(later))
        self.assertEqual(sum(counts), 2)
        self.assertEqual(self.sql("SELECT messages, content FROM account_mailbox"), [(0, 0)])

    def test_one_at_a_time(self) -> None:
        """While one is at it the other leaves it alone, and does not wait."""
        self.put(self.here, b"one")
        with self.other_transaction() as work:
            self.assertEqual(Expire(NOON + 1).run(work), (1, False))
            self.assertEqual(self.result(self.there.expire(NOON + 1)), 0)
        self.assertEqual(self.rows(), [])

    def test_v2_and_v3_at_once(self) -> None:
        """Mail of v2 and of v3 expire at the same time: neither keeps the other from it."""
        self.put(self.here, b"one")
        self.result(self.here.accounts.register(keys(1), 1 << 16, Handle("alice"), None))
        self.result(self.here.accounts.put([envelope(1, 1)]))
        hour = int(NOON // 3_600) + 2
        with self.other_transaction() as work:
            Expire(NOON).run(work)
            self.assertEqual(self.result(self.here.accounts.expire(hour * 3_600)), 1)
        with self.other_transaction() as work:
            ExpireMail(hour).run(work)
            self.assertEqual(self.result(self.here.expire(NOON + 1)), 1)

    def test_left_by_one_that_is_gone(self) -> None:
        """What a relay has left that was killed goes when another comes along."""
        self.put(self.here, b"one", b"two")
        self.lease(self.here)
        self.result(self.there.settle(self.lease(self.there)))
        self.assertEqual(self.rows(), [b"one", b"two"])
        self.let_pass(LEASE_LIFE + LEASE_GRACE + MOMENT)
        third = self.fixture.make()
        third.open()
        self.addCleanup(lambda: self.result(third.close()))
        self.fixture.clock.pump([0] * 9)
        self.assertEqual((self.rows(), self.box()), ([], (0, 0)))
        self.assertEqual(self.sql("SELECT * FROM mailbox_rubbish"), [])


class LockOrderTests(SynchronousTestCase):
    """What finds its own mailboxes to lock holds no others, which it would have in the wrong order."""

    def setUp(self) -> None:
        self.fixture = FaultyFixture(is_everywhere=True)
        self.addCleanup(self.fixture.dispose)

    def transactions(self, *asked: Deferred[Any]) -> list[list[str]]:
        """The statements of each transaction in which something is locked, while all this was asked
        for at once."""
        self.fixture.plan.tell({})
        for each in asked:
            self.fixture.result(each)
        transactions: list[list[str]] = [[]]
        for statement in self.fixture.plan.statements:
            if "FOR NO KEY UPDATE" in statement or "advisory" in statement:
                transactions[-1].append(statement)
            elif statement == "COMMIT":
                transactions.append([])
        return [each for each in transactions if each]

    def test_expiry(self) -> None:
        """Expiry is for itself, of messages and of mail."""
        store = self.fixture.store
        alice, bob = (
            self.fixture.result(store.register(UserName(name), key()))
            for name in (b"Alice", b"Bob")
        )
        self.fixture.result(store.accounts.register(keys(1), 1 << 16, Handle("alice"), None))
        self.fixture.result(store.put([Envelope(bob, alice, 3, b"")]))
        self.fixture.result(store.accounts.put([envelope(1, 1)]))
        found = self.transactions(
            store.put([Envelope(alice, bob, 3, b"")]),
            store.accounts.put([envelope(1, 2)]),
            store.accounts.expire(NOON + 9_999),
            store.accounts.put([envelope(1, 3)]),
            store._keep_house(ClearMailbox(bob)),
            store.expire(NOON + 1),
            store._keep_house(ClearMailbox(bob)),
        )
        for statements in found:
            self.assertEqual(
                any("advisory" in each for each in statements), "advisory" in statements[0]
            )
        self.assertEqual(sum("advisory" in each[0] for each in found), 2)

    def test_rubbish(self) -> None:
        """So is the clearing of what others have left."""
        store = self.fixture.store
        for name in (b"Alice", b"Bob"):
            bob = self.fixture.result(store.register(UserName(name), key()))
        self.fixture.sql("INSERT INTO mailbox_rubbish VALUES (1)")
        found = self.transactions(
            store._keep_house(ClearMailbox(bob)),
            store._keep_house(ClearRubbish(0)),
            store._keep_house(ClearMailbox(bob)),
        )
        self.assertEqual([len(each) for each in found], [1, 1, 1])
