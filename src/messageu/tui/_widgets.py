"""The parts of the screen: the list of conversations, the messages, and where one writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar, Final

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.style import Style
from textual.widgets import Button, OptionList, Static, TextArea
from textual.widgets.option_list import Option

from ._book import Book, Conversation
from ._port import Item
from ._rows import Drawing, conversation_row
from ._texts import Glyphs
from ._words import Choice

ROWS_LIMIT: Final = 500
"""Conversations in the list; F3 finds the others."""

_NEW_LINE: Final = {"ctrl+j", "alt+enter", "shift+enter"}

_EDGE: Final = 2
"""Cells that the list has around its rows."""


class People(OptionList):
    """The conversations."""

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id="people")
        self._glyphs = glyphs
        self._shown: Sequence[tuple[str, Content]] = ()

    def show(self, conversations: Sequence[Conversation], current: Conversation | None) -> None:
        """Show these, with the open one marked."""
        width = max(8, self.scrollable_content_region.width - _EDGE)
        rows = [
            (each.person.key.hex(), conversation_row(each, width, self._glyphs))
            for each in conversations[:ROWS_LIMIT]
        ]
        keys = [key for key, _ in rows]
        marked = self.highlighted_option
        if keys == [key for key, _ in self._shown]:
            for place, (row, shown) in enumerate(zip(rows, self._shown, strict=True)):
                if row != shown:
                    self.replace_option_prompt_at_index(place, row[1])
        else:
            self.clear_options()
            self.add_options([Option(row, id=key) for key, row in rows])
            left_out = len(conversations) - len(rows)
            if left_out:
                self.add_option(Option(Content(f"and {left_out:,} more: F3"), disabled=True))
        self._shown = rows
        if self.has_focus and marked is not None and marked.id in keys:
            self.highlighted = keys.index(marked.id)  # where somebody is with the arrows
        elif current is not None and (key := current.person.key.hex()) in keys:
            self.highlighted = keys.index(key)
        elif keys and self.highlighted is None:
            self.highlighted = 0

    def redraw(self) -> None:
        """Rows are as wide as the list, which is another now."""
        self._shown = ()


class MessageView(Vertical):
    """One message. A peer's text is beside a line that it cannot draw itself."""

    def __init__(self, item: Item) -> None:
        super().__init__(classes="mine" if item.mine else "theirs")
        self.item = item
        self._head = Static(classes="head", markup=False)
        self._body = Static(classes="body", markup=False)
        self._drawn: tuple[Content, Content] | None = None

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._body

    def draw(self, head: Content, body: Content) -> None:
        """Show it so."""
        if self._drawn != (head, body):
            self._drawn = head, body
            self._head.update(head)
            self._body.update(body)

    def point_out(self, *, found: bool) -> None:
        """It is what was looked for, or not any more."""
        self.set_class(found, "found")


class Messages(VerticalScroll):
    """The messages of the open conversation, as many as its window holds."""

    class AtEdge(Message):
        """Somebody has scrolled to where there is no more; ``up`` or down."""

        def __init__(self, *, up: bool) -> None:
            super().__init__()
            self.up = up

    def __init__(self, drawing: Drawing) -> None:
        super().__init__(id="messages")
        self._drawing = drawing
        self._views: dict[int, MessageView] = {}
        self._key: bytes | None = None
        self.can_focus = True

    @property
    def is_at_end(self) -> bool:
        """Whether the last line is to be seen."""
        return self.scroll_y >= self.max_scroll_y - 1

    async def show(self, book: Book, now: float, *, found: int | None = None) -> None:
        """Show the window of a book; what was at the edge stays where it is."""
        window = book.window
        key = None if window is None else window.key
        items = [] if window is None else window.items
        following = key != self._key or self.is_at_end
        held = self._first_view() if not following else None
        await self._exchange(items)
        self._key = key
        for item in items:
            view = self._views[item.number]
            view.item = item
            view.draw(self._drawing.head(item, now), self._drawing.body(item, book.moved(item)))
            view.point_out(found=item.number == found)
        if found is not None and found in self._views:
            self.call_after_refresh(self.scroll_to_widget, self._views[found], animate=False)
        elif following:
            self.call_after_refresh(self.scroll_end, animate=False, immediate=True)
        elif held is not None and held.is_attached:
            self.call_after_refresh(self.scroll_to_widget, held, animate=False, top=True)

    def _first_view(self) -> MessageView | None:
        """The first message of which something is to be seen."""
        for view in self._views.values():
            if view.virtual_region.bottom > self.scroll_y:
                return view
        return None

    async def _exchange(self, items: Sequence[Item]) -> None:
        wanted = {item.number: item for item in items}
        gone = [view for number, view in self._views.items() if number not in wanted]
        with self.app.batch_update():
            if gone:
                await self.remove_children(gone)
            old = {number: view for number, view in self._views.items() if number in wanted}
            self._views = {item.number: old.get(item.number) or MessageView(item) for item in items}
            first_old = next(iter(old.values()), None)
            fresh = [view for number, view in self._views.items() if number not in old]
            if first_old is not None:
                above = [view for view in fresh if view.item.number < first_old.item.number]
                fresh = [view for view in fresh if view.item.number > first_old.item.number]
                if above:
                    await self.mount_all(above, before=first_old)
            if fresh:
                await self.mount_all(fresh)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Pages come when their edge is reached."""
        super().watch_scroll_y(old_value, new_value)
        if new_value <= 0 < old_value:
            self.post_message(self.AtEdge(up=True))
        elif old_value < self.max_scroll_y <= new_value:
            self.post_message(self.AtEdge(up=False))

    def newest_cut(self) -> Item | None:
        """The last message in view of which only the beginning is shown."""
        bottom = self.scroll_y + self.size.height
        for view in reversed(list(self._views.values())):
            if view.item.cut and view.virtual_region.y < bottom:
                return view.item
        return None


class ChoiceBar(Vertical):
    """A question about the person of the open conversation, and its answers."""

    def __init__(self) -> None:
        super().__init__(id="choice")
        self._choice: Choice | None = None
        self.display = False

    async def show(self, choice: Choice | None) -> None:
        """Ask this, or nothing."""
        if choice == self._choice:
            return
        self._choice = choice
        self.display = choice is not None
        await self.remove_children()
        if choice is not None:
            buttons = [Button(Content(title), id=do, compact=True) for do, title in choice.answers]
            question = Static(Content(choice.question), classes="question", markup=False)
            await self.mount(question, Horizontal(*buttons))


class Composer(TextArea):
    """Where one writes: enter sends, and a paste keeps its lines.

    Keys that come in a burst are taken in their order: none that has a meaning here is a binding,
    which would be looked at before what was typed, or after it.

    :ivar key: to whom it is written.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "app.scroll_messages(-1)", show=False),
        Binding("pagedown", "app.scroll_messages(1)", show=False),
    ]

    class Sent(Message):
        """What is written is to be sent."""

        def __init__(self, key: bytes, text: str) -> None:
            super().__init__()
            self.key = key
            self.text = text

    def __init__(self) -> None:
        super().__init__(
            id="composer", show_line_numbers=False, compact=True, highlight_cursor_line=False
        )
        self.key = b""

    def on_key(self, event: events.Key) -> None:
        """Send it, or begin another line."""
        if event.key == "enter":
            self._send()
        elif event.key in _NEW_LINE:
            self.insert("\n")
        else:
            return
        event.prevent_default().stop()

    def _send(self) -> None:
        if self.text.strip():
            self.post_message(self.Sent(self.key, self.text))
            self.text = ""

    async def typed(self) -> None:
        """Wait until all keys are taken that were typed until now."""
        taken = asyncio.Event()
        if self.call_later(taken.set):
            await taken.wait()

    def turn_to(self, key: bytes, text: str) -> None:
        """Somebody else is written to, with what was begun before."""
        self.key = key
        self.text = text
        self.move_cursor(self.document.end)


class KeyHints(Static):
    """The most important keys, in a row; each can be clicked, too."""

    def __init__(self, hints: Sequence[tuple[str, str, str]]) -> None:
        super().__init__(id="keys", markup=False)
        self._hints = hints

    def render(self) -> Content:
        """As many as there is room for: the last one, which leaves, is always there."""
        room = self.size.width
        *hints, last = [_hint(*hint) for hint in self._hints]
        room -= last.cell_length
        shown = []
        for hint in hints:
            room -= hint.cell_length
            if room >= 0:
                shown.append(hint)
        return Content("").join([*shown, last])


def _hint(key: str, title: str, action: str) -> Content:
    text = Content("").join([Content.styled(f" {key}", "bold $accent"), Content(f" {title}")])
    return text.stylize(Style.from_meta({"@click": f"app.{action}"}))
