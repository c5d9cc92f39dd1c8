"""A copy of a database in use, and its way back."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

from attrs import define
from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from messageu.model import Envelope, UserName
from messageu.store import (
    SCHEMA_VERSION,
    BackupFailed,
    IBackedUp,
    SqliteStore,
    StoreUnavailable,
    StoreUnusable,
    _backup,
    check_backup,
    restore_backup,
)
from messageu.store._backup import BACKUP_PAUSE, SPARE_SPACE
from messageu.testing.store import sqlite_error
from messageu.testing.threadpool import threadless_pool
from tests.store.contract import SqliteFixture, key, result_of


@define
class BackupFixture(SqliteFixture):
    """A store whose slow work is done at once."""

    def make(self) -> SqliteStore:
        return SqliteStore(
            self.path,
            self.clock,
            now=lambda: self.time,
            new_pool=threadless_pool,
            engine=self.engine,
            in_thread=execute,
        )


class StoreTestCase(SynchronousTestCase):
    """Tests with a store that has two clients."""

    def setUp(self) -> None:
        # A step is a few pages, so that there are many of them.
        self.patch(_backup.Copier.__init__, "__defaults__", (4,))
        self.fixture = BackupFixture()
        self.addCleanup(self.fixture.dispose)
        self.store = self.fixture.store
        self.target = self.fixture.folder / "copy.db"
        self.anna, self.bern = (
            self.fixture.result(self.store.register(UserName(name), key()))
            for name in (b"anna", b"bern")
        )
        self.told: list[tuple[int, int]] = []

    def put(self, *contents: bytes) -> None:
        """Messages for Anna."""
        envelopes = [Envelope(self.bern, self.anna, 3, content) for content in contents]
        self.fixture.result(self.store.put(envelopes))

    def back_up(self) -> Deferred[int]:
        """Begin a backup."""
        return self.store.back_up(self.target, lambda *told: self.told.append(told))

    def turns(self, count: int) -> None:
        """Let so many turns pass."""
        self.fixture.clock.advance(0)
        self.fixture.clock.pump([BACKUP_PAUSE, 0] * count)

    def finish(self, made: Deferred[int]) -> int:
        """Let it end; the size."""
        for _ in range(10_000):
            if made.called:
                break
            self.turns(1)
        return result_of(made)

    def contents(self, path: Path) -> list[bytes]:
        """What waits for Anna in a database, as other programs see it."""
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            self.assertEqual(database.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
            rows = database.execute("SELECT Content FROM messages ORDER BY rowid")
            return [content for (content,) in rows]

    def others(self) -> set[str]:
        """Files that do not belong to the live database."""
        names = {path.name for path in self.fixture.folder.iterdir()}
        return {name for name in names if not name.startswith(self.fixture.path.name)}


class BackupTests(StoreTestCase):
    """Making a copy."""

    def test_interface(self) -> None:
        """The store says of itself that it can be backed up."""
        self.assertTrue(verifyObject(IBackedUp, self.store))

    def test_everything_is_there(self) -> None:
        """The copy is sound, holds the same, and has the mode of the database."""
        contents = [b"%d" % number * 100 for number in range(300)] + [bytes(200_000)]
        self.put(*contents)
        size = self.finish(self.back_up())
        self.assertEqual(self.contents(self.target), contents)
        self.assertEqual(self.target.stat().st_size, size)
        self.assertEqual(self.target.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.others(), {"copy.db"})
        self.assertGreater(len(self.told), 10)
        self.assertEqual(self.told[-1], (self.told[-1][1],) * 2)

    def test_others_go_on(self) -> None:
        """Between two turns messages are stored, fetched and deleted; the copy is the database of
        its end, of which it lacks nothing and holds nothing else."""
        self.put(*[b"before %d" % number * 50 for number in range(1_500)])
        made = self.back_up()
        sent = 0
        while not made.called:
            self.turns(1)
            if sent < 30:
                self.put(b"during %d" % sent * 50, bytes(70_000))
                sent += 1
            if sent == 20:
                lease = self.fixture.result(self.store.lease(self.anna, 50, 2**20, 2**20))
                self.fixture.result(self.store.settle(lease))
        result_of(made)
        self.assertEqual(sent, 30)
        self.fixture.result(self.store.close())
        live = self.contents(self.fixture.path)
        self.assertEqual(self.contents(self.target), live)
        self.assertNotIn(b"before 0" * 50, live)
        self.assertIn(b"during 29" * 50, live)

    def test_growth_is_outrun(self) -> None:
        """It ends although more is written between its turns than one step copies."""
        self.put(*[bytes(3_000)] * 200)
        made = self.back_up()
        for _ in range(1_000):
            if made.called:
                break
            self.fixture.clock.advance(BACKUP_PAUSE)
            self.store.put([Envelope(self.bern, self.anna, 3, bytes(3_000))] * 10)
            self.fixture.clock.advance(0)
        result_of(made)
        lefts = [total - done for done, total in self.told]
        self.assertEqual(lefts, sorted(lefts, reverse=True))

    def test_nothing_is_replaced(self) -> None:
        """A file that is there stays: at the start, and when it comes meanwhile."""
        self.target.write_bytes(b"mine")
        self.assertRaises(BackupFailed, result_of, self.back_up())
        self.target.unlink()
        made = self.back_up()
        self.target.symlink_to("nowhere")
        self.assertRaises(BackupFailed, self.finish, made)
        self.assertTrue(self.target.is_symlink())
        self.assertEqual(self.others(), {"copy.db"})

    def test_left_behind(self) -> None:
        """What a killed process has left behind is in nobody's way, and no link is followed."""
        other = self.fixture.folder / "other"
        other.write_bytes(b"mine")
        (self.fixture.folder / "copy.db.partial").symlink_to(other)
        self.finish(self.back_up())
        self.assertEqual(other.read_bytes(), b"mine")
        self.assertEqual(self.others(), {"copy.db", "other"})

    def test_places_that_are_none(self) -> None:
        """Where no file can be made, and under a name that SQLite uses, there is no backup."""
        for target in (self.fixture.folder / "no" / "copy", self.fixture.folder / "a.db-journal"):
            made = self.store.back_up(target, lambda *_: None)
            self.assertRaises(BackupFailed, result_of, made)
        self.assertEqual(self.others(), set())

    def test_little_space(self) -> None:
        """The disk is not filled: it is often the one of the database."""
        usage = mock.Mock(free=SPARE_SPACE)
        with mock.patch.object(_backup.shutil, "disk_usage", return_value=usage):
            error = self.assertRaises(BackupFailed, result_of, self.back_up())
        self.assertIn("the disk has", str(error))

    def test_full_disk(self) -> None:
        """When the copy cannot be written, nothing of it stays, and the store goes on."""
        self.put(*[bytes(3_000)] * 100)
        made = self.back_up()
        self.turns(2)
        with mock.patch.object(_backup.Copier, "turn", side_effect=sqlite_error("SQLITE_FULL")):
            error = self.assertRaises(BackupFailed, self.finish, made)
        self.assertEqual(str(error), "the disk is full")
        self.assertEqual(self.others(), set())
        self.put(b"goes on")
        self.finish(self.back_up())

    def test_error_of_the_copy(self) -> None:
        """So is an error that SQLite has with the copy itself."""
        connect = _backup.connect

        def limited(path: Path, mode: str) -> sqlite3.Connection:
            connection = connect(path, mode)
            connection.execute("PRAGMA max_page_count = 20")
            return connection

        self.put(*[bytes(3_000)] * 100)
        self.patch(_backup, "connect", limited)
        error = self.assertRaises(BackupFailed, self.finish, self.back_up())
        self.assertEqual(str(error), "the disk is full")
        self.assertEqual(self.others(), set())

    def test_failing_disk(self) -> None:
        """A copy that cannot be put on the disk is none."""
        error = OSError(5, "Input/output error")
        with mock.patch.object(_backup.os, "fsync", side_effect=error):
            failed = self.assertRaises(BackupFailed, self.finish, self.back_up())
        self.assertIn("Input/output error", str(failed))
        self.assertEqual(self.others(), set())

    def test_one_at_a_time(self) -> None:
        """While one is made there is no second, and afterwards there is."""
        made = self.back_up()
        self.assertRaises(BackupFailed, result_of, self.back_up())
        self.finish(made)
        self.target.unlink()
        self.finish(self.back_up())

    def test_stopped(self) -> None:
        """One that is cancelled leaves nothing behind, and lets go of the database."""
        self.put(*[bytes(3_000)] * 100)
        made = self.back_up()
        made.addErrback(lambda _: None)
        self.turns(3)
        self.assertEqual(self.others(), {"copy.db.partial"})
        self.assertIn("backup", {thread.name for thread in threading.enumerate()})
        made.cancel()
        self.turns(2)
        self.assertEqual(self.others(), set())
        self.assertNotIn("backup", {thread.name for thread in threading.enumerate()})
        self.finish(self.back_up())

    def test_closed(self) -> None:
        """When the store is closed, a backup ends first, without a copy."""
        self.put(*[bytes(3_000)] * 100)
        made = self.back_up()
        self.turns(3)
        closed = self.store.close()
        self.assertNoResult(closed)
        self.turns(2)
        result_of(closed)
        self.assertRaises(BackupFailed, result_of, made)
        self.assertEqual(self.others(), set())
        self.assertRaises(StoreUnavailable, result_of, self.back_up())


class RestoreTests(StoreTestCase):
    """Putting a copy in place."""

    def setUp(self) -> None:
        super().setUp()
        self.put(b"one", bytes(100_000))
        self.finish(self.back_up())
        self.put(b"later")

    def restore(self) -> Any:
        """Put it in place."""
        return restore_backup(self.target, self.fixture.path)

    def refuse(self) -> str:
        """Why it is not put in place; all files are as they were."""
        before = self.files()
        line = str(self.assertRaises(StoreUnusable, self.restore))
        self.assertEqual(self.files(), before)
        self.assertNotIn("\n", line)
        return line

    def files(self) -> dict[str, bytes]:
        """All files but those that come and go."""
        return {
            path.name: path.read_bytes()
            for path in self.fixture.folder.iterdir()
            if path.suffix not in (".lock", ".db-shm")
        }

    def test_restored(self) -> None:
        """The store is as it was when it was copied, and what was there is kept."""
        self.fixture.result(self.store.close())
        restored = self.restore()
        self.assertEqual((restored.checked.clients, restored.checked.messages), (2, 2))
        self.store.open()
        lease = self.fixture.result(self.store.lease(self.anna, 10, 2**20, 2**20))
        self.assertEqual([piece[5] for piece in lease.first.pieces], [b"one", bytes(100_000)])
        self.put(b"new")
        self.assertEqual(self.contents(restored.kept), [b"one", bytes(100_000), b"later"])
        self.assertEqual(self.fixture.path.stat().st_mode & 0o777, 0o600)
        self.assertTrue(self.target.exists())

    def test_after_a_kill(self) -> None:
        """The log of a relay that was killed is kept with its database, and never put beside
        another one."""
        folder = self.fixture.folder / "killed"
        folder.mkdir()
        for suffix in ("", "-wal"):
            name = self.fixture.path.name + suffix
            (folder / name).write_bytes((self.fixture.folder / name).read_bytes())
        database = folder / self.fixture.path.name
        restored = restore_backup(self.target, database)
        self.assertEqual(self.contents(database), [b"one", bytes(100_000)])
        assert restored.kept is not None
        self.assertFalse(_beside(database, "-wal").exists())
        with closing(sqlite3.connect(restored.kept)) as kept:
            rows = kept.execute("SELECT Content FROM messages WHERE Content = ?", (b"later",))
            self.assertEqual(rows.fetchall(), [(b"later",)])

    def test_again(self) -> None:
        """Each database that was replaced is kept."""
        self.fixture.result(self.store.close())
        self.assertEqual(
            [self.restore().kept.name for _ in range(2)],
            ["defensive.db.replaced-1", "defensive.db.replaced-2"],
        )

    def test_in_an_empty_folder(self) -> None:
        """Where there is no database it is put all the same."""
        folder = self.fixture.folder / "new"
        folder.mkdir()
        self.assertIsNone(restore_backup(self.target, folder / "defensive.db").kept)
        self.assertEqual(check_backup(folder / "defensive.db").messages, 2)

    def test_in_use(self) -> None:
        """While a relay uses the database nothing is done."""
        self.assertIn("another server is using this database", self.refuse())

    def test_useless(self) -> None:
        """What is damaged, empty, none of ours or not there is not put in place."""
        self.fixture.result(self.store.close())
        whole = self.target.read_bytes()
        middle = len(whole) // 2 // 4096 * 4096
        with closing(sqlite3.connect(self.target)) as connection:
            # Nothing but a look at all of it finds a page that is read last.
            index = "SELECT rootpage FROM sqlite_master WHERE name = 'mailbox_message_stored_at'"
            ((page,),) = connection.execute(index)
        start = (page - 1) * 4096
        other = self.fixture.folder / "other.db"
        with closing(sqlite3.connect(other)) as connection:
            connection.execute("CREATE TABLE recipes (name)")
        for content, reason in (
            (whole[:middle], "damaged"),
            (whole[:start] + b"\xff" * 4096 + whole[start + 4096 :], "damaged"),
            (b"", "empty"),
            (b"text" * 1000, "not an SQLite database"),
            (other.read_bytes(), "belongs to another program"),
        ):
            self.target.write_bytes(content)
            self.assertIn(reason, self.refuse())
        self.target.unlink()
        self.assertIn(f"{self.target}: there is no such file", self.refuse())

    def test_newer_version(self) -> None:
        """So is what a newer version has made."""
        self.fixture.result(self.store.close())
        with closing(sqlite3.connect(self.target)) as connection:
            connection.execute("UPDATE mailbox_meta SET value = 9")
            connection.commit()
        self.assertIn("newer version", self.refuse())

    def test_other_user(self) -> None:
        """What another user's relay could not open is not made."""
        self.fixture.result(self.store.close())
        self.patch(os, "geteuid", lambda: 4711)
        self.assertIn("belongs to another user", self.refuse())

    def test_copy_by_hand(self) -> None:
        """A copy with its log beside it is taken as a whole."""
        folder = self.fixture.folder / "by-hand"
        folder.mkdir()
        for suffix in ("", "-wal"):
            name = self.fixture.path.name + suffix
            (folder / name).write_bytes((self.fixture.folder / name).read_bytes())
        self.assertEqual(check_backup(folder / self.fixture.path.name).messages, 3)

    def test_check_changes_nothing(self) -> None:
        """To check a backup makes no file beside it."""
        before = self.files()
        self.assertEqual(check_backup(self.target).schema, SCHEMA_VERSION)
        self.assertEqual(self.files(), before)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
