"""The accounts of v3 in a PostgreSQL database that several relays share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from messageu.model import ClientId
from messageu.model.v3 import Reason, SealedEnvelope

from .._interface import Quota
from ..v3 import AccountOperation, Claimed, PutMail, PutOutcome, SqlAccountStore, Stored, hour_of
from ._announcements import Announcements, encode_prekeys, encode_subscription

FINAL_TERM: Final = 2**63 - 1
"""Above the terms of all subscriptions: nobody has the mailbox of a deleted account."""


class PostgresAccountStore(SqlAccountStore):
    """As the one of SQLite, but that the other relays are told of what concerns theirs.

    :param scatter: does something with envelopes, each in the lane of its mailbox.
    :param announcements: where what the other relays are to hear is gathered, and ``announce`` says
        that there is something.
    :param relay: the id of this relay.
    """

    def __init__(
        self,
        *,
        submit: Callable[[AccountOperation], Deferred[Any]],
        keep_house: Callable[[AccountOperation], Awaitable[Any]],
        scatter: Callable[..., Deferred[Sequence[PutOutcome]]],
        announcements: Announcements,
        announce: Callable[[], object],
        relay: str,
        now: Callable[[], float],
        quota: Quota,
    ) -> None:
        super().__init__(submit=submit, keep_house=keep_house, now=now, quota=quota)
        self._scatter = scatter
        self._announcements = announcements
        self._announce = announce
        self._relay = relay

    def put(self, envelopes: Sequence[SealedEnvelope]) -> Deferred[Sequence[PutOutcome]]:
        hour = hour_of(self._now())

        def make(share: Sequence[SealedEnvelope]) -> PutMail:
            return PutMail(share, hour, self._quota)

        put = self._scatter(envelopes, lambda envelope: envelope.recipient.raw, make)
        return put.addCallback(self._announce_mail, envelopes)

    def subscribe(self, account: ClientId) -> Deferred[int | Reason]:
        def tell(term: int | Reason) -> int | Reason:
            if not isinstance(term, Reason):
                self._say(encode_subscription(self._relay, account, term))
            return term

        return super().subscribe(account).addCallback(tell)

    def claim(self, account: ClientId) -> Deferred[Claimed | Reason]:
        def tell(claimed: Claimed | Reason) -> Claimed | Reason:
            if isinstance(claimed, Claimed):
                self._say(encode_prekeys(self._relay, account, claimed.left))
            return claimed

        return super().claim(account).addCallback(tell)

    def delete_account(self, account: ClientId) -> Deferred[None]:
        def tell(_: None) -> None:
            self._say(encode_subscription(self._relay, account, FINAL_TERM))

        return super().delete_account(account).addCallback(tell)

    def _announce_mail(
        self, outcomes: Sequence[PutOutcome], envelopes: Sequence[SealedEnvelope]
    ) -> Sequence[PutOutcome]:
        # What was known before is announced as well: who stored it may not have lived to do that.
        arrived = [
            envelope.recipient
            for envelope, outcome in zip(envelopes, outcomes, strict=True)
            if isinstance(outcome, Stored)
        ]
        if arrived:
            self._announcements.arrive(arrived)
            self._announce()
        return outcomes

    def _say(self, line: str) -> None:
        self._announcements.say(line)
        self._announce()
