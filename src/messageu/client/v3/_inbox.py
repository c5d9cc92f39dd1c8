"""What comes: opened, told from what came before, and kept, all in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from messageu.crypto.v3 import CryptoError, FileOffer, Kind, Message, decode_receipt
from messageu.model.v3 import PIECE_KEY_ID, Delivery, EnvelopeId

from . import _history as history
from . import _receipts as receipts
from . import _transfers as transfers
from ._account import read_own
from ._contacts import Peer, add_request, peer
from ._conversations import (
    Opened,
    drop_replaced_sessions,
    keep_session,
    open_envelope,
    prefer_session,
)
from ._events import MessageReceived, RequestReceived, Unopened
from ._outbox import send_again
from ._sequences import came, count_from
from ._unit import Unit
from ._values import Standing

REQUEST_MESSAGES_LIMIT: Final = 20
"""Messages of somebody who asks to write to us. What he says beyond is dropped."""

RENEWAL_PAUSE: Final = 3600.0
"""Seconds within which one renewal of a contact is honoured."""


def take(unit: Unit, delivery: Delivery) -> None:
    """Take an envelope in. What came before, and was not known to be acknowledged, changes
    nothing. What does not open is counted."""
    if not _remember(unit, delivery.envelope_id):
        return
    if delivery.hpke_key_id == PIECE_KEY_ID:
        transfers.take_piece(unit, delivery)
        return
    try:
        opened = open_envelope(unit, read_own(unit), delivery)
    except CryptoError:
        _count_unopened(unit)
        return
    _take_message(unit, opened)


def _remember(unit: Unit, envelope_id: EnvelopeId) -> bool:
    added = unit.execute(
        "INSERT OR IGNORE INTO arrivals (envelope_id, arrived) VALUES (?, ?)",
        envelope_id.raw,
        unit.now,
    )
    return added.rowcount > 0


def acknowledged(unit: Unit, envelope_ids: list[EnvelopeId]) -> None:
    """The relay has deleted them: they do not come again."""
    for envelope_id in envelope_ids:
        unit.execute("DELETE FROM arrivals WHERE envelope_id = ?", envelope_id.raw)


def forget_arrivals(unit: Unit) -> None:
    """Forget what the relay has deleted by its age."""
    unit.execute(
        "DELETE FROM arrivals WHERE arrived + 2 * (SELECT mail_life FROM profile) < ?", unit.now
    )


def _count_unopened(unit: Unit) -> None:
    unit.execute("UPDATE profile SET unopened = unopened + 1")
    unit.tell(Unopened(unit.value("SELECT unopened FROM profile")))


def _take_message(unit: Unit, opened: Opened) -> None:
    of = opened.peer
    asks = of is None or of.standing is Standing.REMOVED
    if asks and opened.message.kind == Kind.TEXT:
        of = add_request(unit, read_own(unit), opened.sender)
        if of is not None:
            unit.tell(RequestReceived(of.identity))
    if of is None:
        return  # without a trace, so that a stranger costs nothing
    keep_session(unit, opened, of)
    of = peer(unit, of.id)
    _TAKERS.get(opened.message.kind, _take_shown)(unit, of, opened)


def _take_shown(unit: Unit, of: Peer, opened: Opened) -> None:
    if _keep(unit, of, opened.message):
        receipts.note(unit, of, opened.message.message_id)


def _keep(unit: Unit, of: Peer, message: Message) -> bool:
    """Keep and show what has not come before. Whether it is there then: nothing of one who is not
    heard is, and nothing that is over."""
    if of.standing is Standing.REQUEST and not _fits_request(unit, of, message):
        return False
    came(unit, of, message.sequence)
    if of.standing in (Standing.BLOCKED, Standing.REMOVED):
        return False
    if history.has_come(unit, of, message.message_id):
        return True
    if 0 < message.expiry <= unit.now:
        return False
    unit.tell(MessageReceived(history.keep_received(unit, of, message)))
    return True


def _fits_request(unit: Unit, of: Peer, message: Message) -> bool:
    kept = unit.value(
        "SELECT COUNT(*) FROM messages WHERE contact = ? AND mine = 0 AND NOT hidden", of.id
    )
    return message.kind == Kind.TEXT and kept < REQUEST_MESSAGES_LIMIT


def _take_file(unit: Unit, of: Peer, opened: Opened) -> None:
    message = opened.message
    try:
        offer = FileOffer.decode(message.body)
    except CryptoError:
        came(unit, of, message.sequence)
        _count_unopened(unit)
        return
    if _keep(unit, of, message):
        transfers.take_offer(unit, of, message.message_id, offer)


def _take_receipt(unit: Unit, of: Peer, opened: Opened) -> None:
    receipts.take_receipt(unit, of, decode_receipt(opened.message.body))


def _take_cancel(unit: Unit, of: Peer, opened: Opened) -> None:
    transfers.take_cancel(unit, of, decode_receipt(opened.message.body))


def _take_renewal(unit: Unit, of: Peer, opened: Opened) -> None:
    if not opened.is_first:
        came(unit, of, opened.message.sequence)
        return
    count_from(unit, of, opened.message.sequence)
    prefer_session(unit, of, opened.session.id)
    receipts.forget_cancels(unit, of)
    if of.honoured_at is not None and unit.now < of.honoured_at + RENEWAL_PAUSE:
        unit.execute("UPDATE contacts SET honour_due = 1 WHERE id = ?", of.id)
        return
    drop_replaced_sessions(unit, of)
    _honour(unit, of)


def _honour(unit: Unit, of: Peer) -> None:
    send_again(unit, of, renumber=False)
    unit.execute(
        "UPDATE contacts SET honoured_at = ?, honour_due = 0 WHERE id = ?", unit.now, of.id
    )


def honour_due(unit: Unit) -> None:
    """Honour renewals that came within the hour after another."""
    for (number,) in unit.rows(
        "SELECT id FROM contacts WHERE honour_due AND honoured_at + ? <= ?",
        RENEWAL_PAUSE,
        unit.now,
    ):
        _honour(unit, peer(unit, number))


def next_honour(unit: Unit, after: float) -> float | None:
    """When, behind a time, there is a renewal to honour."""
    time: float | None = unit.value(
        "SELECT MIN(honoured_at + ?1) FROM contacts WHERE honour_due AND honoured_at + ?1 > ?2",
        RENEWAL_PAUSE,
        after,
    )
    return time


def _take_profile(unit: Unit, of: Peer, opened: Opened) -> None:
    if of.standing is Standing.ACCEPTED:
        unit.execute(
            "UPDATE contacts SET display_name = ? WHERE id = ?", opened.message.body, of.id
        )


_TAKERS: Final[Mapping[int, Callable[[Unit, Peer, Opened], None]]] = {
    Kind.TEXT: _take_shown,
    Kind.RECEIPT: _take_receipt,
    Kind.FILE: _take_file,
    Kind.RENEWAL: _take_renewal,
    Kind.PROFILE: _take_profile,
    Kind.CANCEL: _take_cancel,
}
