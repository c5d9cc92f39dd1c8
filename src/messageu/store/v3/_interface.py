"""What the relay asks of a store of v3. Refusals are results; a Deferred fires after the commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

from messageu.model import ClientId
from messageu.model.v3 import (
    Bundle,
    Delivery,
    Handle,
    Identity,
    IdentityKeys,
    OneTimeKey,
    Reason,
    SealedEnvelope,
)

from .._interface import StoreError


@frozen
class Admission:
    """What is known of somebody who has proven who he is.

    :ivar registered: whether he has an account.
    :ivar one_time_keys: how many of his are left.
    """

    registered: bool
    one_time_keys: int


@frozen
class Claimed:
    """What was claimed of an account; ``left`` is how many one-time keys it still has."""

    keys: IdentityKeys
    bundle: Bundle
    one_time_key: OneTimeKey | None
    left: int


@frozen
class Stored:
    """An envelope is in its mailbox, at this place; or was, when it is ``known`` from before."""

    sequence: int
    known: bool = False


PutOutcome: TypeAlias = Stored | Reason | StoreError
"""What became of one envelope: stored, refused, or at fault by itself."""


class IAccountStore(Interface):
    """Accounts of v3, their names, prekeys and mailboxes.

    What an operation did is on the disk when its Deferred fires. Every Deferred may fail with
    :class:`~messageu.store.StoreUnavailable`, or with another
    :class:`~messageu.store.StoreError` when the fault is this operation's alone: either way nothing
    was done, unless the way to the database broke and nobody can say. Operations that concern one
    account take effect in the order in which they were asked for. Cancelling a Deferred undoes
    nothing. Of an ``identity`` the store takes for granted that it is proven.

    Nothing that is stored names a sender. Of a time that mail has arrived, the hour is kept.
    """

    def admit(identity: Identity, generation: int) -> Deferred[Admission | Reason]:
        """Somebody connects. For an account, the generation is kept. Refused: STALE_STATE, when
        it is not the very one that is kept, and what is above its random bits is not higher."""

    def register(
        keys: IdentityKeys, generation: int, name: Handle, token: bytes | None
    ) -> Deferred[Reason | None]:
        """Make an account. The same keys and name again: the generation is kept if it is higher,
        and no token is used.

        A token is used up. None: whoever asks has seen to it that none is needed. Refused, in this
        order: ALREADY_REGISTERED under another name, or when other keys have this account id;
        TOKEN_INVALID; NAME_TAKEN, also when it looks like another. So nobody learns names from a
        token that is none.
        """

    def resolve(name: Handle) -> Deferred[IdentityKeys | Reason]:
        """Whose name it is. Refused: NOT_FOUND."""

    def publish(
        account: ClientId, bundle: Bundle, one_time_keys: Sequence[OneTimeKey]
    ) -> Deferred[int | Reason]:
        """Keep prekeys, whose signatures are good; how many one-time keys there are then. (A Reason
        is an int, too: ask for it first.)

        The same bundle as the one that is kept changes nothing, nor does a one-time key whose id
        is not above all that this account has published before. One-time keys of eras before the
        bundle's go, when it begins one. Refused: NOT_REGISTERED, also
        when the bundle is of another account; STALE_BUNDLE when its sequence is not higher and it
        is another; TOO_MANY when more than ONE_TIME_KEYS_LIMIT would be kept. A request that is
        refused changes nothing at all.
        """

    def claim(account: ClientId) -> Deferred[Claimed | Reason]:
        """The prekeys of an account; a one-time key is used up. Refused: NOT_FOUND, also when it
        has published none."""

    def put(envelopes: Sequence[SealedEnvelope]) -> Deferred[Sequence[PutOutcome]]:
        """Put envelopes into their mailboxes, in order; what became of each. Each is stored,
        refused or failed by itself.

        An envelope whose id its recipient was sent before is stored once if its bytes are the same,
        also when it is acknowledged by now. Refused: NOT_FOUND, CONFLICT, MAILBOX_FULL.
        """

    def subscribe(account: ClientId) -> Deferred[int | Reason]:
        """Give an account's mailbox to a new subscription: its term, which is higher than all before.
        Refused: NOT_REGISTERED. (A Reason is an int, too: ask for it first.)"""

    def waiting(
        account: ClientId, after: int, max_messages: int, max_bytes: int, term: int | None = None
    ) -> Deferred[Sequence[Delivery] | Reason]:
        """The oldest mail behind a place, in order: so many envelopes, and so many bytes of what
        is sealed, but at least one if any waits. Refused: NOT_SUBSCRIBED, when a term is named
        and another subscription has the mailbox by now."""

    def acknowledge(
        account: ClientId, sequences: Sequence[int], term: int | None = None
    ) -> Deferred[Reason | None]:
        """Delete mail. What is not there, or not in this mailbox, changes nothing. Of much, some
        is deleted after what was asked for meanwhile; if this fails, some may be gone. Refused as
        above."""

    def delete_account(account: ClientId) -> Deferred[None]:
        """Forget an account, its prekeys and its mail, but not its name. Nothing to forget: nothing
        is done. Places in the mailbox of a later account of the same keys are higher."""

    def expire(before: float) -> Deferred[int]:
        """Delete mail that arrived before the hour that a time is in, which is in seconds since the
        epoch, and the memory of envelopes from then; how many envelopes are gone. So mail lives
        up to an hour longer, and never less. Of a deleted account what has not gone yet may count."""

    def invite(token: bytes) -> Deferred[None]:
        """Make a token with which one account can be registered. Its digest is kept."""

    def release_name(name: Handle) -> Deferred[bool]:
        """Let a name of a deleted account be given out again; whether it was one."""
