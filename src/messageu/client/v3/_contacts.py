"""Whom we know: labels, names, trust, and how they stand with us."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from messageu.model import ClientId
from messageu.model.v3 import IDENTITY_SIZE, Bundle, Identity, IdentityKeys

from ._account import Own
from ._errors import (
    ContactExists,
    ContactInvalid,
    ContactUnknown,
    IdentityHasChanged,
    NotAccepted,
    NotVerified,
    OtherRelay,
    TooManyContacts,
)
from ._events import IdentityChanged
from ._unit import Unit
from ._values import Contact, Naming, Standing, Trust

LABEL_LIMIT: Final = 255
"""Bytes of a label in UTF-8."""

CONTACTS_LIMIT: Final = 10_000
"""Contacts of one profile, those who were removed among them."""

REQUESTS_LIMIT: Final = 100
"""People whom we do not know that can ask to write to us at a time."""

_COLUMNS: Final = (
    "id, identity, ed25519, curve25519, label, name, relay, standing, verified, changed_to,"
    " display_name, naming, bundle, bundle_sequence, epoch, renew, honoured_at, honour_due, sent, heard,"
    " forgotten, retry_at, failures"
)
_BY_ID: Final = f"SELECT {_COLUMNS} FROM contacts WHERE id = ?"  # noqa: S608 - constants
_BY_IDENTITY: Final = f"SELECT {_COLUMNS} FROM contacts WHERE identity = ?"  # noqa: S608
_EVERYBODY: Final = f"SELECT {_COLUMNS} FROM contacts"  # noqa: S608 - constants
_BY_ACCOUNT: Final = f"SELECT {_COLUMNS} FROM contacts WHERE identity BETWEEN ? AND ?"  # noqa: S608
_BY_LABEL: Final = f"SELECT {_COLUMNS} FROM contacts WHERE label = ?"  # noqa: S608
_BY_NAME: Final = f"SELECT {_COLUMNS} FROM contacts WHERE name = ?"  # noqa: S608
_BY_STANDING: Final = f"SELECT {_COLUMNS} FROM contacts WHERE standing IN (?, ?)"  # noqa: S608


@frozen
class Peer:
    """A contact's row."""

    id: int
    identity: Identity
    keys: IdentityKeys | None
    label: str | None
    name: str | None
    relay: str
    standing: Standing
    verified: bool
    changed_to: Identity | None
    display_name: bytes
    naming: Naming
    bundle: Bundle | None
    bundle_sequence: int
    epoch: int
    renew: bool
    honoured_at: float | None
    honour_due: bool
    sent: int
    heard: int
    forgotten: int
    retry_at: float
    failures: int

    def may_be_sent(self, trust: Trust) -> bool:
        """Whether messages go to him."""
        trusted = self.verified or trust is Trust.TOFU
        return self.standing is Standing.ACCEPTED and trusted and self.changed_to is None


def _peer(row: tuple) -> Peer:  # type: ignore[type-arg]
    (
        number, identity, ed25519, curve25519, label, name, relay, standing, verified, changed_to,
        display_name, naming, bundle, bundle_sequence, epoch, renew, honoured_at, honour_due, *counts,
    ) = row  # fmt: skip
    return Peer(
        number,
        Identity(identity),
        None if ed25519 is None else IdentityKeys(ed25519, curve25519),
        label,
        name,
        relay,
        Standing(standing),
        bool(verified),
        None if changed_to is None else Identity(changed_to),
        display_name,
        Naming(naming),
        None if bundle is None else Bundle.decode(bundle),
        bundle_sequence,
        epoch,
        bool(renew),
        honoured_at,
        bool(honour_due),
        *counts,
    )


def peer(unit: Unit, number: int) -> Peer:
    """The contact of a row."""
    row = unit.row(_BY_ID, number)
    assert row is not None  # noqa: S101 - rows of contacts are never deleted
    return _peer(row)


def peer_of(unit: Unit, identity: Identity) -> Peer | None:
    """Somebody, if we have heard of him."""
    row = unit.row(_BY_IDENTITY, identity.raw)
    return None if row is None else _peer(row)


def peer_at(unit: Unit, account_id: ClientId) -> Peer | None:
    """Who has an account, if we have heard of him."""
    first, last = (account_id.raw.ljust(IDENTITY_SIZE, filler) for filler in (b"\x00", b"\xff"))
    row = unit.row(_BY_ACCOUNT, first, last)
    return None if row is None else _peer(row)


def find(unit: Unit, who: Identity | str) -> Peer:
    """Somebody, by identity or label.

    :raises ContactUnknown: when there is none.
    """
    row = unit.row(_BY_LABEL, who) if isinstance(who, str) else unit.row(_BY_IDENTITY, who.raw)
    if row is None or (found := _peer(row)).standing is Standing.REMOVED:
        raise ContactUnknown("there is no such contact")
    return found


def shown(unit: Unit, of: Peer) -> Contact:
    """What the user sees of somebody."""
    return Contact(
        of.identity,
        of.keys,
        of.label or _label_of(of.identity),
        of.name,
        of.relay,
        of.standing,
        of.verified,
        of.changed_to,
        missing(unit, of),
        of.display_name,
    )


def missing(unit: Unit, of: Peer) -> int:
    """How many of somebody's messages have not come."""
    gaps = unit.value(
        "SELECT COALESCE(SUM(last - first + 1), 0) FROM gaps WHERE contact = ?", of.id
    )
    return int(gaps) + of.forgotten


def listed(unit: Unit, *standings: Standing) -> Sequence[Contact]:
    """Everybody who stands so with us, the oldest first. One or two ways to stand."""
    rows = unit.rows(_BY_STANDING, standings[0], standings[-1])
    return [shown(unit, found) for found in sorted(map(_peer, rows), key=lambda found: found.id)]


def add(
    unit: Unit,
    own: Own,
    identity: Identity,
    label: str,
    name: str | None,
    relay: str | None,
    verified: bool,
) -> None:
    """Have a contact."""
    if identity == own.identity:
        raise ContactInvalid("that is yourself")
    if relay is not None and relay != own.relay:
        raise OtherRelay("this contact is at another relay than you are")
    known = peer_of(unit, identity)
    if known is not None and known.standing is Standing.ACCEPTED:
        raise ContactExists("this is a contact already")
    number = _insert(unit, own, identity, None) if known is None else known.id
    accept(unit, peer(unit, number), label)
    if verified:
        unit.execute("UPDATE contacts SET verified = 1 WHERE id = ?", number)
    if name is not None:
        _give_name(unit, peer(unit, number), name)


def add_request(unit: Unit, own: Own, keys: IdentityKeys) -> Peer | None:
    """Somebody asks to write to us. None: too many do."""
    requests = unit.value(
        "SELECT COUNT(*) FROM contacts WHERE standing = ?", Standing.REQUEST.value
    )
    if requests >= REQUESTS_LIMIT:
        return None
    known = peer_of(unit, keys.identity)
    try:
        number = _insert(unit, own, keys.identity, keys) if known is None else known.id
    except TooManyContacts:
        return None
    unit.execute(
        "UPDATE contacts SET standing = ?, label = ? WHERE id = ?",
        Standing.REQUEST.value,
        _free_label(unit, keys.identity),
        number,
    )
    return peer(unit, number)


def _insert(unit: Unit, own: Own, identity: Identity, keys: IdentityKeys | None) -> int:
    if unit.value("SELECT COUNT(*) FROM contacts") >= CONTACTS_LIMIT:
        raise TooManyContacts("there are too many contacts")
    return unit.execute(
        "INSERT INTO contacts (identity, ed25519, curve25519, relay, standing)"
        " VALUES (?, ?, ?, ?, ?)",
        identity.raw,
        None if keys is None else keys.ed25519,
        None if keys is None else keys.curve25519,
        own.relay,
        Standing.REQUEST.value,
    ).lastrowid


def _label_of(identity: Identity) -> str:
    return identity.raw.hex()[:16]


def _free_label(unit: Unit, identity: Identity) -> str:
    label = _label_of(identity)
    taken = unit.value("SELECT COUNT(*) FROM contacts WHERE label = ?", label)
    return identity.raw.hex() if taken else label


def accept(unit: Unit, of: Peer, label: str | None) -> None:
    """Let somebody write to us; what he has written already is receipted."""
    if label is not None:
        rename(unit, of, label)
    unit.execute("UPDATE contacts SET standing = ? WHERE id = ?", Standing.ACCEPTED.value, of.id)


def rename(unit: Unit, of: Peer, label: str) -> None:
    """Call somebody otherwise."""
    try:
        size = len(label.encode("utf-8"))
    except UnicodeEncodeError:
        raise ContactInvalid("a label is text in UTF-8") from None
    if not 0 < size <= LABEL_LIMIT or not label.strip():
        raise ContactInvalid(f"a label has 1 to {LABEL_LIMIT} bytes, and is not blank")
    taken = unit.value("SELECT id FROM contacts WHERE label = ?", label)
    if taken not in (None, of.id):
        raise ContactExists("another contact is called so already")
    unit.execute("UPDATE contacts SET label = ? WHERE id = ?", label, of.id)


def set_standing(unit: Unit, of: Peer, standing: Standing) -> None:
    """Have somebody stand otherwise with us."""
    unit.execute("UPDATE contacts SET standing = ? WHERE id = ?", standing.value, of.id)
    if standing is Standing.REMOVED:
        unit.execute(
            "UPDATE contacts SET label = NULL, name = NULL, verified = 0, changed_to = NULL,"
            " display_name = x'' WHERE id = ?",
            of.id,
        )


def everybody(unit: Unit) -> Sequence[Peer]:
    """All rows."""
    return [_peer(row) for row in unit.rows(_EVERYBODY)]


def _give_name(unit: Unit, of: Peer, name: str) -> None:
    """A name has led to somebody: whoever had it has it no more."""
    unit.execute("UPDATE contacts SET name = NULL WHERE name = ?", name)
    unit.execute("UPDATE contacts SET name = ? WHERE id = ?", name, of.id)


def name_resolved(unit: Unit, name: str, keys: IdentityKeys) -> None:
    """A relay says whose name it is. If that is another than it was, the user hears of it."""
    row = unit.row(_BY_NAME, name)
    if row is None:
        return
    known = _peer(row)
    if known.identity == keys.identity:
        unit.execute("UPDATE contacts SET changed_to = NULL WHERE id = ?", known.id)
    elif known.changed_to != keys.identity:
        unit.execute("UPDATE contacts SET changed_to = ? WHERE id = ?", keys.identity.raw, known.id)
        unit.tell(IdentityChanged(known.identity, keys.identity))


def decide(unit: Unit, own: Own, of: Peer, *, replace: bool) -> Identity:
    """Who is the contact from now on, when his name is somebody else's."""
    if of.changed_to is None:
        return of.identity
    if not replace:
        unit.execute("UPDATE contacts SET changed_to = NULL, name = NULL WHERE id = ?", of.id)
        return of.identity
    label, name = of.label or "", of.name
    set_standing(unit, of, Standing.REMOVED)
    add(unit, own, of.changed_to, label, name, None, verified=False)
    return of.changed_to


def check_sendable(own: Own, of: Peer) -> None:
    """See whether messages may go to somebody.

    :raises NotAccepted: when he is no accepted contact.
    :raises NotVerified: when only verified contacts are written to.
    :raises IdentityHasChanged: when his name is somebody else's.
    """
    if of.standing is not Standing.ACCEPTED:
        raise NotAccepted("accept this contact first")
    if of.changed_to is not None:
        raise IdentityHasChanged("somebody else has this contact's name: keep or replace it first")
    if not of.may_be_sent(own.trust):
        raise NotVerified("compare safety numbers first: only verified contacts are written to")
