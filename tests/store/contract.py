"""What every store keeps to: a mixin of tests, and the fixtures that they are run on."""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import ClassVar

from attrs import astuple, define, field
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
    NO_QUOTA,
    START,
    Depth,
    IChecked,
    IMailboxStore,
    ISurvey,
    MemoryStore,
    Quota,
    SqliteStore,
    StoreError,
    StoreUnavailable,
    SurveyPage,
)
from messageu.store._sqlite import HOUSEKEEPING_PAUSE, random_client_id
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


def ids_of(lease):
    """The ids of the messages on a lease's first page."""
    return [MessageId(sequence % MESSAGE_ID_LIMIT) for sequence, *_ in lease.first.pieces]


def contents_of(pieces):
    """The contents of messages that are in pieces, or whole; each must be complete."""
    contents = []
    left = 0
    for _, _, _, size, offset, part in pieces:
        if not offset:
            assert left == 0
            contents.append(b"")
            left = size
        assert offset == size - left
        contents[-1] += part
        left -= len(part)
    assert left == 0
    return contents


@define
class MemoryFixture:
    """A MemoryStore, with the calls that the others need.

    :cvar one_sequence: whether all mailboxes together have one sequence of ids. The protocol wants
        only those of one mailbox to differ.
    """

    one_sequence: ClassVar = True

    time: float = NOON
    quota: Quota = NO_QUOTA
    new_client_id: Callable[[], ClientId] = random_client_id
    store: MemoryStore = field(init=False)

    def __attrs_post_init__(self):
        self.store = MemoryStore(
            now=lambda: self.time, new_client_id=self.new_client_id, quota=self.quota
        )
        self.store.open()

    def result(self, deferred):
        return result_of(deferred)

    def reopen(self):
        self.result(self.store.close())
        self.store.quota = self.quota
        self.store.open()

    def set_last_sequence(self, number):
        self.store._last_sequence = number

    def dispose(self):
        self.result(self.store.close())


@define
class SqliteFixture:
    """An SqliteStore in a folder of its own, whose thread is a clock in memory."""

    one_sequence: ClassVar = True

    time: float = NOON
    quota: Quota = NO_QUOTA
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
            quota=self.quota,
            new_pool=threadless_pool,
            engine=self.engine,
        )

    def result(self, deferred):
        self.clock.advance(0)
        for _ in range(100):
            if not deferred.called:
                self.clock.advance(HOUSEKEEPING_PAUSE)
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

    def lease(self, requester, max_messages=MANY, max_bytes=HUGE, page=HUGE):
        return self.result(self.store.lease(requester, max_messages, max_bytes, page))

    def settle(self, lease):
        return self.result(self.store.settle(lease))

    def release(self, lease):
        return self.result(self.store.release(lease))

    def pages_of(self, lease, page):
        """What a lease's messages are, read in pages of a size."""
        start = START
        while start is not None:
            read = self.result(self.store.read(lease, start, page))
            yield read.pieces
            start = read.next

    def contents(self, lease):
        return contents_of(chain.from_iterable(self.pages_of(lease, HUGE)))

    def waiting(self, client_id):
        """The contents of what waits for a client."""
        lease = self.lease(client_id)
        self.release(lease)
        return contents_of(lease.first.pieces)

    def two(self):
        return self.register("Alice", 1), self.register("Bob", 2)

    def test_interface(self):
        """It is what the relay asks for."""
        self.assertTrue(verifyObject(IMailboxStore, self.store))
        self.assertTrue(verifyObject(IChecked, self.store))

    def test_check(self):
        """An open store can be asked whether it works, as often as one likes, and is as before; a
        closed one does not work."""
        alice, bob = self.two()
        self.put(alice, bob, b"kept")
        for _ in range(3):
            self.assertIsNone(self.result(self.store.check()))
        self.assertEqual(self.waiting(bob), [b"kept"])
        self.result(self.store.close())
        self.assertRaises(StoreUnavailable, self.result, self.store.check())
        self.store.open()
        self.assertIsNone(self.result(self.store.check()))

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
            self.store.lease(STRANGER, 1, 1, 1),
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
        (piece,) = lease.first.pieces
        self.assertEqual(piece[1:], (alice.raw, 255, 7, 0, b"content"))
        self.assertEqual(ids_of(lease), [message_id])
        self.assertEqual((lease.count, lease.size, lease.first.next), (1, 7, None))
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
            self.assertEqual(len({first, fourth}), 2)
            if self.fixture.one_sequence:
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
        again = self.store.lease(bob, MANY, HUGE, HUGE)
        settled = self.store.settle(first)
        late = self.store.lease(bob, MANY, HUGE, HUGE)
        put = self.store.put([Envelope(alice, bob, 3, b"1")])
        last = self.store.lease(bob, MANY, HUGE, HUGE)
        self.assertIsNone(self.result(settled))
        second = self.result(again)
        self.assertEqual(second.first, first.first)
        self.assertEqual(self.result(late).count, 0)
        self.assertEqual(ids_of(self.result(last)), self.result(put))
        self.assertEqual(self.contents(second), [b"0"])

    def test_oldest_first(self):
        """Messages come in order of arrival, from whomever they are."""
        alice, bob = self.two()
        sent = [self.put((alice, bob)[number % 2], bob, bytes([number])) for number in range(9)]
        lease = self.lease(bob)
        self.assertEqual(ids_of(lease), sent)
        self.assertEqual(self.contents(lease), [bytes([number]) for number in range(9)])

    def test_mailbox_full(self):
        """A mailbox takes so many messages and so many bytes; what is there stays, others' mail is
        not touched, and there is room again when some has gone."""
        self.fixture.quota = Quota(messages=3, content=10)
        self.fixture.reopen()
        alice, bob = self.two()
        full = Refusal.MAILBOX_FULL
        for _ in range(2):
            self.assertIsInstance(self.put(alice, bob, b"12345"), MessageId)
            self.assertEqual(self.put(alice, bob, b"123456"), full)
            self.assertIsInstance(self.put(alice, alice, b""), MessageId)
            outcomes = self.result(
                self.store.put(
                    [Envelope(alice, bob, 3, each) for each in (b"1234", b"12", b"", b"")]
                )
            )
            self.assertEqual(
                [type(outcome) for outcome in outcomes], [MessageId, Refusal, MessageId, Refusal]
            )
            self.assertEqual(self.waiting(bob), [b"12345", b"1234", b""])
            self.fixture.reopen()
            self.assertEqual(self.put(alice, bob, b""), full)
            self.settle(self.lease(bob))
            self.settle(self.lease(alice))

    def test_room_after_expiry(self):
        """What has expired takes no room."""
        self.fixture.quota = Quota(messages=2, content=10)
        self.fixture.reopen()
        alice, bob = self.two()
        for _ in range(3):
            self.put(alice, bob, b"1")
        self.fixture.time += 10
        self.assertEqual(self.result(self.store.expire(self.fixture.time)), 2)
        for outcome in (MessageId, MessageId, Refusal):
            self.assertIsInstance(self.put(alice, bob, b"1"), outcome)

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
        self.assertEqual(ids_of(lease), ids)
        self.assertEqual(lease.first.pieces[2][0], MESSAGE_ID_LIMIT + 1)
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
                for page in (1, HUGE):
                    lease = self.lease(bob, max_messages, max_bytes, page)
                    self.assertEqual((lease.count, len(self.contents(lease))), (listed, listed))
                    self.assertEqual(sum(map(len, self.contents(lease))), lease.size)
                    self.release(lease)

    def test_empty_mailbox(self):
        """Where nothing waits, a lease is empty, and ending it does nothing."""
        alice = self.register("Alice")
        lease = self.lease(alice)
        self.assertEqual((lease.count, lease.size), (0, 0))
        self.assertEqual((list(lease.first.pieces), lease.first.next), ([], None))
        self.settle(lease)
        self.release(lease)

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
        self.assertEqual(one.first, two.first)
        self.assertNotEqual(one.number, two.number)
        self.release(one)
        self.assertEqual(self.contents(two), [b"first"])

    def test_settled_while_leased(self):
        """What is settled stays readable for another lease, but is not listed again."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        one, two = self.lease(bob), self.lease(bob)
        self.settle(one)
        self.assertEqual(self.lease(bob, 1).count, 0)
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

    SIZES = (0, 1, 65_535, 65_536, 0, 65_537, 3, 131_072, 131_073, 200_000, 7, 0)

    def send_all_sizes(self):
        """Messages of one row and of several pieces; who gets them, and what they are."""
        alice, bob = self.two()
        sent = []
        for number, size in enumerate(self.SIZES):
            sent.append((bytes([number]) + bytes(range(256)) * 1_024)[:size])
            self.put(alice, bob, sent[-1], kind=number)
        return bob, sent

    def test_pages_of_any_size(self):
        """Messages are read in pages of any size: the same messages, and no byte twice."""
        bob, sent = self.send_all_sizes()
        whole = self.lease(bob).first.pieces
        self.assertEqual(contents_of(whole), sent)
        for page in (999, 65_535, 2**16, 65_537, 100_000, 2**18, HUGE):
            lease = self.lease(bob, page=page)
            self.assertEqual((lease.count, lease.size), (len(sent), sum(map(len, sent))))
            pages = list(self.pages_of(lease, page))
            self.assertEqual(list(lease.first.pieces), list(pages[0]))
            pieces = list(chain.from_iterable(pages))
            self.assertEqual(contents_of(pieces), sent)
            heads = [piece[:4] for piece in pieces if piece[4] == 0]
            self.assertEqual(heads, [piece[:4] for piece in whole])
            self.release(lease)

    def test_pages_are_bounded(self):
        """A page is as large as was asked for at the most, also when contents have no bytes."""
        bob, _ = self.send_all_sizes()
        for _ in range(50):
            self.put(bob, bob)
        lease = self.lease(bob)
        for limit in (999, 2**16, 100_000):
            pages = list(self.pages_of(lease, limit))
            self.assertTrue(all(sum(len(piece[5]) for piece in page) <= limit for page in pages))
            self.assertTrue(all(1 <= len(page) <= 1 + limit // 32 for page in pages))

    def test_pages_begin_anywhere(self):
        """A page can be read again, and by parts of a message's content."""
        bob, sent = self.send_all_sizes()
        lease = self.lease(bob)
        sequence, content = lease.first.pieces[9][0], sent[9]
        for offset, size in ((0, 10), (65_530, 10), (1, 200_000), (65_536, 65_536), (199_999, 1)):
            page = self.result(self.store.read(lease, (sequence, offset), size))
            self.assertEqual(page.pieces[0][3:], (200_000, offset, content[offset:][:size]))

    def test_pages_leave_out_what_was_settled_before(self):
        """What was settled and is held by another lease is in no page of the next lease."""
        alice, bob = self.two()
        for number in range(6):
            self.put(alice, bob, bytes([number]))
        first, second = self.lease(bob, 2), self.lease(bob, 4)
        self.settle(first)
        third = self.lease(bob, page=1)
        self.assertEqual((third.count, third.size), (4, 4))
        self.assertEqual(self.contents(third), [b"\2", b"\3", b"\4", b"\5"])
        self.assertEqual(self.contents(second), [b"\0", b"\1", b"\2", b"\3"])

    def test_pages_know_nothing_of_what_comes_later(self):
        """What arrives after a lease was given is not in its pages."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        lease = self.lease(bob)
        self.put(alice, bob, b"second")
        self.assertEqual(self.contents(lease), [b"first"])

    def test_largest_message(self):
        """A content of 16 MiB and 16 bytes is kept, and read in pages of 64 KiB."""
        alice, bob = self.two()
        content = bytes(range(256)) * (2**16) + b"sixteen bytes..."
        self.put(alice, bob, content)
        lease = self.lease(bob, page=2**16)
        self.assertEqual(lease.size, 2**24 + 16)
        pages = list(self.pages_of(lease, 2**16))
        self.assertEqual(len(pages), 257)
        self.assertTrue(b"".join(piece[5] for (piece,) in pages) == content)

    def test_settled_large_message_is_gone(self):
        """A message in many pieces goes as any other, and what came with it stays."""
        bob, sent = self.send_all_sizes()
        self.settle(self.lease(bob, 9))
        self.assertEqual(self.waiting(bob), sent[9:])
        lease = self.lease(bob)
        self.assertEqual(self.result(self.store.expire(NOON + 1)), 3)
        self.assertEqual(self.contents(lease), sent[9:])
        self.release(lease)
        self.assertEqual(self.waiting(bob), [])

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
            self.store.lease(bob, 1, 1, 1),
            self.store.read(lease, START, 1),
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

    def test_survey(self):
        """A survey tells who is registered, and what waits for whom, in pages."""
        alice, bob = self.two()
        carol = self.register("carol")
        survey = self.store.surveys["v2"]
        self.assertTrue(verifyObject(ISurvey, survey))
        self.assertEqual(self.result(survey.count_users()), 3)
        for content in (b"1", b"22"):
            self.put(alice, bob, content)
        self.put(alice, carol, b"333")
        self.settle(self.lease(carol))
        self.put(alice, alice, b"4444")
        self.assertEqual(
            self.survey(survey.list_users), [(alice, "Alice"), (bob, "Bob"), (carol, "carol")]
        )
        self.assertEqual(self.survey(survey.list_mailboxes), [(alice, 1, 4), (bob, 2, 3)])
        self.assertEqual(
            self.result(survey.sum_mailboxes(0, MANY)), SurveyPage(Depth(2, 3, 7), None)
        )
        page = self.result(survey.sum_mailboxes(0, 1))
        self.assertEqual(page.content, Depth(1, 1, 4))
        self.assertEqual(self.result(survey.sum_mailboxes(page.next, MANY)).content, Depth(1, 2, 3))

    def survey(self, ask, step=2):
        """What all pages hold, as tuples."""
        found, after = [], 0
        while after is not None:
            page = self.result(ask(after, step))
            found += map(astuple, page.content)
            after = page.next
        return [(ClientId(*raw), *rest) for raw, *rest in found]

    def test_survey_of_nobody(self):
        """Where there is nobody there is nothing, and a store that is closed tells nothing."""
        for survey in self.store.surveys.values():
            self.assertEqual(self.result(survey.count_users()), 0)
            self.assertEqual(self.result(survey.list_users(0, 1)), SurveyPage([], None))
            self.assertEqual(self.result(survey.list_mailboxes(0, 1)), SurveyPage([], None))
            self.assertEqual(self.result(survey.sum_mailboxes(0, 1)), SurveyPage(Depth(), None))
        self.result(self.store.close())
        self.assertRaises(StoreUnavailable, self.result, survey.count_users())
        self.assertRaises(StoreUnavailable, self.result, survey.sum_mailboxes(0, 1))
        self.store.open()
