"""Moving everything from an SQLite database, and what is refused."""

from __future__ import annotations

from threading import Thread
from typing import Any
from unittest import mock
from uuid import uuid4

from messageu.model import Envelope
from messageu.store import Quota, StoreUnusable
from messageu.store._export import TABLES, Left
from messageu.store.postgres import PostgresAddress, _filling, _migration, _schema
from messageu.store.postgres._engine import CommitUnconfirmedError, PostgresEngine
from messageu.testing.postgres import Schema

from .moving import CLIENTS, SIZES, Life, MovingCase, answers, dump, id_of, live

QUOTA = Quota(5, 300_000)
IDS = [id_of(number) for number in range(CLIENTS)]
UNFINISHED = "SELECT finished IS NULL FROM relay_migration"


class _InterruptedError(Exception):
    pass


def interrupted() -> Any:
    """Migrations end when everything is there, and before it is compared."""
    return mock.patch.object(_migration, "_compare", side_effect=_InterruptedError)


def message(sender: int, recipient: int) -> Envelope:
    """A message from one client to another."""
    return Envelope(id_of(sender), id_of(recipient), 3, b"new")


class MovedTests(MovingCase):
    """What is there after a migration."""

    def setUp(self) -> None:
        super().setUp()
        self.schema = self.make_schema()

    def test_same_answers(self) -> None:
        """To whatever it is asked a store on the new tables says what one on the old database says:
        mail and its order, ids, keys, names, quotas, terms, and what is remembered of what is gone."""
        self.source.quota = self.source.account_quota = QUOTA
        moved = self.migrate(self.schema)
        self.assertFalse(moved.before)
        self.source.store = self.source.make()
        self.source.store.open()
        expected = list(answers(self.source, IDS))
        self.assertEqual(list(answers(self.opened(self.schema), IDS)), expected)
        text = repr(expected)
        for answer in ("MAILBOX_FULL", "UNKNOWN_CLIENT", "STALE_STATE", "CONFLICT", "known=True"):
            self.assertIn(answer, text)

    def test_same_rows(self) -> None:
        """Other programs see the same clients, and the same messages under the same ids. When
        clients were last heard of is the same, where it is known."""
        self.sql("UPDATE mailbox_client SET last_seen = NULL WHERE key = 2")
        self.migrate(self.schema)
        for query in (
            "SELECT ID, UserName, PublicKey FROM clients",
            "SELECT * FROM messages",
            "SELECT id, last_seen FROM mailbox_client",
        ):
            expected = self.source.sql(query)
            self.assertTrue(expected)
            self.assertEqual(sorted(self.schema.execute(query)), sorted(expected))
        rows = self.schema.execute("SELECT size, octet_length(content) FROM mailbox_message")
        self.assertIn((200_000, 200_000), rows)
        self.assertEqual([size for size, _ in rows], [size for _, size in rows])

    def test_what_comes_later(self) -> None:
        """In no mailbox does an id come that was given out in the old database, not even of those
        that it had set aside; and no account gets the integer key of another."""
        ((mark,),) = self.source.sql("SELECT value FROM mailbox_meta WHERE name = 'last_sequence'")
        self.migrate(self.schema)
        store = self.opened(self.schema)
        for number in range(CLIENTS):
            (outcome,) = store.result(store.store.put([message(number % 2, number)]))
            self.assertEqual(outcome.number, mark + 1)
        added = (
            "INSERT INTO account (id, ed25519, curve25519, name, generation)"
            " VALUES ('new', '', '', '', '') RETURNING key > (SELECT max(key) FROM account)"
        )
        self.assertEqual(self.schema.execute(added), [(True,)])

    def test_wrong_sums(self) -> None:
        """What mailboxes say that they hold is what they hold, and they go on behind it, also where
        the old database is wrong."""
        self.sql(
            "UPDATE mailbox_meta SET value = 1 WHERE name = 'last_sequence'",
            "UPDATE account_mailbox SET messages = 99, content = content + 1, last_sequence = 0",
        )
        self.migrate(self.schema)
        for mailbox, client, mail, size in (
            ("mailbox", "client", "mailbox_message WHERE recipient", "size"),
            ("account_mailbox", "account", "account_mail WHERE account", "octet_length(sealed)"),
        ):
            query = (
                f"SELECT messages, content, (SELECT count(*) FROM {mail} = box.{client}),"
                f" (SELECT coalesce(sum({size}), 0) FROM {mail} = box.{client}) FROM {mailbox} AS box"
            )
            rows = self.schema.execute(query)
            self.assertGreater(sum(row[0] for row in rows), 0)
            for messages, content, counted, added in rows:
                self.assertEqual((messages, content), (counted, added))
        last = self.source.sql("SELECT max(sequence) FROM mailbox_message")
        self.assertEqual(self.schema.execute("SELECT DISTINCT last_sequence FROM mailbox"), last)
        last = self.schema.execute("SELECT DISTINCT last_sequence FROM account_mailbox")
        self.assertEqual(last, [(len(SIZES),)])

    def test_keys_without_gaps(self) -> None:
        """Clients whose integer keys have gaps get keys without any; their mailboxes follow them."""
        self.sql(
            "UPDATE mailbox_message SET recipient = recipient * 10",
            "UPDATE mailbox_waiting SET recipient = recipient * 10",
            "UPDATE mailbox_usage SET recipient = recipient * 10",
            "UPDATE mailbox_client SET key = key * 10",
        )
        self.migrate(self.schema)
        keys = "SELECT key FROM mailbox_client ORDER BY key"
        self.assertEqual(self.schema.execute(keys), [(1,), (2,), (3,), (4,)])
        clients = "SELECT client FROM mailbox ORDER BY client"
        self.assertEqual(self.schema.execute(clients), [(1,), (2,), (3,), (4,)])
        meta = "SELECT value FROM relay_meta WHERE name = 'clients'"
        self.assertEqual(self.schema.execute(meta), [(4,)])
        view = "SELECT * FROM messages"
        self.assertEqual(sorted(self.schema.execute(view)), sorted(self.source.sql(view)))
        self.source.store = self.source.make()
        self.source.store.open()
        expected = list(answers(self.source, IDS))
        self.assertEqual(list(answers(self.opened(self.schema), IDS)), expected)

    def test_empty(self) -> None:
        """A database in which nobody was ever served can be moved, and used."""
        self.source.path.unlink()
        self.source.store.open()
        self.source.close()
        moved = self.migrate(self.schema)
        rows = {name: each.rows for name, each in moved.sums.items() if each.rows}
        self.assertEqual(rows, {"relay_meta": 3})
        store = self.opened(self.schema)
        life = live(store)
        self.assertEqual(life.clients, IDS)

    def test_left(self) -> None:
        """What could not be taken over from another server stays where it is, and is counted; so do
        messages to nobody, and what is left of accounts that are gone."""
        gone = "INSERT INTO account_{} SELECT place + 500, 99, sequence, {} FROM account_{} LIMIT 2"
        self.sql(
            "INSERT INTO quarantined_client VALUES (1, 2, 3, 4, 'odd')",
            "INSERT INTO quarantined_message VALUES (1, 2, 3, 4, 5, 'odd')",
            "INSERT INTO quarantined_message VALUES (1, 2, 3, 4, 5, 'odd')",
            "INSERT INTO mailbox_message SELECT sequence + 500, 77, sender, type, stored_at, content,"
            " in_pieces FROM mailbox_message LIMIT 3",
            gone.format("mail", "envelope_id, hpke_key_id, sealed", "mail"),
            gone.format("tombstone", "envelope_id, digest, hour", "tombstone"),
            "INSERT INTO account_prekey VALUES (99, x'00', x'00', x'00')",
            "INSERT INTO account_rubbish VALUES (99)",
        )
        moved = self.migrate(self.schema)
        self.assertEqual(moved.left, Left(clients=1, messages=2, strays=3, envelopes=2))
        for table in ("account_mail", "account_tombstone", "account_prekey"):
            of_it = f"SELECT count(*) FROM {table} WHERE account = 99"
            self.assertEqual(self.schema.execute(of_it), [(0,)])
        # They count in no mailbox.
        self.assertEqual(
            self.schema.execute("SELECT sum(messages) FROM mailbox"),
            self.schema.execute("SELECT count(*) FROM mailbox_message"),
        )

    def test_again(self) -> None:
        """Once everything is there it is not moved again, whoever has it since."""
        self.migrate(self.schema)
        store = self.opened(self.schema)
        store.result(store.store.put([message(0, 1)]))
        before = dump(self.schema)
        self.assertTrue(self.migrate(self.schema).before)
        self.assertEqual(dump(self.schema), before)

    def test_killed_relay(self) -> None:
        """What a relay that was killed has in its log is moved, and stays in it."""
        self.source.store.open()
        Life(self.source, IDS).put(0, 1, 1)
        folder = self.source.folder / "killed"
        folder.mkdir()
        names = ("defensive.db", "defensive.db-wal")
        for name in names:
            (folder / name).write_bytes((self.source.folder / name).read_bytes())
        before = [(folder / name).read_bytes() for name in names]
        self.migrate(self.schema, folder / "defensive.db")
        self.assertEqual([(folder / name).read_bytes() for name in names], before)
        view = "SELECT * FROM messages"
        self.assertEqual(sorted(self.schema.execute(view)), sorted(self.source.sql(view)))

    def test_source_is_untouched(self) -> None:
        """The old database is as it was, and so is its folder but for the lock."""
        files = {path: path.read_bytes() for path in self.source.folder.iterdir()}
        self.migrate(self.schema)
        after = {path: path.read_bytes() for path in self.source.folder.iterdir()}
        self.assertEqual(after, files)


class RefusalTests(MovingCase):
    """What is refused, and changes nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.schema = self.make_schema()
        self.address = PostgresAddress.parse(self.schema.address)

    def refuse(self, schema: Schema | None = None) -> str:
        """The one line with which a migration is refused."""
        line = str(self.assertRaises(StoreUnusable, self.migrate, schema or self.schema))
        self.assertNotIn("\n", line)
        return line

    def begin(self) -> None:
        """A migration that is interrupted when everything is there, but not compared."""
        with interrupted():
            self.assertRaises(_InterruptedError, self.migrate, self.schema)

    def test_in_use(self) -> None:
        """A database that a relay uses is not moved."""
        self.source.store.open()
        self.assertIn("another server is using this database", self.refuse())

    def test_tables_in_use(self) -> None:
        """Nothing is moved to where a relay serves, from the moment at which it opens the tables."""
        store = self.opened(self.schema)
        self.assertIn("a relay serves these tables", self.refuse())
        store.result(store.store.close())
        self.migrate(self.schema)

    def test_killed_relay(self) -> None:
        """A relay that was killed is in the way no longer than it counts as one of several."""
        self.opened(self.schema)
        self.schema.execute("UPDATE relay SET seen = now() - interval '31 seconds'")
        self.migrate(self.schema)

    def test_not_empty(self) -> None:
        """Nothing is moved to where anything is, or was."""
        _schema.open_database(self.address, uuid4().hex)
        self.schema.execute("DELETE FROM relay")
        for change, back in (
            ("INSERT INTO account_token VALUES ('token')", "DELETE FROM account_token"),
            ("INSERT INTO account_name VALUES ('a', 'a', NULL)", "DELETE FROM account_name"),
            ("INSERT INTO mailbox_rubbish VALUES (1)", "DELETE FROM mailbox_rubbish"),
            (
                "UPDATE relay_meta SET value = 1 WHERE name = 'last_deleted_term'",
                "UPDATE relay_meta SET value = 0 WHERE name = 'last_deleted_term'",
            ),
        ):
            self.schema.execute(change)
            before = dump(self.schema)
            self.assertIn("not empty", self.refuse())
            self.assertEqual(dump(self.schema), before)
            self.schema.execute(back)
        self.migrate(self.schema)

    def test_another_source(self) -> None:
        """A migration that was begun does not go on with another database, or the same when it has
        changed since. With the one that it was begun with it does."""
        before = self.source.path.read_bytes()
        self.begin()
        there = dump(self.schema)
        self.sql("UPDATE mailbox_client SET last_seen = 1 WHERE key = 1")
        self.assertIn("another database, or was changed since", self.refuse())
        self.assertEqual(dump(self.schema), there)
        self.source.path.write_bytes(before)
        self.migrate(self.schema)

    def test_another_source_after_the_end(self) -> None:
        """Where one database was moved to no other is."""
        self.migrate(self.schema)
        self.sql("UPDATE mailbox_client SET last_seen = 1 WHERE key = 1")
        self.assertIn("not empty", self.refuse())

    def test_at_once(self) -> None:
        """Two do not migrate into the same tables at once."""
        self.patch(_migration, "SESSION", "SET lock_timeout = 1")
        other = self.source.folder / "other.db"
        other.write_bytes(self.source.path.read_bytes())

        def again(*_: object) -> None:
            error = self.assertRaises(StoreUnusable, self.migrate, self.schema, other)
            self.assertIn("somebody else migrates into these tables", str(error))
            raise _InterruptedError

        with mock.patch.object(_migration, "_compare", again):
            self.assertRaises(_InterruptedError, self.migrate, self.schema)

    def test_relays_wait_for_the_end(self) -> None:
        """No relay starts while a migration is not finished, and ten that start at once are all
        refused in one line."""
        self.begin()
        before = dump(self.schema)
        lines: list[str] = []

        def start() -> None:
            try:
                _schema.open_database(self.address, uuid4().hex)
            except StoreUnusable as error:
                lines.append(str(error))

        threads = [Thread(target=start) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(lines), 10)
        self.assertEqual(len(set(lines)), 1)
        self.assertRegex(lines[0], r"\A[^\n]*a migration into these tables is not finished[^\n]*\Z")
        self.assertEqual(dump(self.schema), before)
        self.assertEqual(self.schema.execute("SELECT * FROM relay"), [])

    def test_relay_comes_back(self) -> None:
        """A relay that was silent for long and is there again keeps a migration from being finished."""

        def come_back(*_: object) -> None:
            self.schema.execute("INSERT INTO relay VALUES (gen_random_uuid(), now())")

        with mock.patch.object(_migration, "_compare", come_back):
            self.assertIn("a relay serves these tables", self.refuse())
        self.assertEqual(self.schema.execute(UNFINISHED), [(True,)])

    def test_somebody_else_interferes(self) -> None:
        """Whoever empties the tables meanwhile ends the migration."""
        fill = _filling.Filling.fill

        def fill_for_nobody(*arguments: Any) -> None:
            self.schema.execute("DELETE FROM relay_migration")
            fill(*arguments)

        with mock.patch.object(_filling.Filling, "fill", fill_for_nobody):
            self.assertIn("somebody else", self.refuse())

        schema = self.make_schema()

        def compare(*_: object) -> None:
            schema.execute("DELETE FROM relay_migration")

        with mock.patch.object(_migration, "_compare", compare):
            self.assertIn("somebody else", self.refuse(schema))

    def test_every_difference_is_noticed(self) -> None:
        """Whatever table differs at the end is named, in rows, columns or contents; the migration
        is not finished, and relays do not start."""
        self.begin()
        for change, table in (
            ("UPDATE mailbox_client SET last_seen = last_seen + 0.001", "mailbox_client"),
            ("DELETE FROM mailbox_message WHERE size = 300", "mailbox_message"),
            (
                "UPDATE mailbox_message SET content = set_byte(content, size - 1, 9) WHERE size > 2e5 - 1",
                "mailbox_message",
            ),
            ("UPDATE mailbox SET last_sequence = last_sequence - 1 WHERE client = 2", "mailbox"),
            ("UPDATE account SET highest_key = NULL WHERE key = 1", "account"),
            ("UPDATE account_name SET account = NULL", "account_name"),
            ("INSERT INTO account_token VALUES ('one more')", "account_token"),
            ("DELETE FROM account_prekey WHERE account = 1", "account_prekey"),
            (
                "UPDATE account_mail SET sealed = set_byte(sealed, 5, 77) WHERE octet_length(sealed) > 5",
                "account_mail",
            ),
            ("UPDATE account_tombstone SET hour = hour + 1", "account_tombstone"),
            ("UPDATE account_mailbox SET term = 0", "account_mailbox"),
            ("UPDATE relay_meta SET value = value + 1 WHERE name = 'clients'", "relay_meta"),
        ):
            with self.subTest(change=change):
                saved = f"CREATE TABLE saved AS SELECT * FROM {table}"
                self.schema.execute(saved)
                self.schema.execute(change)
                self.assertIn(f"in {table} there should be", self.refuse())
                self.assertRaises(StoreUnusable, _schema.open_database, self.address, uuid4().hex)
                self.schema.execute(f"DELETE FROM {table}")
                self.schema.execute(f"INSERT INTO {table} SELECT * FROM saved")
                self.schema.execute("DROP TABLE saved")
        self.migrate(self.schema)
        _schema.open_database(self.address, uuid4().hex)
        self.assertEqual(len(TABLES), 11)

    def test_damaged(self) -> None:
        """A database with rows that no relay has made is called damaged, without a word of them."""
        for statement in (
            "UPDATE mailbox_message SET type = 'secret' WHERE sequence = 3",
            "UPDATE mailbox_message SET content = 'sécret' WHERE in_pieces = 0",
            "UPDATE mailbox_piece SET start = start + 1 WHERE start > 0",
            "UPDATE mailbox_piece SET content = x'00' WHERE start > 0",
            "DELETE FROM mailbox_piece",
            "UPDATE account SET bundle = 7",
            "UPDATE mailbox_message SET type = 70000",
        ):
            with self.subTest(statement=statement):
                before = self.source.path.read_bytes()
                self.sql(statement)
                line = self.refuse()
                self.assertTrue(line.endswith("defensive.db: this database is damaged"), line)
                self.source.path.write_bytes(before)
        self.migrate(self.schema)

    def test_unconfirmed(self) -> None:
        """A commit that the server does not confirm ends the migration, which can be gone on with."""
        unconfirmed = mock.patch.object(
            PostgresEngine, "commit", side_effect=CommitUnconfirmedError
        )
        with unconfirmed:
            self.assertIn("a commit was not confirmed", self.refuse())
        self.migrate(self.schema)

    def test_old_server(self) -> None:
        """A server that is too old for relays is too old for this."""
        with mock.patch.object(_schema, "SERVER_VERSION", 10**6):
            self.assertIn("PostgreSQL 100 or newer is needed", self.refuse())

    def test_no_secrets(self) -> None:
        """What the server says of a row that it refuses is told without the row."""
        self.sql("UPDATE mailbox_client SET name = 'secret' || char(0) WHERE key = 1")
        line = self.refuse()
        self.assertIn("invalid byte sequence", line)
        self.assertNotIn("secret", line)
