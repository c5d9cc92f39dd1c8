"""The SQL of every operation on accounts, as plain functions of a cursor."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sqlite3 import Cursor

    from ._work import AccountRow, MailboxRow, MailRow, TombstoneRow

ROWS_A_STATEMENT: Final = (256, 64, 16, 4, 1)
"""Envelopes that one statement takes; what is left of them goes to the next smaller one. Few sizes,
so that all of them stay compiled."""

_LAST_DELETED_SEQUENCE: Final = "last_deleted_sequence"
_LAST_DELETED_TERM: Final = "last_deleted_term"


@contextmanager
def overwritten(cursor: Cursor) -> Iterator[None]:
    """What is deleted meanwhile is overwritten with zeros, also in pages that become free.

    Otherwise this connection overwrites only in pages that are written anyway: v2 deletes faster so.
    """
    cursor.execute("PRAGMA secure_delete = ON")
    try:
        yield
    finally:
        cursor.execute("PRAGMA secure_delete = FAST")


# Accounts and their names


def find_account(cursor: Cursor, account_id: bytes) -> AccountRow | None:
    """An account by its 16 bytes."""
    row: AccountRow | None = cursor.execute(
        "SELECT key, ed25519, curve25519, name, generation FROM account WHERE id = ?",
        (account_id,),
    ).fetchone()
    return row


def set_generation(cursor: Cursor, account: int, generation: bytes) -> None:
    """Keep a higher generation."""
    cursor.execute("UPDATE account SET generation = ? WHERE key = ?", (generation, account))


def is_skeleton_taken(cursor: Cursor, skeleton: str) -> bool:
    """Whether a name that looks like this was ever given out."""
    rows = cursor.execute("SELECT 1 FROM account_name WHERE skeleton = ?", (skeleton,))
    return rows.fetchone() is not None


def add_account(
    cursor: Cursor, account_id: bytes, keys: tuple[bytes, bytes], name: str, generation: bytes
) -> int:
    """Insert an account with an empty mailbox; its integer key, which nothing is left under of
    accounts that are gone."""
    ((account,),) = cursor.execute(
        "SELECT 1 + max(ifnull((SELECT max(key) FROM account), 0),"
        " ifnull((SELECT max(account) FROM account_rubbish), 0))"
    )
    cursor.execute(
        "INSERT INTO account (key, id, ed25519, curve25519, name, generation)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (account, account_id, *keys, name, generation),
    )
    cursor.execute(
        "INSERT INTO account_mailbox (account, last_sequence, messages, content, term)"
        " SELECT ?, sequence.value, 0, 0, term.value"
        " FROM mailbox_meta AS sequence CROSS JOIN mailbox_meta AS term"
        " WHERE sequence.name = ? AND term.name = ?",
        (account, _LAST_DELETED_SEQUENCE, _LAST_DELETED_TERM),
    )
    return int(account)


def add_name(cursor: Cursor, name: str, skeleton: str, account: int) -> None:
    """Give a name to an account."""
    cursor.execute(
        "INSERT INTO account_name (name, skeleton, account) VALUES (?, ?, ?)",
        (name, skeleton, account),
    )


def find_keys_of_name(cursor: Cursor, name: str) -> tuple[bytes, bytes] | None:
    """The two public keys of whoever has a name."""
    row: tuple[bytes, bytes] | None = cursor.execute(
        "SELECT ed25519, curve25519 FROM account_name JOIN account ON key = account"
        " WHERE account_name.name = ?",
        (name,),
    ).fetchone()
    return row


def release_name(cursor: Cursor, name: str) -> bool:
    """Forget a name that nobody has any more: whether it was one."""
    cursor.execute("DELETE FROM account_name WHERE name = ? AND account IS NULL", (name,))
    return cursor.rowcount > 0


def delete_account(cursor: Cursor, account: int, name: str) -> None:
    """Delete an account for good, but for its name. Its mail is to be deleted, after that."""
    with overwritten(cursor):
        cursor.execute("UPDATE account_name SET account = NULL WHERE name = ?", (name,))
        for value, mark in (
            ("last_sequence", _LAST_DELETED_SEQUENCE),
            ("term + 1", _LAST_DELETED_TERM),
        ):
            cursor.execute(
                "UPDATE mailbox_meta SET value = max(value,"  # noqa: S608 - of constants
                f" (SELECT {value} FROM account_mailbox WHERE account = ?)) WHERE name = ?",
                (account, mark),
            )
        cursor.execute("DELETE FROM account_prekey WHERE account = ?", (account,))
        cursor.execute("DELETE FROM account_mailbox WHERE account = ?", (account,))
        cursor.execute("DELETE FROM account WHERE key = ?", (account,))
        cursor.execute("INSERT INTO account_rubbish (account) VALUES (?)", (account,))


# Tokens


def add_token(cursor: Cursor, digest: bytes) -> None:
    """Keep a token's digest."""
    cursor.execute("INSERT OR IGNORE INTO account_token (digest) VALUES (?)", (digest,))


def has_token(cursor: Cursor, digest: bytes) -> bool:
    """Whether there is such a token."""
    rows = cursor.execute("SELECT 1 FROM account_token WHERE digest = ?", (digest,))
    return rows.fetchone() is not None


def delete_token(cursor: Cursor, digest: bytes) -> None:
    """Use a token up."""
    with overwritten(cursor):
        cursor.execute("DELETE FROM account_token WHERE digest = ?", (digest,))


# Prekeys


def find_published(
    cursor: Cursor, account_id: bytes
) -> tuple[int, bytes | None, bytes | None] | None:
    """An account's integer key, its bundle, and the highest id of its one-time keys ever."""
    row: tuple[int, bytes | None, bytes | None] | None = cursor.execute(
        "SELECT key, bundle, highest_key FROM account WHERE id = ?", (account_id,)
    ).fetchone()
    return row


def set_bundle(cursor: Cursor, account: int, bundle: bytes) -> None:
    """Keep a bundle in place of the one before."""
    cursor.execute("UPDATE account SET bundle = ? WHERE key = ?", (bundle, account))


def count_one_time_keys(cursor: Cursor, account: int, lowest: bytes = b"") -> int:
    """How many one-time keys of an account are left, from an id on; there are never many."""
    rows = cursor.execute(
        "SELECT count(*) FROM account_prekey WHERE account = ? AND id >= ?", (account, lowest)
    )
    (count,) = rows.fetchone()
    return int(count)


def drop_one_time_keys(cursor: Cursor, account: int, lowest: bytes) -> None:
    """Delete the one-time keys of an account whose ids are below one."""
    with overwritten(cursor):
        cursor.execute("DELETE FROM account_prekey WHERE account = ? AND id < ?", (account, lowest))


def add_one_time_keys(
    cursor: Cursor, account: int, keys: Sequence[tuple[bytes, bytes, bytes]]
) -> None:
    """Insert ids, keys and signatures, of ids above all that were published before."""
    cursor.executemany(
        "INSERT INTO account_prekey (account, id, key, signature) VALUES (?, ?, ?, ?)",
        ((account, *key) for key in keys),
    )
    highest = max(key_id for key_id, _, _ in keys)
    cursor.execute("UPDATE account SET highest_key = ? WHERE key = ?", (highest, account))


def take_one_time_key(cursor: Cursor, account: int) -> tuple[bytes, bytes, bytes] | None:
    """Use up the one-time key of the lowest id: its id, key and signature."""
    row: tuple[bytes, bytes, bytes] | None = cursor.execute(
        "SELECT id, key, signature FROM account_prekey WHERE account = ? ORDER BY id LIMIT 1",
        (account,),
    ).fetchone()
    if row is not None:
        with overwritten(cursor):
            cursor.execute(
                "DELETE FROM account_prekey WHERE account = ? AND id = ?", (account, row[0])
            )
    return row


# Mail


def find_term(cursor: Cursor, account_id: bytes) -> tuple[int, int] | None:
    """An account's integer key, and the term of the subscription that has its mailbox."""
    row: tuple[int, int] | None = cursor.execute(
        "SELECT account, term FROM account JOIN account_mailbox ON account = key WHERE id = ?",
        (account_id,),
    ).fetchone()
    return row


def set_term(cursor: Cursor, account: int, term: int) -> None:
    """Give a mailbox to the subscription of a term."""
    cursor.execute("UPDATE account_mailbox SET term = ? WHERE account = ?", (term, account))


def find_mailboxes(cursor: Cursor, account_ids: Sequence[bytes]) -> Mapping[bytes, MailboxRow]:
    """The mailboxes of those of these accounts that there are, by their ids."""
    found = {}
    for account_id in account_ids:
        row: MailboxRow | None = cursor.execute(
            "SELECT account, last_sequence, messages, content"
            " FROM account JOIN account_mailbox ON account = key WHERE id = ?",
            (account_id,),
        ).fetchone()
        if row is not None:
            found[account_id] = row
    return found


def find_tombstones(
    cursor: Cursor, envelopes: Sequence[tuple[int, bytes]]
) -> Mapping[tuple[int, bytes], tuple[bytes, int]]:
    """Which of these recipients were sent these envelope ids before: the digests and sequences."""
    found = {}
    for some in _in_steps(envelopes):
        values = ", ".join(["(?, ?)"] * len(some))
        # The list leads, whatever SQLite would think of that.
        rows = cursor.execute(
            "SELECT account, envelope_id, digest, sequence"  # noqa: S608 - of constants
            f" FROM (VALUES {values}) AS asked CROSS JOIN account_tombstone"
            " ON account = column1 AND envelope_id = column2",
            tuple(chain.from_iterable(some)),
        )
        for account, envelope_id, digest, sequence in rows:
            found[account, envelope_id] = digest, sequence
    return found


def last_place(cursor: Cursor) -> int:
    """The place of what has arrived last and is remembered. A place is free for another when
    nothing is left of its mail, and then of its memory."""
    ((place,),) = cursor.execute("SELECT ifnull(max(place), 0) FROM account_tombstone")
    return int(place)


def store_mail(
    cursor: Cursor,
    mail: Sequence[MailRow],
    tombstones: Sequence[TombstoneRow],
    mailboxes: Sequence[tuple[int, int, int, int]],
) -> None:
    """Insert mail, and the memory of it; many rows a statement, for the reason that v2 has. Keep what
    the mailboxes hold then: last sequences, messages, bytes, and whose they are."""
    for table, rows in (("account_mail", mail), ("account_tombstone", tombstones)):
        for some in _in_steps(rows):
            values = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(some))
            cursor.execute(
                f"INSERT INTO {table} VALUES {values}",  # noqa: S608 - of constants
                tuple(chain.from_iterable(some)),
            )
    cursor.executemany(
        "UPDATE account_mailbox SET last_sequence = ?, messages = ?, content = ? WHERE account = ?",
        mailboxes,
    )


def list_waiting(
    cursor: Cursor, account: int, after: int, limit: int
) -> Generator[tuple[int, int], None, None]:
    """Sequences and sizes of what waits behind a place, in order: what is sealed is not read."""
    with closing(cursor.connection.cursor()) as rows:
        yield from rows.execute(
            "SELECT sequence, length(sealed) FROM account_mail"
            " WHERE account = ? AND sequence > ? ORDER BY sequence LIMIT ?",
            (account, after, limit),
        )


def read_mail(
    cursor: Cursor, account: int, first: int, last: int
) -> Iterable[tuple[int, bytes, int, bytes]]:
    """Sequences, envelope ids, HPKE key ids and what is sealed, from one sequence to another."""
    return cursor.execute(
        "SELECT sequence, envelope_id, hpke_key_id, sealed FROM account_mail"
        " WHERE account = ? AND sequence >= ? AND sequence <= ? ORDER BY sequence",
        (account, first, last),
    )


def list_mail(
    cursor: Cursor, account: int, sequences: Sequence[int]
) -> Sequence[tuple[int, int, int]]:
    """Places, sequences and sizes of those of these that are there, in order."""
    return cursor.execute(
        "SELECT place, sequence, length(sealed) FROM account_mail"
        " WHERE account = ? AND sequence IN (SELECT value FROM json_each(?)) ORDER BY sequence",
        (account, json.dumps(sequences)),
    ).fetchall()


def list_older(cursor: Cursor, hour: int, limit: int) -> Sequence[tuple[int, int, int | None]]:
    """Places and accounts of what came before an hour, the oldest first, and the sizes of what
    still waits of it."""
    return cursor.execute(
        "SELECT tombstone.place, tombstone.account, length(sealed)"
        " FROM account_tombstone AS tombstone LEFT JOIN account_mail USING (place)"
        " WHERE hour < ? ORDER BY hour, tombstone.place LIMIT ?",
        (hour, limit),
    ).fetchall()


def find_rubbish(cursor: Cursor) -> int | None:
    """An account that is gone and whose mail may not be."""
    row = cursor.execute("SELECT account FROM account_rubbish LIMIT 1").fetchone()
    return None if row is None else int(row[0])


def list_rubbish(cursor: Cursor, account: int, limit: int) -> Sequence[tuple[int, int, int | None]]:
    """Places of what is left of an account that is gone, the account, and the sizes of mail."""
    return cursor.execute(
        "SELECT tombstone.place, tombstone.account, length(sealed)"
        " FROM account_tombstone AS tombstone LEFT JOIN account_mail USING (place)"
        " WHERE tombstone.account = ? LIMIT ?",
        (account, limit),
    ).fetchall()


def delete_rubbish(cursor: Cursor, account: int) -> None:
    """Nothing is left of an account."""
    cursor.execute("DELETE FROM account_rubbish WHERE account = ?", (account,))


def delete_mail(cursor: Cursor, places: Sequence[int]) -> None:
    """Delete mail for good. The memory of it stays."""
    _delete_places(cursor, "account_mail", places)


def delete_tombstones(cursor: Cursor, places: Sequence[int]) -> None:
    """Delete the memory of mail that is gone."""
    _delete_places(cursor, "account_tombstone", places)


def take_from_mailboxes(cursor: Cursor, rows: Iterable[tuple[int, int, int]]) -> None:
    """So many messages and bytes less are in mailboxes, whose integer keys come last."""
    cursor.executemany(
        "UPDATE account_mailbox SET messages = messages - ?, content = content - ?"
        " WHERE account = ?",
        rows,
    )


def _delete_places(cursor: Cursor, table: str, places: Sequence[int]) -> None:
    if places:
        with overwritten(cursor):
            cursor.execute(
                f"DELETE FROM {table} WHERE place IN (SELECT value FROM json_each(?))",  # noqa: S608 - of constants
                (json.dumps(places),),
            )


def _in_steps(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    start, end = 0, len(rows)
    for size in ROWS_A_STATEMENT:
        while end - start >= size:
            yield rows[start : start + size]
            start += size
