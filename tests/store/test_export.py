"""Reading all of a database that no relay uses."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import Any
from unittest import mock

from messageu.model import Envelope, UserName
from messageu.store import SCHEMA_VERSION, StoreUnusable, _restore
from messageu.store._export import TABLES, Left, exported, locked
from messageu.store._statements import PIECE_SIZE
from tests.store.contract import key

from .test_opening import OpeningCase
from .test_upgrade import SCHEMA_1

LARGE = bytes(range(256)) * 1024


class ExportTests(OpeningCase):
    """What is read, and what is not."""

    def setUp(self) -> None:
        super().setUp()
        store = self.opened()
        self.ids = [self.do(store.register(UserName(name), key())) for name in (b"Anna", b"Bert")]
        sent = [Envelope(*self.ids, 3, content) for content in (b"one", b"", LARGE)]
        self.do(store.put(sent))
        self.close(store)

    def do(self, deferred: Any) -> Any:
        """The result of an operation."""
        results: list[Any] = []
        deferred.addCallback(results.append)
        self.clock.advance(0)
        return results[0]

    def read(self, name: str, skipped: int = 0) -> list[tuple[Any, ...]]:
        """All rows of a table, with their contents."""
        (table,) = [table for table in TABLES if table.name == name]
        with exported(self.path) as export, closing(export.rows(table, skipped)) as rows:
            return [
                (*values, *([] if content is None else [b"".join(content.parts)]))
                for values, content in rows
            ]

    def refuse(self, **_: Any) -> str:
        """The one line with which reading is refused; no file is changed."""
        before = self.files()
        with self.assertRaises(StoreUnusable) as caught, locked(self.path):
            self.read("mailbox_message")
        self.assertEqual(self.files(), before)
        line = str(caught.exception)
        self.assertNotIn("\n", line)
        self.assertTrue(line.startswith(str(self.path)), line)
        return line

    def test_contents(self) -> None:
        """Contents come whole, whether they are one row or in pieces; text comes as it is."""
        rows = self.read("mailbox_message")
        self.assertEqual([row[-1] for row in rows], [b"one", b"", LARGE])
        self.assertEqual([row[-2] for row in rows], [3, 0, len(LARGE)])
        self.assertEqual([row[2] for row in self.read("mailbox_client")], [b"Anna", b"Bert"])
        self.assertEqual(self.read("mailbox")[1][4:], (3, 3 + len(LARGE)))

    def test_parts(self) -> None:
        """Of a large content no more than a piece is in memory, however it is stored."""
        self.execute(
            "INSERT INTO mailbox_message SELECT 9, recipient, sender, type, stored_at,"
            f" zeroblob({len(LARGE)}), 0 FROM mailbox_message WHERE sequence = 1"
        )
        (table,) = [table for table in TABLES if table.name == "mailbox_message"]
        with exported(self.path) as export, closing(export.rows(table)) as rows:
            sizes = [[len(part) for part in content.parts] for _, content in rows if content]
        self.assertEqual(sizes, [[3], [0], [PIECE_SIZE] * 4, [PIECE_SIZE] * 4])

    def test_skipped(self) -> None:
        """Reading goes on behind so many rows, in the same order."""
        for table in TABLES:
            rows = self.read(table.name)
            for skipped in range(len(rows) + 2):
                self.assertEqual(self.read(table.name, skipped), rows[skipped:])

    def test_given_up(self) -> None:
        """Whoever stops in the midst of a content leaves nothing open."""
        (table,) = [table for table in TABLES if table.name == "mailbox_message"]
        with exported(self.path) as export, closing(export.rows(table, 2)) as rows:
            _, content = next(rows)
            assert content is not None
            next(content.parts)
            rows.close()
            self.assertEqual(list(content.parts), [])

    def test_contents_are_not_sorted(self) -> None:
        """Rows with contents are read in the order in which they lie: to sort them would write all
        of them to the disk once more."""
        for table in TABLES:
            if table.content is not None:
                self.assertNotIn("TEMP B-TREE", self.plan(table.select))
        # It would be noticed.
        self.assertIn("TEMP B-TREE", self.plan(TABLES[1].select.replace("sequence", "content")))

    def plan(self, select: str) -> str:
        """How SQLite goes about a query."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.create_function("new_key", 1, int, deterministic=True)
            rows = connection.execute(f"EXPLAIN QUERY PLAN {select}").fetchall()
        return " ".join(str(row[-1]) for row in rows)

    def test_left(self) -> None:
        """What is not read is counted."""
        with exported(self.path) as export:
            self.assertEqual(export.left, Left(0, 0, 0, 0))
        self.execute("DELETE FROM mailbox_client WHERE name = 'Bert'")
        with exported(self.path) as export:
            self.assertEqual(export.left, Left(0, 0, 3, 0))
        self.assertEqual(self.read("mailbox_message"), [])

    def test_not_up_to_date(self) -> None:
        """An older database, or another server's, has to be brought up to date by a relay first."""
        self.path.unlink()
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(SCHEMA_1.read_text())
        self.assertIn("of version 1: start a relay on it once", self.refuse())
        self.path.unlink()
        self.execute(
            "CREATE TABLE clients (ID, UserName, PublicKey)",
            "CREATE TABLE messages (ID, ToClient, FromClient, Type, Content)",
        )
        self.assertIn("of another server: start a relay on it once", self.refuse())

    def test_newer(self) -> None:
        """A newer database may hold what this program does not know of, and is refused."""
        self.execute("UPDATE mailbox_meta SET value = 99 WHERE name = 'schema_version'")
        self.assertIn(f"version 99, this one knows {SCHEMA_VERSION}", self.refuse())

    def test_useless(self) -> None:
        """What is damaged, empty, or no database is refused."""
        whole = self.path.read_bytes()
        with closing(sqlite3.connect(self.path)) as connection:
            # Nothing but a look at all of it finds a page that is read last.
            index = "SELECT rootpage FROM sqlite_master WHERE name = 'mailbox_message_stored_at'"
            ((page,),) = connection.execute(index)
        start = (page - 1) * 4096
        for content, reason in (
            (whole[:start] + b"\xff" * 4096 + whole[start + 4096 :], "damaged"),
            (whole[: len(whole) // 2 // 4096 * 4096], "damaged"),
            (b"", "empty"),
            (b"text" * 1000, "not an SQLite database"),
        ):
            self.path.write_bytes(content)
            self.assertIn(reason, self.refuse())

    def test_not_there(self) -> None:
        """Where there is no database no lock is made either."""
        self.path.unlink()
        self.path.with_name("defensive.db.lock").unlink()
        self.assertIn("there is no such file", self.refuse())
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_in_use(self) -> None:
        """While a relay uses the database, or somebody else reads it like this, it is refused; and
        no relay uses it while it is read."""
        store = self.opened()
        with self.assertRaises(StoreUnusable) as caught, locked(self.path):
            pass
        self.assertIn("another server is using this database", str(caught.exception))
        self.close(store)
        with locked(self.path):
            self.assertRaises(StoreUnusable, self.make().open)
        self.open_and_close()

    def test_of_somebody_else(self) -> None:
        """A lock is only made by the user to whom the database belongs."""
        somebody = os.geteuid() + 1
        with mock.patch.object(_restore.os, "geteuid", lambda: somebody):
            self.assertIn("belongs to another user", self.refuse())
