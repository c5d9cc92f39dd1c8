"""The rules of v3: what each request does to the store, and what it is answered. No transport."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from secrets import token_bytes
from typing import Final, Protocol, TypeAlias

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime

from messageu.crypto.signatures import is_bundle_signed, is_one_time_key_signed
from messageu.model import ClientId, InvalidValue
from messageu.model.v3 import (
    BUNDLE_LIFE,
    NONCE_SIZE,
    ONE_TIME_KEYS_LIMIT,
    TOKEN_SIZE,
    U32_LIMIT,
    Bundle,
    Delivery,
    Handle,
    Reason,
    Registration,
    SealedEnvelope,
    Terms,
)
from messageu.store import (
    Arrived,
    Missed,
    News,
    PrekeysTaken,
    Sharers,
    StoreUnavailable,
    Subscribed,
)
from messageu.store.v3 import IAccountStore, PutOutcome, Stored
from messageu.wire import v3

from .._limits import Limits
from ._feeder import Feeder
from ._intake import Intake
from ._session import Session, Standing
from ._subscriptions import Subscriber, Subscription, Subscriptions

CLOCK_LEEWAY: Final = 3600
"""Seconds by which the clock of a client may be fast when it says until when a bundle is good."""

BUSY_SECONDS: Final = 5
"""When to come again, if the store does nothing."""

NO_TOKEN: Final = bytes(TOKEN_SIZE)
"""A token that is never given out. With it the store answers whoever has an account already, and
makes none."""

Reply: TypeAlias = Callable[[v3.ResponseBody], None]


class Visitor(Subscriber, Protocol):
    """A connection, as the rules see it.

    :ivar session: who speaks there.
    :ivar subscription: what it is pushed, if it has subscribed.
    :ivar address: where it comes from.
    """

    session: Session
    subscription: Subscription | None
    address: str


def excuse(error: BaseException | None) -> v3.Error:
    """What is answered when the store could not do it: nothing was done."""
    if isinstance(error, StoreUnavailable):
        return v3.Error(Reason.BUSY, BUSY_SECONDS)
    return v3.Error(Reason.INTERNAL)


@frozen
class Postmaster:
    """Answers the requests of those who may ask, whoever carries them.

    Every coroutine may raise :class:`~messageu.store.StoreError`; then nothing was done.

    :ivar now: the time, in seconds since the epoch.
    :ivar counts: how often what was done, for the operator.
    """

    store: IAccountStore
    limits: Limits
    clock: IReactorTime
    now: Callable[[], float]
    registration: Registration
    intake: Intake
    feeder: Feeder
    subscriptions: Subscriptions
    counts: Counter[str] = field(factory=Counter)

    @property
    def terms(self) -> Terms:
        """What everybody is told of this relay."""
        settings = self.limits.settings
        return Terms(
            sealed_size=settings.sealed_size,
            mailbox_messages=min(settings.mailbox_messages, U32_LIMIT - 1),
            mailbox_bytes=settings.mailbox_bytes,
            window_messages=settings.window_messages,
            window_bytes=settings.window_bytes,
            one_time_keys=ONE_TIME_KEYS_LIMIT,
            mail_life=int(settings.mail_life),
            idle=int(settings.idle_deadline),
            registration=self.registration,
        )

    async def greet(self, visitor: Visitor, _: v3.Hello) -> v3.ResponseBody:
        """700: something to sign, and the terms."""
        nonce = token_bytes(NONCE_SIZE)
        refusal = visitor.session.greet(nonce)
        if refusal is not None:
            return v3.Error(refusal)
        return v3.Welcome(nonce, int(self.now()), self.terms)

    async def authenticate(self, visitor: Visitor, proof: v3.Authenticate) -> v3.ResponseBody:
        """701: verified first, and looked up only then."""
        wait = self._wait("authentications_a_minute", visitor.address, visitor)
        if wait:
            return v3.Error(Reason.RATE_LIMITED, wait)
        refusal = visitor.session.prove(proof)
        if refusal is not None:
            return v3.Error(refusal)
        admission = await self.store.admit(proof.keys.identity, proof.generation)
        if isinstance(admission, Reason):
            return v3.Error(admission)
        visitor.session.admit(proof.keys, proof.generation, registered=admission.registered)
        return v3.Authenticated(admission.registered, admission.one_time_keys)

    async def register(self, visitor: Visitor, request: v3.Register) -> v3.ResponseBody:
        """702: an account under this name. Whoever has it is answered as the first time."""
        try:
            name = Handle.from_raw(request.name)
        except InvalidValue:
            return v3.Error(Reason.NAME_INVALID)
        if name.reserved:
            return v3.Error(Reason.NAME_TAKEN)
        wait = self._wait("registrations_a_minute", visitor.address, visitor)
        if wait:
            return v3.Error(Reason.RATE_LIMITED, wait)
        token = {
            Registration.OPEN: None,
            Registration.TOKEN: request.token or NO_TOKEN,
            Registration.CLOSED: NO_TOKEN,
        }[self.registration]
        proven = visitor.session.proven
        refusal = await self.store.register(proven.keys, proven.generation, name, token)
        if refusal is Reason.TOKEN_INVALID and self.registration is Registration.CLOSED:
            refusal = Reason.REGISTRATION_CLOSED
        if refusal is not None:
            return v3.Error(refusal)
        visitor.session.register()
        return v3.Registered()

    async def resolve(self, visitor: Visitor, request: v3.Resolve) -> v3.ResponseBody:
        """703: whose name it is."""
        wait = self._wait("resolves_a_minute", visitor.session.account, visitor)
        if wait:
            return v3.Error(Reason.RATE_LIMITED, wait)
        try:
            name = Handle.from_raw(request.name)
        except InvalidValue:
            return v3.Error(Reason.NOT_FOUND)
        outcome = await self.store.resolve(name)
        return v3.Error(outcome) if isinstance(outcome, Reason) else v3.Resolved(outcome)

    async def publish(self, visitor: Visitor, request: v3.Publish) -> v3.ResponseBody:
        """704: prekeys, if they are signed and their time is not over."""
        proven, account = visitor.session.proven, visitor.session.account
        wait = self._wait("publishes_a_minute", account, visitor)
        if wait:
            return v3.Error(Reason.RATE_LIMITED, wait)
        if not is_bundle_signed(proven.keys, request.bundle) or not all(
            is_one_time_key_signed(proven.keys, key) for key in request.one_time_keys
        ):
            return v3.Error(Reason.BAD_SIGNATURE)
        if not self._is_timely(request.bundle):
            return v3.Error(Reason.STALE_BUNDLE)
        outcome = await self.store.publish(account, request.bundle, request.one_time_keys)
        return v3.Error(outcome) if isinstance(outcome, Reason) else v3.Published(outcome)

    def _is_timely(self, bundle: Bundle) -> bool:
        now = self.now()
        return now < bundle.not_after <= now + BUNDLE_LIFE + CLOCK_LEEWAY

    async def claim(self, visitor: Visitor, request: v3.Claim) -> v3.ResponseBody:
        """705: what is needed to write to somebody; it uses up one of his one-time keys."""
        account = visitor.session.account
        wait = self._wait("claims_a_minute", account, visitor) or self._wait(
            "claims_of_one_a_minute", (account, request.account_id), visitor
        )
        if wait:
            return v3.Error(Reason.RATE_LIMITED, wait)
        claimed = await self.store.claim(request.account_id)
        if isinstance(claimed, Reason):
            return v3.Error(claimed)
        self._warn(request.account_id, claimed.left)
        return v3.Claimed(claimed.keys, claimed.bundle, claimed.one_time_key)

    def send(self, visitor: Visitor, request: v3.Send, reply: Reply) -> None:
        """706: into the recipient's mailbox, and on the disk before the answer.

        No coroutine: it is asked for most often.
        """
        envelope = request.envelope
        if len(envelope.sealed) > self.limits.settings.sealed_size:
            reply(v3.Error(Reason.TOO_LARGE))
            return
        wait = self._wait("sends_a_minute", visitor.session.account, visitor)
        if wait:
            reply(v3.Error(Reason.RATE_LIMITED, wait))
            return
        self.intake.put(
            visitor, envelope, lambda stored, outcome: reply(self._sent(stored, outcome))
        )

    def _sent(self, envelope: SealedEnvelope, outcome: PutOutcome) -> v3.ResponseBody:
        if isinstance(outcome, Stored):
            self._pass_on(envelope, outcome)
            return v3.Stored(envelope.envelope_id)
        if isinstance(outcome, Reason):
            if outcome is Reason.MAILBOX_FULL:
                self.limits.hits["mailbox_full"] += 1
            return v3.Error(outcome)
        return excuse(outcome)

    def _pass_on(self, envelope: SealedEnvelope, stored: Stored) -> None:
        self.counts["known" if stored.known else "stored"] += 1
        subscription = self.subscriptions.of(envelope.recipient)
        if subscription is None or stored.known:
            return
        if self.feeder.may_push(len(envelope.sealed)):
            subscription.stored(
                Delivery(
                    stored.sequence, envelope.envelope_id, envelope.hpke_key_id, envelope.sealed
                )
            )
        else:
            subscription.arrived()
        self.feeder.feed(subscription)

    async def subscribe(self, visitor: Visitor, request: v3.Subscribe) -> v3.ResponseBody:
        """707: from now on this connection is pushed its mail."""
        settings = self.limits.settings
        if not (
            0 < request.messages <= settings.window_messages
            and 0 < request.size <= settings.window_bytes
        ):
            return v3.Error(Reason.BAD_WINDOW)
        account = visitor.session.account
        term = await self.store.subscribe(account)
        if isinstance(term, Reason):
            return v3.Error(term)
        if visitor.session.missing(Standing.REGISTERED) is not None:  # who asked has gone meanwhile
            return v3.Error(Reason.NOT_SUBSCRIBED)
        visitor.subscription = Subscription(
            account, term, visitor, request.messages, request.size, settings.chunk
        )
        before = self.subscriptions.begin(visitor.subscription)
        if before is not None:
            self.feeder.forget(before)
        # The answer goes first.
        self.clock.callLater(0, self.feeder.feed, visitor.subscription)
        return v3.Subscribed()

    async def acknowledge(self, visitor: Visitor, request: v3.Acknowledge) -> v3.ResponseBody:
        """708: what was pushed is deleted."""
        subscription = visitor.subscription
        if subscription is None or subscription.ended:
            return v3.Error(Reason.NOT_SUBSCRIBED)
        refusal = await self.store.acknowledge(
            subscription.account, request.sequences, subscription.term
        )
        if refusal is not None:
            self._displace(subscription)
            return v3.Error(refusal)
        subscription.acknowledge(request.sequences)
        self.counts["acknowledged"] += len(request.sequences)
        self.feeder.feed(subscription)
        return v3.Acknowledged()

    async def delete_account(self, visitor: Visitor, _: v3.DeleteAccount) -> v3.ResponseBody:
        """709: the account, its prekeys and its mail go; its name stays taken."""
        account = visitor.session.account
        await self.store.delete_account(account)
        subscription = self.subscriptions.of(account)
        if subscription is not None:
            self.end(subscription)
            if subscription is not visitor.subscription:
                subscription.subscriber.displace()
        visitor.session.delete()
        return v3.AccountDeleted()

    async def pong(self, _visitor: Visitor, _: v3.Ping) -> v3.ResponseBody:
        """710: here."""
        return v3.Pong()

    def hear(self, news: News) -> None:
        """What other relays on the same database have done, who serve the same mailboxes."""
        match news:
            case Arrived(accounts):
                for account in accounts:
                    self._look_again(self.subscriptions.of(account))
            case Subscribed(account, term):
                subscription = self.subscriptions.of(account)
                if subscription is not None and subscription.term < term:
                    self._displace(subscription)
            case PrekeysTaken(account, left):
                self._warn(account, left)
            case Missed():
                for each in self.subscriptions:
                    self._look_again(each)
            case Sharers():
                pass  # concerns the limits

    def _displace(self, subscription: Subscription) -> None:
        self.subscriptions.displace(subscription)
        self.feeder.forget(subscription)

    def _look_again(self, subscription: Subscription | None) -> None:
        if subscription is not None:
            subscription.arrived()
            self.feeder.feed(subscription)

    def _warn(self, account: ClientId, left: int) -> None:
        owner = self.subscriptions.of(account)
        if owner is not None and left < self.limits.settings.prekeys_low:
            owner.subscriber.prekeys_low(left)

    def leave(self, visitor: Visitor) -> None:
        """This connection has ended."""
        visitor.session.leave()
        if visitor.subscription is not None:
            self.end(visitor.subscription)

    def end(self, subscription: Subscription) -> None:
        """Nothing more is pushed to this one."""
        self.subscriptions.end(subscription)
        self.feeder.forget(subscription)

    def _wait(self, rate: str, key: Hashable, visitor: Visitor) -> int:
        return self.limits.take(rate, key, visitor.address, self.clock.seconds())
