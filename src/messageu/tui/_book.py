"""Which conversations there are, what is new in them, and which part of one is shown.

Plain objects: nothing here knows a terminal. Everything that is kept has a limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import define, evolve, field, frozen

from ._port import (
    Conversations,
    FileMoved,
    Happening,
    Item,
    ItemCame,
    ItemChanged,
    Line,
    LineChanged,
    Mark,
    Notice,
    PeopleChanged,
    Person,
)
from ._seen import Seen

PAGE: Final = 50
"""Messages that are read at once."""

WINDOW_LIMIT: Final = 200
"""Messages of the open conversation that are held at a time."""

UNREAD_LIMIT: Final = 100
"""From so many unread messages on they are not counted any more."""

MOVING_LIMIT: Final = 1_000
"""Files of which it is known how far they have come."""

STALE_LIMIT: Final = 1_000
"""Messages of which something has become; when there are more the window is read anew."""

NOTICES_LIMIT: Final = 20
"""Notices that wait to be shown; the oldest go first."""

_URGENT: Final = {Mark.ASKS: 1}


@define
class Conversation:
    """With one person.

    :ivar last: the number of its last message; 0: there is none.
    :ivar unread: messages that were not seen, up to :data:`UNREAD_LIMIT`.
    """

    person: Person
    last: int = 0
    unread: int = 0

    @property
    def badge(self) -> str:
        """How many are unread; empty, when none is."""
        if self.unread >= UNREAD_LIMIT:
            return f"{UNREAD_LIMIT - 1}+"
        return str(self.unread) if self.unread else ""


class Window:
    """A part of a conversation: one piece without gaps, of bounded size.

    :ivar items: oldest first.
    :ivar at_start: nothing comes before it.
    :ivar at_end: nothing comes after it, so that what is new belongs into it.
    """

    def __init__(self, port: Conversations, key: bytes) -> None:
        self._port = port
        self.key = key
        self.items: list[Item] = []
        self.at_start = self.at_end = True
        self.latest()

    @property
    def last(self) -> int:
        """The number of its last message."""
        return self.items[-1].number if self.items else 0

    def latest(self) -> None:
        """Go to the end."""
        self.items = list(self._port.before(self.key, None, PAGE))
        self.at_start = len(self.items) < PAGE
        self.at_end = True

    def around(self, number: int) -> None:
        """Go to where a message is."""
        before = list(self._port.before(self.key, number, PAGE // 2))
        after = list(self._port.after(self.key, number - 1, PAGE // 2))
        self.items = before + after
        self.at_start = len(before) < PAGE // 2
        self.at_end = len(after) < PAGE // 2

    def older(self) -> bool:
        """Read the page before; whether there was one."""
        if self.at_start or not self.items:
            return False
        page = self._port.before(self.key, self.items[0].number, PAGE)
        self.at_start = len(page) < PAGE
        self.items = [*page, *self.items]
        if len(self.items) > WINDOW_LIMIT:
            del self.items[WINDOW_LIMIT:]
            self.at_end = False
        return bool(page)

    def newer(self) -> bool:
        """Read the page after; whether there was one."""
        page = self._port.after(self.key, self.last, PAGE)
        self.at_end = len(page) < PAGE
        self.items = [*self.items, *page]
        if len(self.items) > WINDOW_LIMIT:
            del self.items[:-WINDOW_LIMIT]
            self.at_start = False
        return bool(page)

    def follow(self) -> None:
        """Something new has come: have it, if the end is shown."""
        if not self.at_end:
            return
        self.newer()
        if self.still_more():  # a whole page of it: skip to the last one
            self.latest()

    def still_more(self) -> bool:
        """Whether the end is not to be seen."""
        return not self.at_end

    def reload(self) -> None:
        """Read all of it once more."""
        if self.items:
            first = self.items[0].number - 1
            self.items = list(self._port.after(self.key, first, len(self.items)))

    def renew(self, item: Item) -> bool:
        """Something has become of a message; whether it is one of these."""
        for place, known in enumerate(self.items):
            if known.number == item.number:
                self.items[place] = item
                return True
        return False


@frozen
class Changes:
    """What is to be shown anew."""

    people: bool = False
    messages: bool = False
    line: bool = False
    notices: tuple[Notice, ...] = ()


class Book:
    """All conversations, and the open one.

    :ivar attentive: whether somebody looks at the end of what is open; then it is seen.
    :ivar line: how it stands with the relay.
    """

    def __init__(self, port: Conversations, seen: Seen) -> None:
        self._port = port
        self._seen = seen
        self._conversations: dict[bytes, Conversation] = {}
        self._moving: dict[tuple[bytes, bytes | None], tuple[int, int]] = {}
        self._stale: dict[tuple[bytes, bytes | None], None] = {}
        self._changes = Changes(people=True, messages=True, line=True)
        self._arrived = False
        self._people_are_old = False
        self.window: Window | None = None
        self.drafts: dict[bytes, str] = {}
        self.attentive = True
        self.line = Line(online=False, words="connecting")
        self._read_people()

    # What there is.

    def conversations(self) -> Sequence[Conversation]:
        """Those who ask first, then by what was said last, then by name."""
        return sorted(self._conversations.values(), key=_order)

    def conversation(self, key: bytes) -> Conversation | None:
        """That with somebody."""
        return self._conversations.get(key)

    @property
    def current(self) -> Conversation | None:
        """The open one."""
        return None if self.window is None else self._conversations.get(self.window.key)

    @property
    def unread(self) -> int:
        """In how many conversations something is new."""
        return sum(1 for each in self._conversations.values() if each.unread)

    def moved(self, item: Item) -> tuple[int, int] | None:
        """How far the file of a message has come, of how much, while that is known."""
        return self._moving.get((item.message_id, None if item.mine else item.key))

    # What is done.

    def open(self, key: bytes) -> None:
        """Open a conversation at its end."""
        if key in self._conversations:
            self.window = Window(self._port, key)
            self._look()
            self._note(people=True, messages=True)

    def open_at(self, key: bytes, number: int) -> None:
        """Open a conversation where a message is."""
        self.open(key)
        if self.window is not None and self.window.key == key:
            self.window.around(number)

    def beside(self, step: int) -> bytes | None:
        """Whose conversation is so many places below the open one, or above it."""
        keys = [each.person.key for each in self.conversations()]
        if not keys:
            return None
        if self.window is None or self.window.key not in keys:
            return keys[0]
        return keys[(keys.index(self.window.key) + step) % len(keys)]

    def watch(self, *, attentive: bool) -> None:
        """Somebody looks at the end of the open conversation, or not any more."""
        self.attentive = attentive
        self._look()

    def hear(self, happening: Happening) -> None:
        """Something has happened. Cheap, so that thousands of it in a row do no harm."""
        match happening:
            case ItemCame(number, key, mine):
                self._count(number, key, mine=mine)
            case ItemChanged(message_id, sender):
                self._moving.pop((message_id, sender), None)
                if len(self._stale) < STALE_LIMIT:
                    self._stale[message_id, sender] = None
                self._note(messages=True)
            case FileMoved(message_id, sender, done, total):
                self._move(message_id, sender, done, total)
            case PeopleChanged():
                self._people_are_old = True
                self._note(people=True)
            case LineChanged(line):
                self.line = line
                self._note(line=True)
            case Notice():
                notices = (*self._changes.notices, happening)[-NOTICES_LIMIT:]
                self._changes = evolve(self._changes, notices=notices)

    def hear_all(self) -> None:
        """All of it is to be shown anew."""
        self._note(people=True, messages=True, line=True)

    def catch_up(self) -> Changes:
        """Read what has changed, and say what is to be shown anew."""
        if self._people_are_old:
            self._people_are_old = False
            self._read_people()
        if self.window is not None:
            if self._arrived:
                self.window.follow()
            if len(self._stale) < STALE_LIMIT:
                self._renew_stale(self.window)
            else:
                self.window.reload()
        self._stale.clear()
        self._arrived = False
        self._look()
        changes, self._changes = self._changes, Changes()
        return changes

    # How it is done.

    def _renew_stale(self, window: Window) -> None:
        for message_id, sender in self._stale:
            item = self._port.item(message_id, sender)
            if item is not None:
                window.renew(item)

    def _note(self, *, people: bool = False, messages: bool = False, line: bool = False) -> None:
        changes = self._changes
        self._changes = evolve(
            changes,
            people=changes.people or people,
            messages=changes.messages or messages,
            line=changes.line or line,
        )

    def _count(self, number: int, key: bytes, *, mine: bool) -> None:
        conversation = self._conversations.get(key)
        if conversation is None:
            self._people_are_old = True  # they are counted when they are read
        else:
            conversation.last = max(conversation.last, number)
            if not mine and number > self._seen.place(key):
                conversation.unread = min(conversation.unread + 1, UNREAD_LIMIT)
        is_open = self.window is not None and self.window.key == key
        self._arrived = self._arrived or is_open
        self._note(people=True, messages=is_open)

    def _move(self, message_id: bytes, sender: bytes | None, done: int, total: int) -> None:
        file = message_id, sender
        if done >= total:
            self._moving.pop(file, None)
            self.hear(ItemChanged(message_id, sender))
            return
        if file not in self._moving and len(self._moving) >= MOVING_LIMIT:
            del self._moving[next(iter(self._moving))]
        self._moving[file] = done, total
        self._note(messages=True)

    def _read_people(self) -> None:
        last = self._port.last_numbers()
        known, self._conversations = self._conversations, {}
        for person in self._port.people():
            conversation = known.get(person.key)
            if conversation is None:
                number, place = last.get(person.key, 0), self._seen.place(person.key)
                unread = 0
                if number > place:
                    unread = self._port.count_received(person.key, place, UNREAD_LIMIT)
                conversation = Conversation(person, number, unread)
            conversation.person = person
            self._conversations[person.key] = conversation
        if self.window is not None and self.window.key not in self._conversations:
            self.window = None
            self._note(messages=True)

    def _look(self) -> None:
        """What is at the end of the window is seen, if somebody looks at it."""
        current = self.current
        if current is None or self.window is None or not (self.attentive and self.window.at_end):
            return
        self._seen.advance(current.person.key, self.window.last)
        if current.unread:
            current.unread = 0
            self._note(people=True)


def _order(conversation: Conversation) -> tuple[int, int, str, bytes]:
    person = conversation.person
    return -_URGENT.get(person.mark, 0), -conversation.last, person.name.casefold(), person.key


@define
class Search:
    """Looks for a text, from the newest message backwards, a page at a time.

    :ivar found: what was found, the newest first, at most :data:`Search.LIMIT`.
    :ivar done: whether there is nothing more to be looked at.
    """

    LIMIT = 100
    STEP = 200

    port: Conversations
    wanted: str
    found: list[Item] = field(factory=list)
    done: bool = False
    _place: int | None = None

    def step(self) -> None:
        """Look at one more page."""
        wanted = self.wanted.casefold()
        if not wanted:
            self.done = True
            return
        page = self.port.before(None, self._place, self.STEP)
        for item in reversed(page):
            text = item.text if item.file is None else item.file.name
            if wanted in text.casefold() and len(self.found) < self.LIMIT:
                self.found.append(item)
        self.done = len(page) < self.STEP or len(self.found) >= self.LIMIT
        if page:
            self._place = page[0].number
