"""What a relay answers and pushes, and what that does: a row in a table each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from messageu.crypto.v3 import CryptoError
from messageu.model.v3 import (
    ONE_TIME_KEYS_LIMIT,
    PIECE_KEY_ID,
    Reason,
    authentication_text,
)
from messageu.wire import v3
from messageu.wire.v3 import PUSH

from . import _account as account
from . import _contacts as contacts
from . import _conversations as conversations
from . import _events as events
from . import _inbox as inbox
from . import _outbox as outbox
from . import _transfers as transfers
from ._link import RETRY_PAUSE, Link, Pending, Phase
from ._unit import Unit
from ._values import Verdict, Why

PAUSE_AFTER_NONSENSE: Final = 60.0
"""Seconds after which to come back to a relay that does not keep to the protocol."""

MAIL_LIFE_MIN: Final = 86_400
"""Seconds for which mail lives at the least, whatever a relay says: keys are deleted by it."""


def receive(link: Link, unit: Unit, response: v3.Response) -> None:
    """The relay answers or pushes."""
    link.asked_at = None
    body = response.body
    if response.correlation == PUSH:
        _PUSHED.get(type(body), _nonsense)(link, unit, body)
        return
    pending = link.pending.pop(response.correlation, None)
    if pending is None:
        _nonsense(link, unit, body)
    elif isinstance(body, v3.Error):
        _refused(link, unit, pending, body)
    elif body.code - pending.body.code != _ANSWER_OFFSET:
        _nonsense(link, unit, body)
    else:
        _ANSWERED[type(pending.body)](link, unit, pending, body)


def _nonsense(link: Link, unit: Unit, body: object) -> None:
    link.verdict = Verdict(True, "the relay does not keep to the protocol", PAUSE_AFTER_NONSENSE)


def _welcomed(link: Link, unit: Unit, _: Pending, welcome: v3.Welcome) -> None:
    own = account.read_own(unit)
    link.terms = welcome.terms
    mail_life = max(welcome.terms.mail_life, MAIL_LIFE_MIN)
    unit.execute("UPDATE profile SET mail_life = ?", mail_life)
    account.use_generation(unit, account.Use.SHOWN)
    text = authentication_text(welcome.nonce, own.identity, own.generation, link.channel_binding)
    signature = account.load_account(unit).sign(text)
    link.authenticate = v3.Authenticate(own.keys, own.generation, signature)
    link.phase = Phase.PROVING


def _authenticated(link: Link, unit: Unit, _: Pending, answer: v3.Authenticated) -> None:
    own = account.read_own(unit)
    link.phase, link.admitted_at = Phase.ADMITTED, unit.now
    link.left = answer.one_time_keys
    unit.execute("UPDATE profile SET registered = ?", answer.registered)
    account.use_generation(unit, account.Use.TAKEN)
    if own.registered and not answer.registered:
        unit.tell(events.Refused("account", Reason.NOT_REGISTERED))
    link.see_to_prekeys(unit)
    unit.tell(events.Connected())


def _registered(link: Link, unit: Unit, pending: Pending, _: v3.Registered) -> None:
    assert isinstance(pending.body, v3.Register)  # noqa: S101 - by the table
    name = pending.body.name.decode("ascii")
    unit.execute(
        "UPDATE profile SET registered = 1, name = ?, wanted_name = NULL, wanted_token = NULL",
        name,
    )
    unit.tell(events.Registered(name))
    link.see_to_prekeys(unit)


def _resolved(link: Link, unit: Unit, pending: Pending, answer: v3.Resolved) -> None:
    assert isinstance(pending.body, v3.Resolve)  # noqa: S101 - by the table
    name = pending.body.name.decode("ascii")
    link.errands.names.pop(name, None)
    contacts.name_resolved(unit, name, answer.keys)
    unit.tell(events.Resolved(name, answer.keys))


def _published(link: Link, unit: Unit, _: Pending, answer: v3.Published) -> None:
    account.prekeys_published(unit)
    # What the relay had under the same ids it has not taken.
    if answer.one_time_keys < account.ONE_TIME_KEYS_LOW:
        account.add_one_time_keys(unit, answer.one_time_keys)
        link.not_before[v3.Publish] = unit.now + RETRY_PAUSE
    unit.tell(events.PrekeysPublished(answer.one_time_keys))


def _claimed(link: Link, unit: Unit, pending: Pending, answer: v3.Claimed) -> None:
    of = _claimed_peer(link, unit, pending)
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


def _claimed_peer(link: Link, unit: Unit, pending: Pending) -> contacts.Peer | None:
    assert isinstance(pending.body, v3.Claim)  # noqa: S101 - by the table
    of = contacts.peer_at(unit, pending.body.account_id)
    return None if of is None or outbox.is_busy(unit, of) else of


def _stored(link: Link, unit: Unit, pending: Pending, answer: v3.Stored) -> None:
    assert isinstance(pending.body, v3.Send)  # noqa: S101 - by the table
    envelope = pending.body.envelope
    if answer.envelope_id != envelope.envelope_id:
        _nonsense(link, unit, answer)
    elif envelope.hpke_key_id != PIECE_KEY_ID:
        outbox.stored(unit, envelope.envelope_id)
    elif unit.tools.file_sender is not None:
        sender = unit.tools.file_sender
        transfers.tell_of_sent(unit, sender.stored(unit.connection, envelope.envelope_id))


def _is_subscribed(link: Link, _unit: Unit, _pending: Pending, _: v3.Subscribed) -> None:
    link.subscribed = True


def _acknowledged(link: Link, unit: Unit, pending: Pending, _: v3.Acknowledged) -> None:
    inbox.acknowledged(unit, list(pending.arrivals))


def _deleted(link: Link, unit: Unit, _: Pending, __: v3.AccountDeleted) -> None:
    link.errands.delete_account = False
    unit.execute("UPDATE profile SET registered = 0, name = NULL, wanted_name = NULL")
    unit.tell(events.AccountDeleted())
    link.verdict = Verdict(False, "the account was deleted")


def _ponged(link: Link, _unit: Unit, _pending: Pending, _: v3.Pong) -> None:
    """The relay is there."""


def _delivered(link: Link, unit: Unit, push: v3.Deliver) -> None:
    delivery = push.delivery
    inbox.take(unit, delivery)
    link.arrived.append((delivery.sequence, delivery.envelope_id))


def _displaced(link: Link, unit: Unit, _: v3.Displaced) -> None:
    unit.tell(events.Displaced())
    link.verdict = Verdict(False, "this profile is connected elsewhere")


def _prekeys_low(link: Link, unit: Unit, push: v3.PrekeysLow) -> None:
    link.left = min(push.one_time_keys, ONE_TIME_KEYS_LIMIT)
    link.see_to_prekeys(unit)


def _going_away(link: Link, _unit: Unit, push: v3.GoingAway) -> None:
    link.verdict = Verdict(True, "the relay is going away", float(push.retry_after))


def _refused(link: Link, unit: Unit, pending: Pending, error: v3.Error) -> None:
    if error.reason in _OUR_FAULTS:
        _nonsense(link, unit, error)
        return
    if error.reason is Reason.NOT_REGISTERED:
        unit.execute("UPDATE profile SET registered = 0")
    _REFUSED[type(pending.body)](link, unit, pending, error)


def _not_admitted(link: Link, unit: Unit, _: Pending, error: v3.Error) -> None:
    if error.reason is Reason.STALE_STATE:
        unit.execute("UPDATE profile SET stale = 1")
        unit.tell(events.StateIsStale())
        link.verdict = Verdict(False, "this profile is older than what the relay knows")
    elif error.reason is Reason.AUTH_FAILED:
        unit.tell(events.Refused("authenticate", error.reason))
        link.verdict = Verdict(False, "the relay does not believe us")
    else:
        link.verdict = Verdict(True, "the relay is busy", float(error.retry_after) or None)


def _later(link: Link, unit: Unit, pending: Pending, error: v3.Error) -> None:
    pause = error.retry_after or RETRY_PAUSE
    link.not_before[type(pending.body)] = unit.now + pause


def _told(link: Link, unit: Unit, pending: Pending, error: v3.Error, **of: Any) -> None:
    what = _WORDS[type(pending.body)]
    unit.tell(events.Refused(what, error.reason, retry_after=error.retry_after, **of))


def _not_registered(link: Link, unit: Unit, pending: Pending, error: v3.Error) -> None:
    assert isinstance(pending.body, v3.Register)  # noqa: S101 - by the table
    _told(link, unit, pending, error, name=pending.body.name.decode("ascii"))
    if error.reason in _RETRYABLE:
        _later(link, unit, pending, error)
    else:
        unit.execute("UPDATE profile SET wanted_name = NULL, wanted_token = NULL")


def _not_resolved(link: Link, unit: Unit, pending: Pending, error: v3.Error) -> None:
    assert isinstance(pending.body, v3.Resolve)  # noqa: S101 - by the table
    link.errands.names.pop(pending.body.name.decode("ascii"), None)
    _told(link, unit, pending, error, name=pending.body.name.decode("ascii"))


def _not_published(link: Link, unit: Unit, pending: Pending, error: v3.Error) -> None:
    _later(link, unit, pending, error)
    if error.reason is Reason.STALE_BUNDLE:
        account.bundle_was_stale(unit)
        link.not_before.pop(v3.Publish)
    elif error.reason is Reason.TOO_MANY:
        account.only_bundle_to_publish(unit)
    elif error.reason not in _RETRYABLE:
        _told(link, unit, pending, error)


def _not_claimed(link: Link, unit: Unit, pending: Pending, error: v3.Error) -> None:
    of = _claimed_peer(link, unit, pending)
    if of is None:
        return
    if error.reason is Reason.NOT_FOUND:
        outbox.withdraw_queued(unit, of, Why.NO_ACCOUNT)
        _told(link, unit, pending, error, contact=of.identity)
    else:
        outbox.try_later(unit, of, error.retry_after)


def _not_stored(link: Link, unit: Unit, pending: Pending, error: v3.Error) -> None:
    assert isinstance(pending.body, v3.Send)  # noqa: S101 - by the table
    envelope, sender = pending.body.envelope, unit.tools.file_sender
    if envelope.hpke_key_id != PIECE_KEY_ID:
        outbox.refused(unit, envelope.envelope_id, error.reason, error.retry_after)
    elif sender is not None:
        refused = sender.refused(
            unit.connection, envelope.envelope_id, error.reason, error.retry_after, unit.now
        )
        transfers.tell_of_sent(unit, refused)


def _not_subscribed(link: Link, unit: Unit, pending: Pending, error: v3.Error) -> None:
    _later(link, unit, pending, error)
    if error.reason not in _RETRYABLE:
        _told(link, unit, pending, error)


def _not_acknowledged(link: Link, unit: Unit, pending: Pending, error: v3.Error) -> None:
    if error.reason is Reason.NOT_SUBSCRIBED:
        _displaced(link, unit, v3.Displaced())
        return
    assert isinstance(pending.body, v3.Acknowledge)  # noqa: S101 - by the table
    link.arrived[:0] = zip(pending.body.sequences, pending.arrivals, strict=True)
    _later(link, unit, pending, error)


def _not_deleted(link: Link, unit: Unit, pending: Pending, error: v3.Error) -> None:
    link.errands.delete_account = False
    _told(link, unit, pending, error)


def _ping_refused(link: Link, _unit: Unit, _pending: Pending, _: v3.Error) -> None:
    """Also a refusal shows that the relay is there."""


_ANSWER_OFFSET: Final = v3.ResponseCode.WELCOME - v3.RequestCode.HELLO

_ANSWERED: Final[Mapping[type, Callable[..., None]]] = {
    v3.Hello: _welcomed,
    v3.Authenticate: _authenticated,
    v3.Register: _registered,
    v3.Resolve: _resolved,
    v3.Publish: _published,
    v3.Claim: _claimed,
    v3.Send: _stored,
    v3.Subscribe: _is_subscribed,
    v3.Acknowledge: _acknowledged,
    v3.DeleteAccount: _deleted,
    v3.Ping: _ponged,
}

_REFUSED: Final[Mapping[type, Callable[..., None]]] = {
    v3.Hello: _not_admitted,
    v3.Authenticate: _not_admitted,
    v3.Register: _not_registered,
    v3.Resolve: _not_resolved,
    v3.Publish: _not_published,
    v3.Claim: _not_claimed,
    v3.Send: _not_stored,
    v3.Subscribe: _not_subscribed,
    v3.Acknowledge: _not_acknowledged,
    v3.DeleteAccount: _not_deleted,
    v3.Ping: _ping_refused,
}

_PUSHED: Final[Mapping[type, Callable[..., None]]] = {
    v3.Deliver: _delivered,
    v3.Displaced: _displaced,
    v3.PrekeysLow: _prekeys_low,
    v3.GoingAway: _going_away,
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
