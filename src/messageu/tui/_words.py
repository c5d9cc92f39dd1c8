"""What the screen says: its keys, its questions, and what stands where nothing is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from ._port import Mark

NOBODY: Final = (
    "There is no conversation yet.\n\n"
    "F5 adds somebody by link or by name.\n"
    "F6 shows your link, for others to add you with."
)
NOTHING_OPEN: Final = "Choose a conversation with the arrows and enter, or with the mouse."
V2_WORDS: Final = (
    "MessageU v2 has no safety number: it proves neither who sends a message, nor that nobody has "
    "changed it. The relay can read along, and can write in anybody's name. "
    "Say nothing here that matters; use v3 for that."
)

KEYS: Final = (
    ("enter", "sends what is written"),
    ("ctrl+j", "begins another line"),
    ("tab", "goes to the list, the messages, where one writes"),
    ("alt+up, alt+down", "the conversation above or below (also ctrl+p, ctrl+n)"),
    ("page up, down", "scrolls the messages"),
    ("escape", "back: to the list, or out of a box"),
    ("F1", "this help (also ?, in the list)"),
    ("F2", "safety number: compare it"),
    ("F3, ctrl+f", "finds people and messages"),
    ("F4", "sends a file"),
    ("F5", "adds somebody by link or name"),
    ("F6", "shows your link"),
    ("F7", "light or dark"),
    ("F8, F9", "answer a question above the line; else F8 renames, F9 blocks"),
    ("ctrl+o", "shows all of a long message"),
    ("ctrl+r", "tries to connect now"),
    ("ctrl+q, ctrl+c", "leaves"),
)
"""All keys, as the help and docs/chat.md list them."""


@frozen
class Choice:
    """What is asked above the line where one would write."""

    question: str
    answers: tuple[tuple[str, str], ...]


CHOICES: Final[Mapping[Mark, Choice]] = {
    Mark.ASKS: Choice(
        "This person asks to write to you. They do not learn that you have read it before you accept.",
        (("accept", "F8 Accept"), ("block", "F9 Block")),
    ),
    Mark.CHANGED: Choice(
        "The relay says that this name is somebody else's now. Nothing is sent until you decide.",
        (("keep", "F8 Keep this one"), ("replace", "F9 Take the new one")),
    ),
    Mark.BLOCKED: Choice("What this person writes is dropped.", (("accept", "F8 Accept again"),)),
}


HINTS: Final = (
    ("F1", "Help", "help"),
    ("F2", "Verify", "verify"),
    ("F3", "Find", "find"),
    ("F4", "File", "send_file"),
    ("F5", "Add", "add"),
    ("F6", "Link", "link"),
    ("F7", "Colours", "toggle_colours"),
    ("^q", "Quit", "quit"),
)
"""Keys in the last line of the screen: the key, what it does in a word, and the action."""
