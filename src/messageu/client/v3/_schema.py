"""The tables of a profile. All times are seconds since the epoch, as REAL, unless they say otherwise."""

from __future__ import annotations

from typing import Final

from ._database import Connection, DatabaseError
from ._errors import StateInvalid
from ._file_tables import FILE_TABLES

APPLICATION_ID: Final = 0x4D553343
"""What tells a profile's database from other people's: MU3C."""

VERSION: Final = 2

_TABLES: Final = (
    """
    CREATE TABLE profile (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        account TEXT NOT NULL,
        ed25519 BLOB NOT NULL,
        curve25519 BLOB NOT NULL,
        relay TEXT NOT NULL,
        name TEXT,
        wanted_name TEXT,
        wanted_token BLOB,
        registered INTEGER NOT NULL DEFAULT 0,
        generation INTEGER NOT NULL,
        generation_use INTEGER NOT NULL DEFAULT 0, -- whether it was shown, or has let us in
        stale INTEGER NOT NULL DEFAULT 0,
        trust TEXT NOT NULL DEFAULT 'tofu',
        display_name BLOB NOT NULL DEFAULT x'',
        mail_life INTEGER NOT NULL DEFAULT 2592000,
        unopened INTEGER NOT NULL DEFAULT 0,
        bundle BLOB,
        bundle_sequence INTEGER NOT NULL DEFAULT 0,
        rotate_at REAL NOT NULL DEFAULT 0,
        rotations INTEGER NOT NULL DEFAULT 0,
        publishing INTEGER NOT NULL DEFAULT 0 -- whether the relay may lack some of the prekeys
    ) STRICT
    """,
    """
    CREATE TABLE hpke_keys (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        secret BLOB NOT NULL,
        not_after INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE contacts (
        id INTEGER PRIMARY KEY,
        identity BLOB NOT NULL UNIQUE,
        ed25519 BLOB,
        curve25519 BLOB,
        label TEXT UNIQUE, -- NULL: of one who was removed
        name TEXT UNIQUE,
        relay TEXT NOT NULL,
        standing INTEGER NOT NULL,
        verified INTEGER NOT NULL DEFAULT 0,
        changed_to BLOB,
        display_name BLOB NOT NULL DEFAULT x'',
        naming INTEGER NOT NULL DEFAULT 0, -- whether he is to be told ours
        bundle BLOB,
        bundle_sequence INTEGER NOT NULL DEFAULT 0,
        epoch INTEGER NOT NULL DEFAULT 0, -- grows with each renewal of either side
        renew INTEGER NOT NULL DEFAULT 0, -- whether we begin a session that replaces the others
        honoured_at REAL, -- the last renewal of his
        honour_due INTEGER NOT NULL DEFAULT 0, -- whether there was another within the hour
        sent INTEGER NOT NULL DEFAULT 0, -- the last sequence that we gave
        heard INTEGER NOT NULL DEFAULT 0, -- the highest that came
        forgotten INTEGER NOT NULL DEFAULT 0, -- missing, and not looked for any more
        retry_at REAL NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0
    ) STRICT
    """,
    "CREATE INDEX renewing ON contacts (id) WHERE renew",
    "CREATE INDEX naming ON contacts (id) WHERE naming = 1",
    """
    CREATE TABLE sessions (
        contact INTEGER NOT NULL REFERENCES contacts,
        id TEXT NOT NULL,
        dump TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        unanswered_renewal INTEGER NOT NULL, -- ours, and nothing has come on it yet
        used REAL NOT NULL,
        PRIMARY KEY (contact, id)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE seen_sessions (
        id TEXT PRIMARY KEY,
        rotations INTEGER NOT NULL -- of our fallback key, when its first message came
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        contact INTEGER NOT NULL REFERENCES contacts,
        mine INTEGER NOT NULL,
        message_id BLOB NOT NULL,
        sequence INTEGER, -- NULL: not given yet
        time INTEGER NOT NULL, -- milliseconds, by the sender's clock
        kind INTEGER NOT NULL,
        body BLOB NOT NULL,
        status INTEGER NOT NULL,
        why INTEGER,
        stored_at REAL,
        hidden INTEGER NOT NULL DEFAULT 0, -- kept for its id alone
        UNIQUE (contact, mine, message_id)
    ) STRICT
    """,
    "CREATE INDEX queued ON messages (contact, id) WHERE status = 0",
    "CREATE INDEX unreceipted ON messages (stored_at) WHERE status = 2",
    "CREATE INDEX by_message_id ON messages (message_id)",
    """
    CREATE TABLE outbox (
        envelope_id BLOB PRIMARY KEY,
        contact INTEGER NOT NULL UNIQUE REFERENCES contacts, -- one at a time
        message INTEGER REFERENCES messages, -- NULL: of a receipt or a renewal
        renewal INTEGER NOT NULL,
        hpke_key_id INTEGER NOT NULL,
        sealed BLOB NOT NULL,
        sealed_at REAL NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE receipts ( -- and what else is said of messages: which files are given up
        contact INTEGER NOT NULL REFERENCES contacts,
        message_id BLOB NOT NULL,
        cancelled INTEGER NOT NULL DEFAULT 0, -- whether it is a file that is given up
        due REAL NOT NULL,
        PRIMARY KEY (contact, message_id)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE arrivals ( -- what is not known to be acknowledged
        envelope_id BLOB PRIMARY KEY,
        arrived REAL NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE gaps (
        contact INTEGER NOT NULL REFERENCES contacts,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        PRIMARY KEY (contact, first)
    ) STRICT, WITHOUT ROWID
    """,
)


def create_tables(connection: Connection) -> None:
    """Make them all, within a transaction, in an empty database."""
    for statement in (*_TABLES, *FILE_TABLES):
        connection.execute(statement)
    # A PRAGMA takes no parameters; these are constants.
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def check_tables(connection: Connection) -> None:
    """See whether the tables are ours, of this version.

    :raises StateInvalid: when they are not.
    """
    try:
        ours = _pragma(connection, "PRAGMA application_id") == APPLICATION_ID
        version = _pragma(connection, "PRAGMA user_version")
    except DatabaseError:
        raise StateInvalid("the database of this profile cannot be read") from None
    if not ours:
        raise StateInvalid("there is no profile in this database")
    if version != VERSION:
        raise StateInvalid("the database of this profile is of another version")


def _pragma(connection: Connection, sql: str) -> int:
    row = connection.execute(sql).fetchone()
    return int(row[0]) if row else 0
