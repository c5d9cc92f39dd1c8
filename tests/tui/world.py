"""Conversations that are made up, and a screen on which they are seen."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

from attrs import evolve
from textual.app import App
from textual.pilot import Pilot
from twisted.trial.unittest import SynchronousTestCase

from messageu.client import ClientError
from messageu.tui import ChatApp, Seen
from messageu.tui._port import (
    FileShown,
    Happening,
    Item,
    ItemCame,
    ItemChanged,
    Line,
    LineChanged,
    Mark,
    PeopleChanged,
    Person,
    State,
)
from messageu.tui._texts import (
    TEXT_LIMIT,
    UNICODE,
    WHOLE_LIMIT,
    Glyphs,
    harmless_label,
    harmless_text,
)

NOW = 1_700_000_000.0
"""Tuesday, 14 November 2023, 22:13:20 UTC."""

NUMBER = "012345678901234567890123456789012345678901234567890123456789"
SNAPSHOTS = Path(__file__).parent / "snapshots"


class FakeConversations:
    """People and messages in memory, made harmless as the real ones are."""

    proven = True
    me = "anna at relay.example:1358"
    link = "messageu://relay.example:1358/AbCdEfGhIjKlMnOpQrStUvWxYz0123456789#pin0123456789"

    def __init__(self) -> None:
        self.everybody: dict[bytes, Person] = {}
        self.items: list[Item] = []
        self.texts: dict[int, str] = {}
        self.observers: list[Callable[[Happening], None]] = []
        self.done: list[tuple[Any, ...]] = []
        self.error: ClientError | None = None
        self.started = 0
        self.read = 0

    # What tests do.

    def person(self, name: str, mark: Mark = Mark.UNVERIFIED, **fields: Any) -> bytes:
        """Have somebody; his key."""
        key = name.encode("utf-8", "surrogatepass").ljust(8, b"\0")[:32]
        self.everybody[key] = Person(key, harmless_label(name), mark, **fields)
        return key

    def put(
        self,
        key: bytes,
        text: str = "",
        *,
        mine: bool = False,
        state: State | None = None,
        file: FileShown | None = None,
        ago: float = 0,
        why: str = "",
    ) -> Item:
        """Have a message, without a word."""
        number = len(self.items) + 1
        state = state or (State.QUEUED if mine else State.RECEIVED)
        shown, cut = harmless_text(text, TEXT_LIMIT)
        name, time = number.to_bytes(16, "big"), NOW - ago
        item = Item(number, key, name, mine, time, shown, state, why, file, cut)
        self.texts[number] = text
        self.items.append(item)
        return item

    def come(self, key: bytes, text: str = "", **fields: Any) -> Item:
        """A message comes."""
        item = self.put(key, text, **fields)
        self.tell(ItemCame(item.number, key, item.mine))
        return item

    def become(self, item: Item, **fields: Any) -> None:
        """Something becomes of a message."""
        item = evolve(item, **fields)
        self.items[item.number - 1] = item
        self.tell(ItemChanged(item.message_id, None if item.mine else item.key))

    def tell(self, happening: Happening) -> None:
        """Tell all who observe."""
        for observer in self.observers:
            observer(happening)

    def _do(self, *what: Any) -> None:
        if self.error is not None:
            raise self.error
        self.done.append(what)

    # What the screen does.

    def now(self) -> float:
        return NOW

    def observe(self, observer: Callable[[Happening], None]) -> None:
        self.observers.append(observer)

    def start(self) -> None:
        self.started += 1
        self.tell(LineChanged(Line(online=True)))

    def people(self) -> Sequence[Person]:
        return list(self.everybody.values())

    def last_numbers(self) -> Mapping[bytes, int]:
        return {item.key: item.number for item in self.items}

    def count_received(self, key: bytes, after: int, most: int) -> int:
        return min(most, sum(not item.mine for item in self.after(key, after, len(self.items))))

    def before(self, key: bytes | None, number: int | None, limit: int) -> Sequence[Item]:
        self.read += limit
        end = len(self.items) if number is None else number - 1
        return [item for item in self.items[:end] if key in (None, item.key)][-limit:]

    def after(self, key: bytes, number: int, limit: int) -> Sequence[Item]:
        return [item for item in self.items[number:] if item.key == key][:limit]

    def item(self, message_id: bytes, sender: bytes | None) -> Item | None:
        return self.items[int.from_bytes(message_id, "big") - 1]

    def whole_text(self, item: Item) -> str:
        return harmless_text(self.texts[item.number], WHOLE_LIMIT, WHOLE_LIMIT)[0]

    async def send_text(self, key: bytes, text: str) -> None:
        self._do("text", key, text)
        self.come(key, text, mine=True)

    async def send_file(self, key: bytes, path: Path) -> None:
        self._do("file", key, path)

    async def add(self, who: str, label: str) -> bytes:
        self._do("add", who, label)
        key = self.person(label or who)
        self.tell(PeopleChanged())
        return key

    def _mark(self, key: bytes, mark: Mark) -> None:
        self.everybody[key] = evolve(self.everybody[key], mark=mark)
        self.tell(PeopleChanged())

    def accept(self, key: bytes, label: str) -> None:
        self._do("accept", key, label)
        self._label(key, label)
        self._mark(key, Mark.UNVERIFIED)

    def rename(self, key: bytes, label: str) -> None:
        self._do("rename", key, label)
        self._label(key, label)
        self.tell(PeopleChanged())

    def _label(self, key: bytes, label: str) -> None:
        self.everybody[key] = evolve(self.everybody[key], name=label or self.everybody[key].name)

    def block(self, key: bytes) -> None:
        self._do("block", key)
        self._mark(key, Mark.BLOCKED)

    def decide(self, key: bytes, *, replace: bool) -> bytes:
        self._do("decide", key, replace)
        self._mark(key, Mark.UNVERIFIED)
        return key

    def safety_number(self, key: bytes) -> str:
        self._do("number", key)
        return NUMBER

    def verify(self, key: bytes, *, verified: bool) -> None:
        self._do("verify", key, verified)
        self._mark(key, Mark.VERIFIED if verified else Mark.UNVERIFIED)


def strips_of(app: App[Any]) -> list[Any]:
    """What is on the screen: rows of segments, with their styles."""
    return app.screen._compositor.render_strips()  # type: ignore[no-any-return]


def text_of(app: App[Any]) -> str:
    """What is on the screen, as text."""
    rows = ["".join(segment.text for segment in row).rstrip() for row in strips_of(app)]
    return "\n".join(rows) + "\n"


class ScreenCase(SynchronousTestCase):
    """A screen with made up conversations.

    :ivar port: what it shows.
    """

    size = (80, 24)
    glyphs: Glyphs = UNICODE
    environment: Mapping[str, str] = {}

    def setUp(self) -> None:
        self.port = FakeConversations()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def new_app(self) -> ChatApp:
        """The screen, that is not shown yet."""
        return ChatApp(
            self.port,
            Seen(self.folder),
            glyphs=self.glyphs,
            environment=self.environment,
            zone=UTC,
        )

    def show(
        self,
        script: Callable[[ChatApp, Pilot[Any]], Awaitable[None]],
        size: tuple[int, int] | None = None,
    ) -> ChatApp:
        """Show a screen, and have somebody do something with it."""
        app = self.new_app()

        async def go() -> None:
            async with app.run_test(size=size or self.size, notifications=True) as pilot:
                await settle(app, pilot)
                await script(app, pilot)

        asyncio.run(go())
        return app

    def snapshot(self, name: str, app: ChatApp) -> None:
        """What is on the screen is what is kept under a name; REGENERATE=1 keeps it anew."""
        file = SNAPSHOTS / f"{name}.txt"
        text = text_of(app)
        if os.environ.get("SCREENSHOTS"):
            folder = Path(os.environ["SCREENSHOTS"])
            (folder / f"{name}.svg").write_text(app.export_screenshot(), "utf-8")
        if os.environ.get("REGENERATE"):
            file.write_text(text, "utf-8")
        self.assertEqual(text, file.read_text("utf-8"), f"\n{text}")


async def settle(app: ChatApp, pilot: Pilot[Any]) -> None:
    """Let everything be drawn that is to be drawn."""
    await pilot.pause()
    if app.screen_stack:
        await app.catch_up()
        await pilot.pause()


def type_text(app: ChatApp, *keys: str) -> None:
    """Type faster than anything is drawn."""
    for key in keys:
        app.simulate_key(key)
