"""Opening a database: what is made, what is refused, and that a refusal changes nothing."""

import fcntl
import os
import sqlite3
import stat
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import UserName
from messageu.store import SCHEMA_VERSION, SqliteStore, StoreUnusable, _opening
from messageu.store._engine import SqliteEngine
from messageu.testing.store import sqlite_error
from messageu.testing.threadpool import threadless_pool
from tests.store.contract import NOON, key, result_of

NOBODY_UID = 65534


def dump(path):
    """The schema of a database."""
    with closing(sqlite3.connect(path)) as connection:
        return sorted(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


class OpeningCase(SynchronousTestCase):
    """A folder, and what can be done to a database in it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = self.folder / "defensive.db"
        self.clock = Clock()

    def make(self, **options):
        options = {"now": lambda: NOON, "new_pool": threadless_pool} | options
        return SqliteStore(options.pop("path", self.path), self.clock, **options)

    def close(self, store):
        closed = store.close()
        self.clock.advance(0)
        result_of(closed)

    def opened(self, **options):
        store = self.make(**options)
        store.open()
        self.addCleanup(self.close, store)
        return store

    def open_and_close(self):
        store = self.make()
        store.open()
        self.close(store)

    def refuse(self, **options):
        """The one line with which opening is refused, without a change to any file."""
        before = self.files()
        line = str(self.assertRaises(StoreUnusable, self.make(**options).open))
        self.assertEqual(self.files(), before)
        self.assertNotIn("\n", line)
        self.assertTrue(line.startswith(str(options.get("path", self.path))), line)
        return line

    def files(self):
        """What is in the folder, but for the lock, which stays."""
        return {
            path.name: (path.stat().st_mode, path.is_file() and path.read_bytes())
            for path in self.folder.iterdir()
            if path.suffix != ".lock"
        }

    def execute(self, *statements):
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)


class CreationTests(OpeningCase):
    def test_new(self):
        """Where nothing is, a database is made that only its owner can read."""
        self.opened()
        for name in ("defensive.db", "defensive.db.lock"):
            mode = self.folder.joinpath(name).stat().st_mode
            self.assertEqual(stat.filemode(mode), "-rw-------")

    def test_umask(self):
        """Files that are made while the store is in use are as closed as the database."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        store = self.opened()
        registered = store.register(UserName(b"Alice"), key())
        self.clock.advance(0)
        result_of(registered)
        modes = {stat.filemode(path.stat().st_mode) for path in self.folder.iterdir()}
        self.assertIn("defensive.db-wal", self.files())
        self.assertEqual(modes, {"-rw-------"})

    def test_durable(self):
        """A commit is synced, in WAL mode."""
        engine = SqliteEngine(self.path)
        self.opened()
        with closing(sqlite3.connect(**engine.connect_arguments)) as connection:
            engine.prepare(connection)
            for pragma, value in (("journal_mode", "wal"), ("synchronous", 2)):
                self.assertEqual(connection.execute(f"PRAGMA {pragma}").fetchone(), (value,))

    def test_not_durable(self):
        """A database that cannot be made durable is not used."""
        engine = SqliteEngine(Path(":memory:"))
        with closing(sqlite3.connect(":memory:")) as connection:
            error = self.assertRaises(sqlite3.OperationalError, engine.prepare, connection)
        self.assertEqual(str(error), "journal_mode is memory, not wal")

    def test_empty_file(self):
        """An empty file, and a database without tables, count as nothing."""
        for make in (self.path.touch, lambda: self.execute("PRAGMA user_version = 1")):
            make()
            self.open_and_close()
            self.assertTrue(dump(self.path))
            self.path.unlink()

    def test_relative_path(self):
        """A path may be text, relative, and odd."""
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(self.folder)
        store = self.opened(path="odd ?#%41 name.db")
        registered = store.register(UserName(b"Alice"), key())
        self.clock.advance(0)
        result_of(registered)
        self.assertTrue(self.folder.joinpath("odd ?#%41 name.db").exists())

    def test_creation_fails(self):
        """When a database cannot be made nothing is left of it."""
        full = sqlite_error("SQLITE_FULL")
        with mock.patch.object(_opening, "create_views", side_effect=full):
            self.assertEqual(self.refuse(), f"{self.path}: the disk is full")
        self.path.touch(0o600)
        with mock.patch.object(_opening, "create_views", side_effect=full):
            line = str(self.assertRaises(StoreUnusable, self.make().open))
        self.assertIn("the disk is full", line)
        self.open_and_close()

    def test_system_error(self):
        """An error of the system is told in its words."""
        error = OSError(5, "Input/output error")
        with mock.patch.object(_opening, "sync_folder", side_effect=error):
            self.assertEqual(self.refuse(), f"{self.path}: Input/output error")

    def test_lock_is_let_go_after_a_refusal(self):
        """A refused start does not keep the next one away."""
        with mock.patch.object(_opening, "create_views", side_effect=sqlite3.OperationalError):
            self.refuse()
        self.opened()

    def test_making_cut_short(self):
        """What a power failure can leave of a database that is being made, zeros and a journal,
        counts as nothing."""
        journal = self.path.with_name("defensive.db-journal")
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            for statement in ("PRAGMA cache_size = 1", "BEGIN", "CREATE TABLE half (made)"):
                connection.execute(statement)
            connection.executemany("INSERT INTO half VALUES (?)", [(bytes(4_000),)] * 20)
            left = journal.read_bytes()
        self.path.write_bytes(bytes(4_096))
        journal.write_bytes(left)
        self.open_and_close()
        self.assertIn("mailbox_message", {name for _, name, _, _ in dump(self.path)})
        self.assertNotIn("half", {name for _, name, _, _ in dump(self.path)})


class LogTests(OpeningCase):
    def setUp(self):
        """What a relay leaves that is killed when somebody was registered: a log."""
        super().setUp()
        store = self.make()
        store.open()
        registered = store.register(UserName(b"Alice"), key())
        self.clock.advance(0)
        self.alice = result_of(registered)
        left = self.left()
        self.close(store)
        for name, content in left.items():
            self.folder.joinpath(name).write_bytes(content)

    def left(self):
        """The database and its log."""
        names = ("defensive.db", "defensive.db-wal")
        return {name: self.folder.joinpath(name).read_bytes() for name in names}

    def test_is_written_again(self):
        """All of the log is written as it is, and synced, before anything is moved from it."""
        log = self.left()["defensive.db-wal"]
        written = {}
        synced = []

        def write(_, data, offset):
            # As few bytes as the system likes.
            data = data[:5_000]
            written[offset] = data
            return len(data)

        with (
            mock.patch.object(_opening.os, "pwrite", side_effect=write),
            mock.patch.object(
                _opening.os, "fsync", side_effect=lambda _: synced.append(self.left())
            ),
        ):
            store = self.opened()
        self.assertEqual(b"".join(written[offset] for offset in sorted(written)), log)
        self.assertEqual([each["defensive.db-wal"] for each in synced], [log])
        found = store.public_key(self.alice, self.alice)
        self.clock.advance(0)
        self.assertEqual(result_of(found), key())

    def test_cannot_be_written(self):
        """When that fails the start is refused, and nothing is moved from the log."""
        before = self.left()
        error = OSError(5, "Input/output error")
        with mock.patch.object(_opening.os, "fsync", side_effect=error):
            line = str(self.assertRaises(StoreUnusable, self.make().open))
        self.assertEqual(line, f"{self.path}: Input/output error")
        self.assertEqual(self.left(), before)
        self.open_and_close()


class RefusalTests(OpeningCase):
    def test_second_server(self):
        """A second server on the same database is refused, until the first has closed."""
        first = self.make()
        first.open()
        line = str(self.assertRaises(StoreUnusable, self.make().open))
        self.assertEqual(line, f"{self.path}: another server is using this database")
        self.close(first)
        self.opened()

    def test_second_server_by_another_path(self):
        """A link to a database is the same database."""
        first = self.make()
        first.open()
        link = self.folder / "link" / "other.db"
        link.parent.mkdir()
        link.symlink_to(self.path)
        line = str(self.assertRaises(StoreUnusable, self.make(path=link).open))
        self.assertIn("another server is using this database", line)
        self.close(first)

    def test_no_folder(self):
        """A database in a folder that is not there is refused."""
        path = self.folder / "nowhere" / "defensive.db"
        self.assertIn("there is no folder", self.refuse(path=path))

    def test_folder_in_its_place(self):
        """A folder is no database."""
        self.path.mkdir()
        self.assertIn("this is a folder", self.refuse())

    def test_special_file(self):
        """A pipe is no database, and nobody waits for it."""
        os.mkfifo(self.path)
        line = str(self.assertRaises(StoreUnusable, self.make().open))
        self.assertIn("this is not a file", line)

    def test_damaged_until_nothing_is_seen(self):
        """A database whose tables are not to be seen for damage does not count as a new one."""
        self.execute("CREATE TABLE clients (ID)")
        with self.path.open("r+b") as file:
            file.seek(103)  # how many entries the schema has
            file.write(b"\0\0")
        self.assertEqual(self.refuse(), f"{self.path}: this database is damaged")

    def test_names_that_are_no_text(self):
        """A database in which a table has a name that is no text belongs to somebody, too."""
        self.execute("CREATE TABLE other (ID)")
        self.path.write_bytes(self.path.read_bytes().replace(b"other", b"\xb5\xb5\xb5\xb5\xb5"))
        self.assertIn("belongs to another program", self.refuse())

    def test_words_of_the_database(self):
        """What an error quotes of a database does nothing to a terminal."""
        error = sqlite3.OperationalError("no such table: \x1b[2J\n")
        with mock.patch.object(_opening, "create_views", side_effect=error):
            self.assertTrue(self.refuse().endswith("no such table: ?[2J?"))
        for error in (UnicodeDecodeError("utf-8", b"\xb5", 0, 1, "no text"), MemoryError()):
            with mock.patch.object(_opening, "create_views", side_effect=error):
                self.assertEqual(self.refuse(), f"{self.path}: this database is damaged")

    def test_views_alone(self):
        """A database that has no tables, but something else, is somebody's."""
        self.execute("CREATE VIEW clients AS SELECT 1 AS ID")
        self.assertIn("belongs to another program", self.refuse())

    def test_no_database(self):
        """A file that is no database is refused, however it begins."""
        for content in (b"text\n", b"SQLite format 3", b"\0" * 5_000):
            with self.subTest(content=content[:20]):
                self.path.write_bytes(content)
                self.assertIn("this is not an SQLite database", self.refuse())

    def test_damaged(self):
        """A file that only begins as a database does is refused."""
        self.open_and_close()
        head = self.path.read_bytes()[:100]
        for content in (b"SQLite format 3\0" + bytes(5_000), head + bytes(8_092)):
            self.path.write_bytes(content)
            self.assertRegex(self.refuse(), "not an SQLite database|damaged")

    def test_cut_short(self):
        """A database whose end is missing is refused, or opened without a change to its bytes."""
        self.open_and_close()
        self.path.write_bytes(self.path.read_bytes()[:4_096])
        self.assertIn("damaged", self.refuse())

    def test_other_program(self):
        """Another program's database is left alone."""
        self.execute("CREATE TABLE bookmarks (url)")
        self.assertIn("belongs to another program", self.refuse())

    def test_newer_version(self):
        """A database that only a newer version can use is refused, with both versions."""
        self.open_and_close()
        self.execute(
            "UPDATE mailbox_meta SET value = 7 WHERE name = 'compat_version'",
            "UPDATE mailbox_meta SET value = 9 WHERE name = 'schema_version'",
        )
        self.assertIn(f"its schema is 9, this program's {SCHEMA_VERSION}", self.refuse())

    def test_newer_version_with_a_log(self):
        """Not even what its write-ahead log holds is moved."""
        self.open_and_close()
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("UPDATE mailbox_meta SET value = 7 WHERE name = 'compat_version'")
            connection.commit()
            copies = {suffix: Path(f"{self.path}{suffix}").read_bytes() for suffix in ("", "-wal")}
        for suffix, content in copies.items():
            Path(f"{self.path}{suffix}").write_bytes(content)
        line = str(self.assertRaises(StoreUnusable, self.make().open))
        self.assertIn("newer version", line)
        for suffix, content in copies.items():
            self.assertEqual(Path(f"{self.path}{suffix}").read_bytes(), content)

    def test_versions_that_are_none(self):
        """A database of ours that has lost its version, or its tables, is refused."""
        meta = "CREATE TABLE mailbox_meta (name, value)"
        versions = "INSERT INTO mailbox_meta VALUES ('schema_version', {}), ('compat_version', 1)"
        for value, reason in (
            (None, "does not say which version"),
            ("'one'", "does not say which version"),
            (0, "tables are missing"),
            (-3, "tables are missing"),
            (1, "tables are missing"),
            (2, "tables are missing"),
        ):
            with self.subTest(value=value):
                self.path.unlink(missing_ok=True)
                self.execute(meta, *([] if value is None else [versions.format(value)]))
                self.assertIn(reason, self.refuse())

    def test_newer_but_compatible(self):
        """A newer schema that this version can use is used, and not called older."""
        self.open_and_close()
        self.execute("UPDATE mailbox_meta SET value = 9 WHERE name = 'schema_version'")
        self.open_and_close()
        with closing(sqlite3.connect(self.path)) as connection:
            rows = connection.execute("SELECT value FROM mailbox_meta WHERE name LIKE 'schema%'")
            self.assertEqual(rows.fetchall(), [(9,)])

    def test_locked(self):
        """A database that another program is writing to is refused."""
        self.open_and_close()
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            line = str(self.assertRaises(StoreUnusable, self.make().open))
        self.assertIn("another process has locked this database", line)
        self.opened()

    def test_lock_cannot_be_made(self):
        """Without a lock no database is opened."""
        _opening.beside(self.path, ".lock").mkdir()
        line = self.assertRaises(StoreUnusable, self.make().open)
        self.assertIn("defensive.db.lock: Is a directory", str(line))
        self.assertFalse(self.path.exists())

    def test_lock_is_held_by_the_kernel(self):
        """The lock is one that the kernel lets go of when its process ends."""
        self.opened()
        with _opening.beside(self.path, ".lock").open() as file:
            self.assertRaises(OSError, fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @contextmanager
    def unprivileged(self):
        """As nobody in particular: root is refused nothing."""
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY_UID, -1)
            for path in self.folder.iterdir():
                os.chown(path, NOBODY_UID, -1)
            # access() asks for the real user, and not for the effective one.
            os.setreuid(NOBODY_UID, 0)
            os.setresuid(NOBODY_UID, NOBODY_UID, 0)
        try:
            yield
        finally:
            if os.getresuid()[2] == 0:
                os.setresuid(0, 0, 0)

    def test_read_only_file(self):
        """A database that may not be written is refused."""
        self.open_and_close()
        self.path.chmod(0o400)
        with self.unprivileged():
            self.assertIn("cannot be written: Permission denied", self.refuse())

    def test_read_only_folder(self):
        """A folder that may not be written is refused, whether there is a database or not."""
        for prepare in (lambda: None, self.open_and_close):
            prepare()
            self.folder.chmod(0o500)
            try:
                with self.unprivileged():
                    self.assertIn("the folder", line := self.refuse())
                    self.assertIn("cannot be written", line)
            finally:
                self.folder.chmod(0o700)

    def test_read_only_disk(self):
        """A database on a disk that cannot be written is refused."""
        self.open_and_close()
        error = sqlite_error("SQLITE_READONLY")
        with mock.patch.object(SqliteEngine, "prepare", side_effect=error):
            self.assertIn("this database cannot be written", self.refuse())
