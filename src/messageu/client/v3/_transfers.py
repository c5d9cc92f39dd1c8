"""Files and the messages that announce them: what becomes of the one is said of the other."""

from __future__ import annotations

from collections.abc import Sequence

from messageu.crypto.v3 import FileOffer, Kind
from messageu.model.v3 import Delivery

from ._contacts import Peer, peer_of
from ._events import Event, FileFailed, FileProgress, FileReceived, MessageUndelivered
from ._outbox import undeliver
from ._receipts import forget_cancel, note
from ._unit import Unit
from ._values import Status, Why


def tick(unit: Unit) -> None:
    """Time has passed."""
    sender, receiver = unit.tools.file_sender, unit.tools.file_receiver
    if sender is not None:
        tell_of_sent(unit, sender.tick(unit.connection, unit.now))
    if receiver is not None:
        tell_of_received(unit, receiver.tick(unit.connection, unit.now))


def reset(unit: Unit) -> None:
    """This state is an old one."""
    for files in (unit.tools.file_sender, unit.tools.file_receiver):
        if files is not None:
            files.reset(unit.connection)


# Of ours.


def tell_of_sent(unit: Unit, events: Sequence[Event]) -> None:
    """Tell what has become of files of ours, and keep it with their messages."""
    for event in events:
        match event:
            case FileProgress(message_id):
                # The last pieces live as long as mail does, from now on.
                unit.execute(
                    "UPDATE messages SET stored_at = ? WHERE mine AND message_id = ? AND status = 2",
                    unit.now,
                    message_id,
                )
                unit.tell(event)
            case MessageUndelivered(message_id, why):
                _undeliver(unit, message_id, why)
            case _:
                unit.tell(event)


def _undeliver(unit: Unit, message_id: bytes, why: Why) -> None:
    number = unit.value("SELECT id FROM messages WHERE mine AND message_id = ?", message_id)
    if number is not None:
        undeliver(unit, number, why)


# Of others.


def take_offer(unit: Unit, of: Peer, message_id: bytes, offer: FileOffer) -> None:
    """An accepted contact offers a file, maybe again. It is receipted when all of it has come."""
    receiver = unit.tools.file_receiver
    kind, hidden = unit.rows(
        "SELECT kind, hidden FROM messages WHERE contact = ? AND mine = 0 AND message_id = ?",
        of.id,
        message_id,
    )[0]
    if kind != Kind.FILE:
        note(unit, of, message_id)  # he has used this id for something else
        return
    if receiver is not None and not hidden:
        unit.tell(*receiver.offered(unit.connection, of.identity, message_id, offer))
    tell_outcome(unit, of, message_id)


def tell_outcome(unit: Unit, of: Peer, message_id: bytes) -> None:
    """Have a file receipted that has come, and one cancelled that will not be kept."""
    outcome = outcome_of(unit, of, message_id)
    if outcome is None:
        forget_cancel(unit, of, message_id)
    else:
        note(unit, of, message_id, cancelled=not outcome)


def outcome_of(unit: Unit, of: Peer, message_id: bytes) -> bool | None:
    """Whether a file of somebody has come whole. None: it is on its way."""
    receiver = unit.tools.file_receiver
    if receiver is None:
        return False
    return receiver.outcome(unit.connection, of.identity, message_id)


def tell_outcomes(unit: Unit, of: Peer) -> None:
    """Somebody was accepted: tell him what became of his files."""
    for (message_id,) in unit.rows(
        "SELECT message_id FROM messages WHERE contact = ? AND mine = 0 AND kind = ?",
        of.id,
        Kind.FILE.value,
    ):
        tell_outcome(unit, of, message_id)


def refuse(unit: Unit, of: Peer) -> None:
    """Somebody was blocked or removed: take no more of his files."""
    receiver = unit.tools.file_receiver
    if receiver is not None:
        tell_of_received(unit, receiver.refuse(unit.connection, of.identity))


def take_piece(unit: Unit, delivery: Delivery) -> None:
    """A piece of a file. What is not wanted may be of a file that was refused: that was told."""
    receiver = unit.tools.file_receiver
    if receiver is not None and receiver.wants(unit.connection, delivery.envelope_id):
        tell_of_received(unit, receiver.take(unit.connection, delivery))


def take_cancel(unit: Unit, of: Peer, message_ids: Sequence[bytes]) -> None:
    """A contact cannot keep files of ours, or does not send files of his any more."""
    receiver = unit.tools.file_receiver
    for message_id in message_ids:
        number = unit.value(
            "SELECT id FROM messages WHERE contact = ? AND mine AND message_id = ? AND kind = ?"
            " AND status IN (?, ?, ?)",
            of.id,
            message_id,
            Kind.FILE.value,
            Status.QUEUED.value,
            Status.SEALED.value,
            Status.STORED.value,
        )
        if number is not None:
            undeliver(unit, number, Why.NOT_KEPT)
        elif receiver is not None:
            unit.tell(*receiver.cancelled(unit.connection, of.identity, message_id))


def tell_of_received(unit: Unit, events: Sequence[Event]) -> None:
    """Tell what has become of files of others, to their senders, too."""
    for event in events:
        match event:
            case FileReceived(message_id, _, contact) | FileFailed(message_id, _, contact):
                of = None if contact is None else peer_of(unit, contact)
                if of is not None:
                    note(unit, of, message_id, cancelled=isinstance(event, FileFailed))
        unit.tell(event)
