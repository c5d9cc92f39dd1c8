"""Bringing a database of version 1, which has no accounts, to this version."""

import sqlite3
from contextlib import closing
from pathlib import Path
from unittest import mock

from twisted.logger import globalLogPublisher

from messageu.model import ClientId, Envelope, UserName
from messageu.model.v3 import Handle
from messageu.store import SCHEMA_VERSION, SqliteStore, _opening, check_backup
from messageu.testing.store import sqlite_error
from tests.store.contract import HUGE, MANY, NOON, key, result_of
from tests.store.test_opening import OpeningCase, dump
from tests.store.v3.contract import envelope, keys

SCHEMA_1 = Path(__file__).with_name("schema-1.sql")
"""A database as code of version 1 makes it."""

ALICE = ClientId(b"alice" + bytes(11))


def contents(path):
    """Everything that is in a database."""
    with closing(sqlite3.connect(path)) as connection:
        return sorted(connection.iterdump())


class UpgradeTests(OpeningCase):
    def setUp(self):
        super().setUp()
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(SCHEMA_1.read_text())
        self.path.chmod(0o600)

    def fill(self):
        """What code of version 1 has stored, part of it in its index."""
        self.execute(
            "UPDATE mailbox_meta SET value = 2 WHERE name = 'last_sequence'",
            f"INSERT INTO mailbox_client VALUES (7, x'{ALICE.raw.hex()}', 'Alice',"
            f" x'{key().raw.hex()}', {NOON})",
            *(
                f"INSERT INTO mailbox_message VALUES ({number}, 7, x'{ALICE.raw.hex()}', 3, {NOON},"
                f" x'{number:02}', 0)"
                for number in (1, 2)
            ),
        )

    def do(self, deferred):
        self.clock.advance(0)
        return result_of(deferred)

    def test_is_of_version_1(self):
        """What these tests begin with is a database of version 1."""
        with closing(sqlite3.connect(self.path)) as connection:
            rows = dict(connection.execute("SELECT name, value FROM mailbox_meta"))
        self.assertEqual((rows["schema_version"], rows["compat_version"]), (1, 1))
        self.assertGreater(SCHEMA_VERSION, 1)

    def test_same_as_new(self):
        """A database that was brought up to date is a new one, in every table, index, view and
        number."""
        self.open_and_close()
        upgraded = dump(self.path), contents(self.path)
        self.path.unlink()
        self.open_and_close()
        self.assertEqual(upgraded, (dump(self.path), contents(self.path)))

    def test_mailboxes_stay(self):
        """Clients and messages of v2 are what they were, and accounts can be made."""
        self.fill()
        store = self.opened()
        lease = self.do(store.lease(ALICE, MANY, HUGE, HUGE))
        self.assertEqual([piece[5] for piece in lease.first.pieces], [b"\x01", b"\x02"])
        put = self.do(store.put([Envelope(ALICE, ALICE, 3, b"new")]))
        self.assertEqual([message.number for message in put], [3])
        self.assertIsNone(self.do(store.accounts.register(keys(1), 1, Handle("alice"), None)))
        self.assertEqual(self.do(store.accounts.put([envelope(1)]))[0].sequence, 1)

    def test_backup(self):
        """The database of version 1 is kept, and is sound."""
        self.fill()
        before = contents(self.path)
        self.open_and_close()
        backup = self.path.with_name("defensive.db.backup-1")
        self.assertEqual(contents(backup), before)
        checked = check_backup(backup)
        self.assertEqual((checked.schema, checked.clients, checked.messages), (1, 1, 2))
        self.assertEqual((checked.accounts, checked.mail), (0, 0))

    def test_once(self):
        """What is up to date is not brought there again."""
        for _ in range(2):
            self.open_and_close()
        backups = [name for name in self.files() if "backup" in name]
        self.assertEqual(backups, ["defensive.db.backup-1"])

    def test_upgrade_fails(self):
        """When it fails the database is as it was, and the next attempt has a whole one."""
        self.fill()
        full = sqlite_error("SQLITE_FULL")
        real = _opening.create_accounts

        def fail_late(cursor):
            real(cursor)
            raise full

        with (
            mock.patch.object(_opening, "create_accounts", fail_late),
            self.assertRaises(_opening.StoreUnusable),
        ):
            self.make().open()
        self.assertEqual([name for name in self.files() if "backup" in name], [])
        self.assertEqual(check_backup(self.path).schema, 1)
        self.open_and_close()
        self.assertEqual(check_backup(self.path).schema, SCHEMA_VERSION)

    def test_log(self):
        """The log says which version it was, which it is, and where the former one is."""
        events = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.open_and_close()
        (event,) = [event for event in events if "old" in event]
        self.assertEqual((event["old"], event["new"]), (1, SCHEMA_VERSION))
        self.assertEqual(event["backup"], f"{self.path}.backup-1")

    def test_tables_of_accounts_are_missing(self):
        """A database of this version without the tables of accounts is damaged."""
        for table in ("account", "account_mail", "account_tombstone", "account_rubbish"):
            with self.subTest(table=table):
                self.path.unlink()
                self.open_and_close()
                self.execute(f"DROP TABLE {table}")
                self.assertIn("tables are missing", self.refuse())

    def test_check_counts_accounts(self):
        """A check of a database counts accounts, and the envelopes that wait for them."""
        store = self.make()
        assert isinstance(store, SqliteStore)
        store.open()
        for number, name in enumerate(("alice", "bob", "carol"), 1):
            self.do(store.accounts.register(keys(number), 1, Handle(name), None))
        self.do(store.accounts.put([envelope(1, 1), envelope(1, 2)]))
        self.do(store.register(UserName(b"Alice"), key()))
        self.close(store)
        checked = check_backup(self.path)
        self.assertEqual((checked.schema, checked.clients, checked.messages), (3, 1, 0))
        self.assertEqual((checked.accounts, checked.mail), (3, 2))
