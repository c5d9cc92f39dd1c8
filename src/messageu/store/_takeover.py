"""Taking over the tables of another server, as the protocol names them, and what they may hold."""

from __future__ import annotations

import base64
import binascii
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from attrs import define

from messageu.model import PUBLIC_KEY_SIZE, ClientId, InvalidValue, PublicKey, UserName

from . import _statements as statements
from ._schema import create_mailboxes, create_views

FOREIGN_TABLES: Final = frozenset({"clients", "messages"})

_COLUMNS: Final = {
    "clients": ("ID", "UserName", "PublicKey"),
    "messages": ("ID", "ToClient", "FromClient", "Type", "Content"),
}
"""What must be there; LastSeen may be missing."""

_Cell = str | bytes | int | float | None
_Row = tuple[_Cell, ...]


class ForeignSchemaError(Exception):
    """Tables of the names we know, with other columns."""


class _Unfit(Exception):
    """A row that we cannot use; the text says why."""


@define
class TakeOver:
    """What became of the rows of another server."""

    clients: int = 0
    messages: int = 0
    odd_clients: int = 0
    odd_messages: int = 0


def check_foreign(cursor: sqlite3.Cursor) -> None:
    """See that the tables can be read as the protocol has them.

    :raises ForeignSchemaError: when a column is missing.
    """
    for table, columns in _COLUMNS.items():
        there = _columns(cursor, table)
        for column in columns:
            if column.lower() not in there:
                raise ForeignSchemaError(f"the table {table} has no column {column}")


def take_over(cursor: sqlite3.Cursor, now: Callable[[], float]) -> TakeOver:
    """Move everything into tables of ours, of version 1, within the transaction of the cursor.

    Rows that do not fit are kept as they were, with the reason, in quarantine tables.

    :param now: their time of arrival, as theirs is unknown.
    """
    create_mailboxes(cursor)
    counts = TakeOver()
    keys = _take_clients(cursor, counts)
    _take_messages(cursor, counts, keys, now())
    cursor.execute("DROP TABLE messages")
    cursor.execute("DROP TABLE clients")
    create_views(cursor)
    return counts


def _take_clients(cursor: sqlite3.Cursor, counts: TakeOver) -> dict[ClientId, int]:
    keys: dict[ClientId, int] = {}
    names: set[UserName] = set()
    last_seen = "LastSeen" if "lastseen" in _columns(cursor, "clients") else "NULL"
    for row in _rows(cursor, "clients", (*_COLUMNS["clients"], last_seen)):
        try:
            client_id, name, public_key = _id(row[0]), _name(row[1]), _public_key(row[2])
            if client_id in keys:
                raise _Unfit("the id is there already")
            if name in names:
                raise _Unfit("the name is taken")
        except _Unfit as error:
            _quarantine(cursor, "quarantined_client", row, error)
            counts.odd_clients += 1
            continue
        names.add(name)
        keys[client_id] = statements.add_client(
            cursor, client_id.raw, str(name), public_key.raw, _time(row[3])
        )
        counts.clients += 1
    return keys


def _take_messages(
    cursor: sqlite3.Cursor, counts: TakeOver, keys: dict[ClientId, int], stored_at: float
) -> None:
    for row in _rows(cursor, "messages", _COLUMNS["messages"]):
        _, recipient, sender, kind, content = row
        try:
            fields = (_recipient(recipient, keys), _id(sender).raw, _type(kind))
            raw = _content(content)
        except _Unfit as error:
            _quarantine(cursor, "quarantined_message", row, error)
            counts.odd_messages += 1
            continue
        sequence = statements.reserve_sequences(cursor, 1)
        statements.add_messages(cursor, [(sequence, *fields, stored_at, raw)])
        counts.messages += 1
    statements.index_messages(cursor)


def _columns(cursor: sqlite3.Cursor, table: str) -> frozenset[str]:
    # Unlike table_info it names the generated ones, too.
    rows = cursor.execute("SELECT name FROM pragma_table_xinfo(?)", (table,))
    return frozenset(name.lower() for (name,) in rows)


def _rows(cursor: sqlite3.Cursor, table: str, columns: tuple[str, ...]) -> Iterator[_Row]:
    """The rows in order of arrival. Text that is none comes with surrogates, not as an error."""
    connection = cursor.connection
    order = "ORDER BY rowid" if _has_rowid(cursor, table) else ""
    before = connection.text_factory
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        yield from connection.execute(
            f"SELECT {', '.join(columns)} FROM {table} {order}"  # noqa: S608 - constants
        )
    finally:
        connection.text_factory = before


def _has_rowid(cursor: sqlite3.Cursor, table: str) -> bool:
    """Whether the rows are numbered as they came, which a table WITHOUT ROWID does not do."""
    try:
        cursor.execute(f"SELECT rowid FROM {table} LIMIT 0")  # noqa: S608 - constants
    except sqlite3.OperationalError:
        return False
    return True


def _quarantine(cursor: sqlite3.Cursor, table: str, row: _Row, reason: _Unfit) -> None:
    cells = (*(_storable(cell) for cell in row), str(reason))
    marks = ", ".join("?" * len(cells))
    cursor.execute(f"INSERT INTO {table} VALUES ({marks})", cells)  # noqa: S608 - constants


def _storable(cell: _Cell) -> _Cell:
    if isinstance(cell, str):
        try:
            cell.encode()
        except UnicodeEncodeError:
            return _bytes(cell)
    return cell


def _bytes(cell: _Cell) -> bytes:
    """The bytes of a text or a blob.

    :raises _Unfit: for anything else.
    """
    match cell:
        case bytes():
            return cell
        case str():
            return cell.encode("utf-8", "surrogateescape")
    raise _Unfit("a number where bytes should be" if cell is not None else "a value is missing")


def _id(cell: _Cell) -> ClientId:
    raw = _bytes(cell)
    try:
        return ClientId(raw) if len(raw) == 16 else ClientId.from_hex(raw.decode("ascii"))
    except ValueError:
        raise _Unfit("the id is neither 16 bytes nor 32 hexadecimal digits") from None


def _name(cell: _Cell) -> UserName:
    try:
        return UserName(_bytes(cell).partition(b"\0")[0])
    except InvalidValue as error:
        raise _Unfit(str(error)) from None


def _public_key(cell: _Cell) -> PublicKey:
    raw = _bytes(cell)
    for decode in (bytes, _unhex, _unbase64):
        with suppress(ValueError):
            return PublicKey(decode(raw))
    raise _Unfit(f"the public key is not {PUBLIC_KEY_SIZE} bytes")


def _unhex(raw: bytes) -> bytes:
    return bytes.fromhex(raw.decode("ascii"))


def _unbase64(raw: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(raw.split()), validate=True)
    except binascii.Error as error:
        raise ValueError from error


def _recipient(cell: _Cell, keys: dict[ClientId, int]) -> int:
    key = keys.get(_id(cell))
    if key is None:
        raise _Unfit("the recipient is unknown")
    return key


def _type(cell: _Cell) -> int:
    match cell:
        case bytes() if len(cell) == 1:
            return cell[0]
        case bytes() | str():
            number = _number(cell)
        case _:
            number = cell
    if number is None or number not in range(256):
        raise _Unfit("the type is not one byte")
    return int(number)


def _content(cell: _Cell) -> bytes:
    return b"" if cell is None else _bytes(cell)


def _number(cell: bytes | str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    # Neither an infinity nor a NaN is a number here.
    return number if abs(number) < 2**63 else None


_TIME_FORMATS: Final = ("%a %b %d %H:%M:%S %Y", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y, %H:%M:%S")
"""What is no ISO 8601, as other servers write it."""

_MILLISECONDS: Final = 1e11
"""A count since the epoch above this is of milliseconds: in seconds it is the year 5138."""

_LAST_TIME: Final = datetime.max.replace(tzinfo=UTC).timestamp()


def _time(cell: _Cell) -> float | None:
    """When a client was last seen, in seconds since the epoch, or None where that is unclear."""
    match cell:
        case None:
            return None
        case int() | float():
            seconds: float | None = cell
        case _:
            text = _bytes(cell).decode("utf-8", "replace").strip("\0 ")
            seconds = _number(text)
            if seconds is None:
                seconds = _calendar(text)
    if seconds is not None and abs(seconds) > _MILLISECONDS:
        seconds /= 1000
    return seconds if seconds is not None and 0 <= seconds <= _LAST_TIME else None


def _calendar(text: str) -> float | None:
    """A date and time as text; without a zone it is taken as UTC."""
    with suppress(ValueError, OverflowError):
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    for form in _TIME_FORMATS:
        with suppress(ValueError):
            return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()
    return None
