"""One connection to the relay: what is asked on it, and what its answers do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import islice
from typing import Any, Final, TypeVar

from attrs import Factory, define, frozen

from messageu.crypto.v3 import CryptoError
from messageu.model.v3 import (
    ONE_TIME_KEYS_LIMIT,
    PIECE_KEY_ID,
    EnvelopeId,
    Reason,
    Terms,
    authentication_text,
)
from messageu.wire import v3
from messageu.wire.v3 import ACKNOWLEDGEMENTS_LIMIT, PUSH

from . import _account as account
from . import _contacts as contacts
from . import _conversations as conversations
from . import _events as events
from . import _inbox as inbox
from . import _outbox as outbox
from ._unit import Unit
from ._values import Verdict, Why

REQUESTS_AT_ONCE: Final = 128
"""Requests that are not answered yet."""

CLAIMS_AT_ONCE: Final = 8
PIECES_AT_ONCE: Final = 8
"""Pieces of files, of 256 KiB, on their way at a time."""

WINDOW_MESSAGES: Final = 256
WINDOW_BYTES: Final = 8 * 2**20
"""What may be on its way to us without an acknowledgement."""

ROTATION_PAUSE: Final = 120.0
"""Seconds after which a connection rotates prekeys that are due: first comes the mail that waits,
which may need the old ones."""

RETRY_PAUSE: Final = 10.0
"""Seconds after which a request that a relay was too busy for is made again."""

PAUSE_AFTER_NONSENSE: Final = 60.0
"""Seconds after which to come back to a relay that does not keep to the protocol."""

PING_PATIENCE: Final = 30.0
"""Seconds in which a relay that is there answers."""

Body = TypeVar("Body")


class Phase(Enum):
    """How far a connection has come."""

    GREETING = "hello"
    PROVING = "authenticate"
    ADMITTED = "admitted"


@define
class Errands:
    """What the user has asked for and is not kept: it is asked again on the next connection."""

    names: dict[str, None] = Factory(dict)
    delete_account: bool = False


@frozen
class _Pending:
    body: v3.RequestBody
    arrivals: tuple[EnvelopeId, ...] = ()


@define
class Link:
    """A connection, from the handshake on.

    :ivar verdict: why it is to be closed.
    """

    _errands: Errands
    _channel_binding: bytes
    _now: float
    phase: Phase = Phase.GREETING
    verdict: Verdict | None = None
    _pending: dict[int, _Pending] = Factory(dict)
    _correlation: int = 0
    _authenticate: v3.Authenticate | None = None
    _terms: Terms | None = None
    _left: int | None = None
    _admitted_at: float = 0.0
    _subscribed: bool = False
    _arrived: list[tuple[int, EnvelopeId]] = Factory(list)
    _not_before: dict[type[v3.RequestBody], float] = Factory(dict)
    _written_at: float = 0.0
    _asked_at: float | None = None

    def ready(self, unit: Unit) -> bool:
        """Whether mail can be sent."""
        return (
            self.verdict is None
            and self.phase is Phase.ADMITTED
            and account.read_own(unit).registered
        )

    # What is asked.

    def plan(self, unit: Unit) -> Sequence[v3.Request]:
        """What is to be written now. It writes nothing to the database."""
        if self.verdict is not None:
            return ()
        room = REQUESTS_AT_ONCE - len(self._pending)
        planned = [self._request(pending) for pending in islice(self._wanted(unit), max(0, room))]
        if planned:
            self._written_at = unit.now
        return planned

    def _request(self, pending: _Pending) -> v3.Request:
        while True:
            self._correlation = self._correlation % (2**32 - 1) + 1
            if self._correlation not in self._pending:
                break
        self._pending[self._correlation] = pending
        return v3.Request(self._correlation, pending.body)

    def _wanted(self, unit: Unit) -> Iterator[_Pending]:
        if self.phase is not Phase.ADMITTED:
            yield from self._proof()
        elif not account.read_own(unit).registered:
            yield from self._registration(unit)
        else:
            for wanted in (
                self._registration,
                self._subscription,
                self._acknowledgements,
                self._publication,
                self._user_errands,
                self._claims,
                self._sends,
                self._pieces,
            ):
                yield from wanted(unit)
        yield from self._ping(unit)

    def _may(self, unit: Unit, kind: type[v3.RequestBody]) -> bool:
        """Whether no such request waits for an answer, or for its time."""
        return not self._asked(kind) and self._not_before.get(kind, 0.0) <= unit.now

    def _asked(self, kind: type[Body]) -> list[Body]:
        bodies = (pending.body for pending in self._pending.values())
        return [body for body in bodies if isinstance(body, kind)]

    def _proof(self) -> Iterator[_Pending]:
        if self._authenticate is not None:
            body, self._authenticate = self._authenticate, None
            yield _Pending(body)
        elif self.phase is Phase.GREETING and not self._asked(v3.Hello):
            yield _Pending(v3.Hello())

    def _registration(self, unit: Unit) -> Iterator[_Pending]:
        own = account.read_own(unit)
        if own.wanted_name is not None and self._may(unit, v3.Register):
            yield _Pending(v3.Register(own.wanted_name.encode("ascii"), own.wanted_token))

    def _subscription(self, unit: Unit) -> Iterator[_Pending]:
        if not self._subscribed and self._may(unit, v3.Subscribe) and self._terms is not None:
            messages = min(WINDOW_MESSAGES, self._terms.window_messages)
            size = min(WINDOW_BYTES, self._terms.window_bytes)
            yield _Pending(v3.Subscribe(messages, size))

    def _acknowledgements(self, unit: Unit) -> Iterator[_Pending]:
        # One at a time: what comes until it is answered goes with the next.
        if self._arrived and self._may(unit, v3.Acknowledge):
            now = self._arrived[:ACKNOWLEDGEMENTS_LIMIT]
            del self._arrived[:ACKNOWLEDGEMENTS_LIMIT]
            sequences, envelope_ids = zip(*now, strict=True)
            yield _Pending(v3.Acknowledge(sequences), envelope_ids)

    def _publication(self, unit: Unit) -> Iterator[_Pending]:
        if self._may(unit, v3.Publish):
            prekeys = account.prekeys_to_publish(unit)
            if prekeys is not None:
                bundle, one_time_keys = prekeys
                yield _Pending(v3.Publish(bundle, tuple(one_time_keys)))

    def _user_errands(self, unit: Unit) -> Iterator[_Pending]:
        asked = {body.name.decode("ascii") for body in self._asked(v3.Resolve)}
        for name in self._errands.names:
            if name not in asked:
                yield _Pending(v3.Resolve(name.encode("ascii")))
        if self._errands.delete_account and self._may(unit, v3.DeleteAccount):
            yield _Pending(v3.DeleteAccount())

    def _claims(self, unit: Unit) -> Iterator[_Pending]:
        asked = {body.account_id for body in self._asked(v3.Claim)}
        if len(asked) < CLAIMS_AT_ONCE:
            for account_id in outbox.to_claim(unit, asked, CLAIMS_AT_ONCE - len(asked)):
                yield _Pending(v3.Claim(account_id))

    def in_flight(self) -> set[EnvelopeId]:
        """Envelopes that were sent and not answered."""
        return {body.envelope.envelope_id for body in self._asked(v3.Send)}

    def _sends(self, unit: Unit) -> Iterator[_Pending]:
        for envelope in outbox.to_send(unit, self.in_flight(), outbox.RECIPIENTS_AT_ONCE):
            yield _Pending(v3.Send(envelope))

    def _pieces(self, unit: Unit) -> Iterator[_Pending]:
        sender = unit.tools.file_sender
        sends = self._asked(v3.Send)
        pieces = {
            body.envelope.envelope_id for body in sends if body.envelope.hpke_key_id == PIECE_KEY_ID
        }
        if sender is not None and len(pieces) < PIECES_AT_ONCE:
            room = PIECES_AT_ONCE - len(pieces)
            for envelope in sender.pieces(unit.connection, room, pieces, unit.now):
                yield _Pending(v3.Send(envelope))

    def _ping(self, unit: Unit) -> Iterator[_Pending]:
        if self._terms is not None and unit.now >= self._ping_time() and not self._asked(v3.Ping):
            self._asked_at = unit.now
            yield _Pending(v3.Ping())

    def _ping_time(self) -> float:
        idle = 60 if self._terms is None else max(self._terms.idle, 3)
        return max(self._written_at, self._now) + idle / 3

    # What is answered and pushed.

    def receive(self, unit: Unit, response: v3.Response) -> None:
        """The relay answers or pushes."""
        self._asked_at = None
        body = response.body
        if response.correlation == PUSH:
            _PUSHED.get(type(body), Link._nonsense)(self, unit, body)
            return
        pending = self._pending.pop(response.correlation, None)
        if pending is None:
            self._nonsense(unit, body)
        elif isinstance(body, v3.Error):
            self._refused(unit, pending, body)
        elif body.code - pending.body.code != _ANSWER_OFFSET:
            self._nonsense(unit, body)
        else:
            _ANSWERED[type(pending.body)](self, unit, pending, body)

    def _nonsense(self, unit: Unit, body: object) -> None:
        self.verdict = Verdict(
            True, "the relay does not keep to the protocol", PAUSE_AFTER_NONSENSE
        )

    def _welcomed(self, unit: Unit, _: _Pending, welcome: v3.Welcome) -> None:
        own = account.read_own(unit)
        self._terms = welcome.terms
        unit.execute("UPDATE profile SET spent = 1, mail_life = ?", welcome.terms.mail_life)
        text = authentication_text(
            welcome.nonce, own.identity, own.generation, self._channel_binding
        )
        signature = account.load_account(unit).sign(text)
        self._authenticate = v3.Authenticate(own.keys, own.generation, signature)
        self.phase = Phase.PROVING

    def _authenticated(self, unit: Unit, _: _Pending, answer: v3.Authenticated) -> None:
        own = account.read_own(unit)
        self.phase, self._admitted_at = Phase.ADMITTED, unit.now
        self._left = answer.one_time_keys
        unit.execute("UPDATE profile SET registered = ?", answer.registered)
        if own.registered and not answer.registered:
            unit.tell(events.Refused("account", Reason.NOT_REGISTERED))
        self._see_to_prekeys(unit)
        unit.tell(events.Connected())

    def _see_to_prekeys(self, unit: Unit) -> None:
        if not account.read_own(unit).registered:
            return
        rotating = unit.now >= self._admitted_at + ROTATION_PAUSE or not account.has_bundle(unit)
        if rotating:
            account.refresh_prekeys(unit, self._left)
        elif self._left is not None:
            account.add_one_time_keys(unit, self._left)
        self._left = None

    def _registered(self, unit: Unit, pending: _Pending, _: v3.Registered) -> None:
        assert isinstance(pending.body, v3.Register)  # noqa: S101 - by the table
        name = pending.body.name.decode("ascii")
        unit.execute(
            "UPDATE profile SET registered = 1, name = ?, wanted_name = NULL, wanted_token = NULL",
            name,
        )
        unit.tell(events.Registered(name))
        self._see_to_prekeys(unit)

    def _resolved(self, unit: Unit, pending: _Pending, answer: v3.Resolved) -> None:
        assert isinstance(pending.body, v3.Resolve)  # noqa: S101 - by the table
        name = pending.body.name.decode("ascii")
        self._errands.names.pop(name, None)
        contacts.name_resolved(unit, name, answer.keys)
        unit.tell(events.Resolved(name, answer.keys))

    def _published(self, unit: Unit, _: _Pending, answer: v3.Published) -> None:
        account.prekeys_published(unit)
        # What the relay had under the same ids it has not taken.
        if answer.one_time_keys < account.ONE_TIME_KEYS_LOW:
            account.add_one_time_keys(unit, answer.one_time_keys)
            self._not_before[v3.Publish] = unit.now + RETRY_PAUSE
        unit.tell(events.PrekeysPublished(answer.one_time_keys))

    def _claimed(self, unit: Unit, pending: _Pending, answer: v3.Claimed) -> None:
        of = self._claimed_peer(unit, pending)
        if of is None:
            return
        try:
            conversations.take_claimed(unit, of, answer)
        except CryptoError:
            outbox.try_later(unit, of, 0)
            unit.tell(events.Refused("claim", None, contact=of.identity))
            return
        if of.renew:
            outbox.seal_renewal(unit, contacts.peer(unit, of.id))

    def _claimed_peer(self, unit: Unit, pending: _Pending) -> contacts.Peer | None:
        assert isinstance(pending.body, v3.Claim)  # noqa: S101 - by the table
        of = contacts.peer_at(unit, pending.body.account_id)
        return None if of is None or outbox.is_busy(unit, of) else of

    def _stored(self, unit: Unit, pending: _Pending, answer: v3.Stored) -> None:
        assert isinstance(pending.body, v3.Send)  # noqa: S101 - by the table
        envelope = pending.body.envelope
        if answer.envelope_id != envelope.envelope_id:
            self._nonsense(unit, answer)
        elif envelope.hpke_key_id != PIECE_KEY_ID:
            outbox.stored(unit, envelope.envelope_id)
        elif unit.tools.file_sender is not None:
            unit.tell(*unit.tools.file_sender.stored(unit.connection, envelope.envelope_id))

    def _is_subscribed(self, _unit: Unit, _pending: _Pending, _: v3.Subscribed) -> None:
        self._subscribed = True

    def _acknowledged(self, unit: Unit, pending: _Pending, _: v3.Acknowledged) -> None:
        inbox.acknowledged(unit, list(pending.arrivals))

    def _deleted(self, unit: Unit, _: _Pending, __: v3.AccountDeleted) -> None:
        self._errands.delete_account = False
        unit.execute("UPDATE profile SET registered = 0, name = NULL, wanted_name = NULL")
        unit.tell(events.AccountDeleted())
        self.verdict = Verdict(False, "the account was deleted")

    def _ponged(self, _unit: Unit, _pending: _Pending, _: v3.Pong) -> None:
        """The relay is there."""

    def _delivered(self, unit: Unit, push: v3.Deliver) -> None:
        delivery = push.delivery
        inbox.take(unit, delivery)
        self._arrived.append((delivery.sequence, delivery.envelope_id))

    def _displaced(self, unit: Unit, _: v3.Displaced) -> None:
        unit.tell(events.Displaced())
        self.verdict = Verdict(False, "this profile is connected elsewhere")

    def _prekeys_low(self, unit: Unit, push: v3.PrekeysLow) -> None:
        self._left = min(push.one_time_keys, ONE_TIME_KEYS_LIMIT)
        self._see_to_prekeys(unit)

    def _going_away(self, _unit: Unit, push: v3.GoingAway) -> None:
        self.verdict = Verdict(True, "the relay is going away", float(push.retry_after))

    # What is refused.

    def _refused(self, unit: Unit, pending: _Pending, error: v3.Error) -> None:
        if error.reason in _OUR_FAULTS:
            self._nonsense(unit, error)
            return
        if error.reason is Reason.NOT_REGISTERED:
            unit.execute("UPDATE profile SET registered = 0")
        _REFUSED[type(pending.body)](self, unit, pending, error)

    def _not_admitted(self, unit: Unit, _: _Pending, error: v3.Error) -> None:
        if error.reason is Reason.STALE_STATE:
            unit.execute("UPDATE profile SET stale = 1")
            unit.tell(events.StateIsStale())
            self.verdict = Verdict(False, "this profile is older than what the relay knows")
        elif error.reason is Reason.AUTH_FAILED:
            unit.tell(events.Refused("authenticate", error.reason))
            self.verdict = Verdict(False, "the relay does not believe us")
        else:
            self.verdict = Verdict(True, "the relay is busy", float(error.retry_after) or None)

    def _later(self, unit: Unit, pending: _Pending, error: v3.Error) -> None:
        pause = error.retry_after or RETRY_PAUSE
        self._not_before[type(pending.body)] = unit.now + pause

    def _told(self, unit: Unit, pending: _Pending, error: v3.Error, **of: Any) -> None:
        what = _WORDS[type(pending.body)]
        unit.tell(events.Refused(what, error.reason, retry_after=error.retry_after, **of))

    def _not_registered(self, unit: Unit, pending: _Pending, error: v3.Error) -> None:
        assert isinstance(pending.body, v3.Register)  # noqa: S101 - by the table
        self._told(unit, pending, error, name=pending.body.name.decode("ascii"))
        if error.reason in _RETRYABLE:
            self._later(unit, pending, error)
        else:
            unit.execute("UPDATE profile SET wanted_name = NULL, wanted_token = NULL")

    def _not_resolved(self, unit: Unit, pending: _Pending, error: v3.Error) -> None:
        assert isinstance(pending.body, v3.Resolve)  # noqa: S101 - by the table
        self._errands.names.pop(pending.body.name.decode("ascii"), None)
        self._told(unit, pending, error, name=pending.body.name.decode("ascii"))

    def _not_published(self, unit: Unit, pending: _Pending, error: v3.Error) -> None:
        self._later(unit, pending, error)
        if error.reason is Reason.STALE_BUNDLE:
            account.bundle_was_stale(unit)
            self._not_before.pop(v3.Publish)
        elif error.reason is Reason.TOO_MANY:
            account.only_bundle_to_publish(unit)
        elif error.reason not in _RETRYABLE:
            self._told(unit, pending, error)

    def _not_claimed(self, unit: Unit, pending: _Pending, error: v3.Error) -> None:
        of = self._claimed_peer(unit, pending)
        if of is None:
            return
        if error.reason is Reason.NOT_FOUND:
            outbox.withdraw_queued(unit, of, Why.NO_ACCOUNT)
            self._told(unit, pending, error, contact=of.identity)
        else:
            outbox.try_later(unit, of, error.retry_after)

    def _not_stored(self, unit: Unit, pending: _Pending, error: v3.Error) -> None:
        assert isinstance(pending.body, v3.Send)  # noqa: S101 - by the table
        envelope, sender = pending.body.envelope, unit.tools.file_sender
        if envelope.hpke_key_id != PIECE_KEY_ID:
            outbox.refused(unit, envelope.envelope_id, error.reason, error.retry_after)
        elif sender is not None:
            unit.tell(
                *sender.refused(
                    unit.connection,
                    envelope.envelope_id,
                    error.reason,
                    error.retry_after,
                    unit.now,
                )
            )

    def _not_subscribed(self, unit: Unit, pending: _Pending, error: v3.Error) -> None:
        self._later(unit, pending, error)
        if error.reason not in _RETRYABLE:
            self._told(unit, pending, error)

    def _not_acknowledged(self, unit: Unit, pending: _Pending, error: v3.Error) -> None:
        if error.reason is Reason.NOT_SUBSCRIBED:
            self._displaced(unit, v3.Displaced())
            return
        assert isinstance(pending.body, v3.Acknowledge)  # noqa: S101 - by the table
        self._arrived[:0] = zip(pending.body.sequences, pending.arrivals, strict=True)
        self._later(unit, pending, error)

    def _not_deleted(self, unit: Unit, pending: _Pending, error: v3.Error) -> None:
        self._errands.delete_account = False
        self._told(unit, pending, error)

    def _ping_refused(self, _unit: Unit, _pending: _Pending, _: v3.Error) -> None:
        """Also a refusal shows that the relay is there."""

    # Time.

    def tick(self, unit: Unit) -> None:
        """Time has passed."""
        if self._asked_at is not None and unit.now >= self._asked_at + PING_PATIENCE:
            self.verdict = Verdict(True, "the relay is silent")
        if self.phase is Phase.ADMITTED:
            self._see_to_prekeys(unit)

    def times(self, unit: Unit) -> Iterator[float]:
        """When it has something to do."""
        if self.verdict is not None:
            return
        yield from self._not_before.values()
        if self._terms is not None:
            yield self._ping_time()
        if self._asked_at is not None:
            yield self._asked_at + PING_PATIENCE
        if self.ready(unit):
            yield max(account.rotation_time(unit), self._admitted_at + ROTATION_PAUSE)


_ANSWER_OFFSET: Final = v3.ResponseCode.WELCOME - v3.RequestCode.HELLO

_ANSWERED: Final[Mapping[type, Callable[..., None]]] = {
    v3.Hello: Link._welcomed,
    v3.Authenticate: Link._authenticated,
    v3.Register: Link._registered,
    v3.Resolve: Link._resolved,
    v3.Publish: Link._published,
    v3.Claim: Link._claimed,
    v3.Send: Link._stored,
    v3.Subscribe: Link._is_subscribed,
    v3.Acknowledge: Link._acknowledged,
    v3.DeleteAccount: Link._deleted,
    v3.Ping: Link._ponged,
}

_REFUSED: Final[Mapping[type, Callable[..., None]]] = {
    v3.Hello: Link._not_admitted,
    v3.Authenticate: Link._not_admitted,
    v3.Register: Link._not_registered,
    v3.Resolve: Link._not_resolved,
    v3.Publish: Link._not_published,
    v3.Claim: Link._not_claimed,
    v3.Send: Link._not_stored,
    v3.Subscribe: Link._not_subscribed,
    v3.Acknowledge: Link._not_acknowledged,
    v3.DeleteAccount: Link._not_deleted,
    v3.Ping: Link._ping_refused,
}

_PUSHED: Final[Mapping[type, Callable[..., None]]] = {
    v3.Deliver: Link._delivered,
    v3.Displaced: Link._displaced,
    v3.PrekeysLow: Link._prekeys_low,
    v3.GoingAway: Link._going_away,
}

_WORDS: Final = {
    v3.Register: "register",
    v3.Resolve: "resolve",
    v3.Publish: "publish",
    v3.Claim: "claim",
    v3.Subscribe: "subscribe",
    v3.DeleteAccount: "delete",
}

_RETRYABLE: Final = (Reason.INTERNAL, Reason.BUSY, Reason.RATE_LIMITED)
_OUR_FAULTS: Final = (Reason.MALFORMED, Reason.NOT_AUTHENTICATED, Reason.OUT_OF_TURN)
