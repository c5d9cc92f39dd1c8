"""Receipts and cancels, both ways: what is said of messages by their ids.

A receipt says that a message was shown, or that a file is on the disk. A cancel says of a file that it
is given up, by whichever end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from messageu.crypto.v3 import RECEIPT_IDS_LIMIT, Kind

from ._contacts import Peer
from ._events import MessageDelivered
from ._naming import listens
from ._unit import Unit
from ._values import Standing, Status

RECEIPT_DELAY: Final = 1.0
"""Seconds for which a receipt waits for others."""

RECEIPTS_AT_ONCE: Final = 64
"""Receipts of a contact that do not wait for more."""


def note(unit: Unit, of: Peer, message_id: bytes, *, cancelled: bool = False) -> None:
    """Have a message receipted, or a file cancelled, if the other is an accepted contact.

    What was said of it before and is not sealed yet is not said any more.
    """
    if of.standing is not Standing.ACCEPTED:
        return
    unit.execute(
        "INSERT INTO receipts (contact, message_id, cancelled, due) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET cancelled = excluded.cancelled",
        of.id,
        message_id,
        cancelled,
        unit.now + RECEIPT_DELAY,
    )
    _hurry(unit, of)


def note_all(unit: Unit, of: Peer) -> None:
    """Somebody was accepted: have all that he has said receipted. Files are the inbox's to judge."""
    unit.execute(
        "INSERT OR IGNORE INTO receipts (contact, message_id, due)"
        " SELECT contact, message_id, ? FROM messages WHERE contact = ? AND mine = 0 AND kind != ?",
        unit.now,
        of.id,
        Kind.FILE.value,
    )


def forget_cancel(unit: Unit, of: Peer, message_id: bytes) -> None:
    """A file that was given up is begun anew."""
    unit.execute(
        "DELETE FROM receipts WHERE contact = ? AND message_id = ? AND cancelled",
        of.id,
        message_id,
    )


def forget_cancels(unit: Unit, of: Peer) -> None:
    """Somebody begins anew, and offers again what we have not receipted: it is judged again."""
    unit.execute(
        "DELETE FROM receipts WHERE contact = ?1 AND cancelled AND message_id IN"
        " (SELECT message_id FROM messages WHERE contact = ?1 AND mine = 0)",
        of.id,
    )


def _hurry(unit: Unit, of: Peer) -> None:
    waiting = unit.value("SELECT COUNT(*) FROM receipts WHERE contact = ?", of.id)
    if waiting == RECEIPTS_AT_ONCE:
        unit.execute("UPDATE receipts SET due = ? WHERE contact = ?", unit.now, of.id)


def take_due(unit: Unit, of: Peer) -> tuple[Kind, Sequence[bytes]] | None:
    """A receipt or a cancel to somebody that is due: its kind, and the ids that it holds. They are
    gone from here: what is sealed next holds them."""
    first = unit.row(
        "SELECT cancelled, due FROM receipts WHERE contact = ? ORDER BY due LIMIT 1", of.id
    )
    if first is None or first[1] > unit.now:
        return None
    cancelled, _ = first
    ids = [
        message_id
        for (message_id,) in unit.rows(
            "SELECT message_id FROM receipts WHERE contact = ? AND cancelled = ?"
            " ORDER BY due LIMIT ?",
            of.id,
            cancelled,
            RECEIPT_IDS_LIMIT,
        )
    ]
    for message_id in ids:
        unit.execute("DELETE FROM receipts WHERE contact = ? AND message_id = ?", of.id, message_id)
    return Kind.CANCEL if cancelled else Kind.RECEIPT, ids


def next_due(unit: Unit, after: float) -> float | None:
    """When the first receipt is due behind a time."""
    due: float | None = unit.value("SELECT MIN(due) FROM receipts WHERE due > ?", after)
    return due


def take_receipt(unit: Unit, of: Peer, message_ids: Sequence[bytes]) -> None:
    """A contact has what we have sent. Also what was given up may have come to him."""
    for message_id in message_ids:
        rows = unit.rows(
            "UPDATE messages SET status = ?1, why = NULL"
            " WHERE contact = ?2 AND mine = 1 AND message_id = ?3 AND status != ?1 RETURNING kind",
            Status.DELIVERED.value,
            of.id,
            message_id,
        )
        for (kind,) in rows:
            if kind == Kind.FILE and unit.tools.file_sender is not None:
                unit.tell(*unit.tools.file_sender.delivered(unit.connection, message_id))
            unit.tell(MessageDelivered(message_id))
    listens(unit, of)
