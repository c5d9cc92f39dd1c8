"""Sessions with contacts: how they begin and end, and what is sealed and opened in them."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from messageu.crypto.signatures import is_bundle_signed, is_one_time_key_signed
from messageu.crypto.v3 import (
    PRE_KEY,
    Account,
    CryptoError,
    Message,
    Session,
    Unsealed,
    seal,
    unseal,
)
from messageu.model.v3 import Delivery, EnvelopeId, IdentityKeys
from messageu.wire.v3 import Claimed

from ._account import Own, hpke_key, load_account, save_account
from ._contacts import Peer, peer, peer_of
from ._unit import Unit

SESSIONS_LIMIT: Final = 5
"""Sessions with one contact."""

SEQUENCE_LIMIT: Final = 2**62
"""Above it no client that counts from 1 comes."""


def has_session(unit: Unit, of: Peer) -> bool:
    """Whether there is one to send on."""
    return unit.row("SELECT 1 FROM sessions WHERE contact = ?", of.id) is not None


def take_claimed(unit: Unit, of: Peer, claimed: Claimed) -> None:
    """What the relay has of a contact, after it was looked at; a session, if one is needed.

    :raises CryptoError: when it is not this contact's, or nothing that can be used.
    """
    bundle, one_time_key = claimed.bundle, claimed.one_time_key
    keys = claimed.keys
    if keys.identity != of.identity:
        raise CryptoError("these are somebody else's keys")
    if not is_bundle_signed(keys, bundle):
        raise CryptoError("a bundle is not signed by its owner")
    if one_time_key is not None and not is_one_time_key_signed(keys, one_time_key):
        raise CryptoError("a one-time key is not signed by its owner")
    if bundle.not_after <= unit.now:
        raise CryptoError("a bundle's time is over")
    if not of.bundle_sequence <= bundle.sequence < SEQUENCE_LIMIT:
        raise CryptoError("a bundle is older than one that was seen")
    if bundle.hpke_key_id == 0:
        raise CryptoError("an HPKE key has the number of pieces of files")
    unit.execute(
        "UPDATE contacts SET ed25519 = ?, curve25519 = ?, bundle = ?, bundle_sequence = ?,"
        " failures = 0 WHERE id = ?",
        keys.ed25519,
        keys.curve25519,
        bundle.encode(),
        bundle.sequence,
        of.id,
    )
    if of.renew or not has_session(unit, of):
        their_key = bundle.fallback_key if one_time_key is None else one_time_key.key
        _begin(unit, of, keys, their_key)


def _begin(unit: Unit, of: Peer, keys: IdentityKeys, their_key: bytes) -> None:
    session = load_account(unit).begin(keys, their_key)
    if of.renew:
        unit.execute("UPDATE contacts SET epoch = epoch + 1 WHERE id = ?", of.id)
    _insert(unit, peer(unit, of.id), session, ours=of.renew)


def _insert(unit: Unit, of: Peer, session: Session, *, ours: bool) -> None:
    """Keep a new session; of too many the one that was not used for the longest time goes."""
    unit.execute(
        "DELETE FROM sessions WHERE contact = ?1 AND id IN (SELECT id FROM sessions"
        " WHERE contact = ?1 ORDER BY used DESC, id LIMIT -1 OFFSET ?2)",
        of.id,
        SESSIONS_LIMIT - 1,
    )
    unit.execute(
        "INSERT INTO sessions (contact, id, dump, epoch, unanswered_renewal, used)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        of.id,
        session.id,
        session.dump(),
        of.epoch,
        ours,
        unit.now,
    )


def seal_message(unit: Unit, of: Peer, message: Message, number: int | None, renewal: bool) -> None:
    """Encrypt a message on the session that both sides agree on, and put it into the outbox.

    That is the lowest id of those that no renewal has replaced. There is one, and a bundle.
    """
    row = unit.row(
        "SELECT dump FROM sessions WHERE contact = ? ORDER BY epoch DESC, id LIMIT 1", of.id
    )
    assert row is not None and of.bundle is not None  # noqa: S101 - whoever calls has looked
    session = Session.restore(row[0])
    ciphertext = session.encrypt(message.encode())
    envelope_id, bundle = EnvelopeId(unit.random(16)), of.bundle
    sealed = seal(
        message.sender,
        ciphertext,
        of.identity,
        envelope_id,
        bundle.hpke_key_id,
        bundle.hpke_key,
    )
    _save(unit, of.id, session)
    unit.execute(
        "INSERT INTO outbox"
        " (envelope_id, contact, message, renewal, hpke_key_id, sealed, sealed_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        envelope_id.raw,
        of.id,
        number,
        renewal,
        bundle.hpke_key_id,
        sealed,
        unit.now,
    )


def _save(unit: Unit, contact: int, session: Session) -> None:
    unit.execute(
        "UPDATE sessions SET dump = ? WHERE contact = ? AND id = ?",
        session.dump(),
        contact,
        session.id,
    )


@frozen
class Opened:
    """What was in an envelope. Nothing of it is kept yet.

    :ivar peer: None, when we do not know the sender.
    :ivar account: without the one-time key that a new session has used up; None, if none is new.
    """

    sender: IdentityKeys
    peer: Peer | None
    message: Message
    session: Session
    account: Account | None

    @property
    def is_first(self) -> bool:
        """Whether this message has begun its session."""
        return self.account is not None


def open_envelope(unit: Unit, own: Own, delivery: Delivery) -> Opened:
    """Open an envelope, and see that all in it agrees. It writes nothing.

    :raises CryptoError: when it does not open, or is not what it seems.
    """
    key_id = delivery.hpke_key_id
    unsealed = unseal(
        delivery.sealed, hpke_key(unit, key_id), own.identity, delivery.envelope_id, key_id
    )
    sender = unsealed.sender
    of = peer_of(unit, sender.identity)
    session, account, plaintext = _decrypt(unit, of, unsealed)
    message = Message.decode(plaintext)
    if message.sender != sender or message.recipient != own.keys:
        raise CryptoError("a message is not from whom, or not for whom, its envelope is")
    if message.sequence >= SEQUENCE_LIMIT or message.time >= SEQUENCE_LIMIT:
        raise CryptoError("a message has a number that nobody can have come to")
    return Opened(sender, of, message, session, account)


def _decrypt(
    unit: Unit, of: Peer | None, unsealed: Unsealed
) -> tuple[Session, Account | None, bytes]:
    ciphertext = unsealed.ciphertext
    if ciphertext.type != PRE_KEY:
        return (*_decrypt_normal(unit, of, unsealed),)
    session_id = ciphertext.session_id
    if of is not None:
        dump = unit.value(
            "SELECT dump FROM sessions WHERE contact = ? AND id = ?", of.id, session_id
        )
        if dump is not None:
            session = Session.restore(dump)
            return session, None, session.decrypt(ciphertext)
    if unit.row("SELECT 1 FROM seen_sessions WHERE id = ?", session_id) is not None:
        raise CryptoError("a first message comes again, and its session is gone")
    account = load_account(unit)
    session, plaintext = account.accept(unsealed.sender, ciphertext)
    return session, account, plaintext


def _decrypt_normal(unit: Unit, of: Peer | None, unsealed: Unsealed) -> tuple[Session, None, bytes]:
    dumps = (
        []
        if of is None
        else unit.rows("SELECT dump FROM sessions WHERE contact = ? ORDER BY used DESC", of.id)
    )
    for (dump,) in dumps:
        session = Session.restore(dump)
        try:
            return session, None, session.decrypt(unsealed.ciphertext)
        except CryptoError:
            continue
    raise CryptoError("a message is of no session that is there")


def keep_session(unit: Unit, opened: Opened, of: Peer) -> None:
    """Keep what opening has changed: the session, and with a new one the account."""
    if opened.account is None:
        _save(unit, of.id, opened.session)
    else:
        save_account(unit, opened.account)
        _insert(unit, of, opened.session, ours=False)
        unit.execute(
            "INSERT INTO seen_sessions (id, rotations) SELECT ?, rotations FROM profile",
            opened.session.id,
        )
    unit.execute(
        "UPDATE contacts SET ed25519 = ?, curve25519 = ? WHERE id = ? AND ed25519 IS NULL",
        opened.sender.ed25519,
        opened.sender.curve25519,
        of.id,
    )
    unit.execute(
        "UPDATE sessions SET used = ?, unanswered_renewal = 0 WHERE contact = ? AND id = ?",
        unit.now,
        of.id,
        opened.session.id,
    )


def prefer_session(unit: Unit, of: Peer, session_id: str) -> None:
    """A renewal: from now on we send on this session."""
    unit.execute("UPDATE contacts SET epoch = epoch + 1 WHERE id = ?", of.id)
    unit.execute(
        "UPDATE sessions SET epoch = (SELECT epoch FROM contacts WHERE id = ?1)"
        " WHERE contact = ?1 AND id = ?2",
        of.id,
        session_id,
    )


def drop_replaced_sessions(unit: Unit, of: Peer) -> None:
    """A renewal is honoured: what was before it goes.

    A session stays that we have begun with a renewal of our own, to which nothing came yet: the
    two may have crossed, and the other side may send on ours.
    """
    unit.execute(
        "DELETE FROM sessions WHERE contact = ? AND NOT unanswered_renewal"
        " AND epoch < (SELECT MAX(epoch) FROM sessions AS others WHERE others.contact = ?)",
        of.id,
        of.id,
    )


def drop_all_sessions(unit: Unit) -> None:
    """Reset: every contact we had one with, or wrote to, is told to use a new one."""
    unit.execute(
        "UPDATE contacts SET renew = 1 WHERE standing IN (0, 2)"
        " AND (id IN (SELECT contact FROM sessions) OR sent > 0)"
    )
    unit.execute("DELETE FROM sessions")
