"""What comes before the screen when something is asked or shown. Escape leaves each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Final, TypeVar

from attrs import frozen
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from messageu.terminal import safety_lines

from ._book import Conversation, Search
from ._port import Item, Person
from ._rows import Drawing, clipped
from ._texts import moment

SEARCH_PAUSE: Final = 0.15
"""Seconds without a key after which one looks for what was typed."""

SNIPPET: Final = 50
PEOPLE_FOUND_LIMIT: Final = 20

Result = TypeVar("Result")


class Dialog(ModalScreen[Result]):
    """A box with a heading.

    :param parts: what is in it.
    :param buttons: an id and a title of each.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close", show=False),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    def __init__(
        self, heading: str, parts: Sequence[Widget], buttons: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__()
        self._heading = heading
        self._parts = parts
        self._buttons = buttons

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(Content(self._heading), classes="heading", markup=False)
            yield from self._parts
            if self._buttons:
                with Horizontal(classes="buttons"):
                    for name, title in self._buttons:
                        yield Button(Content(title), id=name, compact=True)

    def action_leave(self) -> None:
        """Close it; nothing was decided."""
        self.dismiss(None)


def words(text: str | Content, kind: str = "words") -> Static:
    """Some words, as they are."""
    return Static(Content(text) if isinstance(text, str) else text, classes=kind, markup=False)


class TellScreen(Dialog[None]):
    """Something to be read: it scrolls when it is long."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,f1,q", "leave", show=False),
        Binding("up", "roll(-1)", show=False),
        Binding("down", "roll(1)", show=False),
    ]

    def __init__(self, heading: str, text: str | Content) -> None:
        self._scrolled = VerticalScroll(words(text), classes="scrolled")
        super().__init__(heading, [self._scrolled, words("escape closes this", "muted")])

    def action_roll(self, step: int) -> None:
        """Up or down by a line."""
        self._scrolled.scroll_relative(y=step, animate=False)


class ChooseScreen(Dialog[str]):
    """A question with a few answers; answers the id of one."""

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """That one."""
        event.stop()
        self.dismiss(event.button.id)


def safety_screen(person: Person, number: str) -> ChooseScreen:
    """Digits to compare."""
    digits = "\n".join(safety_lines(number))
    known = "You have compared it before." if person.mark.name == "VERIFIED" else ""
    buttons = [("leave", "Close"), ("same", "They are the same"), ("differ", "They differ")]
    return ChooseScreen(
        f"Safety number with {person.name}",
        [
            words("Read it to each other, face to face or by telephone, not here:"),
            words(digits, "digits"),
            words("Both see the same digits: nobody is between you."),
            words(known, "muted"),
        ],
        buttons,
    )


def link_screen(link: str) -> ChooseScreen:
    """What others add us with."""
    return ChooseScreen(
        "Your link",
        [
            words("Whoever has it can add you, and knows that it is you. Give it away yourself:"),
            words(link, "digits"),
        ],
        [("copy", "Copy"), ("close", "Close")],
    )


@frozen
class Question:
    """A line to be filled in.

    :ivar needed: whether it may not be left empty.
    """

    name: str
    title: str
    needed: bool = True


class AskScreen(Dialog[dict[str, str]]):
    """Some lines to be filled in; enter in the last one answers them all.

    :param check: says what is wrong with the answers; empty: nothing.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]

    def __init__(
        self,
        heading: str,
        questions: Sequence[Question],
        check: Callable[[dict[str, str]], str] = lambda _: "",
    ) -> None:
        self._questions = questions
        self._check = check
        self._wrong = words("", "wrong")
        parts: list[Widget] = []
        for question in questions:
            parts.append(words(question.title))
            parts.append(Input(id=question.name, compact=True))
        super().__init__(heading, [*parts, self._wrong], [("ok", "OK"), ("leave", "Cancel")])

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """To the next line, or done."""
        names = [question.name for question in self._questions]
        place = names.index(event.input.id or "")
        if place + 1 < len(names):
            self.query_one(f"#{names[place + 1]}", Input).focus()
        else:
            self._answer()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Done, or nothing of it."""
        event.stop()
        if event.button.id == "ok":
            self._answer()
        else:
            self.dismiss(None)

    def _answer(self) -> None:
        answers = {each.name: self._typed(each.name) for each in self._questions}
        missing = [each for each in self._questions if each.needed and not answers[each.name]]
        wrong = "this is to be filled in" if missing else self._check(answers)
        if wrong:
            self._wrong.update(Content(wrong))
            name = (missing or self._questions)[0].name
            self.query_one(f"#{name}", Input).focus()
        else:
            self.dismiss(answers)

    def _typed(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()


@frozen
class Found:
    """What was chosen: somebody, or a message of his."""

    key: bytes
    number: int | None = None


class FindScreen(Dialog[Found]):
    """Looks for people by name, and for messages by what they say, while one types."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("down", "move(1)", show=False, priority=True),
    ]

    def __init__(
        self,
        conversations: Sequence[Conversation],
        new_search: Callable[[str], Search],
        drawing: Drawing,
        now: float,
    ) -> None:
        self._conversations = conversations
        self._new_search = new_search
        self._drawing = drawing
        self._now = now
        self._search: Search | None = None
        self._results: list[Found] = []
        self._list = OptionList()
        self._state = words("", "muted")
        super().__init__(
            "Find somebody, or a message",
            [Input(id="wanted", compact=True), self._list, self._state],
        )

    def on_input_changed(self, event: Input.Changed) -> None:
        """Look for it when nothing more is typed."""
        wanted = event.value.strip()
        search = self._search = self._new_search(wanted)
        self._list.clear_options()
        self._results.clear()
        self._state.update(Content("looking" if wanted else ""))
        if wanted:
            self._add_people(wanted.casefold())
            self.set_timer(SEARCH_PAUSE, lambda: self._look(search))

    def _add_people(self, wanted: str) -> None:
        found = [
            each.person
            for each in self._conversations
            if wanted in each.person.name.casefold() or wanted in each.person.called.casefold()
        ]
        for person in found[:PEOPLE_FOUND_LIMIT]:
            self._add(Found(person.key), Content.styled(person.name, "bold"))

    def _look(self, search: Search) -> None:
        """One page after the other, so that keys are heard in between."""
        if search is not self._search or not self.is_attached:
            return
        known = len(search.found)
        search.step()
        for item in search.found[known:]:
            self._add(Found(item.key, item.number), self._row(item, search.wanted))
        if search.done:
            count = len(self._results)
            self._state.update(Content("nothing was found" if not count else f"{count} found"))
        else:
            self.call_after_refresh(self._look, search)

    def _row(self, item: Item, wanted: str) -> Content:
        drawing = self._drawing
        who = "you" if item.mine else drawing.name_of(item.key)
        text = item.text if item.file is None else item.file.name
        snippet = excerpt(text, wanted, SNIPPET)
        when = moment(item.time, self._now, drawing.zone)
        with_whom = f"you to {drawing.name_of(item.key)}" if item.mine else who
        head = clipped(with_whom, SNIPPET, drawing.glyphs.more)
        return Content("").join(
            [
                Content.styled(head, "bold"),
                Content.styled(f"  {when}\n", "$muted"),
                Content(f"  {snippet}"),
            ]
        )

    def _add(self, found: Found, row: Content) -> None:
        self._results.append(found)
        self._list.add_option(Option(row))
        if self._list.highlighted is None:
            self._list.highlighted = 0

    def action_move(self, step: int) -> None:
        """Up or down in what was found, while one types."""
        if self._results:
            place = (self._list.highlighted or 0) + step
            self._list.highlighted = min(max(place, 0), len(self._results) - 1)

    def on_input_submitted(self) -> None:
        """The one that is marked."""
        if self._results:
            self.dismiss(self._results[self._list.highlighted or 0])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """That one."""
        event.stop()
        self.dismiss(self._results[event.option_index])


def excerpt(text: str, wanted: str, size: int) -> str:
    """Where something stands in a text, on one line of so many characters."""
    line = " ".join(text.split())
    place = max(0, line.casefold().find(" ".join(wanted.split()).casefold()))
    begin = max(0, min(place - size // 4, len(line) - size))
    return line[begin : begin + size]


def help_lines(keys: Sequence[tuple[str, str]]) -> Iterator[Content]:
    """Keys, and what they do."""
    width = max(len(key) for key, _ in keys)
    for key, what in keys:
        yield Content("").join(
            [Content.styled(f"{key:<{width}}", "bold $accent"), Content(f"  {what}")]
        )
