"""The SQL of every operation, as plain functions of a cursor. The tables are in ``_schema``."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sqlite3 import Cursor

_LAST_SEQUENCE: Final = "last_sequence"

_ADD_MESSAGE: Final = (
    "INSERT INTO mailbox_message (sequence, recipient, sender, type, stored_at, content) VALUES "
)
_ROW: Final = "(?, ?, ?, ?, ?, ?)"
_ROWS_A_STATEMENT: Final = (256, 64, 16, 4, 1)


def find_client(cursor: Cursor, client_id: bytes) -> int | None:
    """A client's integer key."""
    row = cursor.execute("SELECT key FROM mailbox_client WHERE id = ?", (client_id,)).fetchone()
    return None if row is None else int(row[0])


def is_name_taken(cursor: Cursor, name: str) -> bool:
    """Whether a client has this name, byte for byte."""
    rows = cursor.execute("SELECT 1 FROM mailbox_client WHERE name = ?", (name,))
    return rows.fetchone() is not None


def add_client(
    cursor: Cursor, client_id: bytes, name: str, public_key: bytes, last_seen: float | None
) -> int:
    """Insert a client; its integer key."""
    cursor.execute(
        "INSERT INTO mailbox_client (id, name, public_key, last_seen) VALUES (?, ?, ?, ?)",
        (client_id, name, public_key, last_seen),
    )
    assert cursor.lastrowid is not None  # noqa: S101 - after an INSERT there is one
    return cursor.lastrowid


def find_public_key(cursor: Cursor, client_id: bytes) -> bytes | None:
    """The key that a client published."""
    rows = cursor.execute("SELECT public_key FROM mailbox_client WHERE id = ?", (client_id,))
    row = rows.fetchone()
    return None if row is None else row[0]


def count_clients(cursor: Cursor) -> tuple[int, int]:
    """How many clients there are, and the key of the newest, or 0."""
    rows = cursor.execute("SELECT count(*), ifnull(max(key), 0) FROM mailbox_client")
    count, last = rows.fetchone()
    return count, last


def list_clients(
    cursor: Cursor, requester: bytes, after: int, last: int, limit: int
) -> Sequence[tuple[int, bytes, str]]:
    """Keys, ids and names of clients but one, in order of registration."""
    return cursor.execute(
        "SELECT key, id, name FROM mailbox_client"
        " WHERE key > ? AND key <= ? AND id <> ? ORDER BY key LIMIT ?",
        (after, last, requester, limit),
    ).fetchall()


def set_last_seen(cursor: Cursor, rows: Iterable[tuple[float, int]]) -> None:
    """Write when clients, by their keys, were last heard of."""
    cursor.executemany("UPDATE mailbox_client SET last_seen = ? WHERE key = ?", rows)


def reserve_sequences(cursor: Cursor, count: int) -> int:
    """Use up so many sequences; the first of them. The mark is a row, so that a transaction that
    is rolled back gives them back and a deletion does not."""
    rows = cursor.execute("SELECT value FROM mailbox_meta WHERE name = ?", (_LAST_SEQUENCE,))
    (last,) = rows.fetchone()
    cursor.execute(
        "UPDATE mailbox_meta SET value = ? WHERE name = ?", (last + count, _LAST_SEQUENCE)
    )
    return int(last) + 1


def add_messages(cursor: Cursor, rows: Sequence[tuple[int, int, bytes, int, float, bytes]]) -> None:
    """Insert messages: sequence, recipient's key, sender's id, type, time of arrival, content.

    Many rows a statement: each statement is one wait for the interpreter's lock, for which the
    reactor's thread waits as well.
    """
    start = 0
    for size in _ROWS_A_STATEMENT:
        statement = f"{_ADD_MESSAGE}{_ROW}{f', {_ROW}' * (size - 1)}"
        while len(rows) - start >= size:
            cursor.execute(statement, tuple(chain.from_iterable(rows[start : start + size])))
            start += size


def iterate_waiting(
    cursor: Cursor, recipient: int
) -> Generator[tuple[int, bytes, int, int], None, None]:
    """Sequence, sender's id, type and size of what waits for a client, the oldest first.

    The content is not read: SQLite takes a blob's length from the head of its row.
    """
    with closing(cursor.connection.cursor()) as rows:
        yield from rows.execute(
            "SELECT sequence, sender, type, length(content) FROM mailbox_message"
            " WHERE recipient = ? ORDER BY sequence",
            (recipient,),
        )


def read_whole(cursor: Cursor, sequence: int, size: int) -> tuple[bytes | None] | None:
    """The content of a message of this size, in a row; None in the row for a message of another
    size; no row for no message."""
    row: Any = cursor.execute(
        "SELECT CASE length(content) WHEN ? THEN content END FROM mailbox_message"
        " WHERE sequence = ?",
        (size, sequence),
    ).fetchone()
    return row  # type: ignore[no-any-return]


def is_there(cursor: Cursor, sequence: int) -> bool:
    """Whether a message has not been deleted."""
    rows = cursor.execute("SELECT 1 FROM mailbox_message WHERE sequence = ?", (sequence,))
    return rows.fetchone() is not None


def delete_messages(cursor: Cursor, sequences: Iterable[int]) -> None:
    """Delete messages for good."""
    cursor.executemany(
        "DELETE FROM mailbox_message WHERE sequence = ?", ((number,) for number in sequences)
    )


def list_stored_before(
    cursor: Cursor, before: float, after: tuple[float, int], limit: int
) -> Sequence[tuple[float, int]]:
    """Times of arrival and sequences of the oldest messages, from after such a pair on."""
    return cursor.execute(
        "SELECT stored_at, sequence FROM mailbox_message"
        " WHERE stored_at < ? AND (stored_at, sequence) > (?, ?)"
        " ORDER BY stored_at, sequence LIMIT ?",
        (before, *after, limit),
    ).fetchall()
