"""Rows as COPY has them in its binary form, and checksums of them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final

from attrs import define, frozen
from psycopg.postgres import types

from .._export import Content, Table, Values
from ._engine import Cursor

SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""What comes before the first row: flags and the size of an extension are 0."""

TRAILER: Final = b"\xff\xff"
"""What comes after the last row."""

_COUNT: Final = struct.Struct("!h")
_SIZE: Final = struct.Struct("!i")
_NULL: Final = _SIZE.pack(-1)

_CHECKSUMS: Final = 2**256


class UnfitError(Exception):
    """A value is not of its column's type."""


def _packing(form: str) -> Callable[[Any], bytes]:
    sized = struct.Struct(f"!i{form}")
    size = sized.size - _SIZE.size
    return lambda value: sized.pack(size, value)


def _pack_bytes(value: bytes) -> bytes:
    return _SIZE.pack(len(value)) + value


_PACKING: Final[Mapping[int, Callable[[Any], bytes]]] = {
    types["int2"].oid: _packing("h"),
    types["int4"].oid: _packing("i"),
    types["int8"].oid: _packing("q"),
    types["float8"].oid: _packing("d"),
    types["bytea"].oid: _pack_bytes,
    types["text"].oid: _pack_bytes,
}
"""How a value is packed, by the type of its column."""


class Packer:
    """Packs the rows of one table.

    :param cursor: is asked for the types of its columns.
    """

    def __init__(self, cursor: Cursor, table: Table) -> None:
        cursor.execute(f"SELECT {', '.join(table.columns)} FROM {table.name} LIMIT 0")  # noqa: S608 - of constants
        assert cursor.description is not None  # noqa: S101 - of a SELECT there is one
        self._packing = [_PACKING[column.type_code] for column in cursor.description]
        self._head = _COUNT.pack(len(table.columns) + (table.content is not None))

    def pack(self, values: Values, size: int | None) -> bytes:
        """A row, up to its content's bytes, of which there are so many.

        :raises UnfitError: when it is none of this table.
        """
        try:
            packed = [
                _NULL if value is None else pack(value)
                for pack, value in zip(self._packing, values, strict=True)
            ]
            if size is not None:
                packed.append(_SIZE.pack(size))
            return self._head + b"".join(packed)
        except (struct.error, TypeError):
            raise UnfitError from None

    def pack_digest(self, values: Values, content: Content | None) -> bytes:
        """A row with the SHA-256 of its content in the content's place.

        :raises UnfitError: when it is none of this table.
        """
        if content is None:
            return self.pack(values, None)
        digest = sha256()
        for part in content.parts:
            digest.update(part)
        return self.pack(values, digest.digest_size) + digest.digest()


@frozen
class Sum:
    """What rows add up to, in whatever order they come.

    :ivar checksum: the sum of their SHA-256, modulo 2**256.
    """

    rows: int
    checksum: int

    def __str__(self) -> str:
        return f"{self.rows} rows, checksum {self.checksum:064x}"


@define
class Summing:
    """Rows that are being added up."""

    rows: int = 0
    _checksum: int = 0

    def add(self, row: bytes | memoryview) -> None:
        """One more."""
        self.rows += 1
        self._checksum += int.from_bytes(sha256(row).digest(), "big")
        self._checksum %= _CHECKSUMS

    @property
    def sum(self) -> Sum:
        """Of all rows so far."""
        return Sum(self.rows, self._checksum)


def read_rows(cursor: Cursor, table: Table) -> Iterator[memoryview]:
    """The rows of a table as they are there, with the SHA-256 of their contents in their places."""
    columns = [*table.columns, *([] if table.content is None else [f"sha256({table.content})"])]
    query = f"SELECT {', '.join(columns)} FROM {table.name}"  # noqa: S608 - of constants
    if table.shared is not None:
        query += f" WHERE {table.shared}"
    with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT BINARY)") as copy:
        for chunk in copy:
            row = memoryview(chunk)
            if row[: len(SIGNATURE)] == SIGNATURE:
                row = row[len(SIGNATURE) :]
            if len(row) > len(TRAILER):
                yield row
