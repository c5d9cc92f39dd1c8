"""Conversations of a client of v2, which nothing authenticates: each of them says so.

v2 keeps no history, and pushes nothing. What comes is held here while the screen is open, up to a
limit, and it is asked for again and again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from messageu.client import (
    CONTENT_SIZE_LIMIT,
    Client,
    ClientError,
    FileReceived,
    KeyReceived,
    KeyRequest,
    Message,
    Peer,
    SentMessage,
    Text,
    TooLarge,
    Undecipherable,
)
from messageu.model import ClientId
from messageu.terminal import describe, visible, visible_name

from ._port import (
    FileShown,
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
    State,
)
from ._texts import TEXT_LIMIT, WHOLE_LIMIT, harmless_label, harmless_text

POLL_PAUSE: Final = 5.0
"""Seconds between two times at which mail is asked for."""

POLL_PAUSE_AWAY: Final = 20.0
"""The same, while the relay cannot be reached."""

ITEMS_LIMIT: Final = 2_000
"""Messages that are held, of all conversations together; the oldest go first."""

LONG_LIMIT: Final = 100_000
"""Characters of a text that are held; the rest is dropped, and the message says so."""

LONG_TEXTS_LIMIT: Final = 20
"""Texts that are too long to be shown among others, and are held whole; the oldest go first."""

PEOPLE_LIMIT: Final = 1_000
"""People who are listed. Whoever writes, or is added, is listed too."""

_log = Logger()


class V2Conversations:
    """What the screen asks, answered by a client of v2."""

    proven = False

    def __init__(
        self, reactor: IReactorTime, client: Client, now: Callable[[], float] = time.time
    ) -> None:
        self._reactor = reactor
        self._client = client
        self._now = now
        self._observers: list[Callable[[Happening], None]] = []
        self._people: dict[bytes, Person] = {}
        self._items: deque[Item] = deque(maxlen=ITEMS_LIMIT)
        self._texts: dict[int, str] = {}
        self._number = 0
        self._asking: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._name = visible_name(client.identity.name)
        for peer in client.keyring.peers[:PEOPLE_LIMIT]:
            self._meet(peer.client_id, peer.name)

    # Who we are.

    @property
    def me(self) -> str:
        return f"{self._name} | v2: not authenticated"

    @property
    def link(self) -> str:
        return self._name

    def now(self) -> float:
        return self._now()

    def observe(self, observer: Callable[[Happening], None]) -> None:
        self._observers.append(observer)

    def start(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._asking is None:
            self._ask()

    def close(self) -> Deferred[None]:
        """Ask for nothing any more, and close the connection."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()
        return self._client.close()

    # What there is.

    def people(self) -> Sequence[Person]:
        return list(self._people.values())

    def last_numbers(self) -> Mapping[bytes, int]:
        return {item.key: item.number for item in self._items}

    def count_received(self, key: bytes, after: int, most: int) -> int:
        return min(most, sum(1 for item in self.after(key, after, most) if not item.mine))

    def before(self, key: bytes | None, number: int | None, limit: int) -> Sequence[Item]:
        found = [
            item
            for item in self._items
            if key in (None, item.key) and (number is None or item.number < number)
        ]
        return found[-limit:]

    def after(self, key: bytes, number: int, limit: int) -> Sequence[Item]:
        return [item for item in self._items if item.key == key and item.number > number][:limit]

    def item(self, message_id: bytes, sender: bytes | None) -> Item | None:
        return next((item for item in self._items if item.message_id == message_id), None)

    def whole_text(self, item: Item) -> str:
        return harmless_text(self._texts.get(item.number, item.text), WHOLE_LIMIT, WHOLE_LIMIT)[0]

    # What is done.

    async def send_text(self, key: bytes, text: str) -> None:
        item = self._keep(key, mine=True, raw=text)
        await self._see_off(item, lambda who: self._client.send_text(who, text))

    async def send_file(self, key: bytes, path: Path) -> None:
        file = FileShown(harmless_label(path.name), None)
        item = self._keep(key, mine=True, file=file)
        await self._see_off(item, lambda who: self._client.send_file(who, path))

    async def add(self, who: str, label: str) -> bytes:
        peer: Peer = await self._client.find(who.encode("utf-8", "surrogateescape"))
        self._meet(peer.client_id, peer.name)
        self._tell(PeopleChanged())
        return peer.client_id.raw

    def accept(self, key: bytes, label: str) -> None:
        """v2 has no requests."""

    def rename(self, key: bytes, label: str) -> None:
        """v2 knows people by the names that they are registered with."""

    def block(self, key: bytes) -> None:
        """v2 cannot block anybody."""

    def decide(self, key: bytes, *, replace: bool) -> bytes:
        """v2 sees no names change."""
        return key

    def safety_number(self, key: bytes) -> str:
        """v2 has none."""
        return ""

    def verify(self, key: bytes, *, verified: bool) -> None:
        """v2 verifies nobody."""

    async def _see_off(self, item: Item, send: Callable[[ClientId], Awaitable[object]]) -> None:
        """Send something, with our key before it where none is shared."""
        who = ClientId(item.key)
        try:
            if self._client.keyring.peer(who).symmetric_key is None:
                await self._client.send_key(who)
            await send(who)
        except ClientError as error:
            self._replace(evolve(item, state=State.UNDELIVERED, why=describe(error)))
        else:
            self._replace(evolve(item, state=State.STORED))

    # What comes.

    def _ask(self) -> None:
        asking = self._asking = Deferred.fromCoroutine(self._fetch())
        asking.addErrback(self._bug).addBoth(self._asked)

    async def _fetch(self) -> None:
        try:
            if not self._people:
                for listed in (await self._client.list_clients()).clients[:PEOPLE_LIMIT]:
                    self._meet(listed.client_id, listed.name)
                self._tell(PeopleChanged())
            await self._client.fetch(self._take)
        except ClientError as error:
            retry_at = self._now() + POLL_PAUSE_AWAY
            self._tell(LineChanged(Line(False, describe(error), retry_at)))
            self._plan(POLL_PAUSE_AWAY)
        else:
            self._tell(LineChanged(Line(online=True)))
            self._plan(POLL_PAUSE)

    def _plan(self, pause: float) -> None:
        self._timer = self._reactor.callLater(pause, self._ask)

    def _bug(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            _log.failure("a bug while mail was fetched", failure)

    def _asked(self, _: object) -> None:
        self._asking = None

    def _take(self, message: Message) -> None:
        if isinstance(message, TooLarge):
            size = CONTENT_SIZE_LIMIT // 2**20
            self._tell(Notice(f"a message of more than {size} MiB was skipped", serious=True))
            return
        sender = message.sender
        key = sender.client_id.raw
        if key not in self._people or sender.name is not None:
            self._meet(sender.client_id, sender.name)
        match message:
            case Text():
                self._keep(key, mine=False, raw=message.text)
            case FileReceived():
                path = visible(str(message.path))
                file = FileShown(visible(message.path.name), None, True, path)
                self._keep(key, mine=False, file=file)
            case _:
                self._keep(key, mine=False, raw=_words_of(message))

    def _meet(self, client_id: ClientId, name: bytes | None) -> None:
        label = harmless_label(visible_name(name)) if name else client_id.hex[:16]
        self._people[client_id.raw] = Person(client_id.raw, label, Mark.V2)

    def _keep(
        self, key: bytes, *, mine: bool, raw: str = "", file: FileShown | None = None
    ) -> Item:
        self._number += 1
        text, cut = harmless_text(raw, TEXT_LIMIT)
        if cut:
            if len(self._texts) >= LONG_TEXTS_LIMIT:
                del self._texts[next(iter(self._texts))]
            self._texts[self._number] = raw[:LONG_LIMIT]
        state = State.QUEUED if mine else State.RECEIVED
        name = self._number.to_bytes(16, "big")
        item = Item(self._number, key, name, mine, self._now(), text, state, "", file, cut)
        self._items.append(item)
        self._tell(ItemCame(item.number, key, mine))
        return item

    def _replace(self, item: Item) -> None:
        for place, known in enumerate(self._items):
            if known.number == item.number:
                self._items[place] = item
        self._tell(ItemChanged(item.message_id, None))

    def _tell(self, happening: Happening) -> None:
        for observer in self._observers:
            observer(happening)


def _words_of(message: SentMessage) -> str:
    match message:
        case KeyRequest():
            return "(asks for a symmetric key: it goes out before your next message)"
        case KeyReceived():
            return "(symmetric key received)"
        case Undecipherable():
            return f"(this message cannot be read: {message.why.value})"
    return "(unknown)"
