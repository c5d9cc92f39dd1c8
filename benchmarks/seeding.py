"""Databases that are full before a server starts on them."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from messageu.store._engine import SqliteEngine
from messageu.store._opening import open_database
from messageu.store._statements import (
    add_client,
    add_messages,
    index_messages,
    reserve_sequences,
)

CHUNK = 10_000


def seed(database: Path, users: int, mail: Iterable[tuple[int, int]] = ()) -> list[bytes]:
    """Make a database of ours with so many users, and their ids.

    :param mail: for each message the index of its recipient and its size in bytes.
    """
    choice = random.Random(1)  # noqa: S311 - ids that are the same in each run
    open_database(database, SqliteEngine(database), time.time).release()
    connection = sqlite3.connect(database, isolation_level=None)
    with closing(connection), closing(connection.cursor()) as cursor:
        # The order of commits does not matter while nobody is served.
        cursor.execute("PRAGMA synchronous = OFF")
        cursor.execute("PRAGMA cache_size = -1000000")
        ids = [choice.randbytes(16) for _ in range(users)]
        cursor.execute("BEGIN IMMEDIATE")
        keys = [
            add_client(cursor, raw, f"user-{index:09}", raw * 10, None)
            for index, raw in enumerate(ids)
        ]
        cursor.execute("COMMIT")
        for messages in _chunks(mail):
            cursor.execute("BEGIN IMMEDIATE")
            sequence = reserve_sequences(cursor, len(messages))
            now = time.time()
            rows = [
                (sequence + offset, keys[recipient], ids[0], 3, now, bytes(size))
                for offset, (recipient, size) in enumerate(messages)
            ]
            add_messages(cursor, rows)
            index_messages(cursor)
            cursor.execute("COMMIT")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # Or the kernel would write it while something is measured.
    with database.open("rb") as written:
        os.fsync(written.fileno())
    return ids


def _chunks(mail: Iterable[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    rest = iter(mail)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def write_ids(path: Path, ids: Iterable[bytes]) -> Path:
    """The file from which the load generator reads whose mailboxes there are."""
    path.write_bytes(b"".join(ids))
    return path


def count_messages(database: Path) -> int:
    """How many messages a database holds, seen through the view that everybody may use."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM messages").fetchone()
    return int(count)
