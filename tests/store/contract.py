"""What every store keeps to: a mixin of tests, and the fixtures that they are run on."""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from attrs import define, field
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from messageu.model import (
    MESSAGE_ID_LIMIT,
    ClientId,
    Envelope,
    ListedClient,
    MessageId,
    PublicKey,
    Refusal,
    UserName,
)
from messageu.store import (
    IMailboxStore,
    MemoryStore,
    Span,
    SqliteStore,
    StoreError,
    StoreUnavailable,
)
from messageu.store._sqlite import random_client_id
from messageu.testing.store import FaultyEngine
from messageu.testing.threadpool import threadless_pool

STRANGER = ClientId(b"stranger" * 2)
NOON = 1_000_000_000.0
MANY = 1_000
"""More messages than a test makes."""
HUGE = 2**40
"""More bytes than a test makes."""


def key(number=0):
    return PublicKey(bytes([number]) * 160)


def result_of(deferred):
    """What a Deferred has fired with; its failure is raised."""
    results = []
    deferred.addBoth(results.append)
    assert results, "it has not fired"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


@define
class MemoryFixture:
    """A MemoryStore, with the calls that the others need."""

    time: float = NOON
    new_client_id: Callable[[], ClientId] = random_client_id
    store: MemoryStore = field(init=False)

    def __attrs_post_init__(self):
        self.store = MemoryStore(now=lambda: self.time, new_client_id=self.new_client_id)
        self.store.open()

    def result(self, deferred):
        return result_of(deferred)

    def reopen(self):
        self.result(self.store.close())
        self.store.open()

    def set_last_sequence(self, number):
        self.store._last_sequence = number

    def dispose(self):
        self.result(self.store.close())


@define
class SqliteFixture:
    """An SqliteStore in a folder of its own, whose thread is a clock in memory."""

    time: float = NOON
    new_client_id: Callable[[], ClientId] = random_client_id
    clock: Clock = field(factory=Clock)
    folder: Path = field(factory=lambda: Path(tempfile.mkdtemp(prefix="messageu-")))
    engine: FaultyEngine = field(init=False)
    store: SqliteStore = field(init=False)

    def __attrs_post_init__(self):
        self.engine = FaultyEngine(self.path)
        self.store = self.make()
        self.store.open()

    @property
    def path(self):
        return self.folder / "defensive.db"

    def make(self):
        return SqliteStore(
            self.path,
            self.clock,
            now=lambda: self.time,
            new_client_id=self.new_client_id,
            new_pool=threadless_pool,
            engine=self.engine,
        )

    def result(self, deferred):
        self.clock.advance(0)
        return result_of(deferred)

    def reopen(self):
        self.result(self.store.close())
        self.store = self.make()
        self.store.open()

    def set_last_sequence(self, number):
        self.result(self.store.close())
        self.sql("UPDATE mailbox_meta SET value = ? WHERE name = 'last_sequence'", number)
        self.store.open()

    def sql(self, statement, *arguments):
        """What another program sees, or does, in the database."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(statement, arguments).fetchall()

    def dispose(self):
        self.result(self.store.close())
        shutil.rmtree(self.folder)


class StoreContract:
    """Tests of :class:`IMailboxStore`; ``make_fixture`` gives what they are run on."""

    def setUp(self):
        self.fixture = self.make_fixture()
        self.addCleanup(self.fixture.dispose)

    @property
    def store(self):
        return self.fixture.store

    def result(self, deferred):
        return self.fixture.result(deferred)

    def register(self, name, number=0):
        return self.result(self.store.register(UserName.from_text(name), key(number)))

    def put(self, sender, recipient, content=b"", kind=3):
        (outcome,) = self.result(self.store.put([Envelope(sender, recipient, kind, content)]))
        return outcome

    def lease(self, requester, max_messages=MANY, max_bytes=HUGE):
        return self.result(self.store.lease(requester, max_messages, max_bytes))

    def settle(self, lease):
        return self.result(self.store.settle(lease))

    def release(self, lease):
        return self.result(self.store.release(lease))

    def contents(self, lease):
        spans = [Span(message.sequence, size=message.size) for message in lease.messages]
        return list(self.result(self.store.read(spans)))

    def waiting(self, client_id):
        """The contents of what waits for a client."""
        lease = self.lease(client_id)
        contents = self.contents(lease)
        self.release(lease)
        return contents

    def two(self):
        return self.register("Alice", 1), self.register("Bob", 2)

    def test_interface(self):
        """It is what the relay asks for."""
        self.assertTrue(verifyObject(IMailboxStore, self.store))

    # Clients

    def test_register(self):
        """Every client gets an id of its own."""
        alice, bob = self.two()
        self.assertIsInstance(alice, ClientId)
        self.assertNotEqual(alice, bob)

    def test_name_taken(self):
        """A name already taken is refused."""
        self.register("Alice")
        self.assertIs(self.register("Alice"), Refusal.NAME_TAKEN)

    def test_names_differ_by_bytes(self):
        """Names are compared byte for byte."""
        ids = {self.register(name) for name in ("alice", "ALICE", "alice ", " alice", "1", "1.0")}
        self.assertEqual(len(ids), 6)

    def test_name_taken_at_once(self):
        """Of two clients who ask for a name at the same time, the first gets it."""
        name = UserName(b"Alice")
        first, second = self.store.register(name, key()), self.store.register(name, key())
        self.assertIsInstance(self.result(first), ClientId)
        self.assertIs(self.result(second), Refusal.NAME_TAKEN)

    def test_public_key(self):
        """A client's public key is handed out as it came."""
        alice, bob = self.two()
        self.assertEqual(self.result(self.store.public_key(alice, bob)), key(2))
        self.assertEqual(self.result(self.store.public_key(alice, alice)), key(1))

    def test_public_key_of_a_stranger(self):
        """There is no public key of an unknown client, nor for one."""
        alice = self.register("Alice")
        for requester, client_id in ((alice, STRANGER), (STRANGER, alice)):
            with self.subTest(requester=requester):
                refusal = self.result(self.store.public_key(requester, client_id))
                self.assertIs(refusal, Refusal.UNKNOWN_CLIENT)

    def test_stranger_asks(self):
        """A requester who is no client is refused."""
        alice = self.register("Alice")
        for deferred in (
            self.store.directory(STRANGER),
            self.store.lease(STRANGER, 1, 1),
        ):
            self.assertIs(self.result(deferred), Refusal.UNKNOWN_CLIENT)
        for recipient in (alice, STRANGER):
            self.assertIs(self.put(STRANGER, recipient), Refusal.UNKNOWN_CLIENT)

    # The directory

    def pages(self, directory, limit):
        start = 0
        while start is not None:
            page = self.result(self.store.directory_page(directory, start, limit))
            yield list(page.clients)
            start = page.next

    def test_directory(self):
        """The directory lists all clients but the requester, in order of registration."""
        ids = {name: self.register(name) for name in ("Dan", "Alice", "Cid", "Bob")}
        directory = self.result(self.store.directory(ids["Alice"]))
        self.assertEqual(directory.count, 3)
        self.assertEqual(
            list(self.pages(directory, 10)),
            [[ListedClient(ids[name], name.encode()) for name in ("Dan", "Cid", "Bob")]],
        )

    def test_directory_pages(self):
        """The pages of a directory hold what its count says, whatever their size."""
        ids = [self.register(f"client {number}") for number in range(7)]
        for requester in (ids[0], ids[3], ids[6]):
            directory = self.result(self.store.directory(requester))
            for limit in range(1, 9):
                pages = list(self.pages(directory, limit))
                listed = [client.client_id for page in pages for client in page]
                self.assertEqual(listed, [each for each in ids if each != requester])
                self.assertEqual(len(listed), directory.count)
                self.assertTrue(all(len(page) == limit for page in pages[:-1]))

    def test_directory_of_one(self):
        """Who is alone gets an empty directory of one page."""
        directory = self.result(self.store.directory(self.register("Alice")))
        self.assertEqual(directory.count, 0)
        self.assertEqual(list(self.pages(directory, 10)), [[]])

    def test_directory_is_of_a_moment(self):
        """Who registers after a directory was asked for is not in its pages."""
        alice, bob = self.two()
        directory = self.result(self.store.directory(alice))
        self.register("Cid")
        self.assertEqual(list(self.pages(directory, 1)), [[ListedClient(bob, b"Bob")]])

    # Messages

    def test_put_and_fetch(self):
        """A message comes to its recipient as it was sent."""
        alice, bob = self.two()
        message_id = self.put(alice, bob, b"content", kind=255)
        lease = self.lease(bob)
        (message,) = lease.messages
        self.assertEqual(
            (message.message_id, message.sender, message.type, message.size),
            (message_id, alice, 255, 7),
        )
        self.assertEqual(self.contents(lease), [b"content"])
        self.assertEqual(self.waiting(alice), [])

    def test_unknown_recipient(self):
        """A message to nobody is refused."""
        alice = self.register("Alice")
        self.assertIs(self.put(alice, STRANGER), Refusal.UNKNOWN_RECIPIENT)

    def test_refused_among_accepted(self):
        """Of messages that are sent together, the refused ones do not touch the others."""
        alice, bob = self.two()
        recipients = (bob, STRANGER, alice, bob)
        envelopes = [
            Envelope(alice, recipient, 3, bytes([number]))
            for number, recipient in enumerate(recipients)
        ]
        apart = [self.store.put([envelope]) for envelope in envelopes]
        together = self.store.put(envelopes)
        for outcomes in ([self.result(each)[0] for each in apart], self.result(together)):
            first, second, third, fourth = outcomes
            self.assertIs(second, Refusal.UNKNOWN_RECIPIENT)
            self.assertEqual(len({first, third, fourth}), 3)
        self.assertEqual(self.waiting(bob), [b"\0", b"\3"] * 2)
        self.assertEqual(self.waiting(alice), [b"\2"] * 2)

    def test_nothing_to_store(self):
        """No messages are stored as any other number of them."""
        self.assertEqual(self.result(self.store.put([])), [])

    def test_to_oneself(self):
        """A client can send to itself."""
        alice = self.register("Alice")
        self.put(alice, alice, b"note")
        self.assertEqual(self.waiting(alice), [b"note"])

    def test_operations_in_order(self):
        """Operations take effect in the order in which they were asked for."""
        alice, bob = self.two()
        self.put(alice, bob, b"0")
        first = self.lease(bob)
        again = self.store.lease(bob, MANY, HUGE)
        settled = self.store.settle(first)
        late = self.store.lease(bob, MANY, HUGE)
        put = self.store.put([Envelope(alice, bob, 3, b"1")])
        last = self.store.lease(bob, MANY, HUGE)
        self.assertIsNone(self.result(settled))
        second = self.result(again)
        self.assertEqual(second.messages, first.messages)
        self.assertEqual(self.result(late).messages, ())
        (message,) = self.result(last).messages
        self.assertEqual([message.message_id], self.result(put))
        self.assertEqual(self.contents(second), [b"0"])

    def test_oldest_first(self):
        """Messages come in order of arrival, from whomever they are."""
        alice, bob = self.two()
        sent = [self.put((alice, bob)[number % 2], bob, bytes([number])) for number in range(9)]
        lease = self.lease(bob)
        self.assertEqual([message.message_id for message in lease.messages], sent)
        self.assertEqual(self.contents(lease), [bytes([number]) for number in range(9)])

    def test_ids_are_unique(self):
        """A message id is not given again after its message is gone, nor after a restart."""
        alice, bob = self.two()
        seen = set()
        for _ in range(3):
            seen |= {self.put(alice, bob), self.put(alice, bob)}
            self.settle(self.lease(bob))
            self.fixture.reopen()
        self.assertEqual(len(seen), 6)

    def test_message_id_is_the_low_half(self):
        """After 2**32 messages their ids begin again, and their order does not."""
        alice, bob = self.two()
        self.fixture.set_last_sequence(MESSAGE_ID_LIMIT - 2)
        ids = [self.put(alice, bob, bytes([number])) for number in range(3)]
        self.assertEqual(ids, [MessageId(MESSAGE_ID_LIMIT - 1), MessageId(0), MessageId(1)])
        lease = self.lease(bob)
        self.assertEqual([message.message_id for message in lease.messages], ids)
        self.assertEqual(lease.messages[2].sequence, MESSAGE_ID_LIMIT + 1)
        self.assertEqual(self.contents(lease), [b"\0", b"\1", b"\2"])

    # Leases

    def test_limits_of_a_lease(self):
        """A lease lists as much as its limits allow, but at least one message."""
        alice, bob = self.two()
        for size in (5, 5, 5, 1):
            self.put(alice, bob, bytes(size))
        for max_messages, max_bytes, listed in (
            (MANY, HUGE, 4),
            (2, HUGE, 2),
            (MANY, 10, 2),
            (MANY, 9, 1),
            (MANY, 11, 2),
            (MANY, 15, 3),
            (MANY, 16, 4),
            (MANY, 1, 1),
            (1, 0, 1),
        ):
            with self.subTest(max_messages=max_messages, max_bytes=max_bytes):
                lease = self.lease(bob, max_messages, max_bytes)
                self.assertEqual(len(lease.messages), listed)
                self.release(lease)

    def test_empty_mailbox(self):
        """Where nothing waits, a lease is empty, and ending it does nothing."""
        alice = self.register("Alice")
        lease = self.lease(alice)
        self.assertEqual(lease.messages, ())
        self.settle(lease)
        self.release(lease)
        self.assertEqual(self.result(self.store.read([])), [])

    def test_settled_is_gone(self):
        """What was settled does not come again, and what was sent meanwhile does."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        lease = self.lease(bob)
        self.put(alice, bob, b"second")
        self.settle(lease)
        self.assertEqual(self.waiting(bob), [b"second"])

    def test_released_waits(self):
        """What was released comes again."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        self.release(self.lease(bob))
        self.assertEqual(self.waiting(bob), [b"first"])

    def test_ending_again_does_nothing(self):
        """A lease ends once, in the way in which it ended first."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        lease = self.lease(bob)
        self.release(lease)
        self.settle(lease)
        self.assertEqual(self.waiting(bob), [b"first"])
        lease = self.lease(bob)
        self.settle(lease)
        self.release(lease)
        self.settle(lease)
        self.assertEqual(self.waiting(bob), [])

    def test_leased_is_listed_again(self):
        """What one lease holds is listed by the next."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        one, two = self.lease(bob), self.lease(bob)
        self.assertEqual(one.messages, two.messages)
        self.assertNotEqual(one.number, two.number)
        self.release(one)
        self.assertEqual(self.contents(two), [b"first"])

    def test_settled_while_leased(self):
        """What is settled stays readable for another lease, but is not listed again."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        one, two = self.lease(bob), self.lease(bob)
        self.settle(one)
        self.assertEqual(self.lease(bob, 1).messages, ())
        self.put(alice, bob, b"second")
        self.assertEqual(self.contents(self.lease(bob, 1)), [b"second"])
        self.assertEqual(self.contents(two), [b"first"])
        self.release(two)
        self.assertGone(two)

    def assertGone(self, lease):
        """The contents of a lease's messages are not there any more."""
        self.assertRaises(StoreError, self.contents, lease)

    def test_settled_by_both(self):
        """What two fetchers settle is gone when the second has."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        one, two = self.lease(bob), self.lease(bob)
        self.settle(one)
        self.settle(two)
        self.assertGone(one)
        self.assertEqual(self.waiting(bob), [])

    def test_leases_overlap(self):
        """Of two leases that overlap, each ends for its own messages."""
        alice, bob = self.two()
        for content in (b"0", b"1", b"2"):
            self.put(alice, bob, content)
        small, large = self.lease(bob, 1), self.lease(bob, 2)
        self.settle(large)
        self.assertEqual(self.contents(small), [b"0"])
        self.assertEqual(self.waiting(bob), [b"2"])
        self.release(small)
        self.assertGone(small)
        self.assertEqual(self.waiting(bob), [b"2"])

    # Reading

    def test_read_pieces(self):
        """Contents are read in pieces of any size, as many as were asked for, in their order."""
        alice, bob = self.two()
        large = bytes(range(256)) * 1_024
        self.put(alice, bob, large)
        self.put(alice, bob, b"small")
        self.put(alice, bob)
        one, two, three = (message.sequence for message in self.lease(bob).messages)
        spans = [
            Span(two, 1, size=3),
            Span(one, 65_530, size=70_000),
            Span(one, size=10),
            Span(three, size=0),
            Span(one, size=len(large)),
            Span(two, size=5),
            Span(two, size=2),
            Span(one, len(large) - 1, size=1),
            Span(one, len(large), size=0),
        ]
        self.assertEqual(
            [bytes(piece) for piece in self.result(self.store.read(spans))],
            [
                b"mal",
                large[65_530:135_530],
                large[:10],
                b"",
                large,
                b"small",
                b"sm",
                large[-1:],
                b"",
            ],
        )

    def test_largest_message(self):
        """A content of 16 MiB and 16 bytes is kept, and read in pieces of 64 KiB."""
        alice, bob = self.two()
        size, piece = 2**24 + 16, 2**16
        content = bytes(range(256)) * (2**16) + b"sixteen bytes..."
        self.put(alice, bob, content)
        (message,) = self.lease(bob).messages
        self.assertEqual(message.size, size)
        read = []
        for offset in range(0, size, piece):
            span = Span(message.sequence, offset, size=min(piece, size - offset))
            read.extend(self.result(self.store.read([span])))
        self.assertTrue(b"".join(read) == content)

    def test_read_what_is_not_there(self):
        """Reading past the end, or a message that is gone, fails and harms nothing."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        (message,) = self.lease(bob).messages
        for span in (
            Span(message.sequence, size=6),
            Span(message.sequence, 5, size=1),
            Span(message.sequence + 1, size=0),
            Span(message.sequence + 1, 1, size=1),
        ):
            with self.subTest(span=span):
                error = self.assertRaises(StoreError, self.result, self.store.read([span]))
                self.assertNotIsInstance(error, StoreUnavailable)
        self.assertEqual(self.waiting(bob), [b"first"])

    # Expiry

    def test_expire(self):
        """What was stored before a time is deleted, and counted; the rest waits."""
        alice, bob = self.two()
        for content in (b"0", b"1", b"2"):
            self.put(alice, bob, content)
            self.fixture.time += 1
        self.assertEqual(self.result(self.store.expire(NOON)), 0)
        self.assertEqual(self.result(self.store.expire(NOON + 2)), 2)
        self.assertEqual(self.waiting(bob), [b"2"])
        self.assertEqual(self.result(self.store.expire(NOON + 2)), 0)

    def test_expire_after_the_clock_went_back(self):
        """The time of each message counts, not its place."""
        alice, bob = self.two()
        self.put(alice, bob, b"new")
        self.fixture.time -= 100
        self.put(alice, bob, b"old")
        self.assertEqual(self.result(self.store.expire(NOON)), 1)
        self.assertEqual(self.waiting(bob), [b"new"])

    def test_expire_while_leased(self):
        """What expires while it is leased is counted once, not listed, and deleted at the end."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        one, two = self.lease(bob), self.lease(bob)
        self.assertEqual(self.result(self.store.expire(NOON + 1)), 1)
        self.assertEqual(self.result(self.store.expire(NOON + 1)), 0)
        self.assertEqual(self.waiting(bob), [])
        self.release(one)
        self.assertEqual(self.contents(two), [b"first"])
        self.release(two)
        self.assertGone(two)

    def test_expire_what_was_settled(self):
        """What was settled does not expire as well."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        one, two = self.lease(bob), self.lease(bob)
        self.settle(one)
        self.assertEqual(self.result(self.store.expire(NOON + 1)), 0)
        self.settle(two)
        self.assertGone(two)

    # Opening and closing

    def test_reopen(self):
        """Clients, keys and messages are there after the store was closed and opened."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        self.fixture.reopen()
        self.assertEqual(self.result(self.store.public_key(bob, alice)), key(1))
        self.assertIs(self.register("Alice"), Refusal.NAME_TAKEN)
        self.assertEqual(self.waiting(bob), [b"first"])

    def test_close_releases(self):
        """Closing ends leases as if they were released."""
        alice, bob = self.two()
        for content in (b"settled", b"leased"):
            self.put(alice, bob, content)
        one, _ = self.lease(bob, 1), self.lease(bob)
        self.settle(one)
        self.fixture.reopen()
        self.assertEqual(self.waiting(bob), [b"leased"])
        self.assertGone(one)

    def test_close_finishes(self):
        """What was asked for before closing is done."""
        alice, bob = self.two()
        put = self.store.put([Envelope(alice, bob, 3, b"first")])
        closed = self.store.close()
        self.result(closed)
        self.assertIsInstance(self.result(put)[0], MessageId)
        self.store.open()
        self.assertEqual(self.waiting(bob), [b"first"])

    def test_closed(self):
        """A closed store does nothing, and can be closed again."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        lease = self.lease(bob)
        directory = self.result(self.store.directory(bob))
        first, second = self.store.close(), self.store.close()
        self.assertIsNone(self.result(first))
        self.assertIsNone(self.result(second))
        for deferred in (
            self.store.register(UserName(b"Cid"), key()),
            self.store.public_key(alice, bob),
            self.store.directory(alice),
            self.store.directory_page(directory, 0, 1),
            self.store.put([Envelope(alice, bob, 3, b"")]),
            self.store.lease(bob, 1, 1),
            self.store.read([]),
            self.store.settle(lease),
            self.store.release(lease),
            self.store.expire(NOON),
        ):
            self.assertRaises(StoreUnavailable, self.result, deferred)
        self.store.open()
        self.assertEqual(self.waiting(bob), [b"first"])

    def test_cancel_undoes_nothing(self):
        """A request whose Deferred was cancelled is carried out all the same."""
        alice, bob = self.two()
        put = self.store.put([Envelope(alice, bob, 3, b"first")])
        put.addErrback(lambda _: None)
        put.cancel()
        self.assertEqual(self.waiting(bob), [b"first"])
