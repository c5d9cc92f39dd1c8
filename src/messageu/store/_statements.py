"""The SQL of every operation, as plain functions of a cursor. The tables are in ``_schema``."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from sqlite3 import Cursor

    from ._interface import Piece

_LAST_SEQUENCE: Final = "last_sequence"
_LAST_INDEXED: Final = "last_indexed"

MessageRow: TypeAlias = tuple[int, int, bytes, int, float, bytes]
"""A message to come: sequence, recipient's key, sender's id, type, time of arrival, content."""

_ADD_MESSAGE: Final = (
    "INSERT INTO mailbox_message (sequence, recipient, sender, type, stored_at, content) VALUES "
)
_ROW: Final = "(?, ?, ?, ?, ?, ?)"

ROWS_A_STATEMENT: Final = (256, 64)
"""Messages that one INSERT takes; what is left of them has a statement of just its size."""

STATEMENTS_KEPT: Final = 192
"""Statements that stay compiled: one for each number of rows below 64, and all the others."""

PIECE_SIZE: Final = 64 * 2**10
"""Bytes of content up to which a message is one row; larger ones are in pieces of this size."""


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


def write_nothing(cursor: Cursor) -> None:
    """Leave everything as it is, and yet something to commit. A row that is written as it was would
    not be: SQLite notices."""
    cursor.execute("INSERT INTO mailbox_meta (name, value) VALUES ('check', 0)")
    cursor.execute("DELETE FROM mailbox_meta WHERE name = 'check'")


def add_messages(cursor: Cursor, rows: Sequence[MessageRow]) -> None:
    """Insert messages.

    Many rows a statement: each statement is one wait for the interpreter's lock, for which the
    reactor's thread waits as well.
    """
    small = [row for row in rows if len(row[5]) <= PIECE_SIZE]
    if len(small) < len(rows):
        for row in rows:
            if len(row[5]) > PIECE_SIZE:
                _add_large_message(cursor, row)
    start, end = 0, len(small)
    for size in ROWS_A_STATEMENT:
        while end - start >= size:
            _add_small_messages(cursor, small[start : start + size])
            start += size
    if start < end:
        _add_small_messages(cursor, small[start:])


def _add_small_messages(cursor: Cursor, rows: Sequence[MessageRow]) -> None:
    values = ", ".join([_ROW] * len(rows))
    cursor.execute(_ADD_MESSAGE + values, tuple(chain.from_iterable(rows)))


def _add_large_message(cursor: Cursor, row: MessageRow) -> None:
    """Insert a message in pieces, of which only one at a time is copied."""
    *head, content = row
    cursor.execute(
        "INSERT INTO mailbox_message"
        " (sequence, recipient, sender, type, stored_at, content, in_pieces)"
        " VALUES (?, ?, ?, ?, ?, x'', ?)",
        (*head, len(content)),
    )
    with memoryview(content) as view:
        for start in range(0, len(content), PIECE_SIZE):
            cursor.execute(
                "INSERT INTO mailbox_piece (message, start, content) VALUES (?, ?, ?)",
                (row[0], start, view[start : start + PIECE_SIZE]),
            )


def index_messages(cursor: Cursor) -> None:
    """Put all messages into the index that are not in it, in the index's own order."""
    cursor.execute(
        "INSERT INTO mailbox_waiting (recipient, sequence, size)"
        " SELECT recipient, sequence, length(content) + in_pieces FROM mailbox_message"
        " WHERE sequence > (SELECT value FROM mailbox_meta WHERE name = ?)"
        " ORDER BY recipient, sequence",
        (_LAST_INDEXED,),
    )
    cursor.execute(
        "INSERT INTO mailbox_usage (recipient, messages, content)"
        " SELECT recipient, count(*), sum(length(content) + in_pieces) FROM mailbox_message"
        " WHERE sequence > (SELECT value FROM mailbox_meta WHERE name = ?)"
        " GROUP BY recipient ON CONFLICT (recipient) DO UPDATE"
        " SET messages = messages + excluded.messages, content = content + excluded.content",
        (_LAST_INDEXED,),
    )
    cursor.execute(
        "UPDATE mailbox_meta SET value = max("
        "value, (SELECT ifnull(max(sequence), 0) FROM mailbox_message)) WHERE name = ?",
        (_LAST_INDEXED,),
    )


def list_unindexed(cursor: Cursor) -> Sequence[tuple[int, int, int]]:
    """Sequences, recipients' keys and sizes of what is not in the index, the oldest first."""
    return cursor.execute(
        "SELECT sequence, recipient, length(content) + in_pieces FROM mailbox_message"
        " WHERE sequence > (SELECT value FROM mailbox_meta WHERE name = ?) ORDER BY sequence",
        (_LAST_INDEXED,),
    ).fetchall()


def find_usage(cursor: Cursor, recipient: int) -> tuple[int, int]:
    """How many messages, and bytes of content, of a mailbox are in the index."""
    rows = cursor.execute(
        "SELECT messages, content FROM mailbox_usage WHERE recipient = ?", (recipient,)
    )
    return rows.fetchone() or (0, 0)


def iterate_waiting(
    cursor: Cursor, recipient: int, first: int, arrived: Sequence[int]
) -> Generator[Piece, None, None]:
    """What waits for a client from a sequence on, the oldest first; without what is in pieces.

    :param arrived: what is not in the index of it.
    """
    return _iterate(cursor, "content", recipient, first, arrived)


def iterate_heads(
    cursor: Cursor, recipient: int, first: int, arrived: Sequence[int]
) -> Generator[Piece, None, None]:
    """The same without any content: SQLite takes a blob's length from the head of its row."""
    return _iterate(cursor, "x''", recipient, first, arrived)


def _iterate(
    cursor: Cursor, content: str, recipient: int, first: int, arrived: Sequence[int]
) -> Generator[Piece, None, None]:
    columns = f"sequence, sender, type, length(content) + in_pieces, 0, {content}"
    with closing(cursor.connection.cursor()) as rows:
        # The index leads, whatever SQLite would think of that.
        yield from rows.execute(
            f"SELECT {columns} FROM mailbox_waiting CROSS JOIN mailbox_message USING (sequence)"  # noqa: S608 - made of constants
            " WHERE mailbox_waiting.recipient = ? AND sequence >= ? ORDER BY sequence",
            (recipient, first),
        )
        if arrived:
            yield from rows.execute(
                f"SELECT {columns} FROM mailbox_message"  # noqa: S608 - made of constants
                " WHERE sequence IN (SELECT value FROM json_each(?)) ORDER BY sequence",
                (json.dumps(arrived),),
            )


def read_content(cursor: Cursor, sequence: int, offset: int, size: int) -> bytes:
    """So much of a content that is in pieces; less when it is not there."""
    rows = cursor.execute(
        "SELECT start, content FROM mailbox_piece WHERE message = ?1 AND start < ?3 AND start >="
        " (SELECT max(start) FROM mailbox_piece WHERE message = ?1 AND start <= ?2)"
        " ORDER BY start",
        (sequence, offset, offset + size),
    )
    parts: list[bytes] = [
        content[max(0, offset - start) : offset + size - start] for start, content in rows
    ]
    return parts[0] if len(parts) == 1 else b"".join(parts)


def delete_from_index(cursor: Cursor, sequences: Sequence[int]) -> Sequence[int]:
    """Take messages out of the index, which are to be deleted after that: whose they are."""
    listed = json.dumps(sequences)
    theirs = (
        "(recipient, sequence) IN (SELECT recipient, sequence FROM mailbox_message"
        " WHERE sequence IN (SELECT value FROM json_each(?)))"
    )
    usage = cursor.execute(
        "SELECT count(*), sum(size), recipient FROM mailbox_waiting"  # noqa: S608 - of constants
        f" WHERE {theirs} GROUP BY recipient",
        (listed,),
    ).fetchall()
    for row in usage:
        cursor.execute(
            "UPDATE mailbox_usage SET messages = messages - ?, content = content - ?"
            " WHERE recipient = ?",
            row,
        )
    cursor.execute(f"DELETE FROM mailbox_waiting WHERE {theirs}", (listed,))  # noqa: S608 - of constants
    return [recipient for _, _, recipient in usage]


def delete_messages(cursor: Cursor, sequences: Sequence[int], *, large: bool) -> None:
    """Delete messages for good. The pieces of large ones are to be deleted, after that.

    :param large: whether some may be in pieces.
    """
    if not sequences:
        return
    listed = json.dumps(sequences)
    if large:
        cursor.execute(
            "INSERT INTO mailbox_rubbish (message) SELECT sequence FROM mailbox_message"
            " WHERE sequence IN (SELECT value FROM json_each(?)) AND in_pieces > 0",
            (listed,),
        )
    # All in one statement, for the same reason as above.
    cursor.execute(
        "DELETE FROM mailbox_message WHERE sequence IN (SELECT value FROM json_each(?))",
        (listed,),
    )


def find_rubbish(cursor: Cursor, limit: int) -> Sequence[int]:
    """Messages that are gone, and whose pieces may not be."""
    rows = cursor.execute("SELECT message FROM mailbox_rubbish LIMIT ?", (limit,))
    return [message for (message,) in rows]


def delete_pieces(cursor: Cursor, message: int, limit: int) -> bool:
    """Delete so many pieces of a message that is gone: whether there may be more."""
    cursor.execute(
        "DELETE FROM mailbox_piece WHERE rowid IN"
        " (SELECT rowid FROM mailbox_piece WHERE message = ? LIMIT ?)",
        (message, limit),
    )
    if cursor.rowcount == limit:
        return True
    cursor.execute("DELETE FROM mailbox_rubbish WHERE message = ?", (message,))
    return False


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
