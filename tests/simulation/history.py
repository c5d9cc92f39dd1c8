"""What happened in a run, as its clients saw it, and the rules that it must keep.

A history is a list of events in the order in which they happened. Nothing here knows how they came
about: :func:`violations` is a pure function.
"""

from collections import defaultdict
from functools import cached_property

from attrs import define, field, frozen


def _shortly(content):
    return f"<{len(content)} bytes>"


@frozen
class Sent:
    """A client wrote a 603. Each attempt has a number of its own, also when it repeats another.

    :ivar talk: the connection. What is sent on one connection is in order.
    """

    attempt: int
    sender: str
    recipient: str
    content: bytes = field(repr=_shortly)
    talk: int = 0


@frozen
class Acknowledged:
    """A client has read the 2103 of an attempt."""

    attempt: int
    message_id: int


@frozen
class Refused:
    """A client has read a 9000 in the place of it."""

    attempt: int


@frozen
class Received:
    """A message has reached a client: its program read all of it, or its kernel has all of it and
    the client had said before that it sends no more, which is all that v2 asks (ADR 2)."""

    mailbox: str
    sender: str
    message_id: int
    content: bytes = field(repr=_shortly)


@frozen
class Joined:
    """A client has read the 2100 of its registration."""

    client: str


@frozen
class Probed:
    """When all faults are gone, a client fetches, sends itself a message, and fetches that."""

    client: str


@frozen
class Answered:
    """It was answered, as it should be."""

    client: str


@frozen
class Nonsense:
    """A client read an answer that does not fit its request."""

    client: str
    answer: str


@frozen
class Held:
    """What the relay holds when all its clients are gone."""

    what: str
    amount: int


@frozen
class RelayKilled:
    """The relay's process has ended in the midst of what it did."""


@frozen
class RelayStopped:
    """The relay was asked to stop."""


@frozen
class InDoubt:
    """A relay has given up some messages, and does not know whether its database has them: it was lost
    when they were committed, and for too long."""

    contents: tuple


@define(slots=False)
class History:
    """Events, and how one finds them."""

    events: list

    def of(self, kind):
        """Where events of a kind stand, and they."""
        return self._by_kind.get(kind, ())

    @cached_property
    def _by_kind(self):
        found = defaultdict(list)
        for place, event in enumerate(self.events):
            found[type(event)].append((place, event))
        return found

    @cached_property
    def attempts(self):
        """What was sent, by its number."""
        return {event.attempt: event for _, event in self.of(Sent)}

    @cached_property
    def by_content(self):
        """What was sent, by what it says."""
        return {event.content: event for _, event in self.of(Sent)}

    @cached_property
    def sent_at(self):
        return {event.attempt: place for place, event in self.of(Sent)}

    @cached_property
    def acknowledged_at(self):
        return {event.attempt: place for place, event in self.of(Acknowledged)}

    @cached_property
    def received_at(self):
        """Where an attempt reached its recipient first."""
        found = {}
        for place, event in self.of(Received):
            sent = self.by_content.get(event.content)
            if sent is not None and sent.recipient == event.mailbox:
                found.setdefault(sent.attempt, place)
        return found

    def precedes(self, one, other):
        """Whether the first of two attempts, of which it was sent first, is to come first."""
        if one.talk == other.talk:
            return True
        acknowledged = self.acknowledged_at.get(one.attempt)
        return acknowledged is not None and acknowledged < self.sent_at[other.attempt]


def nothing_is_lost(history):
    """What was acknowledged reaches its recipient, before the end or when all that waits is
    fetched."""
    for attempt in history.acknowledged_at:
        if attempt in history.attempts and attempt not in history.received_at:
            yield f"lost: attempt {attempt} was acknowledged, and never came"


def nothing_is_made_up(history):
    """What arrives was sent, by the one who is said to be its sender."""
    for _, event in history.of(Received):
        sent = history.by_content.get(event.content)
        if sent is None:
            yield f"made up: {event.mailbox} was given {event.content[:8]!r}"
        elif sent.sender != event.sender:
            yield f"made up: attempt {sent.attempt} is said to be from {event.sender}"


def nothing_goes_astray(history):
    """What arrives was meant for this mailbox."""
    for _, event in history.of(Received):
        sent = history.by_content.get(event.content)
        if sent is not None and sent.recipient != event.mailbox:
            yield f"astray: {event.mailbox} was given attempt {sent.attempt}"


def refused_is_not_kept(history):
    """What was refused does not arrive: unless the relay did not know."""
    doubtful = {content for _, event in history.of(InDoubt) for content in event.contents}
    for _, event in history.of(Refused):
        if event.attempt in history.received_at:
            sent = history.attempts.get(event.attempt)
            if sent is None or sent.content not in doubtful:
                yield f"kept: attempt {event.attempt} was refused, and came"


def order_is_kept(history):
    """What one sender sends to one recipient comes in order, when it comes for the first time:
    on one connection as it was sent, and after what had been acknowledged before."""
    pairs = defaultdict(list)
    for _, event in history.of(Sent):
        if event.attempt in history.received_at:
            pairs[event.sender, event.recipient].append(event)
    for sent in pairs.values():
        for number, other in enumerate(sent):
            for one in sent[:number]:
                late = history.received_at[one.attempt] > history.received_at[other.attempt]
                if late and history.precedes(one, other):
                    yield f"order: attempt {other.attempt} came before attempt {one.attempt}"


def ids_name_messages(history):
    """A message has one id, which no other in its mailbox ever has, and which its sender was
    told."""
    named, ids = {}, {}
    for _, event in history.of(Received):
        first = named.setdefault((event.mailbox, event.message_id), event.content)
        if first != event.content:
            yield f"ids: {event.mailbox} has two messages {event.message_id}"
        first = ids.setdefault(event.content, event.message_id)
        if first != event.message_id:
            yield f"ids: a message is {first}, and then {event.message_id}"
    for _, event in history.of(Acknowledged):
        sent = history.attempts.get(event.attempt)
        if sent is None:
            yield f"ids: attempt {event.attempt} was never made, and acknowledged"
        elif ids.get(sent.content, event.message_id) != event.message_id:
            yield f"ids: attempt {event.attempt} has another id than its sender was told"


def service_answers(history):
    """When all is well again everybody who has registered is served, by answers that make sense."""
    for _, event in history.of(Nonsense):
        yield f"answers: {event.client} was answered {event.answer}"
    probed = {event.client for _, event in history.of(Probed)}
    answered = {event.client for _, event in history.of(Answered)}
    for client in sorted({event.client for _, event in history.of(Joined)} | probed):
        if client not in answered:
            yield f"answers: {client} is not served"


def nothing_is_held(history):
    """When all clients are gone the relay holds nothing for them."""
    for _, event in history.of(Held):
        if event.amount:
            yield f"held: {event.what}: {event.amount}"


RULES = (
    nothing_is_lost,
    nothing_is_made_up,
    nothing_goes_astray,
    refused_is_not_kept,
    order_is_kept,
    ids_name_messages,
    service_answers,
    nothing_is_held,
)


def violations(events):
    """What is wrong with a history, a line each."""
    history = History(events)
    return [violation for rule in RULES for violation in rule(history)]
