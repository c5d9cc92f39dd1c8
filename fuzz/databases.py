"""The database of another server: rows that fit are taken over, and no row is lost.

``rows`` is a small decoder: its input is not a file but the rows of one, so that each mutation is
a row of another kind. ``database`` takes the file itself, of which most is refused.
"""

from __future__ import annotations

import sqlite3
import struct
from base64 import b64encode
from collections import Counter
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeAlias
from uuid import UUID

from attrs import define, field, frozen
from twisted.internet.task import Clock

from messageu.store import SqliteStore, StoreUnusable
from messageu.store._schema import create_mailboxes, create_views
from messageu.store._takeover import check_foreign, take_over
from messageu.testing.threadpool import threadless_pool

ROWS_LIMIT: Final = 24
"""Rows of an input that are looked at."""

PEOPLE: Final = tuple(
    (UUID(int=number + 2**127).bytes, name, bytes((number,)) * 160)
    for number, name in enumerate(("anna", "bern", "carl", "dora"))
)
"""Ids, names and public keys of those who fit."""

Cell: TypeAlias = str | bytes | int | float | None


@frozen
class Known:
    """A cell that must be understood as this.

    :ivar cell: what stands in the foreign table.
    :ivar meaning: what it stands for.
    """

    cell: Cell
    meaning: bytes | str | int


@frozen
class NotText:
    """Bytes that a foreign server has stored as text."""

    raw: bytes


AnyCell: TypeAlias = Cell | Known | NotText
Row: TypeAlias = tuple[AnyCell, ...]


@define
class Reader:
    """Takes an input apart, from its beginning; at its end everything is zero."""

    data: bytes
    at: int = field(default=0, init=False)

    def take(self, size: int) -> bytes:
        """So many bytes."""
        taken = self.data[self.at : self.at + size]
        self.at += size
        return taken.ljust(size, b"\0")

    def byte(self) -> int:
        """One byte."""
        return self.take(1)[0]

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return self.at < len(self.data)


@frozen
class Foreign:
    """What a foreign server has left.

    :ivar tables: the statements that make its tables.
    """

    tables: tuple[str, str]
    last_seen: bool
    clients: tuple[Row, ...]
    messages: tuple[Row, ...]


def rows(data: bytes) -> None:
    """The take-over of rows of any kind."""
    foreign = decode(data)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        cursor = connection.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        _fill(cursor, foreign)
        clients, messages = _contents(cursor, foreign)
        check_foreign(cursor)
        counts = take_over(cursor, lambda: 0.0)
        cursor.execute("COMMIT")
        assert _schema(cursor) == _fresh_schema(), "a schema that is not that of a new database"
        taken = Counter(_select(cursor, "SELECT ToClient, FromClient, Type, Content FROM messages"))
        assert counts.clients == _count(cursor, "clients"), "clients are counted wrongly"
        assert counts.messages == taken.total(), "messages are counted wrongly"
        _check_quarantine(cursor, "client", clients, counts.clients, counts.odd_clients)
        _check_quarantine(cursor, "message", messages, counts.messages, counts.odd_messages)
        _check_fitting(cursor, foreign, taken)


def database(data: bytes) -> None:
    """A file that should be a database."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "defensive.db")
        path.write_bytes(data)
        try:
            _open_and_close(path)
        except StoreUnusable as error:
            assert str(error).isprintable(), "an error that is no line for a terminal"
            left = path.read_bytes()
            # SQLite fills up the last page of a file that was cut, when a change is undone.
            assert left.startswith(data), "a database that was refused was changed"
            assert not any(left[len(data) :]), "something was added to a database that was refused"
            assert not list(path.parent.glob("*.backup*")), "a backup of nothing was left"
            return
        _open_and_close(path)  # what could be opened once can be again


def _open_and_close(path: Path) -> None:
    clock = Clock()
    store = SqliteStore(path, clock, now=lambda: 0.0, new_pool=threadless_pool)
    store.open()
    store.close()
    clock.advance(0)


# The decoder.


def decode(data: bytes) -> Foreign:
    """The tables and rows for which an input stands.

    A first byte says how the tables are made. Then, for each row, a byte whose lowest bit says in
    which table it is, and for each cell a byte that says what it holds, and what belongs to that.
    """
    reader = Reader(data)
    flags = reader.byte()
    last_seen = not flags & 1
    clients: list[Row] = []
    messages: list[Row] = []
    while reader.more and len(clients) + len(messages) < ROWS_LIMIT:
        if reader.byte() & 1:
            messages.append(
                (_cell(reader), _id(reader), _id(reader), _number(reader), _content(reader))
            )
        else:
            row = (_id(reader), _name(reader), _public_key(reader))
            clients.append((*row, _cell(reader)) if last_seen else row)
    return Foreign(_tables(flags), last_seen, tuple(clients), tuple(messages))


def _tables(flags: int) -> tuple[str, str]:
    blob, text, integer = ("BLOB", "TEXT", "INTEGER") if flags & 2 else ("", "", "")
    own = " UNIQUE" if flags & 4 else ""
    more = f", More {text} DEFAULT 'more'" if flags & 8 else ""
    made = f", Made AS (UserName) {'STORED' if flags & 32 else 'VIRTUAL'}" if flags & 16 else ""
    seen = f", LastSeen {text}" if not flags & 1 else ""
    return (
        f"CREATE TABLE clients (ID {blob}, UserName {text}, PublicKey {blob}{seen}{more}{made})",
        (
            f"CREATE TABLE messages (ID {integer}{own}, ToClient {blob}, FromClient {blob},"
            f" Type {integer}, Content {blob}{more})"
        ),
    )


def _id(reader: Reader) -> AnyCell:
    """Half of the ids are somebody's, in any of the forms that are understood."""
    kind = reader.byte()
    if kind & 1:
        return _cell(reader)
    raw = PEOPLE[kind >> 1 & 3][0]
    forms: tuple[Cell, ...] = (
        raw,
        raw.hex(),
        raw.hex().upper().encode(),
        str(UUID(bytes=raw)),
    )
    return Known(forms[kind >> 3 & 3], raw)


def _name(reader: Reader) -> AnyCell:
    kind = reader.byte()
    if kind & 1:
        return _cell(reader)
    name = PEOPLE[kind >> 1 & 3][1]
    forms: tuple[Cell, ...] = (name, name.encode(), f"{name}\0", name.encode().ljust(255, b"\0"))
    return Known(forms[kind >> 3 & 3], name)


def _public_key(reader: Reader) -> AnyCell:
    kind = reader.byte()
    if kind & 1:
        return _cell(reader)
    raw = PEOPLE[kind >> 1 & 3][2]
    forms: tuple[Cell, ...] = (raw, raw.hex(), b64encode(raw), b64encode(raw).decode())
    return Known(forms[kind >> 3 & 3], raw)


def _number(reader: Reader) -> AnyCell:
    kind = reader.byte()
    if kind & 1:
        return _cell(reader)
    number = reader.byte()
    forms: tuple[Cell, ...] = (number, float(number), str(number), bytes((number,)))
    form = forms[kind >> 1 & 3]
    # One byte that is a digit could be meant as either: it is taken as it is.
    return Known(form, number)


def _content(reader: Reader) -> AnyCell:
    kind = reader.byte()
    if kind & 1:
        return _cell(reader)
    raw = reader.take(kind >> 1)
    return Known(raw, raw)


def _cell(reader: Reader) -> AnyCell:
    """Any value of any type."""
    kind = reader.byte()
    match kind & 7:
        case 0:
            return None
        case 1:
            return int.from_bytes(reader.take(1 + (kind >> 3 & 7)), "little", signed=True)
        case 2:
            number: float = struct.unpack("<d", reader.take(8))[0]
            return number
        case 3:
            return NotText(reader.take(kind >> 3))
        case 4:
            return reader.take(kind >> 3).decode("latin-1")
        case 5:
            return reader.take(8 * (kind >> 3))
        case _:
            return reader.take(kind >> 3)


# What must come of it.


def _fill(cursor: sqlite3.Cursor, foreign: Foreign) -> None:
    for statement in foreign.tables:
        cursor.execute(statement)
    names = "ID, UserName, PublicKey" + (", LastSeen" if foreign.last_seen else "")
    for row in foreign.clients:
        _insert(cursor, f"clients ({names})", row)
    for row in foreign.messages:
        _insert(cursor, "messages (ID, ToClient, FromClient, Type, Content)", row)


def _insert(cursor: sqlite3.Cursor, table: str, row: Row) -> None:
    """Insert a row, unless the foreign table has it already."""
    marks = ", ".join("CAST(? AS TEXT)" if isinstance(cell, NotText) else "?" for cell in row)
    cells = [
        cell.raw if isinstance(cell, NotText) else cell.cell if isinstance(cell, Known) else cell
        for cell in row
    ]
    cursor.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", cells)  # noqa: S608


def _contents(
    cursor: sqlite3.Cursor, foreign: Foreign
) -> tuple[Counter[tuple[Cell, ...]], Counter[tuple[Cell, ...]]]:
    """The rows that the foreign tables have come to hold, with columns' affinities applied."""
    seen = "LastSeen" if foreign.last_seen else "NULL"
    return (
        _all(cursor, f"clients, ID, UserName, PublicKey, {seen}"),
        _all(cursor, "messages, ID, ToClient, FromClient, Type, Content"),
    )


def _all(cursor: sqlite3.Cursor, what: str) -> Counter[tuple[Cell, ...]]:
    table, *columns = what.split(", ")
    return Counter(_select(cursor, f"SELECT {', '.join(columns)} FROM {table}"))  # noqa: S608


def _select(cursor: sqlite3.Cursor, statement: str) -> list[tuple[Cell, ...]]:
    """Rows that can be compared: text as its bytes, since some of it is none."""
    connection = cursor.connection
    before, connection.text_factory = connection.text_factory, bytes
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.text_factory = before


def _count(cursor: sqlite3.Cursor, table: str) -> int:
    (count,) = cursor.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
    return int(count)


def _check_quarantine(
    cursor: sqlite3.Cursor, kind: str, foreign: Counter[tuple[Cell, ...]], taken: int, odd: int
) -> None:
    """Each row was taken, or is in quarantine as it was."""
    columns = {
        "client": "ID, UserName, PublicKey, LastSeen",
        "message": "ID, ToClient, FromClient, Type, Content",
    }[kind]
    kept = _all(cursor, f"quarantined_{kind}, {columns}")
    assert kept.total() == odd, f"a {kind} is in quarantine and not counted"
    assert taken + odd == foreign.total(), f"a {kind} was lost"
    assert kept <= foreign, f"a {kind} in quarantine is not as it was"


def _check_fitting(
    cursor: sqlite3.Cursor, foreign: Foreign, taken: Counter[tuple[Cell, ...]]
) -> None:
    """What fits by its making was taken, unless its id or name were taken before."""
    people = _select(cursor, "SELECT ID, UserName, PublicKey FROM clients")
    ids, names = {row[0] for row in people}, {row[1] for row in people}
    for row in foreign.clients:
        meanings = [cell.meaning for cell in row[:3] if isinstance(cell, Known)]
        if len(meanings) == 3:
            client_id, name, _ = meanings
            raw_name = str(name).encode()
            assert client_id in ids or raw_name in names, "a client that fits was set aside"
    if "UNIQUE" in foreign.tables[1]:
        return  # the foreign table has dropped some
    fitting: Counter[tuple[Cell, ...]] = Counter()
    for row in foreign.messages:
        meanings = [cell.meaning for cell in row[1:] if isinstance(cell, Known)]
        if len(meanings) == 4 and meanings[0] in ids:
            fitting[tuple(meanings)] += 1
    assert fitting <= taken, "a message that fits was set aside"


def _schema(cursor: sqlite3.Cursor) -> list[tuple[Cell, ...]]:
    return sorted(_select(cursor, "SELECT type, name, tbl_name, sql FROM sqlite_master"), key=str)


@cache
def _fresh_schema() -> list[tuple[Cell, ...]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        cursor = connection.cursor()
        create_mailboxes(cursor)
        create_views(cursor)
        return _schema(cursor)
