"""How far a migration into these tables has come, as they say themselves."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from .._interface import StoreUnusable
from ._engine import Cursor
from ._statements import SILENCE

# There is no such table where nothing was ever migrated to. Of the table ``at`` so many rows are
# there, and all of the tables before it.
_CREATE: Final = """
    CREATE TABLE IF NOT EXISTS relay_migration (
        source bytea PRIMARY KEY,
        began timestamptz NOT NULL DEFAULT now(),
        finished timestamptz,
        at text NOT NULL,
        rows bigint NOT NULL
    )
    """

_EMPTY: Final = (
    "mailbox_client",
    "mailbox",
    "mailbox_message",
    "mailbox_lease",
    "mailbox_rubbish",
    "account",
    "account_name",
    "account_token",
    "account_prekey",
    "account_mailbox",
    "account_mail",
    "account_tombstone",
    "account_rubbish",
    # What is 0 at first; versions are not, nor is what says which server it is.
    "relay_meta WHERE name NOT IN ('schema_version', 'compat_version', 'timeline') AND value <> 0",
)
"""Where there is nothing if nobody was ever served."""

_LOCK: Final = 0x6D6F7665
"""The upper half of the number of the advisory lock of whoever migrates; the lower one is that of
the table, so that several sets of tables have nothing in common."""


@frozen
class Migration:
    """A migration into these tables.

    :ivar source: the checksum of what is moved, 32 bytes.
    :ivar finished: whether all of it is there, and was compared.
    :ivar at: the table that is being filled; empty after the last.
    :ivar rows: how many rows of it are there.
    """

    source: bytes
    finished: bool
    at: str
    rows: int


def find_migration(cursor: Cursor) -> Migration | None:
    """The last migration into these tables, if there was ever one."""
    cursor.execute("SELECT to_regclass('relay_migration') IS NOT NULL")
    if cursor.fetchone() != (True,):
        return None
    cursor.execute("SELECT source, finished IS NOT NULL, at, rows FROM relay_migration")
    row = cursor.fetchone()
    return None if row is None else Migration(*row)


def refuse_unfinished(cursor: Cursor, shown: str) -> None:
    """See that nothing is missing here that is to come.

    :raises StoreUnusable: when a migration is not finished.
    """
    migration = find_migration(cursor)
    if migration is not None and not migration.finished:
        raise StoreUnusable(
            f"{shown}: a migration into these tables is not finished: go on with messageu-admin"
            " migrate, or empty the database"
        )


def refuse_served(cursor: Cursor, shown: str) -> None:
    """See that no relay uses these tables.

    :raises StoreUnusable: when one was heard of lately.
    """
    cursor.execute(
        "SELECT count(*) FROM relay WHERE seen > now() - %s * interval '1 second'", (SILENCE,)
    )
    if cursor.fetchone() != (0,):
        raise StoreUnusable(
            f"{shown}: a relay serves these tables, or was killed less than {SILENCE} seconds ago"
        )


def refuse_filled(cursor: Cursor, shown: str) -> None:
    """See that nobody was ever served from these tables.

    :raises StoreUnusable: when something is there.
    """
    cursor.execute(f"SELECT {' OR '.join(f'EXISTS (SELECT 1 FROM {rows})' for rows in _EMPTY)}")  # noqa: S608 - of constants
    if cursor.fetchone() != (False,):
        raise StoreUnusable(f"{shown}: these tables are not empty: name an empty database")


def lock_migration(cursor: Cursor) -> None:
    """Be the only one who migrates into these tables, for as long as the connection lasts.

    :raises psycopg.errors.LockNotAvailable: when somebody else does.
    """
    cursor.execute(_CREATE)
    cursor.execute(
        "SELECT pg_advisory_lock((%s::bigint << 32) | 'relay_migration'::regclass::oid::bigint)",
        (_LOCK,),
    )


def begin_migration(cursor: Cursor, source: bytes, first: str) -> Migration:
    """There is a migration of such a source now, of which nothing is here."""
    cursor.execute("DELETE FROM relay_migration")
    cursor.execute(
        "INSERT INTO relay_migration (source, at, rows) VALUES (%s, %s, 0)", (source, first)
    )
    return Migration(source, False, first, 0)


def note_progress(cursor: Cursor, source: bytes, at: str, rows: int) -> bool:
    """So far it is: whether it is still this one that is under way."""
    cursor.execute(
        "UPDATE relay_migration SET at = %s, rows = %s WHERE source = %s AND finished IS NULL",
        (at, rows, source),
    )
    return cursor.rowcount == 1


def finish_migration(cursor: Cursor, source: bytes) -> bool:
    """It is finished: whether it was still under way."""
    cursor.execute(
        "UPDATE relay_migration SET finished = now() WHERE source = %s AND finished IS NULL",
        (source,),
    )
    return cursor.rowcount == 1
