"""The SQL of every operation on v2's mailboxes, as plain functions of a cursor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from ._engine import Cursor
    from ._work import Mailbox

LEASE_LIFE: Final = 60
"""Seconds that a lease pins its messages since it was last read, by the database's clock."""

LEASE_GRACE: Final = 10
"""Seconds for which others respect it longer, so that nobody reads what somebody deletes: more than
a statement can take, which may not see that a lease was renewed after it began."""

LEASE_MEMORY: Final = 3_600
"""Seconds after which a lease that pins nothing any more is forgotten: until then it can be settled."""

SILENCE: Final = 30
"""Seconds after which a relay that has not been heard of is none of those who share the database."""

FORGOTTEN: Final = 86_400
"""Seconds after which nothing is left of it."""

ERA_BITS: Final = 40
"""Sequences of accounts' mail have the number of failovers above so many bits."""

EXPIRY_LOCK: Final = 0x6D657870
"""The number of the advisory lock of whoever lets old messages of v2 expire."""

MAIL_EXPIRY_LOCK: Final = EXPIRY_LOCK + 1
"""The same for mail of v3: both expire at the same time."""

MailboxRow: TypeAlias = tuple[int, int, int, int, int, int]
"""A mailbox: client, last sequence, settled, epoch, messages, content."""

Head: TypeAlias = tuple[int, bytes, int, int]
"""A message without its content: sequence, sender, type, size."""

MessageRow: TypeAlias = tuple[int, int, bytes, int, float, int, bytes]
"""A message to come: recipient's key, sequence, sender, type, time of arrival, size, content."""

_HELD: Final = (
    "EXISTS (SELECT 1 FROM mailbox_lease AS lease WHERE client = recipient"  # noqa: S608 - of constants
    " AND sequence BETWEEN lease.first AND lease.last"
    f" AND until > clock_timestamp() - interval '{LEASE_GRACE} seconds')"
)

_TIMELINE: Final = "('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint"
"""The server's own number for its history, which is another one after each promotion."""


# The server


def begin_timeline(cursor: Cursor) -> None:
    """This is the server on which all begins."""
    cursor.execute(
        f"INSERT INTO relay_meta (name, value) VALUES ('timeline', {_TIMELINE}), ('era', 0)"  # noqa: S608 - of constants
    )


def note_timeline(cursor: Cursor) -> None:
    """If this server goes on where another one was lost, begin an era: sequences that come are
    above all that anybody may have seen there, and that are unknown here."""
    cursor.execute(f"SELECT value = {_TIMELINE} FROM relay_meta WHERE name = 'timeline'")  # noqa: S608
    if cursor.fetchone() != (False,):
        return
    # Whoever comes later looks again.
    cursor.execute("SELECT 1 FROM relay_meta WHERE name = 'timeline' FOR UPDATE")
    cursor.execute(
        f"UPDATE relay_meta SET value = CASE name WHEN 'timeline' THEN {_TIMELINE}"  # noqa: S608
        " ELSE value + 1 END WHERE name IN ('timeline', 'era') AND EXISTS (SELECT 1"
        f" FROM relay_meta WHERE name = 'timeline' AND value <> {_TIMELINE})"
    )


# Clients


def lock_registry(cursor: Cursor) -> None:
    """Let nobody else make or delete clients or accounts until this transaction has ended."""
    cursor.execute("SELECT value FROM relay_meta WHERE name = 'clients' FOR NO KEY UPDATE")


def find_clients(cursor: Cursor, ids: Sequence[bytes]) -> Mapping[bytes, int]:
    """The integer keys of those of these clients that there are."""
    cursor.execute("SELECT id, key FROM mailbox_client WHERE id = ANY(%s)", (ids,))
    return dict(cursor.fetchall())


def is_name_taken(cursor: Cursor, name: str) -> bool:
    """Whether a client has this name, byte for byte."""
    cursor.execute("SELECT 1 FROM mailbox_client WHERE name = %s", (name,))
    return cursor.fetchone() is not None


def add_client(
    cursor: Cursor, client_id: bytes, name: str, public_key: bytes, last_seen: float
) -> int:
    """Insert a client with an empty mailbox; its integer key, which is the next one."""
    cursor.execute(
        "WITH registry AS (UPDATE relay_meta SET value = value + 1 WHERE name = 'clients'"
        " RETURNING value), box AS (INSERT INTO mailbox (client) SELECT value FROM registry)"
        " INSERT INTO mailbox_client (key, id, name, public_key, last_seen)"
        " SELECT value, %s, %s, %s, %s FROM registry RETURNING key",
        (client_id, name, public_key, last_seen),
    )
    return _number(cursor)


def find_public_key(cursor: Cursor, client_id: bytes) -> bytes | None:
    """The key that a client published."""
    cursor.execute("SELECT public_key FROM mailbox_client WHERE id = %s", (client_id,))
    row = cursor.fetchone()
    return None if row is None else bytes(row[0])


def count_clients(cursor: Cursor) -> int:
    """How many clients there are, which is the key of the newest."""
    cursor.execute("SELECT value FROM relay_meta WHERE name = 'clients'")
    return _number(cursor)


def list_clients(
    cursor: Cursor, requester: bytes, after: int, last: int, limit: int
) -> Sequence[tuple[int, bytes, str]]:
    """Keys, ids and names of clients but one, in order of registration."""
    cursor.execute(
        "SELECT key, id, name FROM mailbox_client"
        " WHERE key > %s AND key <= %s AND id <> %s ORDER BY key LIMIT %s",
        (after, last, requester, limit),
    )
    return cursor.fetchall()


def set_last_seen(cursor: Cursor, seen: Mapping[bytes, float]) -> None:
    """Write when clients were last heard of, but for those that somebody else writes just now."""
    cursor.execute(
        "WITH seen AS (SELECT key, time FROM unnest(%b::bytea[], %b::float8[]) AS given (id, time)"
        " JOIN mailbox_client USING (id) ORDER BY key FOR NO KEY UPDATE OF mailbox_client SKIP LOCKED)"
        " UPDATE mailbox_client SET last_seen = greatest(last_seen, time) FROM seen"
        " WHERE mailbox_client.key = seen.key",
        (list(seen), list(seen.values())),
    )


# Mailboxes


def find_waiting(cursor: Cursor, clients: Sequence[int]) -> Sequence[int]:
    """In which of these mailboxes something waits."""
    cursor.execute(
        "SELECT client FROM mailbox WHERE client = ANY(%s) AND EXISTS (SELECT 1 FROM mailbox_message"
        " WHERE recipient = client AND sequence > settled AND expired IS NULL)",
        (clients,),
    )
    return [client for (client,) in cursor.fetchall()]


def lock_mailboxes(cursor: Cursor, clients: Sequence[int]) -> Iterable[MailboxRow]:
    """Lock mailboxes, those of the lowest keys first, and read them."""
    cursor.execute(
        "SELECT client, last_sequence, settled, epoch, messages, content FROM mailbox"
        " WHERE client = ANY(%s) ORDER BY client FOR NO KEY UPDATE",
        (clients,),
    )
    return cursor.fetchall()


_WRITE_MAILBOXES: Final = (
    "UPDATE mailbox SET last_sequence = new.last_sequence, settled = new.settled,"
    " epoch = new.epoch, messages = new.messages, content = new.content"
    " FROM unnest(%b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[],"
    " %b::bigint[]) AS new (client, last_sequence, settled, epoch, messages, content)"
    " WHERE mailbox.client = new.client"
)


def write_mailboxes(cursor: Cursor, mailboxes: Sequence[Mailbox]) -> None:
    """Put what these mailboxes hold into the database."""
    cursor.execute(_WRITE_MAILBOXES, _columns_of(mailboxes))


def _columns_of(mailboxes: Sequence[Mailbox]) -> tuple[list[int], ...]:
    return (
        [each.client for each in mailboxes],
        [each.last_sequence for each in mailboxes],
        [each.settled for each in mailboxes],
        [each.epoch for each in mailboxes],
        [each.messages for each in mailboxes],
        [each.content for each in mailboxes],
    )


# Messages


def store_messages(
    cursor: Cursor, rows: Sequence[MessageRow], mailboxes: Sequence[Mailbox]
) -> None:
    """Insert messages, and keep what their mailboxes hold then. One statement: each is a wait for the
    server."""
    cursor.execute(
        "WITH messages AS (INSERT INTO mailbox_message"  # noqa: S608 - of constants
        " (recipient, sequence, sender, type, stored_at, size, content) SELECT * FROM"
        " unnest(%b::bigint[], %b::bigint[], %b::bytea[], %b::smallint[], %b::float8[],"
        f" %b::integer[], %b::bytea[])) {_WRITE_MAILBOXES}",
        (*map(list, zip(*rows, strict=True)), *_columns_of(mailboxes)),
    )


def list_heads(cursor: Cursor, client: int, after: int, limit: int) -> Sequence[Head]:
    """The oldest of what waits behind a sequence, without content."""
    cursor.execute(
        "SELECT sequence, sender, type, size FROM mailbox_message"
        " WHERE recipient = %s AND sequence > %s AND expired IS NULL ORDER BY sequence LIMIT %s",
        (client, after, limit),
    )
    return cursor.fetchall()


def list_leased(
    cursor: Cursor, client: int, span: tuple[int, int], epoch: int, limit: int
) -> Sequence[Head]:
    """The oldest messages from one sequence to another, as a lease of an epoch has them."""
    cursor.execute(
        "SELECT sequence, sender, type, size FROM mailbox_message"
        " WHERE recipient = %s AND sequence BETWEEN %s AND %s AND (expired IS NULL OR expired > %s)"
        " ORDER BY sequence LIMIT %s",
        (client, *span, epoch, limit),
    )
    return cursor.fetchall()


def read_contents(cursor: Cursor, client: int, sequences: Sequence[int]) -> Mapping[int, bytes]:
    """The contents of messages."""
    cursor.execute(
        "SELECT sequence, content FROM mailbox_message"
        " WHERE recipient = %s AND sequence = ANY(%b::bigint[])",
        (client, sequences),
        binary=True,
    )
    return dict(cursor.fetchall())


def read_part(cursor: Cursor, client: int, sequence: int, offset: int, size: int) -> bytes:
    """A part of a content; less of it when it is not there."""
    cursor.execute(
        "SELECT substring(content FROM %s FOR %s) FROM mailbox_message"
        " WHERE recipient = %s AND sequence = %s",
        (offset + 1, size, client, sequence),
        binary=True,
    )
    row = cursor.fetchone()
    return b"" if row is None else bytes(row[0])


# Leases


def add_lease(
    cursor: Cursor, number: int, relay: str, client: int, span: tuple[int, int], epoch: int
) -> None:
    """Pin the messages from one sequence to another."""
    cursor.execute(
        "INSERT INTO mailbox_lease (number, relay, client, first, last, epoch, until)"
        " VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp() + %s * interval '1 second')",
        (number, relay, client, *span, epoch, LEASE_LIFE),
    )


def find_lease(cursor: Cursor, number: int) -> tuple[int, int, int, int, bool] | None:
    """What a lease pins, if it still does: client, first and last sequence, epoch; whether to renew
    it."""
    cursor.execute(
        "SELECT client, first, last, epoch, until < clock_timestamp() + %s * interval '1 second'"
        " FROM mailbox_lease WHERE number = %s AND until > clock_timestamp()",
        (LEASE_LIFE / 2, number),
    )
    return cursor.fetchone()


def renew_lease(cursor: Cursor, number: int) -> bool:
    """Pin for longer: whether it was not too late."""
    cursor.execute(
        "UPDATE mailbox_lease SET until = clock_timestamp() + %s * interval '1 second'"
        " WHERE number = %s AND until > clock_timestamp()",
        (LEASE_LIFE, number),
    )
    return cursor.rowcount > 0


def end_lease(cursor: Cursor, number: int) -> int | None:
    """End a lease: its last sequence; None when it has ended before."""
    cursor.execute("DELETE FROM mailbox_lease WHERE number = %s RETURNING last", (number,))
    row = cursor.fetchone()
    return None if row is None else int(row[0])


def end_leases(cursor: Cursor, relay: str) -> None:
    """End all leases of a relay."""
    cursor.execute("DELETE FROM mailbox_lease WHERE relay = %s", (relay,))


# What is gone


def clear_mailbox(cursor: Cursor, client: int, settled: int, limit: int) -> tuple[int, int, bool]:
    """Delete some of what has arrived or expired, and is in no lease: how many messages, how many
    bytes; and whether something may be left, for now or for the end of a lease."""
    cursor.execute(
        "DELETE FROM mailbox_message WHERE recipient = %s AND sequence IN (SELECT sequence"  # noqa: S608 - of constants
        " FROM mailbox_message WHERE recipient = %s AND (sequence <= %s OR expired IS NOT NULL)"
        f" AND NOT {_HELD} ORDER BY sequence LIMIT %s) RETURNING size",
        (client, client, settled, limit),
    )
    sizes = [size for (size,) in cursor.fetchall()]
    cursor.execute(
        "SELECT EXISTS (SELECT 1 FROM mailbox_message WHERE recipient = %s"
        " AND (sequence <= %s OR expired IS NOT NULL))",
        (client, settled),
    )
    return len(sizes), sum(sizes), bool(_value(cursor))


def note_rubbish(cursor: Cursor, client: int) -> None:
    """Something is to be deleted in this mailbox."""
    cursor.execute(
        "INSERT INTO mailbox_rubbish (client) VALUES (%s) ON CONFLICT DO NOTHING", (client,)
    )


def forget_rubbish(cursor: Cursor, client: int) -> None:
    """Nothing is any more."""
    cursor.execute("DELETE FROM mailbox_rubbish WHERE client = %s", (client,))


def has_rubbish(cursor: Cursor, client: int) -> bool:
    """Whether something is to be deleted in this mailbox."""
    cursor.execute("SELECT 1 FROM mailbox_rubbish WHERE client = %s", (client,))
    return cursor.fetchone() is not None


def list_rubbish(cursor: Cursor, after: int, limit: int) -> Sequence[int]:
    """Mailboxes in which something may be deleted, from after a key on."""
    cursor.execute(
        "SELECT client FROM mailbox_rubbish WHERE client > %s ORDER BY client LIMIT %s",
        (after, limit),
    )
    return [client for (client,) in cursor.fetchall()]


def may_expire(cursor: Cursor, lock: int = EXPIRY_LOCK) -> bool:
    """Whether no other relay lets mail expire just now."""
    cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", (lock,))
    return bool(_value(cursor))


def list_stored_before(cursor: Cursor, before: float, limit: int) -> Sequence[tuple[int, int]]:
    """Recipients and sequences of the oldest messages that wait."""
    cursor.execute(
        "SELECT recipient, sequence FROM mailbox_message JOIN mailbox ON client = recipient"
        " WHERE stored_at < %s AND expired IS NULL AND sequence > settled"
        " ORDER BY stored_at LIMIT %s",
        (before, limit),
    )
    return cursor.fetchall()


def expire(
    cursor: Cursor, rows: Sequence[tuple[int, int]]
) -> tuple[Sequence[tuple[int, int]], Sequence[int]]:
    """Delete those of these messages that still wait and are in no lease, and note that the others
    have expired: recipients and sizes of what is gone, and recipients of what is to go."""
    recipients, sequences = map(list, zip(*rows, strict=True))
    listed = (
        " FROM unnest(%b::bigint[], %b::bigint[]) AS old (client, number)"
        " JOIN mailbox USING (client)"
    )
    theirs = (
        " WHERE recipient = old.client AND sequence = old.number AND expired IS NULL"
        " AND sequence > mailbox.settled"
    )
    cursor.execute(
        f"DELETE FROM mailbox_message USING{listed[5:]}{theirs} AND NOT {_HELD}"  # noqa: S608 - of constants
        " RETURNING recipient, mailbox_message.size",
        (recipients, sequences),
    )
    gone = cursor.fetchall()
    cursor.execute(
        f"UPDATE mailbox_message SET expired = mailbox.epoch + 1{listed}{theirs}"  # noqa: S608 - of constants
        " RETURNING recipient",
        (recipients, sequences),
    )
    return gone, [recipient for (recipient,) in cursor.fetchall()]


# Relays


def note_relay(cursor: Cursor, relay: str) -> int:
    """This relay is there: how many are."""
    cursor.execute(
        "INSERT INTO relay (id, seen) VALUES (%s, now())"
        " ON CONFLICT (id) DO UPDATE SET seen = excluded.seen",
        (relay,),
    )
    cursor.execute(
        "SELECT count(*) FROM relay WHERE seen > now() - %s * interval '1 second'", (SILENCE,)
    )
    return _number(cursor)


def forget_relay(cursor: Cursor, relay: str) -> None:
    """It is not there any more."""
    cursor.execute("DELETE FROM relay WHERE id = %s", (relay,))
    cursor.execute("DELETE FROM relay_lane WHERE relay = %s", (relay,))


def forget_silent(cursor: Cursor) -> None:
    """Delete what is left of relays that ended long ago, and of their leases."""
    cursor.execute(
        "DELETE FROM mailbox_lease WHERE until < now() - %s * interval '1 second'", (LEASE_MEMORY,)
    )
    cursor.execute(
        "WITH silent AS (DELETE FROM relay WHERE seen < now() - %s * interval '1 second'"
        " RETURNING id) DELETE FROM relay_lane WHERE relay IN (SELECT id FROM silent)",
        (FORGOTTEN,),
    )


_CHANNEL: Final = "'messageu_' || 'relay_meta'::regclass::oid"


def find_channel(cursor: Cursor) -> str:
    """The channel that the relays of these tables share, by whatever address they have found them: a
    database may have several sets of them."""
    cursor.execute(f"SELECT {_CHANNEL}")
    return str(_value(cursor))


def notify(cursor: Cursor, payloads: Sequence[str]) -> None:
    """Tell all relays that listen."""
    cursor.execute(
        f"SELECT pg_notify({_CHANNEL}, payload) FROM unnest(%s::text[]) AS payload",  # noqa: S608 - of constants
        (payloads,),
    )


def _value(cursor: Cursor) -> Any:
    row = cursor.fetchone()
    assert row is not None  # noqa: S101 - such a statement has one row
    return row[0]


def _number(cursor: Cursor) -> int:
    return int(_value(cursor))
