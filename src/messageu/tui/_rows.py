"""Conversations and messages as they are drawn: text with styles, never markup."""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from typing import Final

from attrs import frozen
from rich.cells import cell_len, set_cell_size
from textual.content import Content

from ._book import Conversation
from ._port import Item, Mark, Person, State
from ._texts import Glyphs, bar, fate, moment, size_of, whereabouts

MARK_STYLES: Final = {
    Mark.VERIFIED: "$success",
    Mark.UNVERIFIED: "$muted",
    Mark.ASKS: "bold $warning",
    Mark.CHANGED: "bold $error",
    Mark.BLOCKED: "$muted",
    Mark.V2: "bold $warning",
}

_FATE_STYLES: Final = {
    State.QUEUED: "$muted",
    State.STORED: "$muted",
    State.DELIVERED: "$success",
    State.UNDELIVERED: "bold $error",
}


def clipped(text: str, width: int, more: str) -> str:
    """A text in so many cells, at the most."""
    if cell_len(text) <= width:
        return text
    return f"{set_cell_size(text, max(0, width - cell_len(more))).rstrip()}{more}"


def conversation_row(conversation: Conversation, width: int, glyphs: Glyphs) -> Content:
    """Two lines: whose it is and how much is new, and what is to be known of him."""
    person, badge = conversation.person, conversation.badge
    room = max(1, width - 2 - (cell_len(badge) + 1 if badge else 0))
    name = set_cell_size(clipped(person.name, room, glyphs.more), room)
    style = MARK_STYLES[person.mark]
    parts = [
        Content.styled(f"{glyphs.marks[person.mark]} ", style),
        Content.styled(name, "bold" if badge else ""),
    ]
    if badge:
        parts.append(Content.styled(f" {badge}", "bold $accent"))
    words = clipped(f"  {person.mark.value}", width, glyphs.more)
    return Content("").join([*parts, Content("\n"), Content.styled(words, style)])


def title_row(person: Person, glyphs: Glyphs) -> Content:
    """Above the messages of somebody."""
    parts = [
        Content.styled(person.name, "bold"),
        Content("  "),
        Content.styled(
            f"{glyphs.marks[person.mark]} {person.mark.value}", MARK_STYLES[person.mark]
        ),
    ]
    if person.missing:
        parts.append(Content.styled(f"  {person.missing} missing", "$warning"))
    if person.called and person.called != person.name:
        # It comes last, so that it cannot pass for anything that we say.
        parts.append(Content.styled(f"  calls themselves: {person.called}", "$muted"))
    return Content("").join(parts)


@frozen
class Drawing:
    """How messages are drawn.

    :ivar zone: of the times; None: the machine's.
    :ivar name_of: what somebody is called.
    """

    glyphs: Glyphs
    zone: tzinfo | None
    name_of: Callable[[bytes], str]

    def head(self, item: Item, now: float) -> Content:
        """Whose, when, and what has become of it."""
        who = "you" if item.mine else self.name_of(item.key)
        parts = [
            Content.styled(who, "bold $primary" if item.mine else "bold $secondary"),
            Content.styled(f"  {moment(item.time, now, self.zone)}", "$muted"),
        ]
        words = fate(item, self.glyphs)
        if words:
            parts.append(Content.styled(f"  {words}", _FATE_STYLES[item.state]))
        return Content("").join(parts)

    def body(self, item: Item, moved: tuple[int, int] | None) -> Content:
        """What was said."""
        if item.file is not None:
            return self._file(item, moved)
        if item.cut:
            note = f"\n{self.glyphs.more} {item.cut:,} characters more: ctrl+o shows them"
            return Content("").join([Content(item.text), Content.styled(note, "$muted")])
        return Content(item.text)

    def _file(self, item: Item, moved: tuple[int, int] | None) -> Content:
        file = item.file
        assert file is not None  # noqa: S101 - the caller has looked
        size = "" if file.size is None else f", {size_of(file.size)}"
        parts = [Content.styled("file ", "$muted"), Content.styled(file.name, "bold")]
        parts.append(Content.styled(size, "$muted"))
        if moved is not None and item.state is not State.UNDELIVERED and file.here is None:
            parts.append(Content.styled(f"\n{bar(*moved, self.glyphs)}", "$accent"))
        elif words := whereabouts(item):
            parts.append(Content.styled(f"\n{words}", "$muted"))
        return Content("").join(parts)
