"""The screen. What is to be seen is decided in plain objects; here keys meet them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Coroutine, Mapping
from datetime import tzinfo
from pathlib import Path
from typing import Any, ClassVar, Final

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Button, OptionList, Static
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from messageu.client import ClientError
from messageu.terminal import describe

from ._book import Book, Changes, Search
from ._dialogs import (
    AskScreen,
    ChooseScreen,
    FindScreen,
    Found,
    Question,
    TellScreen,
    help_lines,
    link_screen,
    safety_screen,
    words,
)
from ._port import Conversations, Happening
from ._rows import Drawing, title_row
from ._seen import Seen
from ._texts import UNICODE, Glyphs, standing
from ._themes import DARK, LIGHT, theme_for
from ._widgets import ChoiceBar, Composer, KeyHints, Messages, People
from ._words import CHOICES, HINTS, KEYS, NOBODY, NOTHING_OPEN, V2_WORDS

REFRESH_PAUSE: Final = 0.05
"""Seconds between what happens and the screen that shows it, so that much at once is one."""

SAVE_PAUSE: Final = 1.0
"""Seconds between two times at which it is kept what was seen."""

WIDTHS: Final = [(0, "-narrow"), (50, "-normal"), (76, "-usual"), (120, "-wide")]
"""From so many cells on the screen is called so."""

DRAFTS_LIMIT: Final = 100
"""Texts that were begun and are kept while another conversation is open."""

NOTICE_TIME: Final = 6.0
"""Seconds for which a notice stays."""


class ChatApp(App[int]):
    """The live screen.

    :param port: what it shows.
    :param seen: what was seen already.
    :param zone: of the times; None: the machine's.
    """

    TITLE = "MessageU"
    CSS_PATH = "chat.tcss"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = WIDTHS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "Help", priority=True),
        Binding("question_mark", "help", show=False),
        Binding("f2", "verify", "Verify", priority=True),
        Binding("f3", "find", "Find", priority=True),
        Binding("ctrl+f", "find", show=False, priority=True),
        Binding("f4", "send_file", "File", priority=True),
        Binding("f5", "add", "Add", priority=True),
        Binding("f6", "link", "Link", priority=True),
        Binding("f7", "toggle_colours", "Colours", priority=True),
        Binding("f8", "answer(0)", show=False, priority=True),
        Binding("f9", "answer(1)", show=False, priority=True),
        Binding("alt+up,ctrl+p", "beside(-1)", show=False, priority=True),
        Binding("alt+down,ctrl+n", "beside(1)", show=False, priority=True),
        Binding("ctrl+o", "whole", show=False, priority=True),
        Binding("ctrl+r", "reconnect", show=False, priority=True),
        Binding("escape", "back", show=False),
        Binding("pageup", "scroll_messages(-1)", show=False),
        Binding("pagedown", "scroll_messages(1)", show=False),
        Binding("ctrl+q,ctrl+c", "quit", "Quit", priority=True, key_display="^q"),
    ]

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

    # Conversations.

    async def _open(self, key: bytes, number: int | None = None) -> None:
        composer = self._composer
        await composer.typed()  # or it would go to somebody else
        previous = self._book.current
        if previous is not None:
            self._keep_draft(previous.person.key)
        try:
            if number is None:
                self._book.open(key)
            else:
                self._book.open_at(key, number)
        except ClientError as error:
            self._complain(error)
            return
        self._found = number
        self._book.watch(attentive=self.app_focus)
        await self.catch_up()
        composer.turn_to(key, self._book.drafts.pop(key, ""))
        if composer.display:
            composer.focus()
        elif buttons := self._main.query("#choice Button"):
            buttons.first().focus()

    def _keep_draft(self, key: bytes) -> None:
        drafts = self._book.drafts
        if self._composer.text.strip():
            if len(drafts) >= DRAFTS_LIMIT:
                del drafts[next(iter(drafts))]
            drafts[key] = self._composer.text

    async def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """One of the list."""
        if event.option_list is self._people and event.option_id is not None:
            await self._open(bytes.fromhex(event.option_id))

    async def action_beside(self, step: int) -> None:
        """The one above or below."""
        key = self._book.beside(step)
        if key is not None and self._is_bare:
            await self._open(key)

    async def on_messages_at_edge(self, event: Messages.AtEdge) -> None:
        """Another page."""
        window = self._book.window
        if window is None:
            return
        try:
            more = window.older() if event.up else (not window.at_end and window.newer())
        except ClientError as error:
            self._complain(error)
            return
        if more:
            await self._messages.show(self._book, self._port.now())
        if not event.up:
            self._attend()

    def action_scroll_messages(self, step: int) -> None:
        """By a page."""
        messages = self._messages
        if step < 0:
            if messages.scroll_y <= 0:
                messages.post_message(Messages.AtEdge(up=True))
            messages.scroll_page_up(animate=False)
        else:
            messages.scroll_page_down(animate=False)

    # What one does.

    @property
    def _is_bare(self) -> bool:
        """Whether no box is before the screen."""
        return len(self.screen_stack) == 1

    def on_composer_sent(self, event: Composer.Sent) -> None:
        """Send a text."""
        key, text = event.key, event.text
        self._do(self._port.send_text(key, text), sorry=lambda: self._give_back(key, text))

    def _give_back(self, key: bytes, text: str) -> None:
        """A text that could not be sent is there again, unless something else was begun."""
        current = self._book.current
        if current is not None and current.person.key == key and not self._composer.text:
            self._composer.text = text
        else:
            self._book.drafts.setdefault(key, text)

    def action_send_file(self) -> None:
        """Ask which one."""
        current = self._book.current
        if current is None or not self._is_bare or not current.person.mark.writable:
            self._refuse("choose somebody to send a file to first")
            return
        key = current.person.key

        def send(answers: dict[str, str] | None) -> None:
            if answers is not None:
                self._do(self._port.send_file(key, Path(answers["path"]).expanduser()))

        question = Question("path", "The path of the file:")
        heading = f"Send a file to {current.person.name}"
        self.push_screen(AskScreen(heading, [question], check_path), send)

    def action_add(self) -> None:
        """Ask whom."""
        if not self._is_bare:
            return

        def add(answers: dict[str, str] | None) -> None:
            if answers is not None:
                self._do(self._port.add(answers["who"], answers["label"]), self._added)

        questions = [
            Question("who", "Their link, or their name at the relay:"),
            Question("label", "What you call them (empty: their name):", needed=False),
        ]
        self.push_screen(AskScreen("Add somebody", questions), add)

    async def _added(self, key: bytes) -> None:
        await self.catch_up()
        await self._open(key)

    def action_verify(self) -> None:
        """Show the digits."""
        current = self._book.current
        if current is None or not self._is_bare:
            self._refuse("choose whose safety number first")
            return
        person = current.person
        if not self._port.proven:
            self.push_screen(TellScreen(f"{person.name}: v2, not authenticated", V2_WORDS))
            return

        def verify(answer: str | None) -> None:
            if answer in {"same", "differ"}:
                verified = answer == "same"
                self._try(lambda: self._port.verify(person.key, verified=verified))

        self._try(
            lambda: self.push_screen(
                safety_screen(person, self._port.safety_number(person.key)), verify
            )
        )

    def action_link(self) -> None:
        """Show ours."""
        if not self._is_bare:
            return
        link = self._port.link

        def copy(answer: str | None) -> None:
            if answer == "copy":
                self.copy_to_clipboard(link)
                self._tell("copied, if your terminal allows it")

        if self._port.proven:
            self.push_screen(link_screen(link), copy)
        else:
            self.push_screen(TellScreen("Your name", f"Others find you as {link}."))

    def action_find(self) -> None:
        """Ask what for."""
        if not self._is_bare:
            return

        async def go(found: Found | None) -> None:
            if found is not None:
                await self._open(found.key, found.number)

        screen = FindScreen(
            self._book.conversations(),
            lambda wanted: Search(self._port, wanted),
            self._drawing,
            self._port.now(),
        )
        self.push_screen(screen, go)

    def action_help(self) -> None:
        """Show the keys."""
        if self._is_bare:
            self.push_screen(TellScreen("Keys", Content("\n").join(help_lines(KEYS))))

    def action_whole(self) -> None:
        """Show all of a long message."""
        item = self._messages.newest_cut()
        if item is not None and self._is_bare:
            name = "you" if item.mine else self._name_of(item.key)
            self._try(lambda: self.push_screen(TellScreen(name, self._port.whole_text(item))))

    def action_toggle_colours(self) -> None:
        """Light or dark."""
        self.theme = DARK.name if self.theme == LIGHT.name else LIGHT.name

    def action_reconnect(self) -> None:
        """Now, and not later."""
        self._port.start()

    async def action_quit(self) -> None:
        """Leave."""
        self.exit(0)

    async def action_back(self) -> None:
        """To the list; where there is no room for both, out of the conversation."""
        self._main.remove_class("talking")
        self._book.watch(attentive=not self._main.has_class("-narrow") and self.app_focus)
        if not self._main.has_class("-narrow"):
            self._main.set_class(self._book.current is not None, "talking")
        self._people.focus()

    # Questions above the line.

    async def action_answer(self, place: int) -> None:
        """The first answer, or the second."""
        current = self._book.current
        if current is None or not self._is_bare:
            return
        choice = CHOICES.get(current.person.mark)
        answers = () if choice is None else choice.answers
        if place < len(answers):
            await self._decide(answers[place][0])
        elif place == 1 and self._port.proven and choice is None:
            self._ask_block(current.person.key, current.person.name)

    async def on_button_pressed(self, event: Button.Pressed) -> None:
        """An answer by mouse."""
        if event.button.id is not None and self._is_bare:
            await self._decide(event.button.id)

    async def _decide(self, answer: str) -> None:
        current = self._book.current
        if current is None:
            return
        key, port = current.person.key, self._port
        decisions: Mapping[str, Callable[[], object]] = {
            "accept": lambda: port.accept(key),
            "block": lambda: port.block(key),
            "keep": lambda: port.decide(key, replace=False),
            "replace": lambda: port.decide(key, replace=True),
        }
        decided = self._try(decisions[answer])
        await self.catch_up()
        if isinstance(decided, bytes):
            await self._open(decided)
        elif self._book.current is not None:
            await self._open(key)

    def _ask_block(self, key: bytes, name: str) -> None:
        def block(answer: str | None) -> None:
            if answer == "block":
                self._try(lambda: self._port.block(key))

        question = "What they write is dropped from then on, and what waits for them is not sent."
        buttons = [("leave", "Cancel"), ("block", "Block")]
        self.push_screen(ChooseScreen(f"Block {name}?", [words(question)], buttons), block)

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


def check_path(answers: dict[str, str]) -> str:
    """What is wrong with the path of a file; empty: nothing."""
    try:
        path = Path(answers["path"]).expanduser()
        if path.is_file():
            return ""
        return "this is a folder" if path.is_dir() else "there is no such file"
    except (OSError, ValueError, RuntimeError):
        return "this is no path"
