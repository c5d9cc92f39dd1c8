"""The one connection to a profile's database, and its transactions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import sqlcipher3.dbapi2 as sqlcipher  # type: ignore[import-untyped]

DatabaseError: type[Exception] = sqlcipher.Error
"""What every statement may raise."""


class Cursor(Protocol):
    """What a statement answers."""

    rowcount: int
    lastrowid: int

    def fetchone(self) -> tuple[Any, ...] | None: ...
    def fetchall(self) -> list[tuple[Any, ...]]: ...
    def __iter__(self) -> Iterator[tuple[Any, ...]]: ...


class Connection(Protocol):
    """A connection that begins no transaction by itself."""

    in_transaction: bool

    def execute(self, sql: str, parameters: Sequence[object] = (), /) -> Cursor: ...


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """All that is written within is kept, or none of it; it is on the disk at the end.

    :raises DatabaseError: when it could not be kept.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        # A failed COMMIT may have ended it, or not.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
