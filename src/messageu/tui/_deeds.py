"""What a person does: texts, the boxes that are opened, and the answers to questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from textual.content import Content
from textual.widgets import Button

from messageu.client import ClientError
from messageu.terminal import describe

from ._book import Search
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
from ._port import Mark, PeopleChanged, Person
from ._talks import Talks
from ._widgets import Composer
from ._words import CHOICES, KEYS, V2_WORDS


class Deeds(Talks):
    """What one does with somebody."""

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

    # Questions above the line.

    async def action_answer(self, place: int) -> None:
        """The first answer, or the second."""
        self._book.hear(PeopleChanged())  # a name that somebody gives himself comes without a word
        await self.catch_up()
        current = self._book.current
        if current is None or not self._is_bare:
            return
        choice = CHOICES.get(current.person.mark)
        answers = () if choice is None else choice.answers
        if place < len(answers):
            await self._decide(answers[place][0])
        elif self._port.proven and choice is None:
            (self._ask_rename, self._ask_block)[place](current.person)

    async def on_button_pressed(self, event: Button.Pressed) -> None:
        """An answer by mouse."""
        if event.button.id is not None and self._is_bare:
            await self._decide(event.button.id)

    async def _decide(self, answer: str) -> None:
        current = self._book.current
        if current is None:
            return
        if answer == "accept" and current.person.mark is Mark.ASKS:
            self._ask_accept(current.person)
            return
        key, port = current.person.key, self._port
        decisions: Mapping[str, Callable[[], object]] = {
            "accept": lambda: port.accept(key, ""),
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

    def _ask_accept(self, person: Person) -> None:
        """Ask what somebody is called from now on; what is wrong with it is said in the box."""

        def accept(answers: dict[str, str]) -> str:
            label = answers["label"] or person.offered
            return _refusal(lambda: self._port.accept(person.key, label))

        async def accepted(answers: dict[str, str] | None) -> None:
            if answers is not None:
                await self._added(person.key)

        name = person.offered or person.name
        question = Question("label", f"What you call them (empty: {name}):", needed=False)
        self.push_screen(AskScreen(f"Accept {person.name}", [question], accept), accepted)

    def _ask_rename(self, person: Person) -> None:
        def rename(answers: dict[str, str]) -> str:
            label = answers["label"] or person.offered
            return _refusal(lambda: self._port.rename(person.key, label))

        async def renamed(answers: dict[str, str] | None) -> None:
            if answers is not None:
                self._book.hear_all()  # their name stands above each of their messages
                await self._added(person.key)

        default = f" (empty: {person.offered})" if person.offered else ""
        title = f"What you call them from now on{default}:"
        question = Question("label", title, needed=not person.offered)
        self.push_screen(AskScreen(f"Rename {person.name}", [question], rename), renamed)

    def _ask_block(self, person: Person) -> None:
        def block(answer: str | None) -> None:
            if answer == "block":
                self._try(lambda: self._port.block(person.key))

        question = "What they write is dropped from then on, and what waits for them is not sent."
        buttons = [("leave", "Cancel"), ("block", "Block")]
        self.push_screen(ChooseScreen(f"Block {person.name}?", [words(question)], buttons), block)


def _refusal(action: Callable[[], object]) -> str:
    """Why something could not be done; empty: it was."""
    try:
        action()
    except ClientError as error:
        return describe(error)
    return ""


def check_path(answers: dict[str, str]) -> str:
    """What is wrong with the path of a file; empty: nothing."""
    try:
        path = Path(answers["path"]).expanduser()
        if path.is_file():
            return ""
        return "this is a folder" if path.is_dir() else "there is no such file"
    except (OSError, ValueError, RuntimeError):
        return "this is no path"
