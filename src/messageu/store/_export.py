"""Everything that is in an SQLite database, as the tables of another one are to have it.

Nothing is written. What is read is bounded: rows one by one, contents in parts.
"""

from __future__ import annotations

import sqlite3
from array import array
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import frozen

from ._interface import StoreUnusable
from ._opening import WHY, DatabaseLock, unusable
from ._restore import check_backup, check_owner, read_only
from ._schema import FOREIGN_VERSION, SCHEMA_VERSION
from ._statements import PIECE_SIZE

Values: TypeAlias = tuple[Any, ...]
"""A row but for its content. Text is its bytes."""

Parts: TypeAlias = Generator[bytes, None, None]


@frozen
class Content:
    """What a message holds.

    :ivar size: in bytes.
    :ivar parts: all of it, in parts of 64 KiB at most, once.
    """

    size: int
    parts: Parts


Row: TypeAlias = tuple[Values, Content | None]

_ReadParts: TypeAlias = Callable[[sqlite3.Connection, int], Parts]


@frozen
class Table:
    """A table as the other database has it.

    :ivar columns: those without content.
    :ivar content: the column that comes last and may be large, if there is one.
    :ivar shared: which rows are meant, where others are in the table as well.
    :ivar select: the rows, always in the same order: the columns and, if there is content, its size,
        it if it is small, and by what its parts are found.
    """

    name: str
    columns: Sequence[str]
    select: str
    content: str | None = None
    shared: str | None = None
    parts: _ReadParts | None = None


@frozen
class Left:
    """What is not to be moved, counted.

    :ivar clients: of another server, that could not be taken over; so are ``messages``.
    :ivar strays: messages to nobody who is there.
    :ivar envelopes: of accounts that are gone.
    """

    clients: int
    messages: int
    strays: int
    envelopes: int


def _blob_parts(table: str, column: str) -> _ReadParts:
    def read(connection: sqlite3.Connection, place: int) -> Parts:
        with connection.blobopen(table, column, place, readonly=True) as blob:
            while part := blob.read(PIECE_SIZE):
                yield part

    return read


def _message_parts(connection: sqlite3.Connection, sequence: int) -> Parts:
    yield from _blob_parts("mailbox_message", "content")(connection, sequence)
    end = 0
    with closing(connection.cursor()) as pieces:
        pieces.execute(
            "SELECT start, content FROM mailbox_piece WHERE message = ? ORDER BY start", (sequence,)
        )
        for start, content in pieces:
            if start != end:
                return
            end += len(content)
            yield content


# The mark may be below what is there only if somebody has changed the database by hand.
_MARK: Final = (
    "(SELECT max(value, (SELECT ifnull(max(sequence), 0) FROM mailbox_message))"
    " FROM mailbox_meta WHERE name = 'last_sequence')"
)

TABLES: Final[Sequence[Table]] = (
    Table(
        "mailbox_client",
        ("key", "id", "name", "public_key", "last_seen"),
        "SELECT new_key(key), id, name, public_key, last_seen FROM mailbox_client ORDER BY key",
    ),
    Table(
        "mailbox_message",
        ("recipient", "sequence", "sender", "type", "stored_at", "size"),
        "SELECT new_key(recipient), sequence, sender, type, stored_at,"  # noqa: S608 - of constants
        " length(content) + in_pieces, length(content) + in_pieces,"
        f" CASE WHEN in_pieces = 0 AND length(content) <= {PIECE_SIZE} THEN content END, sequence"
        " FROM mailbox_message WHERE recipient IN (SELECT key FROM mailbox_client)"
        " ORDER BY sequence",
        content="content",
        parts=_message_parts,
    ),
    # A mailbox goes on behind the last sequence of all: so none of the ids comes again that were
    # given out. Nothing in it has arrived yet, as nobody holds it.
    Table(
        "mailbox",
        ("client", "last_sequence", "settled", "epoch", "messages", "content"),
        # Sizes first, so that no content is sorted.
        "WITH sized AS MATERIALIZED ("  # noqa: S608 - of constants
        "SELECT recipient, length(content) + in_pieces AS size FROM mailbox_message),"
        " held AS MATERIALIZED (SELECT recipient, count(*) AS messages, sum(size) AS content"
        " FROM sized GROUP BY recipient)"
        f" SELECT new_key(key), {_MARK}, 0, 0, ifnull(messages, 0), ifnull(content, 0)"
        " FROM mailbox_client LEFT JOIN held ON recipient = key ORDER BY key",
    ),
    Table(
        "account",
        ("key", "id", "ed25519", "curve25519", "name", "generation", "highest_key", "bundle"),
        "SELECT key, id, ed25519, curve25519, name, generation, highest_key, bundle"
        " FROM account ORDER BY key",
    ),
    Table(
        "account_name",
        ("name", "skeleton", "account"),
        "SELECT name, skeleton, account FROM account_name ORDER BY name",
    ),
    Table(
        "account_token",
        ("digest",),
        "SELECT digest FROM account_token ORDER BY digest",
    ),
    Table(
        "account_prekey",
        ("account", "id", "key", "signature"),
        "SELECT account, id, key, signature FROM account_prekey"
        " WHERE account IN (SELECT key FROM account) ORDER BY account, id",
    ),
    Table(
        "account_mail",
        ("account", "sequence", "envelope_id", "hpke_key_id"),
        "SELECT account, sequence, envelope_id, hpke_key_id,"  # noqa: S608 - of constants
        f" length(sealed), CASE WHEN length(sealed) <= {PIECE_SIZE} THEN sealed END, place"
        # The sign keeps SQLite from finding them by account, and then sorting all that they hold.
        " FROM account_mail WHERE +account IN (SELECT key FROM account) ORDER BY place",
        content="sealed",
        parts=_blob_parts("account_mail", "sealed"),
    ),
    Table(
        "account_tombstone",
        ("account", "sequence", "envelope_id", "digest", "hour"),
        "SELECT account, sequence, envelope_id, digest, hour FROM account_tombstone"
        " WHERE +account IN (SELECT key FROM account) ORDER BY place",
    ),
    Table(
        "account_mailbox",
        ("account", "last_sequence", "messages", "content", "term"),
        "SELECT account, max(last_sequence, (SELECT ifnull(max(sequence), 0) FROM account_tombstone"
        " AS known WHERE known.account = box.account), (SELECT ifnull(max(sequence), 0)"
        " FROM account_mail AS mail WHERE mail.account = box.account)),"
        " (SELECT count(*) FROM account_mail AS mail WHERE mail.account = box.account),"
        " (SELECT ifnull(sum(length(sealed)), 0) FROM account_mail AS mail"
        " WHERE mail.account = box.account), term"
        " FROM account_mailbox AS box WHERE account IN (SELECT key FROM account) ORDER BY account",
    ),
    Table(
        "relay_meta",
        ("name", "value"),
        "SELECT name, value FROM (SELECT 'clients' AS name, count(*) AS value FROM mailbox_client"
        " UNION ALL SELECT name, value FROM mailbox_meta"
        " WHERE name IN ('last_deleted_sequence', 'last_deleted_term')) ORDER BY name",
        shared="name IN ('clients', 'last_deleted_sequence', 'last_deleted_term')",
    ),
)
"""What is moved, in this order. Indices and what is deleted anyway are not."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let no relay use a database meanwhile.

    :raises StoreUnusable: when one does, or there is no such database.
    """
    with unusable(path):
        if not path.is_file():
            raise StoreUnusable(f"{path}: there is no such file")
        # A lock that is made here is for the user that the relay runs as.
        check_owner(path)
    lock = DatabaseLock(path)
    try:
        yield
    finally:
        lock.release()


class Export:
    """A sound database of our version, as it is now.

    :ivar left: what is not moved.
    :ivar size: of the database, in bytes.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        with unusable(path):
            # Text is moved as it is.
            connection.text_factory = bytes
            connection.execute("BEGIN")
            self._keys = _read_keys(connection)
            connection.create_function("new_key", 1, self._new_key, deterministic=True)
            self.left = Left(
                *(_number(connection, f"SELECT count(*) FROM {rows}") for rows in _LEFT)  # noqa: S608 - of constants
            )
            pages = _number(connection, "PRAGMA page_count")
            self.size = pages * _number(connection, "PRAGMA page_size")

    def rows(self, table: Table, skipped: int = 0) -> Generator[Row, None, None]:
        """The rows of a table, but for so many of the first. To be closed. The content of one is
        to be read, if at all, before the next row.

        :raises StoreUnusable: when the database is damaged.
        """
        width = len(table.columns)
        with unusable(self._path), closing(self._connection.cursor()) as rows:
            rows.execute(f"{table.select} LIMIT -1 OFFSET ?", (skipped,))
            for row in rows:
                if table.parts is None:
                    yield row, None
                else:
                    content = self._content(table.parts, *row[width:])
                    with closing(content.parts):
                        yield row[:width], content

    def damaged(self) -> StoreUnusable:
        """What to say of rows that no relay has made."""
        return StoreUnusable(f"{self._path}: {WHY[sqlite3.SQLITE_CORRUPT]}")

    def _content(self, parts: _ReadParts, size: int, whole: bytes | None, place: int) -> Content:
        if whole is None:
            return Content(size, self._counted(size, parts(self._connection, place)))
        if len(whole) != size:
            raise self.damaged()
        return Content(size, (part for part in (whole,)))

    def _counted(self, size: int, parts: Parts) -> Parts:
        """The parts of a content, which have to be of its size together."""
        with unusable(self._path):
            for part in parts:
                size -= len(part)
                if size < 0:
                    break
                yield part
        if size:
            raise self.damaged()

    def _new_key(self, key: int) -> int:
        """Of the integer keys of clients there may be gaps here, but not there."""
        return 1 + bisect_left(self._keys, key)


@contextmanager
def exported(path: Path) -> Iterator[Export]:
    """Look closely at a database that is locked, and then read it.

    :raises StoreUnusable: when it is damaged, or not of our version.
    """
    _check_version(path, check_backup(path).schema)
    with closing(read_only(path)) as connection:
        yield Export(path, connection)


def _check_version(path: Path, version: int) -> None:
    if version == SCHEMA_VERSION:
        return
    if version > SCHEMA_VERSION:
        raise StoreUnusable(
            f"{path}: a newer messageu has made this database (version {version}, this one knows"
            f" {SCHEMA_VERSION}): bring this program up to date"
        )
    which = "of another server" if version == FOREIGN_VERSION else f"of version {version}"
    raise StoreUnusable(
        f"{path}: this database is {which}: start a relay on it once, which brings it to version"
        f" {SCHEMA_VERSION}"
    )


def _read_keys(connection: sqlite3.Connection) -> Sequence[int]:
    """The integer keys of all clients, in order: 8 bytes each, unless they have no gaps."""
    ((count, first, last),) = connection.execute(
        "SELECT count(*), ifnull(min(key), 1), ifnull(max(key), 0) FROM mailbox_client"
    )
    if (first, last) == (1, count):
        return range(1, count + 1)
    return array("q", (row[0] for row in connection.execute(_KEYS)))


_KEYS: Final = "SELECT key FROM mailbox_client ORDER BY key"

_LEFT: Final = (
    "quarantined_client",
    "quarantined_message",
    "mailbox_message WHERE recipient NOT IN (SELECT key FROM mailbox_client)",
    "account_mail WHERE account NOT IN (SELECT key FROM account)",
)


def _number(connection: sqlite3.Connection, statement: str) -> int:
    ((number,),) = connection.execute(statement)
    return int(number)
