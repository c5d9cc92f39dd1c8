"""What is particular to SQLite: how it is opened, works in transactions, and fails."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final

from . import _statements as statements

BUSY_TIMEOUT: Final = 0.25
"""Seconds to wait for the lock of somebody who looks into the database."""

_OUTAGES: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
"""Primary result codes for which no single operation is to blame."""


class SqliteEngine:
    """SQLite in WAL mode, where a commit is on the disk when it returns.

    :ivar module: the DB-API module.
    :ivar connect_arguments: what its ``connect`` is called with.
    """

    module = "sqlite3"

    def __init__(self, path: Path) -> None:
        self.connect_arguments: dict[str, Any] = {
            # It must be there by now: a database that was moved away is not made anew.
            "database": f"{path.absolute().as_uri()}?mode=rw",
            "uri": True,
            "timeout": BUSY_TIMEOUT,
            "isolation_level": None,
            "cached_statements": statements.STATEMENTS_KEPT,
            # Only the pool's one thread uses it; the reactor's closes it.
            "check_same_thread": False,
        }

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Make a new connection durable.

        :raises sqlite3.OperationalError: when SQLite did not do what it was told.
        """
        # What is deleted is overwritten in pages that are written anyway. Some builds overwrite all
        # of it, so that to delete mail costs as much as to store it.
        connection.execute("PRAGMA secure_delete = FAST")
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 2)):
            connection.execute(f"PRAGMA {pragma} = {value}")
            (actual,) = connection.execute(f"PRAGMA {pragma}").fetchone()
            if actual != value:
                raise sqlite3.OperationalError(f"{pragma} is {actual}, not {value}")

    def begin(self, cursor: sqlite3.Cursor, writes: bool) -> None:
        """Begin a transaction, whatever the last one left; only one that writes takes the lock."""
        self.rollback(cursor)
        cursor.execute("BEGIN IMMEDIATE" if writes else "BEGIN DEFERRED")

    def commit(self, cursor: sqlite3.Cursor) -> None:
        """Put on the disk what was written, and only return then."""
        cursor.execute("COMMIT")

    def rollback(self, cursor: sqlite3.Cursor) -> None:
        """Undo the transaction, unless SQLite has done that by itself."""
        if cursor.connection.in_transaction:
            cursor.execute("ROLLBACK")

    def savepoint(self, cursor: sqlite3.Cursor) -> None:
        """Begin what can be undone alone."""
        cursor.execute("SAVEPOINT operation")

    def release_savepoint(self, cursor: sqlite3.Cursor) -> None:
        """End what could be undone alone."""
        cursor.execute("RELEASE operation")

    def rollback_to_savepoint(self, cursor: sqlite3.Cursor) -> None:
        """Undo what was done since the savepoint."""
        cursor.execute("ROLLBACK TO operation")

    def is_outage(self, error: Exception) -> bool:
        """Whether the disk or the connection is at fault, and not a statement."""
        # The low byte is the primary code, the rest says more about it.
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _OUTAGES

    def describe(self, error: Exception) -> str:
        """What kind of error it is. Not its text, which can quote what was to be stored."""
        name = getattr(error, "sqlite_errorname", None)
        return type(error).__name__ if name is None else f"{type(error).__name__} {name}"
