"""The mailboxes in an SQLite database."""

import struct
from datetime import UTC, datetime
from unittest import mock

from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase, TestCase

from messageu.model import MESSAGE_ID_LIMIT, Envelope, MessageId, Refusal, UserName
from messageu.store import START, SqliteStore, StoreError, StoreUnavailable, _operations, _sqlite
from messageu.store._sqlite import LAST_SEEN_DELAY
from messageu.testing.store import POISON
from tests.store.contract import (
    HUGE,
    MANY,
    NOON,
    STRANGER,
    SqliteFixture,
    StoreContract,
    ids_of,
    key,
)


class SqliteStoreTests(StoreContract, SynchronousTestCase):
    make_fixture = SqliteFixture

    def sql(self, statement):
        return self.fixture.sql(statement)

    def count(self, table):
        ((count,),) = self.sql(f"SELECT count(*) FROM {table}")
        return count

    # What others see

    def test_view_of_clients(self):
        """Other programs find the clients under the names of the protocol."""
        alice, bob = self.two()
        self.assertEqual(
            self.sql("SELECT ID, UserName, PublicKey, LastSeen FROM clients"),
            [
                (alice.raw, "Alice", key(1).raw, "2001-09-09 01:46:40"),
                (bob.raw, "Bob", key(2).raw, "2001-09-09 01:46:40"),
            ],
        )

    def test_view_of_messages(self):
        """Other programs find the messages, too; a message's id is 4 bytes."""
        alice, bob = self.two()
        self.fixture.set_last_sequence(MESSAGE_ID_LIMIT + 0x01807F_FF - 1)
        self.put(alice, bob, b"content", kind=4)
        self.assertEqual(
            self.sql("SELECT ID, ToClient, FromClient, Type, Content FROM messages"),
            [(bytes.fromhex("ff7f8001"), bob.raw, alice.raw, 4, b"content")],
        )

    def test_view_shows_every_message_id(self):
        """The id in the view is the one of the answer to a sender, little-endian."""
        alice, bob = self.two()
        sent = []
        for last in (0, 0xFF, 0xFFFF, 0xFFFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF):
            self.fixture.set_last_sequence(last)
            sent.append(self.put(alice, bob).number)
        rows = self.sql("SELECT ID, typeof(ID) FROM messages")
        self.assertEqual(rows, [(struct.pack("<I", number), "blob") for number in sent])

    def test_view_shows_large_messages(self):
        """A content that is kept in pieces is whole in the view, byte for byte."""
        alice, bob = self.two()
        contents = [(b"\0a\xff" * 70_000)[:size] for size in (65_536, 65_537, 131_072, 200_000)]
        for content in contents:
            self.put(alice, bob, content)
        self.assertEqual(
            self.sql("SELECT Content, typeof(Content) FROM messages"),
            [(content, "blob") for content in contents],
        )

    # Large messages

    def keep_house(self):
        """Let all be deleted that nobody waits for."""
        self.fixture.clock.pump([_sqlite.HOUSEKEEPING_PAUSE] * 100)

    def test_pieces_go_with_their_message(self):
        """The pieces of a message that is gone are deleted, a few in a transaction."""
        alice, bob = self.two()
        for ended in (
            lambda: self.settle(self.lease(bob)),
            lambda: self.result(self.store.expire(NOON + 1)),
        ):
            for _ in range(2):
                self.put(alice, bob, bytes(10 * 2**16))
            self.assertEqual(self.count("mailbox_piece"), 20)
            commits = self.fixture.engine.commits
            ended()
            self.keep_house()
            self.assertEqual(self.count("mailbox_piece"), 0)
            self.assertEqual(self.count("mailbox_rubbish"), 0)
            self.assertLessEqual(7, self.fixture.engine.commits - commits)

    def test_pieces_stay_while_they_are_leased(self):
        """No piece is deleted under a lease; they go when the last one ends."""
        alice, bob = self.two()
        self.put(alice, bob, bytes(2**18))
        one, two = self.lease(bob), self.lease(bob)
        self.settle(one)
        self.assertEqual(self.contents(two), [bytes(2**18)])
        self.release(two)
        self.keep_house()
        self.assertEqual(self.count("mailbox_piece"), 0)

    def test_pieces_that_were_left_behind(self):
        """What was not deleted before the store closed or the disk failed goes later."""
        alice, bob = self.two()
        self.put(alice, bob, bytes(2**20))
        settled = self.store.settle(self.lease(bob))
        closed = self.store.close()
        self.result(settled)
        self.result(closed)
        self.assertEqual(self.count("messages"), 0)
        self.assertEqual(self.count("mailbox_piece"), 16)
        self.store.open()
        self.put(alice, bob, bytes(2**20))
        begin = self.fixture.engine.begin

        def fail_later(cursor, writes):
            # Only the deletion of pieces finds no space.
            self.fixture.engine.is_full = not self.count("messages")
            begin(cursor, writes)

        with mock.patch.object(self.fixture.engine, "begin", fail_later):
            self.settle(self.lease(bob))
            self.keep_house()
        self.fixture.engine.is_full = False
        self.assertEqual(self.count("mailbox_piece"), 32)
        self.result(self.store.expire(NOON - 1))
        self.keep_house()
        self.assertEqual(self.count("mailbox_piece"), 0)

    def test_missing_piece(self):
        """A message of which a piece is missing is not read, and harms nobody else's."""
        alice, bob = self.two()
        self.put(alice, bob, bytes(2**18))
        self.put(alice, alice, b"small")
        lease = self.lease(bob)
        self.sql("DELETE FROM mailbox_piece WHERE start = 65536")
        error = self.assertRaises(StoreError, self.contents, lease)
        self.assertNotIsInstance(error, StoreUnavailable)
        self.assertRaises(StoreError, self.lease, bob)
        self.assertEqual(self.waiting(alice), [b"small"])

    def test_reading_goes_between_commits(self):
        """A page is read in no transaction of its own, and takes turns with what is written."""
        alice, bob = self.two()
        self.put(alice, bob, bytes(2**18))
        lease = self.lease(bob)
        order = []
        for number in range(2):
            self.store.read(lease, START, 10).addCallback(lambda _, n=number: order.append(n))
        put = self.store.put([Envelope(alice, bob, 3, b"sent")])
        put.addCallback(lambda _: order.append("sent"))
        late = self.store.read(lease, START, 10).addCallback(lambda _: order.append(2))
        with mock.patch.object(
            self.fixture.engine, "begin", mock.Mock(wraps=self.fixture.engine.begin)
        ) as begin:
            self.result(late)
        self.assertEqual(order, [0, "sent", 1, 2])
        self.assertEqual(begin.call_count, 1)

    # The time of the last request

    def last_seen(self, name="Alice"):
        ((text,),) = self.sql(f"SELECT LastSeen FROM clients WHERE UserName = '{name}'")
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() - NOON

    def test_last_seen_at_once(self):
        """The time of a request is not written at the cost of a transaction of its own."""
        alice, _ = self.two()
        commits = self.fixture.engine.commits
        self.fixture.time += 10
        self.lease(alice)
        self.assertEqual(self.fixture.engine.commits, commits)
        self.assertEqual(self.last_seen(), 0)

    def test_last_seen_when_something_is_written(self):
        """The time of a request is written with the next message."""
        alice, bob = self.two()
        self.fixture.time += 10
        self.lease(alice)
        self.fixture.clock.advance(10)
        commits = self.fixture.engine.commits
        self.put(bob, bob)
        self.assertEqual(self.fixture.engine.commits, commits + 1)
        self.assertEqual(self.last_seen(), 10)

    def test_last_seen_after_a_while(self):
        """When nothing else is written, the time of a request is written later."""
        alice, _ = self.two()
        self.fixture.clock.advance(LAST_SEEN_DELAY)
        for seen in (10, 20):
            self.fixture.time = NOON + seen
            self.lease(alice)
            self.fixture.clock.advance(LAST_SEEN_DELAY)
            self.fixture.clock.advance(0)
            self.assertEqual(self.last_seen(), seen)

    def test_last_seen_when_nobody_asks(self):
        """When nobody was there nothing is written, and no timer runs."""
        self.two()
        self.fixture.clock.advance(LAST_SEEN_DELAY)
        commits = self.fixture.engine.commits
        self.fixture.clock.advance(LAST_SEEN_DELAY)
        self.assertEqual(self.fixture.engine.commits, commits)
        self.assertEqual(self.fixture.clock.getDelayedCalls(), [])

    def test_last_seen_at_close(self):
        """The times of the last requests are written when the store closes."""
        alice, bob = self.two()
        self.fixture.time += 10
        self.lease(alice)
        self.result(self.store.public_key(bob, STRANGER))
        late = self.store.put([Envelope(alice, STRANGER, 3, b"")])
        self.result(self.store.close())
        self.assertEqual(self.result(late), [Refusal.UNKNOWN_RECIPIENT])
        self.assertEqual((self.last_seen(), self.last_seen("Bob")), (10, 10))
        self.store.open()

    def test_last_seen_after_an_outage(self):
        """Times that could not be written are written later."""
        alice, bob = self.two()
        self.fixture.time += 10
        self.lease(alice)
        self.fixture.clock.advance(10)
        self.fixture.engine.failing_commits = 1
        self.assertRaises(StoreUnavailable, self.put, bob, bob)
        self.put(bob, bob)
        self.assertEqual(self.last_seen(), 10)
        self.flushLoggedErrors()

    # What costs nothing

    def test_empty_mailbox_writes_nothing(self):
        """Fetching from an empty mailbox is no transaction that writes."""
        alice = self.register("Alice")
        commits = self.fixture.engine.commits
        lease = self.lease(alice)
        self.settle(lease)
        self.assertEqual(self.fixture.engine.commits, commits)

    def test_sends_are_one_transaction(self):
        """Sends that come together are one transaction."""
        alice, bob = self.two()
        commits = self.fixture.engine.commits
        sent = [self.store.put([Envelope(alice, bob, 3, b"")]) for _ in range(100)]
        numbers = [number.number for deferred in sent for number in self.result(deferred)]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertEqual(self.fixture.engine.commits, commits + 1)

    # Faults

    def test_outage(self):
        """What meets a full disk or a failed commit is not done, and the next is tried anew."""
        alice, bob = self.two()
        for fault in ({"is_full": True}, {"failing_commits": 1}):
            with self.subTest(fault=fault), mock.patch.multiple(self.fixture.engine, **fault):
                self.assertRaises(StoreUnavailable, self.put, alice, bob, b"lost")
                self.assertEqual(self.waiting(bob), [])
        kept = self.put(alice, bob, b"kept")
        self.assertEqual(self.waiting(bob), [b"kept"])
        self.assertEqual(kept.number, 1)

    def test_check_in_an_outage(self):
        """A check fails when nothing can be committed, and does not when that is over."""
        for fault in ({"is_full": True}, {"failing_commits": 1}):
            with self.subTest(fault=fault), mock.patch.multiple(self.fixture.engine, **fault):
                self.assertRaises(StoreUnavailable, self.result, self.store.check())
        self.assertIsNone(self.result(self.store.check()))
        self.flushLoggedErrors()

    def test_check_is_on_the_disk(self):
        """A check is a commit as any other, which reaches the write-ahead log, and changes
        nothing; those that come together are one."""
        log = self.fixture.path.with_name("defensive.db-wal")
        self.result(self.store.check())
        before, commits = log.read_bytes(), self.fixture.engine.commits
        meta = self.sql("SELECT * FROM mailbox_meta ORDER BY name")
        checks = [self.store.check() for _ in range(10)]
        for check in checks:
            self.result(check)
        self.assertNotEqual(log.read_bytes(), before)
        self.assertEqual(self.fixture.engine.commits, commits + 1)
        self.assertEqual(self.sql("SELECT * FROM mailbox_meta ORDER BY name"), meta)

    def test_full_disk(self):
        """When SQLite itself finds no space nothing is lost, and it goes on when there is."""
        alice, bob = self.two()
        kept = self.put(alice, bob, b"kept")

        def limit(cursor, pages):
            cursor.execute(f"PRAGMA max_page_count = {pages}")

        with mock.patch.object(
            self.fixture.engine,
            "savepoint",
            side_effect=AssertionError("nothing is replayed"),
        ):
            begin = self.fixture.engine.begin
            with mock.patch.object(
                self.fixture.engine,
                "begin",
                lambda cursor, writes: (limit(cursor, 1), begin(cursor, writes)),
            ):
                self.assertRaises(StoreUnavailable, self.put, alice, bob, bytes(100_000))
        with mock.patch.object(
            self.fixture.engine,
            "begin",
            lambda cursor, writes: (limit(cursor, 2**30), begin(cursor, writes)),
        ):
            after = self.put(alice, bob, bytes(100_000))
        self.assertGreater(after.number, kept.number)
        self.assertEqual(self.waiting(bob), [b"kept", bytes(100_000)])

    def test_only_the_guilty_fails(self):
        """A message that cannot be stored does not take others along."""
        alice, bob = self.two()
        kinds = (3, POISON, 3, 3)
        sent = [
            self.store.put([Envelope(alice, bob, kind, bytes([number]))])
            for number, kind in enumerate(kinds)
        ]
        lease = self.store.lease(bob, MANY, HUGE, HUGE)
        for number, deferred in enumerate(sent):
            (outcome,) = self.result(deferred)
            if kinds[number] == POISON:
                self.assertIsInstance(outcome, StoreError)
                self.assertNotIsInstance(outcome, StoreUnavailable)
            else:
                self.assertIsInstance(outcome, MessageId)
        listed = self.result(lease)
        self.assertEqual(self.contents(listed), [b"\0", b"\2", b"\3"])
        self.settle(listed)
        self.assertEqual(self.count("messages"), 0)

    def test_only_the_guilty_fails_of_those_put_together(self):
        """Nor does it take along those that were put together with it, or loses their order."""
        alice, bob = self.two()
        kinds = (3, POISON, 3)
        outcomes = self.result(
            self.store.put(
                [
                    *(Envelope(alice, bob, kind, bytes([n])) for n, kind in enumerate(kinds)),
                    Envelope(alice, STRANGER, 3, b""),
                ]
            )
        )
        self.assertEqual(
            [type(outcome) for outcome in outcomes], [MessageId, StoreError, MessageId, Refusal]
        )
        listed = self.lease(bob)
        self.assertEqual(self.contents(listed), [b"\0", b"\2"])
        self.assertEqual(ids_of(listed), [outcomes[0], outcomes[2]])

    def test_sequences_of_a_failed_transaction(self):
        """What was reserved in a transaction that failed is reserved anew: no id comes twice."""
        alice, bob = self.two()
        self.fixture.engine.failing_commits = 1
        self.assertRaises(StoreUnavailable, self.put, alice, bob, b"lost")
        first = self.put(alice, bob, b"first")
        self.fixture.reopen()
        self.assertNotEqual(self.put(alice, bob, b"second"), first)
        self.assertEqual(self.waiting(bob), [b"first", b"second"])

    def test_id_given_twice(self):
        """An id that is there already is an error, and the client keeps it."""
        self.register("Alice")
        with mock.patch.object(self.store, "_new_client_id", lambda: STRANGER):
            self.register("Bob")
            error = self.assertRaises(StoreError, self.register, "Cid")
        self.assertNotIsInstance(error, StoreUnavailable)
        self.assertEqual(self.count("clients"), 2)

    def test_settling_fails(self):
        """What could not be deleted waits again."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        for fault in ({"is_full": True}, {"failing_commits": 1}):
            with self.subTest(fault=fault):
                lease, other = self.lease(bob), self.lease(bob)
                with mock.patch.multiple(self.fixture.engine, **fault):
                    self.assertRaises(StoreUnavailable, self.settle, lease)
                self.settle(lease)
                self.assertEqual(self.waiting(bob), [b"first"])
                self.release(other)
                self.assertEqual(self.waiting(bob), [b"first"])
        self.settle(self.lease(bob))
        self.assertEqual(self.waiting(bob), [])

    def test_deleting_at_the_last_end_fails(self):
        """What was settled, but could not be deleted when the last lease ended, waits again."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        one, two = self.lease(bob), self.lease(bob)
        self.settle(one)
        self.fixture.engine.failing_commits = 1
        self.assertRaises(StoreUnavailable, self.release, two)
        self.assertEqual(self.waiting(bob), [b"first"])

    def test_lease_in_a_failed_transaction(self):
        """A lease that could not be given pins nothing."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        self.fixture.engine.failing_commits = 1
        lost = self.store.lease(bob, MANY, HUGE, 1)
        put = self.store.put([Envelope(alice, bob, 3, b"second")])
        for deferred in (lost, put):
            self.assertRaises(StoreUnavailable, self.result, deferred)
        self.settle(self.lease(bob))
        self.assertEqual(self.count("messages"), 0)

    def test_close_on_a_full_disk(self):
        """Closing lets go even when nothing can be written any more."""
        alice, bob = self.two()
        self.put(alice, bob, b"first")
        one, _ = self.lease(bob), self.lease(bob)
        self.settle(one)
        self.fixture.engine.is_full = True
        self.assertIsNone(self.result(self.store.close()))
        self.fixture.engine.is_full = False
        self.store.open()
        self.assertEqual(self.waiting(bob), [b"first"])

    def test_settle_in_steps(self):
        """However much was brought, one transaction deletes only so many messages; none of them is
        listed again meanwhile."""
        alice, bob = self.two()
        for number in range(7):
            self.put(alice, bob, bytes([number]))
        lease = self.lease(bob)
        commits = self.fixture.engine.commits
        with mock.patch.object(_sqlite, "DELETION_STEP", 3):
            settled = self.store.settle(lease)
            between = self.store.lease(bob, MANY, HUGE, HUGE)
            self.assertEqual(self.result(between).count, 0)
            self.assertEqual(self.count("messages"), 4)
            self.assertIsNone(self.result(settled))
        self.assertEqual(self.fixture.engine.commits, commits + 3)
        self.assertEqual(self.count("messages"), 0)

    def test_much_is_deleted_in_a_hurry(self):
        """Above a limit of what is to be deleted there are no pauses between the steps."""
        alice, bob = self.two()
        for number in range(7):
            self.put(alice, bob, bytes([number]))
        with mock.patch.multiple(_sqlite, DELETION_STEP=3, DOOMED_BACKLOG=1):
            # The last step is one of the last message, for which nobody hurries.
            self.assertFalse(self.store.settle(self.lease(bob)).called)
            self.fixture.clock.advance(0)
        self.assertEqual(self.count("messages"), 1)
        self.keep_house()
        for _ in range(2):
            self.put(alice, bob, bytes(2**20))
        with mock.patch.multiple(_sqlite, RUBBISH_BACKLOG=1):
            self.result(self.store.expire(NOON + 1))
            self.fixture.clock.advance(0)
        self.assertEqual(self.count("mailbox_piece"), 16)

    def test_close_in_the_middle_of_settling(self):
        """What was settled and not deleted yet is deleted when the store closes."""
        alice, bob = self.two()
        for number in range(7):
            self.put(alice, bob, bytes([number]))
        with mock.patch.object(_sqlite, "DELETION_STEP", 3):
            settled = self.store.settle(self.lease(bob))
            closed = self.store.close()
            self.assertRaises(StoreUnavailable, self.result, settled)
            self.result(closed)
        self.store.open()
        self.assertEqual(self.waiting(bob), [])

    # Expiry

    def test_expire_in_steps(self):
        """However much expires, one transaction deletes only so many messages."""
        alice, bob = self.two()
        sent = [self.store.put([Envelope(alice, bob, 3, b"")]) for _ in range(7)]
        self.result(sent[-1])
        lease = self.lease(bob, 3)
        commits = self.fixture.engine.commits
        with mock.patch.object(_operations, "EXPIRY_STEP", 2):
            self.assertEqual(self.result(self.store.expire(NOON + 1)), 7)
        self.assertEqual(self.fixture.engine.commits, commits + 4)
        self.assertEqual(self.count("messages"), 3)
        self.release(lease)
        self.assertEqual(self.count("messages"), 0)

    def test_expiry_is_cut_short(self):
        """What expired before the disk failed is counted, and the rest goes the next time."""
        alice, bob = self.two()
        for _ in range(5):
            self.put(alice, bob)
        commit = self.fixture.engine.commit
        left = iter([commit, commit])

        def fail_late(cursor):
            next(left)(cursor)

        with mock.patch.object(_operations, "EXPIRY_STEP", 2):
            with mock.patch.object(self.fixture.engine, "commit", fail_late):
                self.assertEqual(self.result(self.store.expire(NOON + 1)), 4)
            with mock.patch.object(self.fixture.engine, "is_full", True):
                self.assertRaises(StoreUnavailable, self.result, self.store.expire(NOON + 1))
            self.assertEqual(self.result(self.store.expire(NOON + 1)), 1)


class ThreadedStoreTests(TestCase):
    """The store with a real thread."""

    def setUp(self):
        from twisted.internet import reactor

        self.fixture = SqliteFixture()
        self.fixture.result(self.fixture.store.close())
        self.store = SqliteStore(self.fixture.path, reactor, now=lambda: NOON)
        self.store.open()
        self.addCleanup(self.fixture.dispose)
        self.addCleanup(self.store.close)

    @inlineCallbacks
    def test_from_sender_to_recipient(self):
        """Clients register, send and fetch; what was settled is gone, and the rest is kept."""
        alice = yield self.store.register(UserName(b"Alice"), key(1))
        bob = yield self.store.register(UserName(b"Bob"), key(2))
        sent = [
            self.store.put([Envelope(alice, bob, 3, number.to_bytes(2, "big"))])
            for number in range(500)
        ]
        ids = [number for (number,) in (yield gatherResults(sent))]
        self.assertEqual(len(set(ids)), 500)
        lease = yield self.store.lease(bob, 400, HUGE, HUGE)
        self.assertEqual(ids_of(lease), ids[:400])
        other = yield self.store.lease(bob, 1, HUGE, HUGE)
        yield self.store.settle(lease)
        yield self.store.close()
        self.store.open()
        rest = yield self.store.lease(bob, MANY, HUGE, HUGE)
        self.assertEqual(ids_of(rest), ids[400:])
        self.assertEqual(ids_of(other), ids_of(lease)[:1])

    @inlineCallbacks
    def test_asked_while_it_closes(self):
        """What was asked for before closing is done; what comes later is refused."""
        alice = self.store.register(UserName(b"Alice"), key(1))
        closed = self.store.close()
        late = self.store.register(UserName(b"Bob"), key(1))
        yield self.assertFailure(late, StoreUnavailable)
        yield closed
        self.store.open()
        directory = yield self.store.directory((yield alice))
        self.assertEqual(directory.count, 0)


class IndexedSoonTests(StoreContract, SynchronousTestCase):
    """The same contract, when nearly each transaction puts into the index what has arrived."""

    make_fixture = SqliteFixture

    def setUp(self):
        self.patch(_sqlite, "ARRIVALS_LIMIT", 1)
        super().setUp()

    def test_what_is_in_the_index(self):
        """What has arrived comes into the index with the next write, and leaves it when it is
        deleted."""
        alice, bob = self.two()
        for content in (b"0", b"1", b"2"):
            self.put(alice, bob, content)
        self.assertEqual(self.indexed(), 2)
        self.assertEqual(self.waiting(bob), [b"0", b"1", b"2"])
        lease = self.lease(bob)
        self.put(bob, bob, b"3")
        self.assertEqual(self.indexed(), 3)
        self.settle(lease)
        self.assertEqual(self.indexed(), 1)
        self.assertEqual(self.waiting(bob), [b"3"])

    def test_failed_transaction(self):
        """What could not be stored does not come into the index, and what could does later."""
        alice, bob = self.two()
        self.fixture.engine.failing_commits = 1
        self.assertRaises(StoreUnavailable, self.put, alice, bob, b"lost")
        self.assertEqual(self.waiting(bob), [])
        for content in (b"kept", b"too"):
            self.put(alice, bob, content)
        self.assertEqual((self.indexed(), self.waiting(bob)), (2, [b"kept", b"too"]))

    def indexed(self):
        ((count,),) = self.fixture.sql("SELECT count(*) FROM mailbox_waiting")
        return count


class IndexedLateTests(SynchronousTestCase):
    """Mail of which a part is in the index."""

    def test_both_parts_after_a_restart(self):
        """What is in the index and what is not come in order, before and after a restart."""
        fixture = SqliteFixture()
        self.addCleanup(fixture.dispose)
        bob = fixture.result(fixture.store.register(UserName(b"bob"), key(0)))

        def put(*contents):
            fixture.result(fixture.store.put([Envelope(bob, bob, 3, each) for each in contents]))

        with mock.patch.object(_sqlite, "ARRIVALS_LIMIT", 2):
            put(b"0", b"1")
            put(b"2")
        put(b"3", b"4")
        ((indexed,),) = fixture.sql("SELECT count(*) FROM mailbox_waiting")
        self.assertEqual(indexed, 3)
        for _ in range(2):
            lease = fixture.result(fixture.store.lease(bob, MANY, HUGE, HUGE))
            contents = [piece[-1] for piece in lease.first.pieces]
            self.assertEqual(contents, [b"0", b"1", b"2", b"3", b"4"])
            fixture.reopen()
        settled = fixture.result(fixture.store.lease(bob, MANY, HUGE, HUGE))
        fixture.result(fixture.store.settle(settled))
        fixture.clock.advance(1)
        self.assertEqual(fixture.sql("SELECT count(*) FROM mailbox_waiting"), [(0,)])
        self.assertEqual(fixture.sql("SELECT count(*) FROM mailbox_message"), [(0,)])
