"""The accounts in memory: a verified fake for tests of whatever uses a store of v3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from hashlib import sha256
from typing import Concatenate, ParamSpec, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, execute, fail
from zope.interface import implementer

from messageu.model import ClientId
from messageu.model.v3 import (
    Bundle,
    Delivery,
    EnvelopeId,
    Handle,
    Identity,
    IdentityKeys,
    OneTimeKey,
    Reason,
    SealedEnvelope,
)

from .._interface import NO_QUOTA, Quota, StoreUnavailable
from .._survey import MailboxSize, Surveyed, User
from ._interface import Admission, Claimed, IAccountStore, PutOutcome, Stored
from ._rules import (
    hour_of,
    judge_bundle,
    judge_generation,
    judge_registration,
    lowest_left,
    new_one_time_keys,
    token_digest,
)

P = ParamSpec("P")
R = TypeVar("R")


@define
class _Account:
    keys: IdentityKeys
    name: Handle
    generation: int
    last_sequence: int
    bundle: Bundle | None = None
    one_time_keys: dict[int, OneTimeKey] = field(factory=dict)
    highest_key_id: int | None = None
    mail: dict[int, SealedEnvelope] = field(factory=dict)
    content: int = 0
    tombstones: dict[EnvelopeId, _Tombstone] = field(factory=dict)
    term: int = 0


@frozen
class _Tombstone:
    sequence: int
    digest: bytes
    hour: int


def _has_mailbox(owner: _Account | None, term: int | None) -> bool:
    return term is None or (owner is not None and owner.term == term)


def _operation(
    method: Callable[Concatenate[MemoryAccountStore, P], R],
) -> Callable[Concatenate[MemoryAccountStore, P], Deferred[R]]:
    """What a method returns or raises, in a Deferred; but only while the store is open."""

    @wraps(method)
    def operation(store: MemoryAccountStore, /, *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        if not store.is_open():
            return fail(StoreUnavailable("the store is not open"))
        return execute(method, store, *args, **kwargs)

    return operation


@implementer(IAccountStore)
class MemoryAccountStore:
    """The accounts in memory, until the object is gone. Every Deferred has fired when it is
    returned.

    :ivar quota: what one mailbox may hold.
    :ivar is_open: whether operations are taken.
    :param now: wall-clock seconds since the epoch, for times of arrival.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        quota: Quota = NO_QUOTA,
        is_open: Callable[[], bool] = lambda: True,
    ) -> None:
        self._now = now
        self.quota = quota
        self.is_open = is_open
        self._accounts: dict[ClientId, _Account] = {}
        self._names: dict[Handle, ClientId | None] = {}
        self._tokens: set[bytes] = set()
        self._floor = 0
        self._term_floor = 0

    def look(self) -> Sequence[Surveyed]:
        """Who is here, and what waits for him."""
        return [
            (User(owner, account.name.text), MailboxSize(owner, len(account.mail), account.content))
            for owner, account in self._accounts.items()
        ]

    @_operation
    def admit(self, identity: Identity, generation: int) -> Admission | Reason:
        account = self._accounts.get(identity.account_id)
        if account is None or account.keys.identity != identity:
            return Admission(registered=False, one_time_keys=0)
        refusal = judge_generation(account.generation, generation)
        if refusal is not None:
            return refusal
        account.generation = generation
        return Admission(registered=True, one_time_keys=len(account.one_time_keys))

    @_operation
    def register(
        self, keys: IdentityKeys, generation: int, name: Handle, token: bytes | None
    ) -> Reason | None:
        account_id = keys.identity.account_id
        account = self._accounts.get(account_id)
        if account is not None:
            refusal = judge_registration((account.keys, account.name.text), keys, name.text)
            if refusal is None:
                account.generation = max(account.generation, generation)
            return refusal
        digest = None if token is None else token_digest(token)
        if digest is not None and digest not in self._tokens:
            return Reason.TOKEN_INVALID
        if any(taken.skeleton == name.skeleton for taken in self._names):
            return Reason.NAME_TAKEN
        if digest is not None:
            self._tokens.remove(digest)
        self._names[name] = account_id
        self._accounts[account_id] = _Account(
            keys, name, generation, self._floor, term=self._term_floor
        )
        return None

    @_operation
    def resolve(self, name: Handle) -> IdentityKeys | Reason:
        account_id = self._names.get(name)
        return Reason.NOT_FOUND if account_id is None else self._accounts[account_id].keys

    @_operation
    def publish(
        self, account: ClientId, bundle: Bundle, one_time_keys: Sequence[OneTimeKey]
    ) -> int | Reason:
        owner = self._accounts.get(account)
        if owner is None:
            return Reason.NOT_REGISTERED
        refusal = judge_bundle(account, owner.bundle, bundle)
        if refusal is not None:
            return refusal
        lowest = lowest_left(owner.bundle, bundle)
        left = {key_id: key for key_id, key in owner.one_time_keys.items() if key_id >= lowest}
        fresh = new_one_time_keys(one_time_keys, owner.highest_key_id, len(left))
        if isinstance(fresh, Reason):
            return fresh
        owner.bundle, owner.one_time_keys = bundle, left
        for key in fresh:
            owner.one_time_keys[key.key_id] = key
            owner.highest_key_id = max(owner.highest_key_id or 0, key.key_id)
        return len(owner.one_time_keys)

    @_operation
    def claim(self, account: ClientId) -> Claimed | Reason:
        owner = self._accounts.get(account)
        if owner is None or owner.bundle is None:
            return Reason.NOT_FOUND
        keys = owner.one_time_keys
        key = keys.pop(min(keys)) if keys else None
        return Claimed(owner.keys, owner.bundle, key, len(keys))

    @_operation
    def put(self, envelopes: Sequence[SealedEnvelope]) -> Sequence[PutOutcome]:
        return [self._put(envelope) for envelope in envelopes]

    @_operation
    def subscribe(self, account: ClientId) -> int | Reason:
        owner = self._accounts.get(account)
        if owner is None:
            return Reason.NOT_REGISTERED
        owner.term += 1
        return owner.term

    @_operation
    def waiting(
        self,
        account: ClientId,
        after: int,
        max_messages: int,
        max_bytes: int,
        term: int | None = None,
    ) -> Sequence[Delivery] | Reason:
        owner = self._accounts.get(account)
        if not _has_mailbox(owner, term):
            return Reason.NOT_SUBSCRIBED
        found: list[Delivery] = []
        room = max_bytes
        for sequence, envelope in owner.mail.items() if owner is not None else ():
            if sequence <= after:
                continue
            room -= len(envelope.sealed)
            if found and (len(found) >= max_messages or room < 0):
                break
            found.append(
                Delivery(sequence, envelope.envelope_id, envelope.hpke_key_id, envelope.sealed)
            )
        return found

    @_operation
    def acknowledge(
        self, account: ClientId, sequences: Sequence[int], term: int | None = None
    ) -> Reason | None:
        owner = self._accounts.get(account)
        if not _has_mailbox(owner, term):
            return Reason.NOT_SUBSCRIBED
        if owner is not None:
            for sequence in sequences:
                self._delete(owner, sequence)
        return None

    @_operation
    def delete_account(self, account: ClientId) -> None:
        owner = self._accounts.pop(account, None)
        if owner is not None:
            self._names[owner.name] = None
            self._floor = max(self._floor, owner.last_sequence)
            self._term_floor = max(self._term_floor, owner.term + 1)

    @_operation
    def expire(self, before: float) -> int:
        count = 0
        for owner in self._accounts.values():
            for envelope_id, tombstone in list(owner.tombstones.items()):
                if tombstone.hour < hour_of(before):
                    del owner.tombstones[envelope_id]
                    count += self._delete(owner, tombstone.sequence)
        return count

    @_operation
    def invite(self, token: bytes) -> None:
        self._tokens.add(token_digest(token))

    @_operation
    def release_name(self, name: Handle) -> bool:
        if self._names.get(name, name) is not None:
            return False
        del self._names[name]
        return True

    def _put(self, envelope: SealedEnvelope) -> PutOutcome:
        owner = self._accounts.get(envelope.recipient)
        if owner is None:
            return Reason.NOT_FOUND
        digest = sha256(envelope.sealed).digest()
        tombstone = owner.tombstones.get(envelope.envelope_id)
        if tombstone is not None:
            same = tombstone.digest == digest
            return Stored(tombstone.sequence, known=True) if same else Reason.CONFLICT
        size = len(envelope.sealed)
        if len(owner.mail) >= self.quota.messages or owner.content + size > self.quota.content:
            return Reason.MAILBOX_FULL
        owner.last_sequence = sequence = owner.last_sequence + 1
        owner.mail[sequence] = envelope
        owner.content += size
        owner.tombstones[envelope.envelope_id] = _Tombstone(sequence, digest, hour_of(self._now()))
        return Stored(sequence)

    def _delete(self, owner: _Account, sequence: int) -> bool:
        envelope = owner.mail.pop(sequence, None)
        if envelope is None:
            return False
        owner.content -= len(envelope.sealed)
        return True
