"""Which pieces of a file are looked for: under each key with which it was offered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from messageu.crypto.v3 import piece_envelope_id

from ._database import Connection


def has_key(connection: Connection, file: int, key: bytes) -> bool:
    """Whether a file was offered under a key."""
    row = connection.execute(
        "SELECT 1 FROM incoming_keys WHERE file = ? AND key = ?", (file, key)
    ).fetchone()
    return row is not None


def add_key(connection: Connection, file: int, key: bytes, numbers: Iterable[int]) -> None:
    """Take these pieces of a file under another key."""
    number_of_key = connection.execute(
        "INSERT INTO incoming_keys (file, key) VALUES (?, ?)", (file, key)
    ).lastrowid
    _want(connection, number_of_key, key, numbers)


def _want(connection: Connection, number_of_key: int, key: bytes, numbers: Iterable[int]) -> None:
    for number in numbers:
        connection.execute(
            "INSERT OR IGNORE INTO incoming_pieces VALUES (?, ?, ?)",
            (piece_envelope_id(key, number).raw, number_of_key, number),
        )


def want_all(connection: Connection, file: int, pieces: int) -> None:
    """Take all pieces of a file, under each of its keys."""
    for number_of_key, key in connection.execute(
        "SELECT id, key FROM incoming_keys WHERE file = ?", (file,)
    ).fetchall():
        _want(connection, number_of_key, key, range(pieces))


def missing(connection: Connection, file: int) -> Sequence[int]:
    """The numbers of the pieces that have not come."""
    rows = connection.execute(
        "SELECT DISTINCT number FROM incoming_pieces"
        " WHERE key IN (SELECT id FROM incoming_keys WHERE file = ?)",
        (file,),
    )
    return [number for (number,) in rows.fetchall()]


def forget_keys(connection: Connection, file: int, kept: int = 0) -> None:
    """Take no pieces of a file any more, but those of its last keys."""
    for (number_of_key,) in connection.execute(
        "SELECT id FROM incoming_keys WHERE file = ? ORDER BY id DESC LIMIT -1 OFFSET ?",
        (file, kept),
    ).fetchall():
        connection.execute("DELETE FROM incoming_pieces WHERE key = ?", (number_of_key,))
        connection.execute("DELETE FROM incoming_keys WHERE id = ?", (number_of_key,))
