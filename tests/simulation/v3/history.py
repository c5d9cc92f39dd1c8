"""What users of v3 saw in a run, and the rules that it must keep.

A history is a list of events in the order in which they happened. A user who goes on with a copy of
his profile has forgotten what came after it: his :class:`Book` is then the one of the copy.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from copy import deepcopy
from itertools import takewhile

from attrs import define, field, frozen


@frozen
class Unknown:
    """Somebody has not another as a contact from the beginning."""

    person: str
    other: str


@frozen
class Accepted:
    """A client has kept a text that its user wants sent, or a file, for which its name stands. No
    two texts are the same."""

    sender: str
    recipient: str
    text: str
    is_file: bool = False


@frozen
class Shown:
    """A user sees a text that came: when it comes, or when he starts the program again. Of a file,
    that it is there; if it is another than was sent, the text says so."""

    reader: str
    sender: str
    text: str


@frozen
class Spoilt:
    """A user has removed a file that he has sent, or has changed it."""

    sender: str
    text: str


@frozen
class Stranger:
    """A user sees that somebody has written whom he does not know."""

    reader: str
    sender: str


@frozen
class Missing:
    """A user sees that so many messages of somebody have not come; 0: that all have."""

    reader: str
    sender: str
    count: int


@frozen
class Delivered:
    """A user sees that his text has come."""

    sender: str
    text: str


@frozen
class Undelivered:
    """A user sees that his text was given up, or that nothing is known of it."""

    sender: str
    text: str
    why: str


@frozen
class Unopened:
    """A user sees that so many envelopes could not be opened."""

    reader: str
    count: int


@frozen
class Withheld:
    """A relay has held back mail for somebody, and has pushed what was behind it."""

    reader: str


@frozen
class Wrote:
    """A client has asked the relay for something, other than to be let in, or to show that it is there."""

    person: str
    request: str


@frozen
class Copied:
    """Somebody has made a copy of a profile."""

    person: str
    number: int


@frozen
class Restored:
    """A user goes on with a copy, though the relay has met a later state of his."""

    person: str
    number: int


@frozen
class Reset:
    """A user has reset his profile."""

    person: str


@frozen
class Overtook:
    """The relay has let a copy in that it ought to have refused.

    It happens to a copy that has the generation of the original's last connection, because it was
    made while the answer was missing.
    """

    person: str


@frozen
class LongWait:
    """Days go by, in which mail may come to the end of its life."""

    days: float


@frozen
class ClientKilled:
    """A client's process has ended in the midst of what it did."""

    person: str


@frozen
class ClientFailed:
    """A client could not write, and said so."""

    person: str


@frozen
class Cut:
    """A connection was reset."""


@frozen
class Proved:
    """In the end so many texts more were said, of which each has to be shown soon."""

    texts: int


@frozen
class Left:
    """Something is not as it should be when all has come to rest."""

    where: str
    what: str


@define
class Book:
    """What a user could know by now.

    :ivar accepted: his texts, in their order, and for whom they are.
    :ivar known: what became of them.
    :ivar shown: what came.
    :ivar missing: how many of whose messages have not come.
    :ivar restored: he goes on with a copy, and has not reset it.
    """

    accepted: dict[str, str] = field(factory=dict)
    known: dict[str, str] = field(factory=dict)
    shown: set[str] = field(factory=set)
    missing: dict[str, int] = field(factory=dict)
    restored: bool = False

    def before(self, recipient, text):
        """What he said to somebody before a text, and was not told is given up. Nothing, of a
        text that he has forgotten."""
        if text in self.accepted:
            for other, whose in takewhile(lambda item: item[0] != text, self.accepted.items()):
                if whose == recipient and self.known.get(other) != "undelivered":
                    yield other


class Replay:
    """A history, event by event.

    :ivar books: of each user, before the event that is looked at, and in the end.
    :ivar said: texts that were ever accepted, and by whom for whom; ``files``: those that stand
        for files.
    :ivar seen: texts that were ever shown, and to whom.
    :ivar renewed: who has had to begin a new session, with whom.
    """

    def __init__(self, events):
        self._events = events
        self._copies = {}
        self.books = defaultdict(Book)
        self.said = {}
        self.files = set()
        self.seen = set()
        self.renewed = set()

    def __iter__(self):
        for event in self._events:
            yield event
            take = _TAKERS.get(type(event))
            if take is not None:
                take(self, event)

    def end(self):
        """Itself, when all was looked at."""
        for _ in self:
            pass
        return self

    def _accepted(self, event):
        self.books[event.sender].accepted[event.text] = event.recipient
        self.said[event.text] = (event.sender, event.recipient)
        if event.is_file:
            self.files.add(event.text)

    def _shown(self, event):
        self.books[event.reader].shown.add(event.text)
        self.seen.add((event.reader, event.text))

    def _missing(self, event):
        self.books[event.reader].missing[event.sender] = event.count

    def _delivered(self, event):
        self.books[event.sender].known[event.text] = "delivered"

    def _undelivered(self, event):
        self.books[event.sender].known[event.text] = "undelivered"
        if event.why == "EXPIRED":
            self.renewed.add(self.said[event.text])

    def _copied(self, event):
        self._copies[event.person, event.number] = deepcopy(self.books[event.person])

    def _restored(self, event):
        book = deepcopy(self._copies[event.person, event.number])
        book.restored = True
        self.books[event.person] = book

    def _reset(self, event):
        book = self.books[event.person]
        book.restored = False
        self.renewed.update((event.person, recipient) for recipient in book.accepted.values())


_TAKERS = {
    Accepted: Replay._accepted,
    Shown: Replay._shown,
    Missing: Replay._missing,
    Delivered: Replay._delivered,
    Undelivered: Replay._undelivered,
    Copied: Replay._copied,
    Restored: Replay._restored,
    Reset: Replay._reset,
    Overtook: Replay._reset,
}


def nothing_is_lost(events):
    """A text comes, or its sender is told that it may not have."""
    replay = Replay(events).end()
    for sender, book in replay.books.items():
        for text, recipient in book.accepted.items():
            if (recipient, text) not in replay.seen and book.known.get(text) != "undelivered":
                yield f"lost: {recipient} never saw {text!r}, of which {sender} was not told"


def nothing_comes_twice(events):
    """A text is shown once."""
    replay = Replay(events)
    for event in replay:
        if isinstance(event, Shown) and event.text in replay.books[event.reader].shown:
            yield f"twice: {event.reader} was shown {event.text!r} again"


def nothing_is_made_up(events):
    """What is shown was said, so, by the one who is said to have, to the one who reads it."""
    replay = Replay(events)
    for event in replay:
        if isinstance(event, Shown):
            said = replay.said.get(event.text)
            if said != (event.sender, event.reader):
                yield f"made up: {event.reader} was shown {event.text!r} as of {event.sender}"


def gaps_are_announced(events):
    """When a text is shown before an earlier one, its reader is told that something is missing:
    unless its sender has begun to count anew, as he does when he was reset, or has heard nothing
    of a text for so long that it is over. A file comes when all of its pieces have."""
    replay = Replay(events)
    for event in replay:
        is_text = isinstance(event, Shown) and event.text not in replay.files
        if is_text and (event.sender, event.reader) not in replay.renewed:
            told = replay.books[event.reader].missing.get(event.sender)
            for text in replay.books[event.sender].before(event.reader, event.text):
                seen = (event.reader, text) in replay.seen or text in replay.files
                if not seen and not told:
                    yield f"order: {event.reader} was shown {event.text!r} before {text!r}"


def receipts_are_true(events):
    """What is said to have come was shown before."""
    replay = Replay(events)
    for event in replay:
        if isinstance(event, Delivered):
            _, recipient = replay.said[event.text]
            if (recipient, event.text) not in replay.seen:
                yield f"receipts: {event.sender} was told that {event.text!r} has come"


def copies_are_silent(events):
    """A copy that is older than what the relay has met asks for nothing before it is reset."""
    replay = Replay(events)
    for event in replay:
        if isinstance(event, Wrote) and replay.books[event.person].restored:
            yield f"restored: {event.person} wrote a {event.request}"


def all_settles(events):
    """In the end everybody knows what became of what he said, and nothing waits anywhere."""
    for event in events:
        if isinstance(event, Left):
            yield f"left: {event.what} at {event.where}"
    for sender, book in Replay(events).end().books.items():
        for text in book.accepted:
            if text not in book.known:
                yield f"left: {sender} was never told what became of {text!r}"


STRANGERS_LIMIT = 20
"""Texts of somebody unknown that are kept. What he says beyond, before he is accepted, is not."""


def nothing_fails_needlessly(events):
    """Where nobody has gone back to a copy, and no days have gone by, all comes, and opens: but for
    what strangers say beyond the limit, files that they send, files that were spoilt, and those of
    which a relay has pushed pieces before their message."""
    if any(isinstance(event, LongWait) for event in events):
        return
    shown = Counter((event.sender, event.reader) for event in events if isinstance(event, Shown))
    strangers = {(event.sender, event.reader) for event in events if isinstance(event, Stranger)}
    strangers |= {(event.other, event.person) for event in events if isinstance(event, Unknown)}
    held = {event.reader for event in events if isinstance(event, Withheld)}
    gone = {
        Undelivered(event.sender, event.text, "FILE_GONE")
        for event in events
        if isinstance(event, Spoilt)
    }
    talkative = {pair for pair in strangers if shown[pair] >= STRANGERS_LIMIT}
    restored = {event.person for event in events if isinstance(event, Restored)}
    replay = Replay(events).end()
    for event in events:
        if isinstance(event, Undelivered) and event.why != "NO_ACCOUNT":
            pair = replay.said[event.text]
            is_file = event.text in replay.files
            excused = is_file and (pair in strangers or pair[1] in held or event in gone)
            excused = excused or pair in talkative
            if restored.isdisjoint(pair) and not excused:
                yield f"needless: {event.sender} was told {event.why} of {event.text!r}"
        elif isinstance(event, Unopened) and not restored:
            yield f"needless: {event.reader} could not open {event.count}"


RULES = (
    nothing_is_lost,
    nothing_comes_twice,
    nothing_is_made_up,
    gaps_are_announced,
    receipts_are_true,
    copies_are_silent,
    all_settles,
    nothing_fails_needlessly,
)


def violations(events):
    """What is wrong with a history, a line each."""
    return [violation for rule in RULES for violation in rule(events)]
