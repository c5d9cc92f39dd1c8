"""Putting a backup in the place of a database that no relay uses, after a close look at it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from attrs import frozen

from ._interface import StoreUnusable
from ._opening import (
    DATABASE_MODE,
    DatabaseLock,
    beside,
    connect,
    sync_folder,
    unusable,
    version_in,
)
from ._schema import has_accounts


@frozen
class Checked:
    """What a sound database holds.

    :ivar schema: the version of its tables; 0 is another server's, which a relay takes over.
    :ivar accounts: those of v3, and ``mail`` how many envelopes wait for them.
    """

    schema: int
    clients: int
    messages: int
    accounts: int
    mail: int


@frozen
class Restored:
    """What is in place now, and under which name the former database is kept, if there was one."""

    checked: Checked
    kept: Path | None


def check_backup(path: Path) -> Checked:
    """Read all of a database that nobody writes to; beside it nothing is made.

    :raises StoreUnusable: when it is damaged, or nothing that a relay can use.
    """
    with unusable(path), closing(read_only(path)) as connection:
        cursor = connection.cursor()
        ((verdict,),) = cursor.execute("PRAGMA integrity_check(1)")
        if verdict != "ok":
            # The verdict can quote what is stored.
            raise StoreUnusable(f"{path}: this database is damaged")
        version = version_in(cursor, path)
        if version is None:
            raise StoreUnusable(f"{path}: this database is empty")
        clients, messages = _count(cursor, "clients"), _count(cursor, "messages")
        accounts = mail = 0
        if has_accounts(version):
            accounts, mail = _count(cursor, "account"), _count(cursor, "account_mail")
    return Checked(version, clients, messages, accounts, mail)


def _count(cursor: sqlite3.Cursor, table: str) -> int:
    ((count,),) = cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 - constants
    return int(count)


def restore_backup(backup: Path, database: Path) -> Restored:
    """Put a copy of a backup in the place of a database, which is kept under another name.

    It is the copy that is checked, before anything else is touched. After a crash it can be done
    again.

    :raises StoreUnusable: when a relay uses the database, or the backup is of no use.
    """
    with unusable(database):
        check_owner(database)
    lock = DatabaseLock(database)
    copy = beside(database, ".restoring")
    try:
        with unusable(database):
            _copy(backup, copy)
            try:
                checked = check_backup(copy)
            except StoreUnusable as error:
                raise StoreUnusable(str(error).replace(str(copy), str(backup), 1)) from None
            kept = _set_aside(database)
            copy.rename(database)
            sync_folder(database.parent)
    finally:
        copy.unlink(missing_ok=True)
        lock.release()
    return Restored(checked, kept)


def check_owner(database: Path) -> None:
    """What we make here is for the user that the relay runs as."""
    place = database if database.exists() else database.parent
    if place.stat().st_uid != os.geteuid():
        raise StoreUnusable(f"{place}: it belongs to another user; do this as that one")


def read_only(path: Path) -> sqlite3.Connection:
    """A connection to a database that nobody writes to."""
    # With a log beside it that is a part of it. Otherwise SQLite is told that nobody will write, so
    # that it needs no log, which it could not make where it may not write.
    mode = "ro" if beside(path, "-wal").exists() else "ro&immutable=1"
    if not path.is_file():
        raise StoreUnusable(f"{path}: there is no such file")
    return connect(path, mode)


def _copy(backup: Path, copy: Path) -> None:
    copy.unlink(missing_ok=True)
    descriptor = os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, DATABASE_MODE)
    try:
        with (
            unusable(backup),
            closing(read_only(backup)) as source,
            closing(connect(copy, "rw")) as target,
        ):
            target.execute("PRAGMA journal_mode = OFF")
            target.execute("PRAGMA synchronous = OFF")
            source.backup(target)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _set_aside(database: Path) -> Path | None:
    """Rename what is there with its log, the log first: it must never stand beside another."""
    number = 1
    while (kept := beside(database, f".replaced-{number}")).exists():
        number += 1
    beside(database, "-shm").unlink(missing_ok=True)
    log = beside(database, "-wal")
    if log.exists():
        log.rename(beside(kept, "-wal"))
        sync_folder(database.parent)
    if not database.exists():
        return None
    database.rename(kept)
    return kept
