"""The accounts in an SQLite database."""

import sqlite3
from contextlib import closing
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from messageu.model import Envelope, UserName
from messageu.model.v3 import SEALED_PIECE_SIZE, Handle, Reason
from messageu.store import StoreError, StoreUnavailable, _operations
from messageu.store._sqlite import HOUSEKEEPING_PAUSE
from messageu.store.v3 import Stored
from messageu.testing.store import POISON_KEY_ID, FaultyEngine
from tests.store.contract import HUGE, MANY, NOON
from tests.store.contract import key as public_key
from tests.store.v3.contract import (
    HOUR,
    TOKEN,
    AccountStoreCase,
    AccountStoreContract,
    SqliteFixture,
    account_id,
    bundle,
    envelope,
    keys,
    one_time_keys,
)

PIECE = bytes(SEALED_PIECE_SIZE)


class SqliteCase(AccountStoreCase):
    make_fixture = SqliteFixture

    def sql(self, statement):
        return self.fixture.sql(statement)

    def count(self, table):
        ((count,),) = self.sql(f"SELECT count(*) FROM {table}")
        return count

    def keep_house(self):
        """Let all be deleted that nobody waits for."""
        self.fixture.clock.pump([HOUSEKEEPING_PAUSE] * 100)

    def contents(self):
        """Everything that is stored."""
        with closing(sqlite3.connect(self.fixture.path)) as connection:
            return list(connection.iterdump())

    def assert_usage(self):
        """What mailboxes are said to hold is what they hold."""
        self.assertEqual(
            self.sql("SELECT account, messages, content FROM account_mailbox WHERE messages"),
            self.sql(
                "SELECT account, count(*), sum(length(sealed)) FROM account_mail"
                " GROUP BY account ORDER BY account"
            ),
        )


class SqliteAccountStoreTests(SqliteCase, AccountStoreContract, SynchronousTestCase):
    # What is kept

    def test_no_sender(self):
        """No column could name a sender, and nothing of a time but the hour in which mail came."""
        self.two()
        self.fixture.time = NOON + 1234.5
        self.put(envelope(1))
        columns = {
            (table, name)
            for (table,) in self.sql("SELECT name FROM sqlite_master WHERE name LIKE 'account%'")
            for _, name, *_ in self.sql(f"PRAGMA table_info({table})")
        }
        self.assertEqual(
            {name for table, name in columns if table == "account_mail"},
            {"place", "account", "sequence", "envelope_id", "hpke_key_id", "sealed"},
        )
        self.assertEqual(
            {name for table, name in columns if table == "account_tombstone"},
            {"place", "account", "sequence", "envelope_id", "digest", "hour"},
        )
        hour = int(NOON + 1234.5) // HOUR
        self.assertEqual(self.sql("SELECT hour FROM account_tombstone"), [(hour,)])

    def test_tokens_are_not_kept(self):
        """The database does not hold a token."""
        self.result(self.store.invite(TOKEN))
        self.assertEqual(self.count("account_token"), 1)
        self.assertNotIn(TOKEN.hex(), "".join(self.contents()).lower())

    def test_strangers_write_nothing(self):
        """Somebody who has no account makes the relay write nothing."""
        self.two()
        before = self.contents(), self.fixture.path.with_name("defensive.db-wal").read_bytes()
        self.admit(3, 1)
        self.result(self.store.acknowledge(account_id(3), [1]))
        self.put(envelope(3))
        after = self.contents(), self.fixture.path.with_name("defensive.db-wal").read_bytes()
        self.assertEqual(after, before)

    def test_views_are_of_v2(self):
        """Programs that know v2's tables see nothing of v3."""
        self.two()
        self.put(envelope(1))
        self.assertEqual([self.count("clients"), self.count("messages")], [0, 0])

    # Beside v2

    def test_one_transaction(self):
        """What is asked of both protocols at once shares a commit."""
        self.two()
        bob = self.result(self.fixture.store.register(UserName(b"Bob"), public_key()))
        commits = self.fixture.engine.commits
        done = [
            self.fixture.store.put([Envelope(bob, bob, 3, b"v2")]),
            self.store.put([envelope(1)]),
            self.store.admit(keys(1).identity, 2 << 16),
            self.fixture.store.put([Envelope(bob, bob, 3, b"v2")]),
            self.store.put([envelope(1, 2)]),
        ]
        for deferred in done:
            self.result(deferred)
        self.assertEqual(self.fixture.engine.commits, commits + 1)

    # Faults

    def writes(self):
        """Everything that writes, of accounts 1 and 2."""
        return [
            lambda: self.store.admit(keys(1).identity, 99 << 16),
            lambda: self.store.register(keys(3), 1, Handle("carol"), TOKEN),
            lambda: self.store.publish(account_id(1), bundle(1, 9), one_time_keys(8, 9)),
            lambda: self.store.claim(account_id(2)),
            lambda: self.store.put([envelope(1, 8), envelope(2, 9)]),
            lambda: self.store.acknowledge(account_id(1), [1]),
            lambda: self.store.expire(NOON + 2 * HOUR),
            lambda: self.store.delete_account(account_id(2)),
            lambda: self.store.invite(b"another token..."),
            lambda: self.store.release_name(Handle("dave")),
        ]

    def fill(self):
        self.two()
        self.register(4, "dave")
        self.result(self.store.delete_account(account_id(4)))
        self.result(self.store.invite(TOKEN))
        self.publish(2, ids=(1, 2))
        self.put(envelope(1, 1), envelope(2, 2))

    def test_failing_disk(self):
        """Where the disk is full, or a commit fails, nothing was done; where not, all of it."""
        self.fill()
        for write in self.writes():
            before = self.contents()
            for fault in ({"is_full": True}, {"failing_commits": 1}):
                with mock.patch.multiple(self.fixture.engine, **fault):
                    self.assertRaises(StoreUnavailable, self.result, write())
                self.assertEqual(self.contents(), before)
        for write in self.writes():
            before = self.contents()
            self.result(write())
            self.assertNotEqual(self.contents(), before)

    def test_failing_together(self):
        """What shares a commit that fails is undone together."""
        self.fill()
        before = self.contents()
        engine, most = self.fixture.engine, 3
        # Expiry shares with nobody: there is a commit before it, its own, and one after it.
        engine.failing_commits = most
        done = [write() for write in self.writes()]
        self.assertGreater(len(done), most)
        for deferred in done:
            self.assertRaises(StoreUnavailable, self.result, deferred)
        engine.failing_commits = 0
        self.assertEqual(self.contents(), before)

    def test_envelope_that_fails_alone(self):
        """An envelope that cannot be stored is at fault by itself, among others of its request."""
        self.two()
        outcomes = self.put(
            envelope(1, 1), envelope(1, 2, hpke_key_id=POISON_KEY_ID), envelope(2, 3), envelope(1)
        )
        error = outcomes.pop(1)
        self.assertIs(type(error), StoreError)
        self.assertEqual(outcomes, [Stored(1), Stored(1), Stored(2)])
        self.assertEqual(self.put(envelope(1, 2)), [Stored(3)])
        self.assert_usage()

    # What takes many transactions

    def test_large_acknowledgement(self):
        """Much mail is deleted in several transactions, between which others have theirs."""
        self.two()
        self.put(*(envelope(1, number, PIECE) for number in range(20)))
        self.put(envelope(1, 99, b"last"))
        commits = self.fixture.engine.commits
        order = []
        acknowledged = self.store.acknowledge(account_id(1), range(1, 21))
        acknowledged.addCallback(lambda _: order.append("acknowledged"))
        put = self.store.put([envelope(2)])
        put.addCallback(lambda _: order.append("put"))
        self.result(acknowledged)
        self.assertEqual(order, ["put", "acknowledged"])
        steps = self.fixture.engine.commits - commits
        self.assertEqual(steps, -(-20 * len(PIECE) // _operations.DELETABLE))
        self.assertEqual(self.sequences(1), [21])
        self.assert_usage()

    def test_transaction_deletes_no_more(self):
        """What is acknowledged together is no more for one transaction than what comes alone."""
        self.two()
        self.put(*(envelope(1 + number % 2, number, PIECE) for number in range(20)))
        commits = self.fixture.engine.commits
        done = [self.store.acknowledge(account_id(number), range(1, 11)) for number in (1, 2)]
        for deferred in done:
            self.result(deferred)
        self.assertGreater(self.fixture.engine.commits - commits, 2)
        self.assertEqual(self.count("account_mail"), 0)
        self.assert_usage()

    def test_acknowledgement_that_is_cut_short(self):
        """When the disk fails in the midst of it, what is not deleted waits again."""
        self.two()
        self.put(*(envelope(1, number, PIECE) for number in range(20)))
        acknowledged = self.store.acknowledge(account_id(1), range(1, 21))
        with mock.patch.object(self.fixture.engine, "commit", self.fail_later(1)):
            self.assertRaises(StoreUnavailable, self.result, acknowledged)
        left = self.sequences(1)
        self.assertEqual(left, list(range(21 - len(left), 21)))
        self.assertTrue(0 < len(left) < 20)
        self.assert_usage()
        self.acknowledge(1, *left)
        self.assertEqual(self.sequences(1), [])

    def fail_later(self, commits):
        """A commit that fails, but for so many times."""
        real = self.fixture.engine.commit
        left = iter(range(commits))

        def commit(cursor):
            if next(left, None) is None:
                self.fixture.engine.failing_commits = 1
            real(cursor)

        return commit

    def test_large_expiry(self):
        """Much mail expires in several transactions."""
        self.two()
        self.put(*(envelope(1, number, PIECE) for number in range(20)))
        commits = self.fixture.engine.commits
        self.assertEqual(self.result(self.store.expire(NOON + 2 * HOUR)), 20)
        self.assertGreater(self.fixture.engine.commits - commits, 2)
        self.assertEqual([self.count("account_mail"), self.count("account_tombstone")], [0, 0])
        self.assert_usage()

    def test_expiry_that_is_cut_short(self):
        """An expiry that the disk ends says how much is gone, and the next one goes on."""
        self.two()
        self.put(*(envelope(1, number, PIECE) for number in range(20)))
        with mock.patch.object(self.fixture.engine, "commit", self.fail_later(1)):
            first = self.result(self.store.expire(NOON + 2 * HOUR))
        self.assertTrue(0 < first < 20)
        self.assertEqual(self.count("account_mail"), 20 - first)
        self.assertEqual(self.result(self.store.expire(NOON + 2 * HOUR)), 20 - first)

    def test_large_account(self):
        """An account is gone at once; much mail of it is deleted later, some at a time."""
        self.two()
        self.put(*(envelope(1, number, PIECE) for number in range(20)))
        self.put(envelope(2, 2))
        self.result(self.store.delete_account(account_id(1)))
        self.assertTrue(0 < self.count("account_mail") - 1 < 20)
        self.assertEqual(self.sequences(1), [])
        self.keep_house()
        self.assertEqual([self.count("account_mail"), self.count("account_tombstone")], [1, 1])
        self.assertEqual(self.count("account_rubbish"), 0)
        self.assertEqual(self.sequences(2), [1])

    def test_large_account_and_a_stop(self):
        """What was not deleted before the store closed goes with the next expiry, and is no part
        of an account that is made meanwhile."""
        self.two()
        self.result(self.store.delete_account(account_id(2)))
        self.put(*(envelope(1, number, PIECE) for number in range(20)))
        self.result(self.store.delete_account(account_id(1)))
        self.fixture.reopen()
        self.assertLess(0, self.count("account_mail"))
        self.assertIsNone(self.register(3, "carol"))
        self.assertEqual(self.sequences(3), [])
        self.assertEqual(self.put(envelope(3, 19, b"other")), [Stored(21)])
        self.result(self.store.expire(NOON))
        self.keep_house()
        self.assertEqual(self.count("account_mail"), 1)
        self.assertEqual(self.count("account_rubbish"), 0)
        self.assertEqual(self.sequences(3), [21])
        self.assert_usage()

    # What is deleted

    def test_overwritten(self):
        """Nothing of what was deleted is left in the file of the database."""
        for end in (
            lambda: self.acknowledge(1, *range(1, 9)),
            lambda: self.result(self.store.expire(NOON + 2 * HOUR)),
            lambda: self.result(self.store.delete_account(account_id(1))),
        ):
            with self.subTest():
                self.two()
                secret = b"a secret that nobody can read"
                self.put(*(envelope(1, number, secret * 9_000) for number in range(4)))
                self.put(*(envelope(1, number, secret * 50) for number in range(4, 8)))
                self.assertTrue(secret in self.file(), "it never was there")
                end()
                self.assertFalse(secret in self.file(), "it is still there")
                self.renew()

    def renew(self):
        """Begin with a new store."""
        self.fixture = self.make_fixture()
        self.addCleanup(self.fixture.dispose)

    def file(self):
        """The file of the database, when all is in it that was in its log."""
        self.fixture.reopen()
        return self.fixture.path.read_bytes()

    def test_deletes_of_v2_are_as_fast_as_before(self):
        """Overwriting is for what v3 deletes: a connection is as it was, also after an error."""
        connections = []

        class Engine(FaultyEngine):
            def prepare(self, connection):
                super().prepare(connection)
                connections.append(connection)

        with mock.patch("tests.store.contract.FaultyEngine", Engine):
            self.renew()
        self.two()
        self.put(envelope(1))
        (mode,) = connections[-1].execute("PRAGMA secure_delete").fetchone()
        self.acknowledge(1, 1)
        self.result(self.store.delete_account(account_id(1)))
        self.assertEqual(connections[-1].execute("PRAGMA secure_delete").fetchone(), (mode,))
        self.assertEqual(mode, 2)


class PlanTests(SqliteCase, SynchronousTestCase):
    """How SQLite finds what the statements ask for."""

    def setUp(self):
        self.statements = []
        collect = self.statements.append

        class Engine(FaultyEngine):
            def prepare(self, connection):
                super().prepare(connection)
                connection.set_trace_callback(collect)

        with mock.patch("tests.store.contract.FaultyEngine", Engine):
            super().setUp()

    def plans(self, *operations):
        """How the statements of operations are carried out, by their text."""
        del self.statements[:]
        for operation in operations:
            self.result(operation())
        statements = {
            statement
            for statement in self.statements
            if statement.startswith(("SELECT", "INSERT", "UPDATE", "DELETE"))
        }
        return {
            statement: [row[3] for row in self.sql(f"EXPLAIN QUERY PLAN {statement}")]
            for statement in statements
        }

    def test_everything_is_looked_up(self):
        """No operation looks at all of a table, or sorts what it finds."""
        self.two()
        self.result(self.store.invite(TOKEN))
        self.put(envelope(1, 1))
        alice = account_id(1)
        plans = self.plans(
            lambda: self.store.admit(keys(1).identity, 2 << 16),
            lambda: self.store.register(keys(3), 1, Handle("carol"), TOKEN),
            lambda: self.store.resolve(Handle("carol")),
            lambda: self.store.publish(alice, bundle(1), one_time_keys(1, 2)),
            lambda: self.store.claim(alice),
            lambda: self.store.put([envelope(1 + number % 2, number) for number in range(90)]),
            lambda: self.store.waiting(alice, 1, MANY, HUGE),
            lambda: self.store.acknowledge(alice, [1, 2, 3]),
            lambda: self.store.expire(NOON + 2 * HOUR),
            lambda: self.store.put([envelope(1, 100)]),
            lambda: self.store.delete_account(alice),
            lambda: self.store.release_name(Handle("alice")),
            lambda: self.store.invite(TOKEN),
        )
        self.assertGreater(len(plans), 30)
        for statement, plan in plans.items():
            for step in plan:
                if step.startswith("SCAN") and "CONSTANT ROW" not in step:
                    # A list that comes with the statement, or the first row of a short table.
                    where = (
                        "json_each" in step
                        or step == "SCAN asked"
                        or statement.endswith("account_rubbish LIMIT 1")
                    )
                    self.assertTrue(where, (statement[:200], plan))
                self.assertNotIn("TEMP B-TREE", step, (statement[:200], plan))

    def test_scan_is_seen(self):
        """What looks at all of a table is seen by the test above."""
        plan = self.sql("EXPLAIN QUERY PLAN SELECT * FROM account_mail WHERE hpke_key_id = 1")
        self.assertTrue(plan[0][3].startswith("SCAN"))

    def test_page_of_a_great_mailbox(self):
        """What is read of a mailbox is what is asked for, from its place on, however much waits."""
        self.two()
        for first in range(0, 64, 16):
            self.put(*(envelope(1, number, PIECE) for number in range(first, first + 16)))
        del self.statements[:]
        self.assertEqual(self.sequences(1, 30, MANY, 3 * len(PIECE)), [31, 32, 33])
        (read,) = [each for each in self.statements if ", sealed FROM" in each]
        self.assertIn("sequence >= 31 AND sequence <= 33", read)
        plans = self.plans(
            lambda: self.store.waiting(account_id(1), 30, MANY, 3 * len(PIECE)),
        )
        index = "SEARCH account_mail USING INDEX sqlite_autoindex_account_mail_1"
        searches = [plan for text, plan in plans.items() if "FROM account_mail" in text]
        self.assertEqual(
            searches, [[f"{index} (account=? AND sequence>?{end})"] for end in self.ends(searches)]
        )

    def ends(self, searches):
        """One statement reads to the end of the mailbox, unless it is stopped; the other not."""
        self.assertEqual(len(searches), 2)
        return sorted((" AND sequence<?", ""), key=lambda end: end not in searches[0][0])


class FullMailboxTests(SqliteCase, SynchronousTestCase):
    def test_usage_after_a_restart(self):
        """What a mailbox holds is known after any mixture of operations, and another process."""
        self.two()
        self.limit(messages=10)
        for first in range(0, 30, 3):
            self.put(
                *(envelope(1 + number % 2, number, bytes(number)) for number in range(first, 35))
            )
            self.acknowledge(1, *self.sequences(1)[:2])
            self.fixture.time += HOUR
            self.result(self.store.expire(self.fixture.time - 5 * HOUR))
            self.fixture.reopen()
            self.assert_usage()
        self.assertIs(
            self.put(*(envelope(2, 100 + each) for each in range(11)))[-1], Reason.MAILBOX_FULL
        )
