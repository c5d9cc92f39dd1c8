"""Writing the rows of an SQLite database into these tables, in steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import pairwise
from typing import Final

from attrs import define, field
from psycopg import Copy

from .._export import TABLES, Content, Export, Row, Table, Values
from .._interface import StoreUnusable
from ._engine import Cursor, PostgresEngine
from ._migration_state import Migration, note_progress
from ._rows import SIGNATURE, TRAILER, Packer

STEP_ROWS: Final = 8_192
STEP_BYTES: Final = 8 * 2**20
"""What one transaction writes, if not a single row is larger."""

BUFFER: Final = 64 * 2**10
"""Bytes of rows that are gathered before they are sent."""

ALL_FILLED: Final = ""
"""In the place of a table, after the last one."""

_NEXT: Final = dict(pairwise((*(table.name for table in TABLES), ALL_FILLED)))


@define
class _Step:
    """Rows that are written in one transaction.

    :ivar rows: how many they are, and ``size`` how many bytes.
    """

    _copy: Copy
    _packer: Packer
    rows: int = 0
    size: int = 0
    _buffer: bytearray = field(init=False, factory=lambda: bytearray(SIGNATURE))

    def has_room(self) -> bool:
        """Whether one more may come."""
        return self.rows < STEP_ROWS and self.size < STEP_BYTES

    def add(self, values: Values, content: Content | None) -> None:
        """Send a row. Of a large one no more is in memory than a part."""
        self.rows += 1
        self._gather(self._packer.pack(values, None if content is None else content.size))
        if content is not None:
            for part in content.parts:
                self._gather(part)

    def end(self) -> None:
        """Send what is left."""
        self._copy.write(self._buffer + TRAILER)

    def _gather(self, part: bytes) -> None:
        self.size += len(part)
        self._buffer += part
        if len(self._buffer) >= BUFFER:
            self._copy.write(self._buffer)
            self._buffer.clear()


@define
class Filling:
    """Fills the tables.

    :ivar source: the checksum of what is moved.
    :ivar shown: the address, as it may be shown.
    :ivar advance: is told of so many bytes more.
    """

    cursor: Cursor
    engine: PostgresEngine
    export: Export
    packers: Mapping[str, Packer]
    source: bytes
    shown: str
    advance: Callable[[int], object]

    def fill(self, migration: Migration) -> None:
        """Write what is not there yet.

        :raises StoreUnusable: when the SQLite database is damaged, or somebody else interferes.
        :raises UnfitError: when a row is none that a relay has made.
        """
        begun = False
        for table in TABLES:
            begun = begun or table.name == migration.at
            if begun:
                done = migration.rows if table.name == migration.at else 0
                with closing(self.export.rows(table, done)) as rows:
                    self._fill(table, rows, done)

    def _fill(self, table: Table, rows: Iterator[Row], done: int) -> None:
        row = next(rows, None)
        while True:
            self.engine.begin(self.cursor, True)
            # What is lost with the server is written again, and with it how far this has come.
            self.cursor.execute("SET LOCAL synchronous_commit = off")
            if table.shared is not None and not done:
                self.cursor.execute(f"DELETE FROM {table.name} WHERE {table.shared}")  # noqa: S608 - of constants
            row, step = self._write(table, row, rows)
            done += step.rows
            at, count = (table.name, done) if row is not None else (_NEXT[table.name], 0)
            if not note_progress(self.cursor, self.source, at, count):
                raise StoreUnusable(
                    f"{self.shown}: somebody else has changed how far this has come"
                )
            self.engine.commit(self.cursor)
            self.advance(step.size)
            if row is None:
                return

    def _write(
        self, table: Table, row: Row | None, rows: Iterator[Row]
    ) -> tuple[Row | None, _Step]:
        """Write rows from this one on: the first that has no room, and what was written."""
        columns = (*table.columns, *([] if table.content is None else [table.content]))
        copying = f"COPY {table.name} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
        with self.cursor.copy(copying) as copy:
            step = _Step(copy, self.packers[table.name])
            while row is not None and step.has_room():
                step.add(*row)
                row = next(rows, None)
            step.end()
        return row, step
