"""What both stores decide alike, without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from messageu.model import ClientId
from messageu.model.v3 import (
    GENERATION_BITS,
    ONE_TIME_KEYS_LIMIT,
    Bundle,
    IdentityKeys,
    OneTimeKey,
    Reason,
    lowest_of_era,
)

HOUR: Final = 3600
"""Seconds. Of a time of arrival no more is kept than which hour it was in."""


def hour_of(time: float) -> int:
    """The hour that a time is in, counted from the epoch."""
    return int(time // HOUR)


def token_digest(token: bytes) -> bytes:
    """What is kept of a token, which is random and needs no salt. 32 bytes."""
    return sha256(b"messageu/3 token\0" + token).digest()


def judge_registration(
    kept: tuple[IdentityKeys, str], keys: IdentityKeys, name: str
) -> Reason | None:
    """What becomes of a registration under an account id that there is already.

    Ids are cut short: other keys with the same id are somebody else's, who cannot have it.
    """
    return None if kept == (keys, name) else Reason.ALREADY_REGISTERED


def judge_generation(kept: int, generation: int) -> Reason | None:
    """Whether somebody who connects goes on with the state that was seen last, or a later one.

    The lower 16 bits are random. The very same again is of a client that has not heard the answer;
    another one that has counted as far is of a copy.
    """
    if generation == kept or generation >> GENERATION_BITS > kept >> GENERATION_BITS:
        return None
    return Reason.STALE_STATE


def judge_bundle(account: ClientId, kept: Bundle | None, bundle: Bundle) -> Reason | None:
    """Whether a bundle may take the place of the one that is kept, or is the same."""
    if bundle.identity.account_id != account:
        return Reason.NOT_REGISTERED
    if kept is not None and kept != bundle and bundle.sequence <= kept.sequence:
        return Reason.STALE_BUNDLE
    return None


def lowest_left(kept: Bundle | None, bundle: Bundle) -> int:
    """Below which id one-time keys go when a bundle comes: those of before a reset, or none.

    Their owner has gone on with a state that does not know them.
    """
    if kept is None:
        return 0
    era = lowest_of_era(bundle.fallback_key_id)
    return era if era > kept.fallback_key_id else 0


def new_one_time_keys(
    keys: Sequence[OneTimeKey], highest: int | None, left: int
) -> Sequence[OneTimeKey] | Reason:
    """Those that this account has not published before, or TOO_MANY.

    The ids of an account's one-time keys grow. So the highest of them all is memory enough, of 8
    bytes, that forgets no id, also of keys that were claimed. It is the highest before this request:
    in a request the ids may come in any order, and of two with one id the first counts. An
    owner who asks in two requests and sends the higher ids first has published the lower ones in
    vain; no key is ever given out twice.

    :param highest: the highest id that this account has published before, if any.
    :param left: how many of its keys are kept, but for those that go.
    """
    fresh: dict[int, OneTimeKey] = {}
    for key in keys:
        if highest is None or key.key_id > highest:
            fresh.setdefault(key.key_id, key)
    if left + len(fresh) > ONE_TIME_KEYS_LIMIT:
        return Reason.TOO_MANY
    return list(fresh.values())
