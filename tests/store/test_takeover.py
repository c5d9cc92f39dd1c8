"""Taking over the database of another server."""

import base64
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from unittest import mock
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher

from messageu.model import ClientId, Envelope, Refusal, UserName
from messageu.store import _takeover
from messageu.testing.store import sqlite_error
from tests.store.contract import HUGE, MANY, NOON, key, result_of
from tests.store.test_opening import OpeningCase, dump

ALICE, BOB, CID = (UUID(int=number + 2**127) for number in range(3))
TABLES = (
    "CREATE TABLE clients (ID, UserName, PublicKey, LastSeen)",
    "CREATE TABLE messages (ID, ToClient, FromClient, Type, Content)",
)


class TakeOverCase(OpeningCase):
    def foreign(self, clients=(), messages=(), tables=TABLES):
        """Make a database as another server does."""
        with closing(sqlite3.connect(self.path)) as connection:
            for table in tables:
                connection.execute(table)
            connection.executemany("INSERT INTO clients VALUES (?, ?, ?, ?)", clients)
            connection.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?)", messages)
            connection.commit()

    def rows(self, statement):
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(statement).fetchall()

    def clients(self):
        return self.rows("SELECT ID, UserName, PublicKey, LastSeen FROM clients")

    def messages(self):
        return self.rows("SELECT ToClient, FromClient, Type, Content FROM messages")

    def reasons(self, table):
        return [reason for (reason,) in self.rows(f"SELECT reason FROM {table}")]


def client(uuid, name, public_key=None, seen=None):
    return uuid.bytes, name, key().raw if public_key is None else public_key, seen


class TakeOverTests(TakeOverCase):
    def test_whole(self):
        """Clients and messages are taken over, and the store goes on with them."""
        self.foreign(
            [
                client(ALICE, "Alice", key(1).raw, "2020-01-02 03:04:05"),
                client(BOB, "Bob", key(2).raw),
            ],
            [
                (7, BOB.bytes, ALICE.bytes, 1, b""),
                (3, ALICE.bytes, BOB.bytes, 3, b"answer"),
                (9, BOB.bytes, CID.bytes, 4, b"from nobody we know"),
            ],
        )
        store = self.opened()
        alice, bob = ClientId(ALICE.bytes), ClientId(BOB.bytes)
        lease = store.lease(bob, MANY, HUGE, HUGE)
        public_key = store.public_key(bob, alice)
        taken = store.register(UserName(b"Alice"), key())
        sent = store.put([Envelope(alice, bob, 3, b"new")])
        self.clock.advance(0)
        self.assertEqual(
            [(sender, *rest) for _, sender, *rest in result_of(lease).first.pieces],
            [(ALICE.bytes, 1, 0, 0, b""), (CID.bytes, 4, 19, 0, b"from nobody we know")],
        )
        self.assertEqual(result_of(public_key), key(1))
        self.assertIs(result_of(taken), Refusal.NAME_TAKEN)
        self.assertEqual(result_of(sent)[0].number, 4)
        expired = store.expire(NOON)
        self.clock.advance(0)
        self.assertEqual(result_of(expired), 0)

    def test_large_content(self):
        """A content that is larger than a row of ours is taken over byte for byte."""
        content = b"\0a\xff" * 100_000
        self.foreign([client(BOB, "Bob", key(2).raw)], [(1, BOB.bytes, BOB.bytes, 3, content)])
        self.open_and_close()
        self.assertEqual(self.messages(), [(BOB.bytes, BOB.bytes, 3, content)])

    def test_views(self):
        """Afterwards the views show what the tables held, in their order."""
        self.foreign(
            [
                client(BOB, "Bob", key(2).raw),
                client(ALICE, "Alice", key(1).raw, "2020-01-02 03:04:05"),
            ],
            [(7, BOB.bytes, ALICE.bytes, 1, b"1"), (3, BOB.bytes, BOB.bytes, 3, b"2")],
        )
        self.open_and_close()
        self.assertEqual(
            self.clients(),
            [
                (BOB.bytes, "Bob", key(2).raw, None),
                (ALICE.bytes, "Alice", key(1).raw, "2020-01-02 03:04:05"),
            ],
        )
        self.assertEqual(
            self.messages(),
            [(BOB.bytes, ALICE.bytes, 1, b"1"), (BOB.bytes, BOB.bytes, 3, b"2")],
        )

    def test_schema(self):
        """A database that was taken over has the schema of a new one."""
        self.foreign(
            [client(ALICE, "Alice")],
            tables=(
                """
                CREATE TABLE clients (
                    id BLOB PRIMARY KEY, username VARCHAR(255) UNIQUE, publickey BLOB, lastseen TEXT
                )
                """,
                """
                CREATE TABLE MESSAGES (
                    Id INTEGER PRIMARY KEY, TOCLIENT BLOB, fromclient BLOB, type INTEGER,
                    content BLOB, FOREIGN KEY (toclient) REFERENCES clients (id)
                )
                """,
                "CREATE INDEX messages_to ON messages (toclient)",
            ),
        )
        self.open_and_close()
        taken_over = dump(self.path)
        self.path.unlink()
        self.open_and_close()
        self.assertEqual(taken_over, dump(self.path))

    def test_once(self):
        """What was taken over is not taken over again."""
        self.foreign([client(ALICE, "Alice")])
        self.open_and_close()
        self.open_and_close()
        self.assertEqual(len(self.clients()), 1)
        self.assertEqual(len(list(self.folder.glob("*.backup*"))), 1)

    def test_without_last_seen(self):
        """The column LastSeen may be missing."""
        self.foreign([client(ALICE, "Alice")])
        self.execute("ALTER TABLE clients DROP COLUMN LastSeen")
        self.open_and_close()
        self.assertEqual(self.clients(), [(ALICE.bytes, "Alice", key().raw, None)])

    def test_tables_of_other_kinds(self):
        """Tables without row numbers, or with generated columns, are taken over."""
        self.foreign(
            [client(ALICE, "Alice")],
            [(1, ALICE.bytes, BOB.bytes, 3, b"x")],
            tables=(
                TABLES[0].replace("ID,", "ID PRIMARY KEY,").replace(")", " AS (Seen), Seen)")
                + " WITHOUT ROWID",
                TABLES[1].replace("ID,", "ID PRIMARY KEY,") + " WITHOUT ROWID",
            ),
        )
        self.open_and_close()
        self.assertEqual(self.clients(), [(ALICE.bytes, "Alice", key().raw, None)])
        self.assertEqual(self.messages(), [(ALICE.bytes, BOB.bytes, 3, b"x")])

    def test_triggers(self):
        """What another server wanted to happen with its rows does not."""
        self.foreign([client(ALICE, "Alice")], [(1, ALICE.bytes, BOB.bytes, 3, b"x")])
        self.execute(
            "CREATE TABLE other (ID)",
            "CREATE TRIGGER one BEFORE DELETE ON messages BEGIN INSERT INTO other VALUES (1); END",
            "CREATE TRIGGER two BEFORE DELETE ON clients BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        self.open_and_close()
        self.assertEqual(len(self.messages()), 1)
        self.assertEqual(self.rows("SELECT * FROM other"), [])
        self.assertEqual(self.rows("SELECT name FROM sqlite_master WHERE type = 'trigger'"), [])

    def test_other_columns(self):
        """Tables without the columns of the protocol are refused, and stay as they are."""
        for table, missing in ((0, "PublicKey"), (1, "ToClient")):
            tables = list(TABLES)
            tables[table] = tables[table].replace(missing, "Other")
            self.foreign(tables=tables)
            self.assertIn(f"has no column {missing}", self.refuse())
            self.path.unlink()

    def test_views_of_those_names(self):
        """Views of those names are not the tables of another server."""
        self.execute(
            "CREATE TABLE other (ID)",
            "CREATE VIEW clients AS SELECT * FROM other",
            "CREATE VIEW messages AS SELECT * FROM other",
        )
        self.assertIn("belongs to another program", self.refuse())

    def test_log(self):
        """The log tells how much was taken over and set aside, and no names."""
        events = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.foreign(
            [client(ALICE, "Alice"), client(BOB, ""), client(CID, "Cid"), client(BOB, "")],
            [(1, ALICE.bytes, CID.bytes, 3, b""), (2, BOB.bytes, CID.bytes, 3, b"")],
        )
        self.open_and_close()
        (event,) = [event for event in events if "odd_clients" in event]
        counts = ("clients", "odd_clients", "messages", "odd_messages")
        self.assertEqual([event[count] for count in counts], [2, 2, 1, 1])
        self.assertNotIn("Alice", repr(event))


class ToleranceTests(TakeOverCase):
    def take_client(self, *row):
        """The one client that is taken over from a row."""
        self.foreign([row])
        self.open_and_close()
        rows = self.clients()
        self.path.unlink()
        return rows[0] if rows else None

    def test_ids(self):
        """Ids may be bytes or hexadecimal text, with dashes and capitals or without."""
        for form in (
            ALICE.bytes,
            ALICE.hex,
            ALICE.hex.upper(),
            str(ALICE),
            ALICE.hex.encode(),
            str(ALICE).upper().encode(),
        ):
            with self.subTest(form=form):
                self.assertEqual(self.take_client(form, "Alice", key().raw, None)[0], ALICE.bytes)

    def test_names(self):
        """Names may be text or bytes, and end at their NUL."""
        for form in ("Alice", b"Alice", "Alice\0\0\0", b"Alice".ljust(255, b"\0"), "Alice\0Bob"):
            with self.subTest(form=form):
                self.assertEqual(self.take_client(ALICE.bytes, form, key().raw, None)[1], "Alice")

    def test_public_keys(self):
        """Public keys may be bytes, hexadecimal text or Base64."""
        raw = bytes(range(160))
        for form in (
            raw,
            raw.hex(),
            raw.hex().upper().encode(),
            base64.b64encode(raw).decode(),
            base64.encodebytes(raw),
        ):
            with self.subTest(form=form):
                self.assertEqual(self.take_client(ALICE.bytes, "Alice", form, None)[2], raw)

    def test_last_seen(self):
        """The time of the last request may be anything; where it is unclear it is unknown."""
        text = "2020-01-02 03:04:05"
        for form, seen in (
            (text, text),
            ("2020-01-02T03:04:05", text),
            ("2020-01-02 03:04:05.678901", text),
            ("2020-01-02 05:04:05+02:00", text),
            ("2020-01-02T03:04:05Z", text),
            (b"2020-01-02 03:04:05\0", text),
            ("Thu Jan  2 03:04:05 2020", text),
            ("02/01/2020 03:04:05", text),
            ("02/01/2020, 03:04:05", text),
            (1577934245, text),
            (1577934245.9, text),
            ("1577934245", text),
            (1577934245000, text),
            ("2020-01-02", "2020-01-02 00:00:00"),
            (0, "1970-01-01 00:00:00"),
            (-1, None),
            (1e300, None),
            (2**62, None),
            ("inf", None),
            ("nan", None),
            ("yesterday", None),
            ("0001-01-01 00:00:00+23:00", None),
            (b"\xff\xfe", None),
            ("", None),
            (None, None),
        ):
            with self.subTest(form=form):
                self.assertEqual(self.take_client(*client(ALICE, "Alice", seen=form))[3], seen)

    def test_messages(self):
        """Ids of messages may be numbers, bytes or missing; types bytes, numbers or text."""
        to, sender = ALICE.hex, str(BOB)
        self.foreign(
            [client(ALICE, "Alice")],
            [
                (b"\1\0\0\0", to, sender, 1, None),
                (2**40, to, sender, b"\2", "text"),
                (None, to, sender, "3", b"\xff\0"),
                ("x", to, sender, 4.0, b"4"),
                (b"\1\0\0\0", to, sender, b"255", b""),
            ],
        )
        self.open_and_close()
        self.assertEqual(
            [row[2:] for row in self.messages()],
            [(1, b""), (2, b"text"), (3, b"\xff\0"), (4, b"4"), (255, b"")],
        )
        self.assertEqual(
            self.rows("SELECT ID FROM messages"),
            [(number.to_bytes(4, "little"),) for number in range(1, 6)],
        )

    @given(st.lists(st.tuples(*[st.none() | st.integers(-9, 300) | st.binary(max_size=40)] * 4)))
    def test_anything(self, rows):
        """Whatever the tables hold is taken over or kept in quarantine: nothing is lost."""
        self.path.unlink(missing_ok=True)
        self.foreign(rows, [(*row, b"") for row in rows])
        self.open_and_close()
        for table in ("client", "message"):
            ((count,),) = self.rows(
                f"SELECT (SELECT count(*) FROM mailbox_{table})"
                f" + (SELECT count(*) FROM quarantined_{table})"
            )
            self.assertEqual(count, len(rows))


class QuarantineTests(TakeOverCase):
    def test_clients(self):
        """Clients that cannot be used are kept as they were, with the reason."""
        odd = [
            (b"short", "Bob", key().raw, None, "the id is neither 16 bytes nor 32 hex"),
            (None, "Bob", key().raw, 5, "a value is missing"),
            (17, "Bob", key().raw, None, "a number where bytes should be"),
            (*client(ALICE, "Other"), "the id is there already"),
            (*client(BOB, "Alice"), "the name is taken"),
            (*client(BOB, "Alice\0x"), "the name is taken"),
            (*client(BOB, ""), "a name has 1 to 254 characters"),
            (*client(BOB, "a\tb"), "a name is made of printable ASCII"),
            (*client(BOB, "Zoë"), "a name is made of printable ASCII"),
            (*client(BOB, "x" * 255), "a name has 1 to 254 characters"),
            (*client(BOB, "Bob", bytes(162)), "the public key is not 160 bytes"),
            (*client(BOB, "Bob", "=" * 161), "the public key is not 160 bytes"),
            (BOB.bytes, "Bob", None, None, "a value is missing"),
        ]
        self.foreign([client(ALICE, "Alice"), *(row[:4] for row in odd), client(BOB, "Bob")])
        self.open_and_close()
        self.assertEqual([name for _, name, *_ in self.clients()], ["Alice", "Bob"])
        kept = self.rows("SELECT ID, UserName, PublicKey, LastSeen FROM quarantined_client")
        self.assertEqual(kept, [row[:4] for row in odd])
        for reason, row in zip(self.reasons("quarantined_client"), odd, strict=True):
            self.assertTrue(reason.startswith(row[4]), (reason, row[4]))

    def test_messages(self):
        """Messages that cannot be used are kept as they were, with the reason."""
        to, sender = ALICE.bytes, BOB.bytes
        odd = [
            (1, CID.bytes, sender, 3, b"1", "the recipient is unknown"),
            (2, BOB.bytes, sender, 3, b"2", "the recipient is unknown"),
            (3, None, sender, 3, b"3", "a value is missing"),
            (4, to, b"nobody", 3, b"4", "the id is neither"),
            (5, to, sender, 256, b"5", "the type is not one byte"),
            (6, to, sender, "text", b"6", "the type is not one byte"),
            (7, to, sender, None, b"7", "the type is not one byte"),
            (8, to, sender, 1.5, b"8", "the type is not one byte"),
            (9, to, sender, "inf", b"9", "the type is not one byte"),
            (10, to, sender, 3, 10, "a number where bytes should be"),
            (11, to, sender, float("inf"), b"11", "the type is not one byte"),
        ]
        self.foreign(
            [client(ALICE, "Alice"), client(BOB, "Alice")],
            [*(row[:5] for row in odd), (12, to, sender, 3, b"12")],
        )
        self.open_and_close()
        self.assertEqual(self.messages(), [(to, sender, 3, b"12")])
        kept = self.rows("SELECT ID, ToClient, FromClient, Type, Content FROM quarantined_message")
        self.assertEqual(kept, [row[:5] for row in odd])
        for reason, row in zip(self.reasons("quarantined_message"), odd, strict=True):
            self.assertTrue(reason.startswith(row[5]), (reason, row[5]))

    def test_text_that_is_none(self):
        """Bytes that were called text are kept byte for byte."""
        self.foreign()
        self.execute(f"INSERT INTO clients VALUES (x'{BOB.hex}', CAST(x'ff41' AS TEXT), x'', NULL)")
        self.open_and_close()
        rows = self.rows("SELECT CAST(UserName AS BLOB) FROM quarantined_client")
        self.assertEqual(rows, [(b"\xffA",)])


class BackupTests(TakeOverCase):
    def test_backup(self):
        """The database as it was is kept beside it, for its owner alone."""
        self.foreign([client(ALICE, "Alice")], [(1, ALICE.bytes, BOB.bytes, 3, b"content")])
        self.path.chmod(0o644)
        before = dump(self.path)
        self.open_and_close()
        (backup,) = self.folder.glob("*.backup-*")
        self.assertEqual(backup.name, "defensive.db.backup-1")
        self.assertEqual(dump(backup), before)
        with closing(sqlite3.connect(backup)) as connection:
            rows = connection.execute("SELECT Content FROM messages").fetchall()
        self.assertEqual(rows, [(b"content",)])
        for path in (backup, self.path):
            self.assertEqual(stat.filemode(path.stat().st_mode), "-rw-------")

    def test_older_backups_stay(self):
        """A backup never takes the place of an older one."""
        older = self.folder / "defensive.db.backup-1"
        older.write_bytes(b"older")
        (self.folder / "defensive.db.backup-partial").write_bytes(b"left by a crash")
        self.foreign([client(ALICE, "Alice")])
        self.open_and_close()
        self.assertEqual(older.read_bytes(), b"older")
        self.assertEqual(
            sorted(path.name for path in self.folder.glob("*.backup-*")),
            ["defensive.db.backup-1", "defensive.db.backup-2"],
        )

    def test_backup_fails(self):
        """Without a backup nothing is changed."""
        self.foreign([client(ALICE, "Alice")])
        with mock.patch.object(os, "fsync", side_effect=OSError(28, "No space left on device")):
            self.assertIn("No space left on device", self.refuse())

    def test_take_over_fails(self):
        """When the take-over fails everything is as it was, without a backup too many."""
        self.foreign([client(ALICE, "Alice")])
        full = sqlite_error("SQLITE_FULL")
        with mock.patch.object(_takeover, "create_views", side_effect=full):
            self.assertIn("the disk is full", self.refuse())
        self.open_and_close()
        self.assertEqual(len(self.clients()), 1)

    def test_locked(self):
        """A database that its server is still writing to is not taken over."""
        self.foreign([client(ALICE, "Alice")])
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            self.assertIn("another process has locked", self.refuse())

    def test_killed(self):
        """A take-over that is killed half-way has not happened, and succeeds the next time."""
        self.foreign([client(ALICE, "Alice")], [(1, ALICE.bytes, BOB.bytes, 3, b"content")])
        before = dump(self.path)
        script = (
            "import os, signal, sys\n"
            "from messageu.store import SqliteStore\n"
            "from twisted.internet.task import Clock\n"
            "def now():\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
            "SqliteStore(sys.argv[1], Clock(), now=now).open()\n"
        )
        done = subprocess.run([sys.executable, "-c", script, self.path], check=False)
        self.assertEqual(done.returncode, -signal.SIGKILL)
        self.assertEqual(dump(self.path), before)
        self.open_and_close()
        self.assertEqual(len(self.messages()), 1)
