"""Moving everything from an SQLite database into these tables.

Rows are written in steps. Each is one transaction, in which it is also noted how far this has come:
whoever is killed and begins again goes on behind the last step. At the end what is there is read,
and compared with what was to be written. Until then no relay starts on these tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeAlias

import psycopg
from attrs import define, frozen

from .._export import TABLES, Export, Left, exported, locked
from .._interface import StoreUnusable
from ._address import PostgresAddress
from ._engine import CommitUnconfirmedError, Cursor, PostgresEngine
from ._filling import Filling
from ._migration_state import (
    Migration,
    begin_migration,
    find_migration,
    finish_migration,
    lock_migration,
    refuse_filled,
    refuse_served,
)
from ._rows import Packer, Sum, Summing, UnfitError, read_rows
from ._schema import lock_schema, make_tables, reached, unlock_schema

FORMER_PATIENCE: Final = 10_000
"""Milliseconds to wait for the server to notice that a migration was killed."""

SESSION: Final = (
    "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;"
    f" SET lock_timeout = {FORMER_PATIENCE}; SET client_encoding = 'UTF8'"
)

Tell: TypeAlias = Callable[[str, int, int], object]
"""Is told what is being done, how much of it is, and of how much."""


@frozen
class Moved:
    """What has come of a migration.

    :ivar sums: of each table, the same on both sides.
    :ivar left: what stays behind.
    :ivar before: whether it was finished before, and nothing was done.
    """

    sums: Mapping[str, Sum]
    left: Left
    before: bool


@frozen
class _Source:
    """What is to be moved: of each table what its rows add up to, and their bytes."""

    sums: Mapping[str, Sum]
    sizes: Mapping[str, int]

    @property
    def checksum(self) -> bytes:
        """By which the same is known again."""
        return sha256(
            repr([(name, str(each)) for name, each in self.sums.items()]).encode()
        ).digest()

    def size_before(self, migration: Migration) -> int:
        """About how many bytes are there already."""
        size = 0
        for name, each in self.sizes.items():
            if name == migration.at:
                return size + each * migration.rows // max(1, self.sums[name].rows)
            size += each
        return size


@define
class _Meter:
    """How much of something is done."""

    tell: Tell
    name: str
    total: int
    done: int = 0

    def advance(self, size: int) -> None:
        """So much more."""
        self.done = min(self.total, self.done + size)
        self.tell(self.name, self.done, self.total)


def migrate(path: Path, address: PostgresAddress, tell: Tell) -> Moved:
    """Move everything, or what is left of it. The SQLite database stays as it is.

    :raises StoreUnusable: when it cannot be done. It can be tried again, and goes on then.
    """
    with locked(path):
        tell("checking", 0, 1)
        # What is soon said comes before what takes long.
        with reached(address) as cursor:
            _look(cursor, address)
            packers = {table.name: Packer(cursor, table) for table in TABLES}
        with exported(path) as export:
            try:
                return _move(export, packers, address, tell)
            except UnfitError:
                raise export.damaged() from None
            except CommitUnconfirmedError:
                raise StoreUnusable(f"{address.shown}: a commit was not confirmed") from None


def _look(cursor: Cursor, address: PostgresAddress) -> None:
    """See that something may be moved here. Nobody begins to serve as long as the lock is held."""
    lock_schema(cursor, address)
    make_tables(cursor, address)
    migration = find_migration(cursor)
    if migration is None or not migration.finished:
        refuse_served(cursor, address.shown)
    if migration is None:
        refuse_filled(cursor, address.shown)


def _move(
    export: Export, packers: Mapping[str, Packer], address: PostgresAddress, tell: Tell
) -> Moved:
    source = _read(export, packers, tell)
    engine = PostgresEngine()
    with reached(address) as cursor:
        engine.prepare(cursor.connection)
        migration = _begin(cursor, source.checksum, address)
        if not migration.finished:
            meter = _Meter(
                tell, "copying", sum(source.sizes.values()), source.size_before(migration)
            )
            filling = Filling(
                cursor, engine, export, packers, source.checksum, address.shown, meter.advance
            )
            filling.fill(migration)
            _compare(cursor, source, address.shown, tell)
            _finish(cursor, engine, source.checksum, address.shown)
    return Moved(source.sums, export.left, migration.finished)


def _read(export: Export, packers: Mapping[str, Packer], tell: Tell) -> _Source:
    """Read everything once, to know what it is."""
    meter = _Meter(tell, "reading", export.size)
    sums, sizes = {}, {}
    for table in TABLES:
        packer, summing, total = packers[table.name], Summing(), 0
        with closing(export.rows(table)) as rows:
            for values, content in rows:
                packed = packer.pack_digest(values, content)
                summing.add(packed)
                size = len(packed) + (0 if content is None else content.size)
                total += size
                meter.advance(size)
        sums[table.name], sizes[table.name] = summing.sum, total
    return _Source(sums, sizes)


def _begin(cursor: Cursor, source: bytes, address: PostgresAddress) -> Migration:
    """Begin, or go on with what was begun. Nobody else does as long as the connection lasts."""
    _look(cursor, address)
    cursor.execute(SESSION)
    try:
        lock_migration(cursor)
    except psycopg.errors.LockNotAvailable:
        raise StoreUnusable(f"{address.shown}: somebody else migrates into these tables") from None
    migration = find_migration(cursor)
    if migration is None or migration.source != source:
        if migration is not None and not migration.finished:
            raise StoreUnusable(
                f"{address.shown}: what was begun to be moved here is another database, or was"
                " changed since: empty the database and begin again"
            )
        refuse_served(cursor, address.shown)
        refuse_filled(cursor, address.shown)
        migration = begin_migration(cursor, source, TABLES[0].name)
    unlock_schema(cursor)
    return migration


def _compare(cursor: Cursor, source: _Source, shown: str, tell: Tell) -> None:
    """See that what is there is what was read."""
    meter = _Meter(tell, "comparing", sum(each.rows for each in source.sums.values()))
    meter.advance(0)
    for table in TABLES:
        summing = Summing()
        for row in read_rows(cursor, table):
            summing.add(row)
            meter.advance(1)
        expected, found = source.sums[table.name], summing.sum
        if found != expected:
            raise StoreUnusable(
                f"{shown}: in {table.name} there should be {expected}, and there are {found}: the"
                " migration is not finished; empty the database and begin again"
            )


def _finish(cursor: Cursor, engine: PostgresEngine, source: bytes, shown: str) -> None:
    cursor.execute(f"ANALYZE {', '.join(table.name for table in TABLES)}")
    engine.begin(cursor, True)
    # Keys of accounts that come later follow those that are there.
    cursor.execute(
        "SELECT setval(pg_get_serial_sequence('account', 'key'), greatest(1, max(key)),"
        " max(key) IS NOT NULL) FROM account"
    )
    # One that had been silent for long may be there again.
    refuse_served(cursor, shown)
    if not finish_migration(cursor, source):
        raise StoreUnusable(f"{shown}: somebody else has changed what is noted of this migration")
    # Durably, and with it all that was committed before.
    engine.commit(cursor)
