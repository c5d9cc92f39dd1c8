"""Our own keys: the account, its prekeys and what becomes of them, the generation."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from attrs import frozen

from messageu.crypto.v3 import Account, CryptoError, HpkeKey
from messageu.model.v3 import (
    BUNDLE_LIFE,
    GENERATION_BITS,
    ONE_TIME_KEYS_LIMIT,
    Bundle,
    Identity,
    IdentityKeys,
    OneTimeKey,
)

from ._errors import StaleState
from ._unit import Unit
from ._values import Profile, Trust

CLOCK_SLACK: Final = 86_400
"""Seconds by which a relay's clock may be behind ours when it looks at a bundle."""

OUTBOX_LIFE: Final = 7 * 86_400
"""Seconds for which an envelope is tried."""

ONE_TIME_KEYS_LOW: Final = 25
"""One-time keys at the relay below which more are published."""

ROTATIONS_REMEMBERED: Final = 2
"""Rotations of the fallback key after which the id of a session is forgotten."""


class Use(IntEnum):
    """What has become of a generation; the value is what the database holds."""

    NONE = 0
    SHOWN = 1
    TAKEN = 2


@frozen
class Own:
    """Ourselves, as a transaction finds us."""

    keys: IdentityKeys
    name: str | None
    relay: str
    registered: bool
    generation: int
    stale: bool
    trust: Trust
    mail_life: int
    unopened: int
    wanted_name: str | None
    wanted_token: bytes | None
    publishing: bool
    display_name: bytes

    @property
    def identity(self) -> Identity:
        """Who we are."""
        return self.keys.identity

    @property
    def profile(self) -> Profile:
        """What the user sees of it."""
        return Profile(
            self.keys,
            self.name,
            self.relay,
            self.registered,
            self.stale,
            self.trust,
            self.unopened,
            self.display_name.decode("utf-8"),
        )


def create_profile(unit: Unit, relay: str) -> None:
    """Make new keys."""
    account = Account.create()
    keys = account.keys
    unit.execute(
        "INSERT INTO profile (id, account, ed25519, curve25519, relay, generation)"
        " VALUES (1, ?, ?, ?, ?, ?)",
        account.dump(),
        keys.ed25519,
        keys.curve25519,
        relay,
        _generation(unit, int(unit.now)),
    )


def read_own(unit: Unit) -> Own:
    """Who we are."""
    row = unit.row(
        "SELECT ed25519, curve25519, name, relay, registered, generation, stale, trust, mail_life,"
        " unopened, wanted_name, wanted_token, publishing, display_name FROM profile"
    )
    assert row is not None  # noqa: S101 - the schema was checked
    ed25519, curve25519, name, relay, registered, generation, stale, trust, *others = row
    mail_life, unopened, wanted_name, wanted_token, publishing, display_name = others
    return Own(
        IdentityKeys(ed25519, curve25519),
        name,
        relay,
        bool(registered),
        generation,
        bool(stale),
        Trust(trust),
        mail_life,
        unopened,
        wanted_name,
        wanted_token,
        bool(publishing),
        display_name,
    )


def load_account(unit: Unit) -> Account:
    """The account as it is committed, or as this transaction has saved it."""
    return Account.restore(unit.value("SELECT account FROM profile"))


def save_account(unit: Unit, account: Account) -> None:
    """Keep an account that has changed."""
    unit.execute("UPDATE profile SET account = ?", account.dump())


def next_generation(unit: Unit) -> None:
    """See to a generation above all with which this profile was let in.

    Its counter is used until the relay has let us in: otherwise a copy of this profile that often
    fails to connect would overtake the original. One that the relay may have seen stays as it is,
    since it may have let us in; all others get new random bits, so that none of a copy's is ours.

    :raises StaleState: when this profile must be reset first.
    """
    if read_own(unit).stale:
        raise StaleState("this profile is older than what the relay knows: reset it or give it up")
    use = Use(unit.value("SELECT generation_use FROM profile"))
    if use is Use.SHOWN:
        return
    following = _generation(unit, _counted(unit) + (use is Use.TAKEN))
    unit.execute("UPDATE profile SET generation = ?", following)
    use_generation(unit, Use.NONE)


def use_generation(unit: Unit, use: Use) -> None:
    """Keep what has become of our generation."""
    unit.execute("UPDATE profile SET generation_use = ?", use.value)


def _counted(unit: Unit) -> int:
    counted: int = unit.value("SELECT generation FROM profile") >> GENERATION_BITS
    return counted


def _generation(unit: Unit, counter: int) -> int:
    """A generation that a copy of this profile which counts as far does not choose, too."""
    return counter << GENERATION_BITS | int.from_bytes(unit.random(GENERATION_BITS // 8), "little")


def renew_own(unit: Unit) -> None:
    """Reset: a generation and prekeys that are higher than all before."""
    counter = int(unit.now)
    unit.execute(
        "UPDATE profile SET generation = ?, generation_use = 0, stale = 0,"
        " bundle_sequence = MAX(bundle_sequence, ?)",
        _generation(unit, max(_counted(unit) + 1, counter)),
        counter << GENERATION_BITS,
    )
    account = load_account(unit)
    # The relay may have one-time keys that this state does not know: it drops those of before.
    account.begin_era(max(account.era + 1, int(unit.now)))
    save_account(unit, account)
    make_prekeys(unit, ONE_TIME_KEYS_LIMIT)


def make_prekeys(unit: Unit, one_time_keys: int) -> None:
    """Make a new bundle, with a new fallback key and a new HPKE key, and so many one-time keys.

    They are published from then on, until :func:`prekeys_published`.
    """
    account = load_account(unit)
    if unit.value("SELECT bundle FROM profile") is not None:
        account.rotate_fallback_key()
    _add_one_time_keys(account, one_time_keys)
    hpke_key = HpkeKey.create()
    not_after = int(unit.now) + BUNDLE_LIFE - CLOCK_SLACK
    key_id = unit.execute(
        "INSERT INTO hpke_keys (secret, not_after) VALUES (?, ?)", hpke_key.raw, not_after
    ).lastrowid
    sequence = unit.value("SELECT bundle_sequence FROM profile") + 1
    bundle = account.make_bundle(sequence, not_after, key_id, hpke_key.public)
    save_account(unit, account)
    unit.execute(
        "UPDATE profile SET bundle = ?, bundle_sequence = ?, rotate_at = ?, publishing = 1,"
        " rotations = rotations + 1",
        bundle.encode(),
        sequence,
        unit.now + (BUNDLE_LIFE - CLOCK_SLACK) / 2,
    )
    unit.execute(
        "DELETE FROM seen_sessions WHERE rotations + ? <= (SELECT rotations FROM profile)",
        ROTATIONS_REMEMBERED,
    )


def add_one_time_keys(unit: Unit, left: int) -> None:
    """Have more of them published when the relay has but so many left."""
    if left < ONE_TIME_KEYS_LOW and not read_own(unit).publishing:
        account = load_account(unit)
        _add_one_time_keys(account, ONE_TIME_KEYS_LIMIT - left)
        save_account(unit, account)
        unit.execute("UPDATE profile SET publishing = 1")


def _add_one_time_keys(account: Account, count: int) -> None:
    waiting = len(account.unpublished_one_time_keys())
    account.make_one_time_keys(max(0, min(count, ONE_TIME_KEYS_LIMIT - waiting)))


def refresh_prekeys(unit: Unit, left: int | None) -> None:
    """Make what is due: a bundle when there is none or its half-life is over, one-time keys when
    few are left. None: nobody has said how many."""
    bundle, rotate_at = _bundle_row(unit)
    if bundle is None or rotate_at <= unit.now:
        make_prekeys(unit, 0 if left is None else max(0, ONE_TIME_KEYS_LIMIT - left))
    elif left is not None:
        add_one_time_keys(unit, left)


def has_bundle(unit: Unit) -> bool:
    """Whether there is a bundle whose time is not over: without one nobody can write to us."""
    bundle, _ = _bundle_row(unit)
    return bundle is not None and Bundle.decode(bundle).not_after > unit.now


def rotation_time(unit: Unit) -> float:
    """When the next bundle is due."""
    return _bundle_row(unit)[1]


def _bundle_row(unit: Unit) -> tuple[bytes | None, float]:
    row = unit.row("SELECT bundle, rotate_at FROM profile")
    assert row is not None  # noqa: S101 - the schema was checked
    return row[0], row[1]


def prekeys_to_publish(unit: Unit) -> tuple[Bundle, list[OneTimeKey]] | None:
    """What the relay may lack; the same until it is known that it has it."""
    bundle = unit.value("SELECT bundle FROM profile WHERE publishing")
    if bundle is None:
        return None
    return Bundle.decode(bundle), list(load_account(unit).unpublished_one_time_keys())


def prekeys_published(unit: Unit) -> None:
    """The relay has what was published."""
    account = load_account(unit)
    account.mark_published()
    save_account(unit, account)
    unit.execute("UPDATE profile SET publishing = 0")


def only_bundle_to_publish(unit: Unit) -> None:
    """The relay takes no more one-time keys: it is not offered these again."""
    prekeys_published(unit)
    unit.execute("UPDATE profile SET publishing = 1")


def bundle_was_stale(unit: Unit) -> None:
    """The relay has had a later bundle: the next is higher for certain."""
    unit.execute(
        "UPDATE profile SET bundle_sequence = MAX(bundle_sequence, ?)",
        int(unit.now) << GENERATION_BITS,
    )
    make_prekeys(unit, 0)


def hpke_key(unit: Unit, key_id: int) -> HpkeKey:
    """The private key of a bundle.

    :raises CryptoError: when it is not there any more, or never was.
    """
    secret = unit.value("SELECT secret FROM hpke_keys WHERE id = ?", key_id)
    if secret is None:
        raise CryptoError("an envelope is sealed to a key that is not there")
    return HpkeKey.restore(secret)


def forget_hpke_keys(unit: Unit) -> None:
    """Delete private keys that nobody can have sealed to what may still come."""
    unit.execute(
        "DELETE FROM hpke_keys WHERE not_after + ? + (SELECT mail_life FROM profile) < ?",
        OUTBOX_LIFE,
        unit.now,
    )
