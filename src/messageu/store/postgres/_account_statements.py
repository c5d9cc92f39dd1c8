"""The SQL of every operation on accounts, as plain functions of a cursor.

That what is deleted is overwritten, as in SQLite, is not to be had here: rows stay on the disk until
the server needs their place, and in its log for as long as that is kept.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ._statements import ERA_BITS, MAIL_EXPIRY_LOCK, may_expire

if TYPE_CHECKING:
    from ..v3 import AccountRow, MailboxRow, MailRow, TombstoneRow
    from ._engine import Cursor

Place: TypeAlias = tuple[int, int, bytes]
"""Where an envelope is: account, sequence, envelope id, which is empty where nobody asks for it."""

_LAST_DELETED_SEQUENCE: Final = "last_deleted_sequence"
_LAST_DELETED_TERM: Final = "last_deleted_term"


def lock_accounts(cursor: Cursor, account_ids: Sequence[bytes]) -> None:
    """Lock accounts, those of the lowest keys first."""
    cursor.execute(
        "SELECT 1 FROM account JOIN account_mailbox ON account = key WHERE id = ANY(%s)"
        " ORDER BY key FOR NO KEY UPDATE OF account_mailbox",
        (account_ids,),
    )


# Accounts and their names


def find_account(cursor: Cursor, account_id: bytes) -> AccountRow | None:
    """An account by its 16 bytes."""
    cursor.execute(
        "SELECT key, ed25519, curve25519, name, generation FROM account WHERE id = %s",
        (account_id,),
    )
    return cursor.fetchone()


def set_generation(cursor: Cursor, account: int, generation: bytes) -> None:
    """Keep a higher generation."""
    cursor.execute("UPDATE account SET generation = %s WHERE key = %s", (generation, account))


def is_skeleton_taken(cursor: Cursor, skeleton: str) -> bool:
    """Whether a name that looks like this was ever given out."""
    cursor.execute("SELECT 1 FROM account_name WHERE skeleton = %s", (skeleton,))
    return cursor.fetchone() is not None


def add_account(
    cursor: Cursor, account_id: bytes, keys: tuple[bytes, bytes], name: str, generation: bytes
) -> int:
    """Insert an account with an empty mailbox; its integer key, which never comes again."""
    cursor.execute(
        "INSERT INTO account (id, ed25519, curve25519, name, generation)"
        " VALUES (%s, %s, %s, %s, %s) RETURNING key",
        (account_id, *keys, name, generation),
    )
    account = int(_value(cursor))
    cursor.execute(
        "INSERT INTO account_mailbox (account, last_sequence, messages, content, term)"
        " SELECT %s, sequence.value, 0, 0, term.value"
        " FROM relay_meta AS sequence CROSS JOIN relay_meta AS term"
        " WHERE sequence.name = %s AND term.name = %s",
        (account, _LAST_DELETED_SEQUENCE, _LAST_DELETED_TERM),
    )
    return account


def add_name(cursor: Cursor, name: str, skeleton: str, account: int) -> None:
    """Give a name to an account."""
    cursor.execute(
        "INSERT INTO account_name (name, skeleton, account) VALUES (%s, %s, %s)",
        (name, skeleton, account),
    )


def find_keys_of_name(cursor: Cursor, name: str) -> tuple[bytes, bytes] | None:
    """The two public keys of whoever has a name."""
    cursor.execute(
        "SELECT ed25519, curve25519 FROM account_name JOIN account ON key = account"
        " WHERE account_name.name = %s",
        (name,),
    )
    return cursor.fetchone()


def release_name(cursor: Cursor, name: str) -> bool:
    """Forget a name that nobody has any more: whether it was one."""
    cursor.execute("DELETE FROM account_name WHERE name = %s AND account IS NULL", (name,))
    return cursor.rowcount > 0


def delete_account(cursor: Cursor, account: int, name: str) -> None:
    """Delete an account for good, but for its name. Its mail is to be deleted, after that."""
    cursor.execute("UPDATE account_name SET account = NULL WHERE name = %s", (name,))
    for value, mark in (
        ("last_sequence", _LAST_DELETED_SEQUENCE),
        ("term + 1", _LAST_DELETED_TERM),
    ):
        cursor.execute(
            "UPDATE relay_meta SET value = greatest(value,"  # noqa: S608 - of constants
            f" (SELECT {value} FROM account_mailbox WHERE account = %s)) WHERE name = %s",
            (account, mark),
        )
    for table, column in (
        ("account_prekey", "account"),
        ("account_mailbox", "account"),
        ("account", "key"),
    ):
        cursor.execute(f"DELETE FROM {table} WHERE {column} = %s", (account,))  # noqa: S608 - of constants
    cursor.execute("INSERT INTO account_rubbish (account) VALUES (%s)", (account,))


# Tokens


def add_token(cursor: Cursor, digest: bytes) -> None:
    """Keep a token's digest."""
    cursor.execute(
        "INSERT INTO account_token (digest) VALUES (%s) ON CONFLICT DO NOTHING", (digest,)
    )


def has_token(cursor: Cursor, digest: bytes) -> bool:
    """Whether there is such a token."""
    cursor.execute("SELECT 1 FROM account_token WHERE digest = %s", (digest,))
    return cursor.fetchone() is not None


def delete_token(cursor: Cursor, digest: bytes) -> None:
    """Use a token up."""
    cursor.execute("DELETE FROM account_token WHERE digest = %s", (digest,))


# Prekeys


def find_published(
    cursor: Cursor, account_id: bytes
) -> tuple[int, bytes | None, bytes | None] | None:
    """An account's integer key, its bundle, and the highest id of its one-time keys ever."""
    cursor.execute("SELECT key, bundle, highest_key FROM account WHERE id = %s", (account_id,))
    return cursor.fetchone()


def set_bundle(cursor: Cursor, account: int, bundle: bytes) -> None:
    """Keep a bundle in place of the one before."""
    cursor.execute("UPDATE account SET bundle = %s WHERE key = %s", (bundle, account))


def count_one_time_keys(cursor: Cursor, account: int, lowest: bytes = b"") -> int:
    """How many one-time keys of an account are left, from an id on; there are never many."""
    cursor.execute(
        "SELECT count(*) FROM account_prekey WHERE account = %s AND id >= %s", (account, lowest)
    )
    return int(_value(cursor))


def drop_one_time_keys(cursor: Cursor, account: int, lowest: bytes) -> None:
    """Delete the one-time keys of an account whose ids are below one."""
    cursor.execute("DELETE FROM account_prekey WHERE account = %s AND id < %s", (account, lowest))


def add_one_time_keys(
    cursor: Cursor, account: int, keys: Sequence[tuple[bytes, bytes, bytes]]
) -> None:
    """Insert ids, keys and signatures, of ids above all that were published before."""
    cursor.execute(
        "INSERT INTO account_prekey (account, id, key, signature)"
        " SELECT %s, * FROM unnest(%b::bytea[], %b::bytea[], %b::bytea[])",
        (account, *map(list, zip(*keys, strict=True))),
    )
    highest = max(key_id for key_id, _, _ in keys)
    cursor.execute("UPDATE account SET highest_key = %s WHERE key = %s", (highest, account))


def take_one_time_key(cursor: Cursor, account: int) -> tuple[bytes, bytes, bytes] | None:
    """Use up the one-time key of the lowest id: its id, key and signature."""
    cursor.execute(
        "DELETE FROM account_prekey WHERE account = %s AND id = (SELECT min(id)"
        " FROM account_prekey WHERE account = %s) RETURNING id, key, signature",
        (account, account),
    )
    return cursor.fetchone()


# Mail


def find_term(cursor: Cursor, account_id: bytes) -> tuple[int, int] | None:
    """An account's integer key, and the term of the subscription that has its mailbox."""
    cursor.execute(
        "SELECT account, term FROM account JOIN account_mailbox ON account = key WHERE id = %s",
        (account_id,),
    )
    return cursor.fetchone()


def set_term(cursor: Cursor, account: int, term: int) -> None:
    """Give a mailbox to the subscription of a term."""
    cursor.execute("UPDATE account_mailbox SET term = %s WHERE account = %s", (term, account))


def find_mailboxes(cursor: Cursor, account_ids: Sequence[bytes]) -> Mapping[bytes, MailboxRow]:
    """The mailboxes of those of these accounts that there are, by their ids. Locked: one that was
    made since the others were is not, so far."""
    cursor.execute(
        "SELECT id, account, greatest(last_sequence,"  # noqa: S608 - of constants
        f" (SELECT value << {ERA_BITS} FROM relay_meta WHERE name = 'era')), messages, content"
        " FROM account JOIN account_mailbox ON account = key WHERE id = ANY(%s)"
        " ORDER BY key FOR NO KEY UPDATE OF account_mailbox",
        (list(account_ids),),
    )
    return {row[0]: row[1:] for row in cursor.fetchall()}


def take_from_mailboxes(cursor: Cursor, rows: Sequence[tuple[int, int, int]]) -> None:
    """So many messages and bytes less are in mailboxes, whose integer keys come last."""
    if rows:
        cursor.execute(
            "UPDATE account_mailbox SET messages = account_mailbox.messages - gone.messages,"
            " content = account_mailbox.content - gone.content"
            " FROM unnest(%b::bigint[], %b::bigint[], %b::bigint[])"
            " AS gone (messages, content, account) WHERE account_mailbox.account = gone.account",
            _columns(rows),
        )


def find_tombstones(
    cursor: Cursor, envelopes: Sequence[tuple[int, bytes]]
) -> Mapping[tuple[int, bytes], tuple[bytes, int]]:
    """Which of these recipients were sent these envelope ids before: the digests and sequences."""
    if not envelopes:
        return {}
    cursor.execute(
        "SELECT account, envelope_id, digest, sequence FROM account_tombstone"
        " JOIN unnest(%b::bigint[], %b::bytea[]) AS asked (account, envelope_id)"
        " USING (account, envelope_id)",
        _columns(envelopes),
    )
    return {(row[0], row[1]): (row[2], row[3]) for row in cursor.fetchall()}


def last_place(_: Cursor) -> int:
    """Nobody counts places here: an envelope is found by its account and sequence."""
    return 0


def store_mail(
    cursor: Cursor,
    mail: Sequence[MailRow],
    tombstones: Sequence[TombstoneRow],
    mailboxes: Sequence[tuple[int, int, int, int]],
) -> None:
    """Insert mail, and the memory of it. Keep what the mailboxes hold then: last sequences, messages,
    bytes, and whose they are. One statement: each is a wait for the server."""
    cursor.execute(
        "WITH mail AS (INSERT INTO account_mail"
        " (account, sequence, envelope_id, hpke_key_id, sealed) SELECT * FROM"
        " unnest(%b::bigint[], %b::bigint[], %b::bytea[], %b::bigint[], %b::bytea[])),"
        " memory AS (INSERT INTO account_tombstone"
        " (account, sequence, envelope_id, digest, hour) SELECT * FROM"
        " unnest(%b::bigint[], %b::bigint[], %b::bytea[], %b::bytea[], %b::bigint[]))"
        " UPDATE account_mailbox SET last_sequence = new.last_sequence, messages = new.messages,"
        " content = new.content FROM unnest(%b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[])"
        " AS new (last_sequence, messages, content, account)"
        " WHERE account_mailbox.account = new.account",
        (*_columns(mail)[1:], *_columns(tombstones)[1:], *_columns(mailboxes)),
    )


def list_waiting(
    cursor: Cursor, account: int, after: int, limit: int
) -> Generator[tuple[int, int], None, None]:
    """Sequences and sizes of what waits behind a place, in order: what is sealed is not read."""
    cursor.execute(
        "SELECT sequence, octet_length(sealed) FROM account_mail"
        " WHERE account = %s AND sequence > %s ORDER BY sequence LIMIT %s",
        (account, after, limit),
    )
    yield from cursor.fetchall()


def read_mail(
    cursor: Cursor, account: int, first: int, last: int
) -> Iterable[tuple[int, bytes, int, bytes]]:
    """Sequences, envelope ids, HPKE key ids and what is sealed, from one sequence to another."""
    cursor.execute(
        "SELECT sequence, envelope_id, hpke_key_id, sealed FROM account_mail"
        " WHERE account = %s AND sequence BETWEEN %s AND %s ORDER BY sequence",
        (account, first, last),
        binary=True,
    )
    return cursor.fetchall()


def list_mail(
    cursor: Cursor, account: int, sequences: Sequence[int]
) -> Sequence[tuple[Place, int, int]]:
    """Places, sequences and sizes of those of these that are there, in order."""
    cursor.execute(
        "SELECT sequence, octet_length(sealed) FROM account_mail"
        " WHERE account = %s AND sequence = ANY(%b::bigint[]) ORDER BY sequence",
        (account, list(sequences)),
    )
    return [((account, sequence, b""), sequence, size) for sequence, size in cursor.fetchall()]


def list_older(cursor: Cursor, hour: int, limit: int) -> Sequence[tuple[Place, int, int | None]]:
    """Places and accounts of what came before an hour, the oldest first, and the sizes of what
    still waits of it. Their mailboxes are locked. Nothing, while another relay does this."""
    if not may_expire(cursor, MAIL_EXPIRY_LOCK):
        return ()
    cursor.execute(
        "SELECT DISTINCT account FROM (SELECT account FROM account_tombstone WHERE hour < %s"
        " ORDER BY hour, account LIMIT %s) AS oldest",
        (hour, limit),
    )
    accounts = [account for (account,) in cursor.fetchall()]
    if not accounts:
        return ()
    cursor.execute(
        "SELECT 1 FROM account_mailbox WHERE account = ANY(%s) ORDER BY account FOR NO KEY UPDATE",
        (accounts,),
    )
    return _list_remembered(
        cursor, "hour < %s AND tombstone.account = ANY(%s)", (hour, accounts), limit
    )


def find_rubbish(cursor: Cursor) -> int | None:
    """An account that is gone and whose mail may not be, that no other relay clears."""
    cursor.execute("SELECT account FROM account_rubbish LIMIT 1 FOR UPDATE SKIP LOCKED")
    row = cursor.fetchone()
    return None if row is None else int(row[0])


def list_rubbish(
    cursor: Cursor, account: int, limit: int
) -> Sequence[tuple[Place, int, int | None]]:
    """Places of what is left of an account that is gone, the account, and the sizes of mail."""
    return _list_remembered(cursor, "tombstone.account = %s", (account,), limit)


def delete_rubbish(cursor: Cursor, account: int) -> None:
    """Nothing is left of an account."""
    cursor.execute("DELETE FROM account_rubbish WHERE account = %s", (account,))


def delete_mail(cursor: Cursor, places: Sequence[Place]) -> None:
    """Delete mail for good. The memory of it stays."""
    if places:
        cursor.execute(
            "DELETE FROM account_mail USING unnest(%b::bigint[], %b::bigint[])"
            " AS gone (account, sequence) WHERE account_mail.account = gone.account"
            " AND account_mail.sequence = gone.sequence",
            _columns(places)[:2],
        )


def delete_tombstones(cursor: Cursor, places: Sequence[Place]) -> None:
    """Delete the memory of mail that is gone."""
    if places:
        accounts, _, envelope_ids = _columns(places)
        cursor.execute(
            "DELETE FROM account_tombstone USING unnest(%b::bigint[], %b::bytea[])"
            " AS gone (account, envelope_id) WHERE account_tombstone.account = gone.account"
            " AND account_tombstone.envelope_id = gone.envelope_id",
            (accounts, envelope_ids),
        )


def _list_remembered(
    cursor: Cursor, condition: str, values: tuple[Any, ...], limit: int
) -> Sequence[tuple[Place, int, int | None]]:
    cursor.execute(
        "SELECT tombstone.account, tombstone.sequence, tombstone.envelope_id, octet_length(sealed)"  # noqa: S608 - of constants
        " FROM account_tombstone AS tombstone LEFT JOIN account_mail AS mail"
        " ON mail.account = tombstone.account AND mail.sequence = tombstone.sequence"
        f" WHERE {condition} ORDER BY hour, tombstone.account LIMIT %s",
        (*values, limit),
    )
    return [
        ((account, sequence, envelope_id), account, size)
        for account, sequence, envelope_id, size in cursor.fetchall()
    ]


def _columns(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    return tuple(map(list, zip(*rows, strict=True)))


def _value(cursor: Cursor) -> Any:
    row = cursor.fetchone()
    assert row is not None  # noqa: S101 - such a statement has one row
    return row[0]
