"""The accounts in an SQL database, which is that of the mailboxes of v2 as well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from zope.interface import implementer

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

from .._interface import Quota, StoreError, StoreUnavailable
from ._interface import Admission, Claimed, IAccountStore, PutOutcome
from ._operations import (
    AccountOperation,
    Acknowledge,
    Admit,
    Claim,
    ClearRubbish,
    DeleteAccount,
    ExpireMail,
    Invite,
    Publish,
    PutMail,
    ReadWaiting,
    RegisterAccount,
    ReleaseName,
    Resolve,
    Subscribe,
)
from ._rules import hour_of, token_digest

Submit: TypeAlias = Callable[[AccountOperation], "Deferred[Any]"]


@implementer(IAccountStore)
class SqlAccountStore:
    """The accounts in the database of another store, which opens and closes it.

    :param submit: does an operation in one of the next transactions.
    :param keep_house: does one that nobody waits for, when there is time.
    :param now: wall-clock seconds since the epoch, for times of arrival.
    :param quota: what one mailbox may hold.
    """

    def __init__(
        self,
        *,
        submit: Submit,
        keep_house: Callable[[AccountOperation], Awaitable[Any]],
        now: Callable[[], float],
        quota: Quota,
    ) -> None:
        self._submit = submit
        self._keep_house = keep_house
        self._now = now
        self._quota = quota
        self._clearing = False

    def admit(self, identity: Identity, generation: int) -> Deferred[Admission | Reason]:
        return self._submit(Admit(identity, generation))

    def register(
        self, keys: IdentityKeys, generation: int, name: Handle, token: bytes | None
    ) -> Deferred[Reason | None]:
        digest = None if token is None else token_digest(token)
        return self._submit(RegisterAccount(keys, generation, name, digest))

    def resolve(self, name: Handle) -> Deferred[IdentityKeys | Reason]:
        return self._submit(Resolve(name))

    def publish(
        self, account: ClientId, bundle: Bundle, one_time_keys: Sequence[OneTimeKey]
    ) -> Deferred[int | Reason]:
        return self._submit(Publish(account, bundle, one_time_keys))

    def claim(self, account: ClientId) -> Deferred[Claimed | Reason]:
        return self._submit(Claim(account))

    def put(self, envelopes: Sequence[SealedEnvelope]) -> Deferred[Sequence[PutOutcome]]:
        return self._submit(PutMail(envelopes, hour_of(self._now()), self._quota))

    def subscribe(self, account: ClientId) -> Deferred[int | Reason]:
        return self._submit(Subscribe(account))

    def waiting(
        self,
        account: ClientId,
        after: int,
        max_messages: int,
        max_bytes: int,
        term: int | None = None,
    ) -> Deferred[Sequence[Delivery] | Reason]:
        return self._submit(ReadWaiting(account, after, max_messages, max_bytes, term))

    def acknowledge(
        self, account: ClientId, sequences: Sequence[int], term: int | None = None
    ) -> Deferred[Reason | None]:
        # Its first step is in line before anything that is asked for later.
        return Deferred.fromCoroutine(self._acknowledge(account, sequences, term))

    def delete_account(self, account: ClientId) -> Deferred[None]:
        deleted: Deferred[bool] = self._submit(DeleteAccount(account))
        return deleted.addCallback(lambda more: self._clear_rubbish() if more else None)

    def expire(self, before: float) -> Deferred[int]:
        return Deferred.fromCoroutine(self._expire(hour_of(before)))

    def invite(self, token: bytes) -> Deferred[None]:
        return self._submit(Invite(token_digest(token)))

    def release_name(self, name: Handle) -> Deferred[bool]:
        return self._submit(ReleaseName(name))

    async def _acknowledge(
        self, account: ClientId, sequences: Sequence[int], term: int | None
    ) -> Reason | None:
        left = sequences
        while True:
            left = await self._submit(Acknowledge(account, left, term))
            if isinstance(left, Reason):
                return left
            if not left:
                return None

    async def _expire(self, hour: int) -> int:
        total, more = 0, True
        while more:
            try:
                count, more = await self._submit(ExpireMail(hour))
            except StoreUnavailable:
                if not total:
                    raise
                # What is gone is gone; the next call goes on.
                break
            total += count
        self._clear_rubbish()
        return total

    def _clear_rubbish(self) -> None:
        """Delete what accounts have left that are gone, some at a time; what fails goes later."""
        if not self._clearing:
            self._clearing = True
            cleared = Deferred.fromCoroutine(self._clear())
            cleared.addErrback(lambda failure: failure.trap(StoreError))
            cleared.addCallback(lambda _: setattr(self, "_clearing", False))

    async def _clear(self) -> None:
        while await self._keep_house(ClearRubbish()):
            pass
