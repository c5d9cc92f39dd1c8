"""Our tables, and the views that show them under the names of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sqlite3 import Cursor

SCHEMA_VERSION: Final = 1
"""What this code makes."""

COMPAT_VERSION: Final = 1
"""The oldest code, by its SCHEMA_VERSION, that can use what this code makes."""

FOREIGN_VERSION: Final = 0
"""The tables of another server, which are taken over as if they were an older schema."""

TABLES: Final = frozenset(
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
"""The tables without which nothing works."""

_TABLES: Final = (
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
    for statement in _TABLES:
        cursor.execute(statement)
    cursor.executemany(
        "INSERT INTO mailbox_meta (name, value) VALUES (?, ?)",
        (
            ("schema_version", SCHEMA_VERSION),
            ("compat_version", COMPAT_VERSION),
            ("last_sequence", 0),
            ("last_indexed", 0),
        ),
    )


def create_views(cursor: Cursor) -> None:
    """Make the views, whose names must be free."""
    for statement in _VIEWS:
        cursor.execute(statement)


def read_versions(cursor: Cursor) -> tuple[int, int]:
    """The schema version and the compat version of a database of ours.

    :raises KeyError: when one of them is missing.
    :raises TypeError: when one of them is no number.
    """
    meta: Mapping[str, object] = dict(cursor.execute("SELECT name, value FROM mailbox_meta"))
    return _integer(meta["schema_version"]), _integer(meta["compat_version"])


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value
