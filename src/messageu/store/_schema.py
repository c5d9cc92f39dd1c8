"""Our tables, and the views that show them under the names of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sqlite3 import Cursor

SCHEMA_VERSION: Final = 3
"""What this code makes: 1 has mailboxes of v2 alone, 2 has accounts as well, and 3 counts their
subscriptions."""

COMPAT_VERSION: Final = 1
"""The oldest code, by its SCHEMA_VERSION, that can use what this code makes.

Code of version 1 finds its tables as it made them, with nothing that is tied to others. It serves
v2, and leaves the accounts alone: their mail waits, and does not even expire, until newer code comes.
"""

FOREIGN_VERSION: Final = 0
"""The tables of another server, which are taken over as if they were an older schema."""

_MAILBOX_TABLES: Final = frozenset(
    {
        "mailbox_meta",
        "mailbox_client",
        "mailbox_message",
        "mailbox_piece",
        "mailbox_rubbish",
        "mailbox_waiting",
        "mailbox_usage",
    }
)

_ACCOUNT_TABLES: Final = frozenset(
    {
        "account",
        "account_name",
        "account_token",
        "account_prekey",
        "account_mailbox",
        "account_mail",
        "account_tombstone",
        "account_rubbish",
    }
)

_MAILBOXES: Final = (
    """
    CREATE TABLE mailbox_meta (
        name TEXT NOT NULL PRIMARY KEY,
        value INTEGER NOT NULL
    )
    """,
    # The names are ASCII, and BINARY compares them byte for byte.
    """
    CREATE TABLE mailbox_client (
        key INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        name TEXT NOT NULL COLLATE BINARY UNIQUE,
        public_key BLOB NOT NULL,
        last_seen REAL
    )
    """,
    # The sender is an id, not a key: another server's messages may come from nobody we know.
    # The content of a large message is in pieces, so many bytes, and none of it here (ADR 5).
    """
    CREATE TABLE mailbox_message (
        sequence INTEGER PRIMARY KEY,
        recipient INTEGER NOT NULL,
        sender BLOB NOT NULL,
        type INTEGER NOT NULL,
        stored_at REAL NOT NULL,
        content BLOB NOT NULL,
        in_pieces INTEGER NOT NULL DEFAULT 0
    )
    """,
    # ``start`` is where in its message's content a piece begins.
    """
    CREATE TABLE mailbox_piece (
        message INTEGER NOT NULL,
        start INTEGER NOT NULL,
        content BLOB NOT NULL,
        UNIQUE (message, start)
    )
    """,
    # Messages that are gone, and whose pieces are not yet.
    """
    CREATE TABLE mailbox_rubbish (
        message INTEGER PRIMARY KEY
    )
    """,
    # The index of what waits for whom, as far as it is written (ADR 6): up to ``last_indexed``.
    """
    CREATE TABLE mailbox_waiting (
        recipient INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        size INTEGER NOT NULL,
        PRIMARY KEY (recipient, sequence)
    ) WITHOUT ROWID
    """,
    # What that index adds up to.
    """
    CREATE TABLE mailbox_usage (
        recipient INTEGER PRIMARY KEY,
        messages INTEGER NOT NULL,
        content INTEGER NOT NULL
    )
    """,
    "CREATE INDEX mailbox_message_stored_at ON mailbox_message (stored_at)",
    # Rows of another server that we cannot use, as they were.
    """
    CREATE TABLE quarantined_client (
        ID, UserName, PublicKey, LastSeen, reason TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE quarantined_message (
        ID, ToClient, FromClient, Type, Content, reason TEXT NOT NULL
    )
    """,
)

# Numbers of 64 bits that others choose are 8 bytes, big-endian: SQLite's integers are too short by a
# bit, and bytes have the same order.
_ACCOUNTS: Final = (
    # ``highest_key`` is the highest id of a one-time key that was ever published.
    """
    CREATE TABLE account (
        key INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        ed25519 BLOB NOT NULL,
        curve25519 BLOB NOT NULL,
        name TEXT NOT NULL,
        generation BLOB NOT NULL,
        highest_key BLOB,
        bundle BLOB
    )
    """,
    # ``skeleton`` is the same for names that look alike. The account of a name is NULL when it was
    # deleted.
    """
    CREATE TABLE account_name (
        name TEXT NOT NULL PRIMARY KEY,
        skeleton TEXT NOT NULL UNIQUE,
        account INTEGER
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE account_token (
        digest BLOB NOT NULL PRIMARY KEY
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE account_prekey (
        account INTEGER NOT NULL,
        id BLOB NOT NULL,
        key BLOB NOT NULL,
        signature BLOB NOT NULL,
        PRIMARY KEY (account, id)
    ) WITHOUT ROWID
    """,
    # What a mailbox holds, and the highest sequence that was given out in it.
    """
    CREATE TABLE account_mailbox (
        account INTEGER PRIMARY KEY,
        last_sequence INTEGER NOT NULL,
        messages INTEGER NOT NULL,
        content INTEGER NOT NULL
    )
    """,
    # Nothing here, or below, names a sender.
    """
    CREATE TABLE account_mail (
        place INTEGER PRIMARY KEY,
        account INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        envelope_id BLOB NOT NULL,
        hpke_key_id INTEGER NOT NULL,
        sealed BLOB NOT NULL,
        UNIQUE (account, sequence)
    )
    """,
    # What has arrived, under the same place: also what is acknowledged, and waits no more. ``digest``
    # is SHA-256 of what was sealed; of the time of arrival the hour is kept.
    """
    CREATE TABLE account_tombstone (
        place INTEGER PRIMARY KEY,
        account INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        envelope_id BLOB NOT NULL,
        digest BLOB NOT NULL,
        hour INTEGER NOT NULL,
        UNIQUE (account, envelope_id)
    )
    """,
    "CREATE INDEX account_tombstone_hour ON account_tombstone (hour)",
    # Accounts that are gone, and whose mail is not yet.
    """
    CREATE TABLE account_rubbish (
        account INTEGER PRIMARY KEY
    )
    """,
)

# SQLite has no function from a number to its bytes, so they are looked up in a blob of all
# bytes. Joining blobs gives a text of the same bytes, which is turned back.
_LITTLE_ENDIAN: Final = "CAST({} AS BLOB)".format(
    " || ".join(
        f"substr(octets.every, (sequence >> {shift} & 255) + 1, 1)" for shift in (0, 8, 16, 24)
    )
)

# Pieces are joined one by one, as group_concat() of older versions ends at a NUL.
_CONTENT: Final = """
    CASE in_pieces WHEN 0 THEN content ELSE (
        WITH RECURSIVE joined (size, content) AS (
            VALUES (0, x'')
            UNION ALL
            SELECT joined.size + length(piece.content), joined.content || piece.content
            FROM joined JOIN mailbox_piece AS piece
            ON piece.message = sequence AND piece.start = joined.size
        )
        SELECT CAST(joined.content AS BLOB) FROM joined WHERE joined.size = in_pieces
    ) END
"""

_VIEWS: Final = (
    """
    CREATE VIEW clients (ID, UserName, PublicKey, LastSeen) AS
    SELECT id, name, public_key, strftime('%Y-%m-%d %H:%M:%S', last_seen, 'unixepoch')
    FROM mailbox_client
    """,
    f"""
    CREATE VIEW messages (ID, ToClient, FromClient, Type, Content) AS
    WITH octets (every) AS (SELECT x'{bytes(range(256)).hex()}')
    SELECT {_LITTLE_ENDIAN}, mailbox_client.id, sender, type, {_CONTENT}
    FROM octets CROSS JOIN mailbox_message JOIN mailbox_client ON key = recipient
    """,  # noqa: S608 - made of constants
)


def create_tables(cursor: Cursor) -> None:
    """Make our tables, empty."""
    create_mailboxes(cursor)
    create_accounts(cursor)
    create_terms(cursor)


def create_mailboxes(cursor: Cursor) -> None:
    """Make the tables of version 1."""
    for statement in _MAILBOXES:
        cursor.execute(statement)
    _set_meta(
        cursor, schema_version=1, compat_version=COMPAT_VERSION, last_sequence=0, last_indexed=0
    )


def create_accounts(cursor: Cursor) -> None:
    """Make version 2 of version 1."""
    for statement in _ACCOUNTS:
        cursor.execute(statement)
    _set_meta(
        cursor,
        schema_version=2,
        compat_version=COMPAT_VERSION,
        last_deleted_sequence=0,
    )


def create_terms(cursor: Cursor) -> None:
    """Make version 3 of version 2: which subscription of an account has its mailbox, counted."""
    cursor.execute("ALTER TABLE account_mailbox ADD COLUMN term INTEGER NOT NULL DEFAULT 0")
    _set_meta(cursor, schema_version=3, compat_version=COMPAT_VERSION, last_deleted_term=0)


def create_views(cursor: Cursor) -> None:
    """Make the views, whose names must be free."""
    for statement in _VIEWS:
        cursor.execute(statement)


def tables_of(version: int) -> frozenset[str]:
    """The tables without which a database of this version does not work; of a newer one, those
    that we need."""
    return _MAILBOX_TABLES | _ACCOUNT_TABLES if has_accounts(version) else _MAILBOX_TABLES


def has_accounts(version: int) -> bool:
    """Whether a database of this version has the tables of accounts."""
    return version > 1


def read_versions(cursor: Cursor) -> tuple[int, int]:
    """The schema version and the compat version of a database of ours.

    :raises KeyError: when one of them is missing.
    :raises TypeError: when one of them is no number.
    """
    meta: Mapping[str, object] = dict(cursor.execute("SELECT name, value FROM mailbox_meta"))
    return _integer(meta["schema_version"]), _integer(meta["compat_version"])


def _set_meta(cursor: Cursor, **values: int) -> None:
    cursor.executemany(
        "INSERT INTO mailbox_meta (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        values.items(),
    )


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value
