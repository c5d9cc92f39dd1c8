"""Opening a database before anybody uses it: lock, look, create, take over. Nothing is changed
until it is known what there is."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from ._engine import BUSY_TIMEOUT, SqliteEngine
from ._interface import StoreUnusable
from ._schema import (
    FOREIGN_VERSION,
    SCHEMA_VERSION,
    create_accounts,
    create_tables,
    create_terms,
    create_views,
    read_versions,
    tables_of,
)
from ._takeover import FOREIGN_TABLES, ForeignSchemaError, TakeOver, check_foreign, take_over

DATABASE_MODE: Final = 0o600
"""Of the database, its backups and its lock: in v2 a client's id is all that it takes to be it."""

LOG_PIECE: Final = 2**20
"""Bytes of the write-ahead log that are in memory at once while it is written again."""

_MAGIC: Final = b"SQLite format 3\0"

_log = Logger()


def _add_accounts(cursor: sqlite3.Cursor, _: Callable[[], float]) -> None:
    create_accounts(cursor)


def _add_terms(cursor: sqlite3.Cursor, _: Callable[[], float]) -> None:
    create_terms(cursor)


_MIGRATIONS: Final[
    Mapping[int, Callable[[sqlite3.Cursor, Callable[[], float]], TakeOver | None]]
] = {FOREIGN_VERSION: take_over, 1: _add_accounts, 2: _add_terms}
"""From an older version of the schema to the next one."""


class DatabaseLock:
    """The lock on ``<database>.lock``, which the kernel lets go of when the process ends.

    The file stays, as taking it away could lock somebody else out.

    :raises StoreUnusable: when another process holds it, or it cannot be made.
    """

    def __init__(self, database: Path) -> None:
        # Beside the database itself: one that is reached through a link has the same lock.
        path = beside(database.resolve(), ".lock")
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, DATABASE_MODE)
        except OSError as error:
            raise StoreUnusable(f"{path}: {error.strerror}") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise StoreUnusable(f"{database}: another server is using this database") from None

    def release(self) -> None:
        """Let another server in. Called once."""
        os.close(self._descriptor)


def open_database(path: Path, engine: SqliteEngine, now: Callable[[], float]) -> DatabaseLock:
    """Make sure that a database of ours is at a path, and lock it.

    :raises StoreUnusable: leaving what is there as it was.
    """
    _check_file(path)
    lock = DatabaseLock(path)
    try:
        with unusable(path):
            version = _find_version(path)
            if version is None:
                _create(path, engine)
            else:
                _upgrade(path, engine, version, now)
    except BaseException:
        lock.release()
        raise
    return lock


def beside(database: Path, suffix: str) -> Path:
    """The path of a file that goes with a database."""
    return database.with_name(database.name + suffix)


@contextmanager
def unusable(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the system, as one line about a database."""
    try:
        yield
    except sqlite3.Error as error:
        text = WHY.get(getattr(error, "sqlite_errorcode", 0) & 0xFF) or _harmless(str(error))
        raise StoreUnusable(f"{path}: {text}") from None
    except (UnicodeError, MemoryError):  # what should be text is none, or claims to be gigabytes
        raise StoreUnusable(f"{path}: {WHY[sqlite3.SQLITE_CORRUPT]}") from None
    except OSError as error:
        raise StoreUnusable(f"{path}: {error.strerror}") from None


WHY: Final = {
    sqlite3.SQLITE_BUSY: "another process has locked this database",
    sqlite3.SQLITE_CORRUPT: "this database is damaged",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_NOTADB: "this is not an SQLite database",
    sqlite3.SQLITE_READONLY: "this database cannot be written",
}
"""What to tell an operator, by primary result code."""


def _harmless(text: str) -> str:
    """Words of SQLite that may quote the database, for a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _check_file(path: Path) -> None:
    """What can be said without SQLite, and while it has nothing open: closing a file of the
    database would drop the locks that SQLite holds on it."""
    folder = path.parent
    if not folder.is_dir():
        raise StoreUnusable(f"{path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreUnusable(f"{path}: the folder {folder} cannot be written")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        raise StoreUnusable(f"{path}: this is a folder, not a database") from None
    except OSError as error:
        raise StoreUnusable(f"{path}: this database cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StoreUnusable(f"{path}: this is not a file")
        head = file.read(len(_MAGIC))
    # Of a database whose making was cut short by a power failure there may be only zeros, and a
    # journal, with which SQLite takes it back.
    if head != _MAGIC and any(head):
        raise StoreUnusable(f"{path}: this is not an SQLite database")


def _find_version(path: Path) -> int | None:
    """The version of what is there, without changing it; None when nothing is.

    :raises StoreUnusable: when it is nothing that we can use.
    """
    if not path.exists():
        return None
    # Closing a connection moves a write-ahead log into the database, unless it may not write.
    # Without such a log there is nothing to move, and a reader would leave an empty log behind.
    mode = "ro" if beside(path, "-wal").exists() else "rw"
    with closing(connect(path, mode)) as connection:
        return version_in(connection.cursor(), path)


def version_in(cursor: sqlite3.Cursor, path: Path) -> int | None:
    """The version of the schema in a database; None when there is nothing in it.

    :raises StoreUnusable: when it is nothing that we can use.
    """
    # Names may be anything: a blob becomes a text without an error.
    entries = cursor.execute(
        "SELECT type = 'table', CAST(ifnull(name, '') AS BLOB) FROM sqlite_master"
    ).fetchall()
    if not entries:
        _check_empty(path, cursor)
        return None
    tables = frozenset(
        name.decode("utf-8", "replace").lower() for is_table, name in entries if is_table
    )
    if "mailbox_meta" in tables:
        return _own_version(path, cursor, tables)
    if not tables >= FOREIGN_TABLES:
        raise StoreUnusable(f"{path}: this database belongs to another program")
    try:
        check_foreign(cursor)
    except ForeignSchemaError as error:
        raise StoreUnusable(f"{path}: {error}") from None
    return FOREIGN_VERSION


def _check_empty(path: Path, cursor: sqlite3.Cursor) -> None:
    """See that a database without tables has lost none, before it is given ours."""
    if cursor.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
        raise StoreUnusable(f"{path}: {WHY[sqlite3.SQLITE_CORRUPT]}")


def _own_version(path: Path, cursor: sqlite3.Cursor, tables: frozenset[str]) -> int:
    try:
        version, compat = read_versions(cursor)
    except (LookupError, TypeError):
        raise StoreUnusable(f"{path}: this database does not say which version made it") from None
    if compat > SCHEMA_VERSION:
        raise StoreUnusable(
            f"{path}: this database was made by a newer version (its schema is {version},"
            f" this program's {SCHEMA_VERSION})"
        )
    if version <= FOREIGN_VERSION or not tables >= tables_of(version):
        raise StoreUnusable(f"{path}: this database is damaged: tables are missing")
    return version


def _create(path: Path, engine: SqliteEngine) -> None:
    """Make a database, whole or not at all: a file without tables counts as nothing."""
    created = not path.exists()
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, DATABASE_MODE))
    path.chmod(DATABASE_MODE)
    try:
        with closing(connect(path, "rw")) as connection:
            engine.prepare(connection)
            with _transaction(connection) as cursor:
                create_tables(cursor)
                create_views(cursor)
        sync_folder(path.parent)
    except BaseException:
        if created:
            for suffix in ("", "-wal", "-shm"):
                beside(path, suffix).unlink(missing_ok=True)
        raise


def _upgrade(path: Path, engine: SqliteEngine, version: int, now: Callable[[], float]) -> None:
    """Bring a database up to date, after a backup, and see that it can be written."""
    _write_log_again(path)
    with closing(connect(path, "rw")) as connection:
        if version < SCHEMA_VERSION:
            _migrate(connection, path, version, now)
        else:
            with _transaction(connection):
                pass  # whoever else has locked it is noticed now
        engine.prepare(connection)


def _write_log_again(path: Path) -> None:
    """Put what is read from the write-ahead log on the disk.

    When a sync has failed, Linux takes for written what is not: it can be read, no later sync
    writes it, and a power failure takes it away. What is built on it is lost, or damaged.
    """
    log = beside(path.resolve(), "-wal")
    if not log.exists():
        return
    with closing(connect(path, "ro")) as reader, closing(connect(path, "rw")) as writer:
        # While somebody reads, closing the writer does not move the log into the database: it must
        # not when this fails. Closing a reader never does.
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        # Nobody else adds to the log meanwhile.
        with _transaction(writer), log.open("r+b", buffering=0) as file:
            offset = 0
            while piece := os.pread(file.fileno(), LOG_PIECE, offset):
                offset += os.pwrite(file.fileno(), piece, offset)
            os.fsync(file.fileno())


def _migrate(
    connection: sqlite3.Connection, path: Path, version: int, now: Callable[[], float]
) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    with _transaction(connection) as cursor:
        backup = _back_up(path)
        try:
            counts = [_MIGRATIONS[step](cursor, now) for step in range(version, SCHEMA_VERSION)]
        except BaseException:
            # It says nothing that the database does not say.
            backup.unlink()
            raise
    path.chmod(DATABASE_MODE)
    for count in counts:
        if count is not None:
            _log.info(
                "took over {database}: {clients} clients and {messages} messages; set aside"
                " {odd_clients} clients and {odd_messages} messages",
                database=str(path),
                clients=count.clients,
                messages=count.messages,
                odd_clients=count.odd_clients,
                odd_messages=count.odd_messages,
            )
    _log.info(
        "brought {database} from version {old} of its schema to {new}; it is kept as {backup}",
        database=str(path),
        old=version,
        new=SCHEMA_VERSION,
        backup=str(backup),
    )


def _back_up(path: Path) -> Path:
    """Copy a database that we have locked for writing to ``<database>.backup-<n>``; the copy's
    path. It gets its name when it is whole and on the disk."""
    number = 1
    while (backup := beside(path, f".backup-{number}")).exists():
        number += 1
    partial = beside(path, ".backup-partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, DATABASE_MODE)
    try:
        with (
            closing(connect(path, "rw")) as source,
            closing(connect(partial, "rw")) as target,
        ):
            source.backup(target)
        os.fsync(descriptor)
        partial.rename(backup)
        sync_folder(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return backup


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection without transactions of its own making; ``mode`` is that of SQLite's URIs."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
    )


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Cursor]:
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    try:
        yield cursor
        cursor.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            cursor.execute("ROLLBACK")
        raise


def sync_folder(folder: Path) -> None:
    """Put the names of new files on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
