"""Messages that were sent and received, as they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from messageu.crypto.v3 import Message
from messageu.model.v3 import Identity

from ._contacts import Peer
from ._errors import TooMuchWaiting
from ._unit import Unit
from ._values import Status, StoredMessage, Why

QUEUED_LIMIT: Final = 10_000
"""Messages that wait to be sent to one contact."""

MESSAGE_ID_SIZE: Final = 16

_SELECT: Final = (
    "SELECT messages.id, identity, message_id, mine, time, kind, body, status, why"
    " FROM messages JOIN contacts ON contacts.id = messages.contact WHERE NOT hidden"
)
_ALL: Final = f"{_SELECT} AND messages.id > ? ORDER BY messages.id LIMIT ?"
_OF_ONE: Final = f"{_SELECT} AND contact = ? AND messages.id > ? ORDER BY messages.id LIMIT ?"
_ALL_BEFORE: Final = f"{_SELECT} AND messages.id < ? ORDER BY messages.id DESC LIMIT ?"
_OF_ONE_BEFORE: Final = (
    f"{_SELECT} AND contact = ? AND messages.id < ? ORDER BY messages.id DESC LIMIT ?"
)
_COUNT: Final = (
    "SELECT COUNT(*) FROM (SELECT 1 FROM messages"
    " WHERE contact = ? AND NOT mine AND NOT hidden AND id > ? LIMIT ?)"
)
_LAST: Final = (
    "SELECT identity, MAX(messages.id) FROM messages JOIN contacts ON contacts.id = contact"
    " GROUP BY contact"
)
_END: Final = 2**63 - 1
_BY_NUMBER: Final = f"{_SELECT} AND messages.id = ?"
_BY_ID: Final = f"{_SELECT} AND message_id = ? AND mine = ? AND (mine OR identity = ?)"


def queue(unit: Unit, of: Peer, message_id: bytes, kind: int, body: bytes) -> None:
    """Have a message sent when it is its turn.

    :raises TooMuchWaiting: when too much waits for him already.
    """
    waiting = unit.value("SELECT COUNT(*) FROM messages WHERE contact = ? AND status = 0", of.id)
    if waiting >= QUEUED_LIMIT:
        raise TooMuchWaiting("too much is waiting to be sent to this contact already")
    unit.execute(
        "INSERT INTO messages (contact, mine, message_id, time, kind, body, status)"
        " VALUES (?, 1, ?, ?, ?, ?, ?)",
        of.id,
        message_id,
        int(unit.now * 1000),
        kind,
        body,
        Status.QUEUED.value,
    )


def has_come(unit: Unit, of: Peer, message_id: bytes) -> bool:
    """Whether a contact has used this id before."""
    return _is_known(unit, of, message_id, mine=False)


def was_queued(unit: Unit, of: Peer, message_id: bytes) -> bool:
    """Whether we have used this id to a contact before."""
    return _is_known(unit, of, message_id, mine=True)


def _is_known(unit: Unit, of: Peer, message_id: bytes, *, mine: bool) -> bool:
    row = unit.row(
        "SELECT 1 FROM messages WHERE contact = ? AND mine = ? AND message_id = ?",
        of.id,
        mine,
        message_id,
    )
    return row is not None


def keep_received(unit: Unit, of: Peer, message: Message) -> StoredMessage:
    """Keep what somebody has said."""
    number = unit.execute(
        "INSERT INTO messages (contact, mine, message_id, sequence, time, kind, body, status)"
        " VALUES (?, 0, ?, ?, ?, ?, ?, ?)",
        of.id,
        message.message_id,
        message.sequence,
        message.time,
        message.kind,
        message.body,
        Status.RECEIVED.value,
    ).lastrowid
    row = unit.row(_BY_NUMBER, number)
    assert row is not None  # noqa: S101 - it was written just now
    return _stored(row)


def history(unit: Unit, of: Peer | None, after: int, limit: int) -> Sequence[StoredMessage]:
    """What was said, behind a place."""
    if of is None:
        return [_stored(row) for row in unit.rows(_ALL, after, limit)]
    return [_stored(row) for row in unit.rows(_OF_ONE, of.id, after, limit)]


def earlier(unit: Unit, of: Peer | None, before: int | None, limit: int) -> Sequence[StoredMessage]:
    """What was said before a place, or at last, the oldest first."""
    place = _END if before is None else before
    if of is None:
        rows = unit.rows(_ALL_BEFORE, place, limit)
    else:
        rows = unit.rows(_OF_ONE_BEFORE, of.id, place, limit)
    return [_stored(row) for row in reversed(rows)]


def count_received(unit: Unit, of: Peer, after: int, most: int) -> int:
    """How many messages of somebody have come behind a place; no more than ``most`` are counted."""
    return int(unit.value(_COUNT, of.id, after, most))


def last_numbers(unit: Unit) -> dict[Identity, int]:
    """The place of the last message with each contact, also of one that is hidden by now."""
    return {Identity(identity): number for identity, number in unit.rows(_LAST)}


def find(unit: Unit, message_id: bytes, sender: Identity | None) -> StoredMessage | None:
    """A message by its id, of somebody; None: of ours."""
    row = unit.row(_BY_ID, message_id, sender is None, None if sender is None else sender.raw)
    return None if row is None else _stored(row)


def _stored(row: tuple[Any, ...]) -> StoredMessage:
    number, identity, message_id, mine, time, kind, body, status, why = row
    return StoredMessage(
        number,
        Identity(identity),
        message_id,
        bool(mine),
        time,
        kind,
        body,
        Status(status),
        None if why is None else Why(why),
    )


def hide(unit: Unit, of: Peer) -> None:
    """Forget what was said with somebody. The ids stay, so that nothing of it is shown again."""
    unit.execute(
        "UPDATE messages SET hidden = 1, body = x'' WHERE contact = ? AND NOT hidden", of.id
    )
    unit.execute("DELETE FROM receipts WHERE contact = ?", of.id)
