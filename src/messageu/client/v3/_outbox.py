"""What is sent, in which order, how often it is tried, and when it is given up.

Of each contact one envelope at a time is sealed, when there is a connection that can take it at once,
and it never changes. So what a contact's bundle promises about its keys holds from the first try on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from attrs import frozen

from messageu.crypto.v3 import FileOffer, Kind, Message, encode_receipt
from messageu.model import ClientId
from messageu.model.v3 import EnvelopeId, Identity, Reason, SealedEnvelope

from . import _naming as naming
from ._account import OUTBOX_LIFE, Own, read_own
from ._contacts import Peer, peer
from ._conversations import has_session, seal_message
from ._events import MessageStored, MessageUndelivered
from ._receipts import note, take_due
from ._unit import Unit
from ._values import Naming, Standing, Status, Why

RECIPIENTS_AT_ONCE: Final = 32
"""Contacts for whom an envelope is sealed at a time."""

RETRY_FIRST: Final = 5.0
"""Seconds after which a contact is tried again when the relay names no time; then twice that…"""

RETRY_LAST: Final = 600.0
"""…up to this many."""

MAIL_SLACK: Final = 86_400
"""Seconds that a receipt may take after the last moment at which its message could be fetched."""

FINAL_REASONS: Final[Mapping[int, Why]] = {
    Reason.NOT_FOUND: Why.NO_ACCOUNT,
    Reason.CONFLICT: Why.REFUSED,
    Reason.TOO_LARGE: Why.TOO_LARGE,
}
"""What ends an envelope. Everything else is tried again."""

_CANDIDATES: Final = """
    SELECT DISTINCT contact FROM (
        SELECT contact FROM receipts WHERE due <= ?1
        UNION ALL SELECT contact FROM messages WHERE status = 0
        UNION ALL SELECT id FROM contacts WHERE renew
        UNION ALL SELECT id FROM contacts WHERE naming = 1
    ) WHERE contact NOT IN (SELECT contact FROM outbox)
      AND contact IN (SELECT id FROM contacts WHERE standing = 0 AND retry_at <= ?1)
"""


def idle(unit: Unit, own: Own) -> Iterator[Peer]:
    """Contacts for whom there is something to seal and nothing in the outbox."""
    for (number,) in unit.rows(_CANDIDATES, unit.now):
        of = peer(unit, number)
        speaks = _is_to_be_named(own, of) or _next_message(unit, own, of) is not None
        if of.renew or _has_receipts(unit, of) or speaks:
            yield of


def _is_to_be_named(own: Own, of: Peer) -> bool:
    return of.naming is Naming.DUE and of.may_be_sent(own.trust)


def _has_receipts(unit: Unit, of: Peer) -> bool:
    row = unit.row("SELECT 1 FROM receipts WHERE contact = ? AND due <= ?", of.id, unit.now)
    return row is not None


def _next_message(unit: Unit, own: Own, of: Peer) -> tuple | None:  # type: ignore[type-arg]
    if not of.may_be_sent(own.trust):
        return None
    return unit.row(
        "SELECT id, message_id, sequence, time, kind, body FROM messages"
        " WHERE contact = ? AND status = 0 ORDER BY id LIMIT 1",
        of.id,
    )


def needs_claim(unit: Unit, of: Peer) -> bool:
    """Whether the relay must be asked for a contact's prekeys before anything can be sealed."""
    usable = of.bundle is not None and of.bundle.not_after > unit.now
    return not usable or of.renew or not has_session(unit, of)


def is_busy(unit: Unit, of: Peer) -> bool:
    """Whether an envelope for a contact is on its way already."""
    return unit.row("SELECT 1 FROM outbox WHERE contact = ?", of.id) is not None


def to_claim(unit: Unit, busy: Collection[ClientId], limit: int) -> Sequence[ClientId]:
    """Whose prekeys are wanted, none of those that are asked for already."""
    wanted: list[ClientId] = []
    for of in idle(unit, read_own(unit)):
        if len(wanted) >= limit:
            break
        if of.identity.account_id not in busy and needs_claim(unit, of):
            wanted.append(of.identity.account_id)
    return wanted


def advance(unit: Unit) -> None:
    """Seal what is next, for every contact who has nothing in the outbox."""
    room = RECIPIENTS_AT_ONCE - unit.value("SELECT COUNT(*) FROM outbox")
    if room <= 0:
        return
    own = read_own(unit)
    for of in idle(unit, own):
        if needs_claim(unit, of):
            continue
        _seal_next(unit, own, of)
        room -= 1
        if not room:
            return


def _seal_next(unit: Unit, own: Own, of: Peer) -> None:
    due = take_due(unit, of)
    if due is not None:
        kind, ids = due
        receipt = _message(unit, own, of, kind, 0, encode_receipt(ids))
        seal_message(unit, of, receipt, None, renewal=False)
        return
    if _is_to_be_named(own, of):
        name = _message(unit, own, of, Kind.PROFILE, 0, own.display_name)
        seal_message(unit, of, name, None, renewal=False)
        naming.told(unit, of)
        return
    while (row := _next_message(unit, own, of)) is not None:
        number, message_id, sequence, time, kind, body = row
        if kind == Kind.FILE:
            body = _offer(unit, message_id, body)
            if body is None:
                undeliver(unit, number, Why.FILE_GONE)
                continue
        if sequence is None:
            sequence = _next_sequence(unit, of)
        assert of.keys is not None  # noqa: S101 - there is a session
        message = Message(own.keys, of.keys, message_id, sequence, time, 0, kind, body)
        seal_message(unit, of, message, number, renewal=False)
        unit.execute(
            "UPDATE messages SET status = ?, sequence = ?, body = ? WHERE id = ?",
            Status.SEALED.value,
            sequence,
            body,
            number,
        )
        if not of.sent:
            naming.is_due(unit, of)
        return


def _offer(unit: Unit, message_id: bytes, body: bytes) -> bytes | None:
    """The offer of a file as it is to be sealed now: under a fresh key, if it was sealed before.
    None: the file is not there any more."""
    sender = unit.tools.file_sender
    if sender is None:
        return body
    offer = sender.offer(unit.connection, message_id, FileOffer.decode(body))
    return None if offer is None else offer.encode()


def seal_renewal(unit: Unit, of: Peer) -> None:
    """Say that a session that was begun just now replaces the others."""
    own = read_own(unit)
    sequence = _next_sequence(unit, of)
    message = _message(unit, own, of, Kind.RENEWAL, sequence, b"")
    seal_message(unit, of, message, None, renewal=True)
    unit.execute("UPDATE contacts SET renew = 0 WHERE id = ?", of.id)


def _message(unit: Unit, own: Own, of: Peer, kind: Kind, sequence: int, body: bytes) -> Message:
    assert of.keys is not None  # noqa: S101 - there is a session
    time = int(unit.now * 1000)
    return Message(own.keys, of.keys, unit.random(16), sequence, time, 0, kind, body)


def _next_sequence(unit: Unit, of: Peer) -> int:
    unit.execute("UPDATE contacts SET sent = sent + 1 WHERE id = ?", of.id)
    return int(unit.value("SELECT sent FROM contacts WHERE id = ?", of.id))


def to_send(unit: Unit, busy: Collection[EnvelopeId], limit: int) -> Sequence[SealedEnvelope]:
    """Envelopes whose time has come, none that is on its way already."""
    rows = unit.rows(
        "SELECT identity, envelope_id, hpke_key_id, sealed FROM outbox"
        " JOIN contacts ON contacts.id = outbox.contact"
        " WHERE retry_at <= ?1 AND sealed_at + ?2 > ?1 ORDER BY outbox.rowid",
        unit.now,
        OUTBOX_LIFE,
    )
    envelopes = (
        SealedEnvelope(Identity(identity).account_id, EnvelopeId(envelope_id), key_id, sealed)
        for identity, envelope_id, key_id, sealed in rows
        if EnvelopeId(envelope_id) not in busy
    )
    return [envelope for envelope, _ in zip(envelopes, range(limit), strict=False)]


@frozen
class _Entry:
    """An envelope in the outbox."""

    contact: int
    message: int | None
    renewal: bool


def _entry(unit: Unit, envelope_id: EnvelopeId) -> _Entry | None:
    row = unit.row(
        "SELECT contact, message, renewal FROM outbox WHERE envelope_id = ?", envelope_id.raw
    )
    return None if row is None else _Entry(row[0], row[1], bool(row[2]))


def _remove(unit: Unit, envelope_id: EnvelopeId) -> None:
    unit.execute("DELETE FROM outbox WHERE envelope_id = ?", envelope_id.raw)


def stored(unit: Unit, envelope_id: EnvelopeId) -> bool:
    """The relay has an envelope; whether it was one of the outbox."""
    entry = _entry(unit, envelope_id)
    if entry is None:
        return False
    _remove(unit, envelope_id)
    unit.execute("UPDATE contacts SET failures = 0, retry_at = 0 WHERE id = ?", entry.contact)
    if entry.message is None:
        return True
    row = unit.row("SELECT message_id, kind FROM messages WHERE id = ?", entry.message)
    assert row is not None  # noqa: S101 - messages are not deleted
    message_id, kind = row
    unit.execute(
        "UPDATE messages SET status = ?, stored_at = ? WHERE id = ? AND status = ?",
        Status.STORED.value,
        unit.now,
        entry.message,
        Status.SEALED.value,
    )
    unit.tell(MessageStored(message_id))
    if kind == Kind.FILE and unit.tools.file_sender is not None:
        unit.tools.file_sender.start(unit.connection, message_id)
    return True


def refused(unit: Unit, envelope_id: EnvelopeId, reason: Reason | int, retry_after: int) -> bool:
    """The relay has not taken an envelope; whether it was one of the outbox."""
    entry = _entry(unit, envelope_id)
    if entry is None:
        return False
    why = FINAL_REASONS.get(reason)
    if why is None:
        try_later(unit, peer(unit, entry.contact), retry_after)
    else:
        _give_up(unit, envelope_id, entry, why)
    return True


def try_later(unit: Unit, of: Peer, retry_after: float) -> None:
    """Leave a contact alone for a while."""
    pause = retry_after or min(RETRY_LAST, RETRY_FIRST * 2 ** min(of.failures, 16))
    unit.execute(
        "UPDATE contacts SET failures = failures + 1, retry_at = ? WHERE id = ?",
        unit.now + pause,
        of.id,
    )


def _give_up(unit: Unit, envelope_id: EnvelopeId, entry: _Entry, why: Why) -> None:
    _remove(unit, envelope_id)
    if entry.renewal and why is Why.GAVE_UP:
        unit.execute("UPDATE contacts SET renew = 1 WHERE id = ?", entry.contact)
    if entry.message is not None:
        undeliver(unit, entry.message, why)
    elif why is Why.GAVE_UP:
        naming.is_due(unit, peer(unit, entry.contact))  # it may have been what was given up


def undeliver(unit: Unit, number: int, why: Why) -> None:
    """A message of ours will not come, or is not known to have come. It is not tried any more."""
    row = unit.row("SELECT message_id, kind, status, contact FROM messages WHERE id = ?", number)
    if row is None or row[2] == Status.DELIVERED:
        return
    message_id, kind, _, contact = row
    unit.execute(
        "UPDATE messages SET status = ?, why = ? WHERE id = ?",
        Status.UNDELIVERED.value,
        why.value,
        number,
    )
    unit.tell(MessageUndelivered(message_id, why))
    if kind == Kind.FILE:
        if unit.tools.file_sender is not None:
            unit.tools.file_sender.withdraw(unit.connection, message_id)
        of = peer(unit, contact)
        if why is not Why.NOT_KEPT and (of.renew or has_session(unit, of)):
            note(unit, of, message_id, cancelled=True)  # he may wait for it


def withdraw_queued(unit: Unit, of: Peer, why: Why) -> None:
    """Send nothing any more of what waits for a contact and was not sealed."""
    for (number,) in unit.rows("SELECT id FROM messages WHERE contact = ? AND status = 0", of.id):
        undeliver(unit, number, why)
    unit.execute("DELETE FROM receipts WHERE contact = ?", of.id)
    unit.execute("UPDATE contacts SET renew = 0, naming = 0 WHERE id = ?", of.id)


def expire(unit: Unit, in_flight: Collection[EnvelopeId]) -> None:
    """Give up what was tried for too long, and what was not receipted while its mail lived."""
    for (raw,) in unit.rows(
        "SELECT envelope_id FROM outbox WHERE sealed_at + ? <= ?", OUTBOX_LIFE, unit.now
    ):
        envelope_id = EnvelopeId(raw)
        entry = _entry(unit, envelope_id)
        if entry is not None and envelope_id not in in_flight:
            _give_up(unit, envelope_id, entry, Why.GAVE_UP)
    over = unit.rows(
        "SELECT id, contact FROM messages WHERE status = 2 AND stored_at + ? <= ?",
        read_own(unit).mail_life + MAIL_SLACK,
        unit.now,
    )
    for number, contact in over:
        undeliver(unit, number, Why.EXPIRED)
        # Nothing was heard of it: perhaps the other side cannot open what comes on this session.
        unit.execute("UPDATE contacts SET renew = 1 WHERE id = ? AND standing = 0", contact)


def next_expiry(unit: Unit) -> float | None:
    """When :func:`expire` has something to do."""
    times = (
        unit.value("SELECT MIN(sealed_at) + ? FROM outbox", OUTBOX_LIFE),
        unit.value(
            "SELECT MIN(stored_at) + ? FROM messages WHERE status = 2",
            read_own(unit).mail_life + MAIL_SLACK,
        ),
    )
    return min((time for time in times if time is not None), default=None)


def next_retry(unit: Unit, after: float) -> float | None:
    """When, behind a time, a contact who was left alone has something waiting for him."""
    time: float | None = unit.value(
        "SELECT MIN(retry_at) FROM contacts WHERE retry_at > ? AND standing = ?"
        " AND (renew OR naming = 1"
        " OR id IN (SELECT contact FROM outbox) OR id IN (SELECT contact FROM receipts)"
        " OR id IN (SELECT contact FROM messages WHERE status = 0))",
        after,
        Standing.ACCEPTED.value,
    )
    return time


def send_again(unit: Unit, of: Peer, *, renumber: bool) -> None:
    """Send what a contact has not receipted on another session, under the same ids.

    What is in the outbox for him was sealed on one that is gone.

    :param renumber: count it anew, behind a renewal of ours.
    """
    unit.execute("DELETE FROM outbox WHERE contact = ? AND NOT renewal", of.id)
    for (number,) in unit.rows(
        "SELECT id FROM messages WHERE contact = ? AND mine AND hidden AND status IN (?, ?)",
        of.id,
        Status.SEALED.value,
        Status.STORED.value,
    ):
        undeliver(unit, number, Why.WITHDRAWN)  # what they said is forgotten
    if unit.tools.file_sender is not None:
        unit.tools.file_sender.hold(unit.connection, of.identity.account_id)
    unit.execute(
        "UPDATE messages SET status = ?, stored_at = NULL"
        " WHERE contact = ? AND mine AND status IN (?, ?)",
        Status.QUEUED.value,
        of.id,
        Status.SEALED.value,
        Status.STORED.value,
    )
    naming.is_due(unit, of)
    if renumber:
        unit.execute("UPDATE messages SET sequence = NULL WHERE contact = ? AND status = 0", of.id)
