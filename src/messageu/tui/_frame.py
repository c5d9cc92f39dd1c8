"""What is on the screen, and how what is done is waited for."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Coroutine, Mapping
from datetime import tzinfo
from typing import Any, Final

from textual import events
from textual.app import App, ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from messageu.client import ClientError
from messageu.terminal import describe

from ._book import Book, Changes
from ._port import Conversations, Happening
from ._rows import Drawing, title_row
from ._seen import Seen
from ._texts import UNICODE, Glyphs, standing
from ._themes import DARK, LIGHT, theme_for
from ._widgets import ChoiceBar, Composer, KeyHints, Messages, People
from ._words import CHOICES, HINTS, NOBODY, NOTHING_OPEN

REFRESH_PAUSE: Final = 0.05
"""Seconds between what happens and the screen that shows it, so that much at once is one."""

SAVE_PAUSE: Final = 1.0
"""Seconds between two times at which it is kept what was seen."""

WIDTHS: Final = [(0, "-narrow"), (50, "-normal"), (76, "-usual"), (120, "-wide")]
"""From so many cells on the screen is called so."""

NOTICE_TIME: Final = 6.0
"""Seconds for which a notice stays."""


class Frame(App[int]):
    """What is seen, without what keys do.

    :param port: what it shows.
    :param seen: what was seen already.
    :param zone: of the times; None: the machine's.
    """

    TITLE = "MessageU"
    CSS_PATH = "chat.tcss"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = WIDTHS

    def __init__(
        self,
        port: Conversations,
        seen: Seen,
        *,
        glyphs: Glyphs = UNICODE,
        environment: Mapping[str, str] | None = None,
        zone: tzinfo | None = None,
    ) -> None:
        super().__init__()
        self._port = port
        self._seen = seen
        self._glyphs = glyphs
        self._book = Book(port, seen)
        self._drawing = Drawing(glyphs, zone, self._name_of)
        self._planned = False
        self._waiting_for: set[Deferred[Any]] = set()
        self._log_of_bugs = Logger()
        self._found: int | None = None
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        self.theme = theme_for(environment or {}).name

    # What is on it.

    def compose(self) -> ComposeResult:
        with Horizontal(id="columns"):
            yield People(self._glyphs)
            with Vertical(id="talk"):
                yield Static(id="title", markup=False)
                yield Static(id="hint", markup=False)
                yield Messages(self._drawing)
                yield ChoiceBar()
                yield Composer()
        yield Static(id="line", markup=False)
        yield KeyHints(HINTS)

    async def on_mount(self) -> None:
        """Show what is there, connect, and look again whenever something happens."""
        self.screen.set_class(self._glyphs is not UNICODE, "ascii")
        self._port.observe(self._hear)
        self.set_interval(SAVE_PAUSE, self._each_second)
        await self.catch_up()
        self._people.focus()
        self._port.start()

    async def on_unmount(self) -> None:
        """Nothing is waited for any more; what was seen is kept."""
        for running in tuple(self._waiting_for):
            running.cancel()
        self._save()

    @property
    def _people(self) -> People:
        return self._main.query_one(People)

    @property
    def _messages(self) -> Messages:
        return self._main.query_one(Messages)

    @property
    def _composer(self) -> Composer:
        return self._main.query_one(Composer)

    @property
    def _main(self) -> Screen[Any]:
        """The screen behind all boxes."""
        return self.screen_stack[0]

    @property
    def _is_bare(self) -> bool:
        """Whether no box is before the screen."""
        return len(self.screen_stack) == 1

    def _name_of(self, key: bytes) -> str:
        conversation = self._book.conversation(key)
        return key.hex()[:16] if conversation is None else conversation.person.name

    # What happens.

    def _hear(self, happening: Happening) -> None:
        """Called from the reactor, as often as it likes: the screen is drawn once for all of it."""
        self._book.hear(happening)
        self._plan()

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            self.call_later(self.set_timer, REFRESH_PAUSE, self.catch_up)

    async def catch_up(self) -> None:
        """Show what has happened."""
        self._planned = False
        if not self.is_running or not self.screen_stack:
            return
        try:
            changes = self._book.catch_up()
        except ClientError as error:
            self._complain(error)
            return
        await self._show(changes)

    async def _show(self, changes: Changes) -> None:
        if changes.people:
            self._people.show(self._book.conversations(), self._book.current)
            self._show_title()
            await self._show_choice()
        if changes.messages:
            found, self._found = self._found, None
            await self._messages.show(self._book, self._port.now(), found=found)
            self._attend()
        if changes.people or changes.messages:
            self._show_hint()
        if changes.line:
            self._show_line()
        for notice in changes.notices:
            self._tell(notice.words, serious=notice.serious)

    def _show_title(self) -> None:
        current = self._book.current
        title = Content("") if current is None else title_row(current.person, self._glyphs)
        self._main.query_one("#title", Static).update(title)

    def _show_hint(self) -> None:
        is_open = self._book.current is not None
        hint = self._main.query_one("#hint", Static)
        hint.update(Content(NOTHING_OPEN if self._book.conversations() else NOBODY))
        hint.display = not is_open
        for widget in (self._messages, self._main.query_one("#title")):
            widget.display = is_open
        self._main.set_class(is_open, "talking")

    async def _show_choice(self) -> None:
        current = self._book.current
        choice = None if current is None else CHOICES.get(current.person.mark)
        self._composer.display = current is not None and current.person.mark.writable
        await self._main.query_one(ChoiceBar).show(choice)

    def _show_line(self) -> None:
        line = self._book.line
        widget = self._main.query_one("#line", Static)
        widget.update(Content(standing(line, self._port.now(), self._glyphs, self._port.me)))
        widget.set_class(line.serious or bool(line.online and line.words), "serious")

    def _each_second(self) -> None:
        if self._book.line.retry_at is not None:
            self._show_line()
        self._save()

    def _save(self) -> None:
        try:
            self._seen.save()
        except ClientError as error:
            self._tell(describe(error), serious=True)

    def _attend(self) -> None:
        """Whether somebody sees what is at the end."""
        seen = self.app_focus and self._messages.is_at_end and self._main.has_class("talking")
        self._book.watch(attentive=bool(seen))
        self._plan()

    def on_app_focus(self) -> None:
        """Somebody looks at the terminal again."""
        self.call_later(self._attend)

    def on_app_blur(self) -> None:
        """Another window is in front: what comes is new until one is back."""
        self._book.watch(attentive=False)

    def on_resize(self, _: events.Resize) -> None:
        """Rows have another width."""
        if self.screen_stack and self._main.query(People):
            self._people.redraw()
            self._book.hear_all()
            self._plan()

    # How it is done.

    def _try(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except ClientError as error:
            self._complain(error)
            return None

    def _do(
        self,
        work: Coroutine[Any, Any, Any],
        then: Callable[[Any], Any] | None = None,
        sorry: Callable[[], None] = lambda: None,
    ) -> None:
        """Do something that may wait for the relay, and go on here when it is done."""
        running = Deferred.fromCoroutine(work)
        self._waiting_for.add(running)

        def failed(failure: Failure) -> None:
            if failure.check(CancelledError) is None:
                self.call_later(sorry)
                self.call_later(self._complain, failure.value)

        if then is not None:
            running.addCallback(lambda value: self.call_later(then, value))
        running.addErrback(failed)
        running.addBoth(lambda _: self._waiting_for.discard(running))

    def _complain(self, error: BaseException) -> None:
        if isinstance(error, ClientError):
            self._tell(describe(error), serious=True)
        else:
            self._log_of_bugs.failure("a bug of the screen", Failure(error))
            self._tell("this was a fault of the program", serious=True)

    def _refuse(self, why: str) -> None:
        if self._is_bare:
            self._tell(why)

    def _tell(self, text: str, *, serious: bool = False) -> None:
        severity = "error" if serious else "information"
        self.notify(text, severity=severity, timeout=NOTICE_TIME, markup=False)  # type: ignore[arg-type]

    def _fatal_error(self) -> None:
        """Textual would show what all variables hold: messages and keys among them."""
        self.panic(traceback.format_exc())
