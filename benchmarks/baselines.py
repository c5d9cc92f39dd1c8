"""What the disk and SQLite can do by themselves, one after the other in one thread."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

from attrs import frozen

MESSAGE = bytes(300)
SLAB = 8 * 2**20


@frozen
class Loop:
    """Seconds of one step, in the middle, and steps a second."""

    median: float
    rate: float


def measure(step: Callable[[int], object], seconds: float) -> Loop:
    """Repeat something for a time."""
    times: list[float] = []
    began = before = time.perf_counter()
    while before - began < seconds:
        step(len(times))
        after = time.perf_counter()
        times.append(after - before)
        before = after
    return Loop(median(times), len(times) / (before - began))


def append_and_sync(directory: Path, seconds: float) -> Loop:
    """Append 300 bytes, fdatasync: the file grows, so that its size is written, too."""
    with (directory / "appended").open("wb", buffering=0) as file:
        number = file.fileno()

        def step(_: int) -> None:
            os.write(number, MESSAGE)
            os.fdatasync(number)

        return measure(step, seconds)


def overwrite_and_sync(directory: Path, seconds: float) -> Loop:
    """Write 300 bytes into a file that is long enough, fdatasync: as a warm WAL does."""
    with (directory / "overwritten").open("wb", buffering=0) as file:
        number = file.fileno()
        os.write(number, bytes(SLAB))
        os.fsync(number)

        def step(index: int) -> None:
            os.pwrite(number, MESSAGE, index * 4096 % SLAB)
            os.fdatasync(number)

        return measure(step, seconds)


def commit_rows(directory: Path, seconds: float) -> Loop:
    """Insert a row of 300 bytes and commit, in WAL mode, synchronously."""
    database = sqlite3.connect(directory / "rows.db", isolation_level=None)
    with closing(database):
        database.execute("PRAGMA journal_mode = wal")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE row (key INTEGER PRIMARY KEY, content BLOB NOT NULL)")

        def step(_: int) -> None:
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT INTO row (content) VALUES (?)", (MESSAGE,))
            database.execute("COMMIT")

        return measure(step, seconds)
