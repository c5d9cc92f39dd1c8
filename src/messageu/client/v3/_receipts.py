"""Receipts, both ways: ours for what has come, and others' for what we have sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from messageu.crypto.v3 import RECEIPT_IDS_LIMIT

from ._contacts import Peer
from ._events import MessageDelivered
from ._unit import Unit
from ._values import Standing, Status

RECEIPT_DELAY: Final = 1.0
"""Seconds for which a receipt waits for others."""

RECEIPTS_AT_ONCE: Final = 64
"""Receipts of a contact that do not wait for more."""


def note(unit: Unit, of: Peer, message_id: bytes) -> None:
    """Have a message receipted, if its sender is an accepted contact."""
    if of.standing is not Standing.ACCEPTED:
        return
    unit.execute(
        "INSERT OR IGNORE INTO receipts (contact, message_id, due) VALUES (?, ?, ?)",
        of.id,
        message_id,
        unit.now + RECEIPT_DELAY,
    )
    _hurry(unit, of)


def note_all(unit: Unit, of: Peer) -> None:
    """Somebody was accepted: have all that he has said receipted."""
    unit.execute(
        "INSERT OR IGNORE INTO receipts (contact, message_id, due)"
        " SELECT contact, message_id, ? FROM messages WHERE contact = ? AND mine = 0",
        unit.now,
        of.id,
    )


def _hurry(unit: Unit, of: Peer) -> None:
    waiting = unit.value("SELECT COUNT(*) FROM receipts WHERE contact = ?", of.id)
    if waiting == RECEIPTS_AT_ONCE:
        unit.execute("UPDATE receipts SET due = ? WHERE contact = ?", unit.now, of.id)


def take_due(unit: Unit, of: Peer) -> Sequence[bytes]:
    """The ids that a receipt to somebody holds now, and none when nothing is due. They are gone
    from here: what is sealed next holds them."""
    due = unit.value("SELECT MIN(due) FROM receipts WHERE contact = ?", of.id)
    if due is None or due > unit.now:
        return ()
    ids = [
        message_id
        for (message_id,) in unit.rows(
            "SELECT message_id FROM receipts WHERE contact = ? ORDER BY due LIMIT ?",
            of.id,
            RECEIPT_IDS_LIMIT,
        )
    ]
    for message_id in ids:
        unit.execute("DELETE FROM receipts WHERE contact = ? AND message_id = ?", of.id, message_id)
    return ids


def next_due(unit: Unit, after: float) -> float | None:
    """When the first receipt is due behind a time."""
    due: float | None = unit.value("SELECT MIN(due) FROM receipts WHERE due > ?", after)
    return due


def take_receipt(unit: Unit, of: Peer, message_ids: Sequence[bytes]) -> None:
    """A contact has what we have sent. Also what was given up may have come to him."""
    for message_id in message_ids:
        changed = unit.execute(
            "UPDATE messages SET status = ?1, why = NULL"
            " WHERE contact = ?2 AND mine = 1 AND message_id = ?3 AND status != ?1",
            Status.DELIVERED.value,
            of.id,
            message_id,
        ).rowcount
        if changed:
            unit.tell(MessageDelivered(message_id))
