"""What the screen asks of whoever knows the conversations, and what it is told.

Every text in these values was made harmless: nothing in it moves the cursor. It is shown as it is,
never as markup.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from attrs import field, frozen


class Mark(Enum):
    """How far somebody can be believed to be who he seems; the value is what the screen says."""

    VERIFIED = "verified"
    UNVERIFIED = "not verified"
    ASKS = "asks to write to you"
    CHANGED = "somebody else has this name now"
    BLOCKED = "blocked"
    V2 = "v2: not authenticated"

    @property
    def writable(self) -> bool:
        """Whether something can be sent to him."""
        return self in {Mark.VERIFIED, Mark.UNVERIFIED, Mark.V2}


class State(Enum):
    """What has become of a message; the value is what the screen says of one of ours."""

    QUEUED = "queued"
    STORED = "stored"
    DELIVERED = "delivered"
    UNDELIVERED = "not delivered"
    RECEIVED = "received"


@frozen
class Person:
    """Somebody.

    :ivar key: who it is, to the one who knows; the screen only compares it.
    :ivar called: what he calls himself.
    :ivar missing: how many of his messages have not come.
    :ivar offered: a name for somebody who has none here yet, if one is known; it may be empty.
    """

    key: bytes
    name: str
    mark: Mark
    called: str = ""
    missing: int = 0
    offered: str = ""


@frozen
class FileShown:
    """A file.

    :ivar size: bytes; None: not known.
    :ivar here: whether it is complete here; None: it is on its way. Of ours: None.
    :ivar path: where it was put.
    """

    name: str
    size: int | None
    here: bool | None = None
    path: str = ""


@frozen
class Item:
    """A message.

    :ivar number: its place in the history; grows.
    :ivar key: with whom.
    :ivar time: seconds since the epoch, as its sender says.
    :ivar why: why it was not delivered.
    :ivar cut: how many characters more it has.
    """

    number: int
    key: bytes
    message_id: bytes
    mine: bool
    time: float
    text: str = field(repr=False)
    state: State
    why: str = ""
    file: FileShown | None = None
    cut: int = 0


@frozen
class Line:
    """How it stands with the relay.

    :ivar words: why it is offline, or what is wrong besides.
    :ivar retry_at: when it is tried again, by the port's clock; None: not by itself.
    :ivar serious: whether somebody has to do something.
    """

    online: bool
    words: str = ""
    retry_at: float | None = None
    serious: bool = False


# What happens.


@frozen
class PeopleChanged:
    """Who there is, or what is said of them, has changed."""


@frozen
class ItemCame:
    """There is a new message, at the end."""

    number: int
    key: bytes
    mine: bool


@frozen
class ItemChanged:
    """Something has become of a message.

    :ivar sender: whose it is; None: it is ours.
    """

    message_id: bytes
    sender: bytes | None


@frozen
class FileMoved:
    """So much of a file is there. ``sender`` as in :class:`ItemChanged`."""

    message_id: bytes
    sender: bytes | None
    done: int
    total: int


@frozen
class LineChanged:
    """It stands otherwise with the relay."""

    line: Line


@frozen
class Notice:
    """Something to be told, once."""

    words: str
    serious: bool = False


Happening: TypeAlias = PeopleChanged | ItemCame | ItemChanged | FileMoved | LineChanged | Notice


class Conversations(Protocol):
    """All that the screen knows of the world.

    Everything may raise a ``ClientError`` whose text, made harmless, a person can read. What is a
    coroutine may wait for the relay.
    """

    @property
    def me(self) -> str:
        """What we are called, and where."""
        ...

    @property
    def proven(self) -> bool:
        """Whether people can be verified: v2 has nothing to do it with."""
        ...

    @property
    def link(self) -> str:
        """What others add us with."""
        ...

    def now(self) -> float:
        """The wall's clock, in seconds since the epoch."""
        ...

    def observe(self, observer: Callable[[Happening], None]) -> None:
        """Tell somebody all that happens."""
        ...

    def start(self) -> None:
        """Connect, and keep connected; now, if it was only waited for the next attempt."""
        ...

    def people(self) -> Sequence[Person]:
        """Everybody."""
        ...

    def last_numbers(self) -> Mapping[bytes, int]:
        """The number of the last message with each."""
        ...

    def count_received(self, key: bytes, after: int, most: int) -> int:
        """How many of somebody's messages come behind a number; no more than ``most`` count."""
        ...

    def before(self, key: bytes | None, number: int | None, limit: int) -> Sequence[Item]:
        """Messages before a number, or the last ones, the oldest first; of one or of all."""
        ...

    def after(self, key: bytes, number: int, limit: int) -> Sequence[Item]:
        """Messages behind a number, the oldest first."""
        ...

    def item(self, message_id: bytes, sender: bytes | None) -> Item | None:
        """A message by its id; None: there is none (any more)."""
        ...

    def whole_text(self, item: Item) -> str:
        """The text of a message of which only the beginning is shown."""
        ...

    def send_text(self, key: bytes, text: str) -> Coroutine[Any, Any, None]:
        """Send a text."""
        ...

    def send_file(self, key: bytes, path: Path) -> Coroutine[Any, Any, None]:
        """Send a file."""
        ...

    def add(self, who: str, label: str) -> Coroutine[Any, Any, bytes]:
        """Add somebody by link or name; his key. An empty label: what he is called there."""
        ...

    def accept(self, key: bytes, label: str) -> None:
        """Let somebody write to us. An empty label: he is called as before."""
        ...

    def rename(self, key: bytes, label: str) -> None:
        """Call somebody otherwise."""
        ...

    def block(self, key: bytes) -> None:
        """Drop what somebody writes."""
        ...

    def decide(self, key: bytes, *, replace: bool) -> bytes:
        """Who is meant by a name that somebody else has now; his key."""
        ...

    def safety_number(self, key: bytes) -> str:
        """Digits that are the same for both."""
        ...

    def verify(self, key: bytes, *, verified: bool) -> None:
        """The digits were compared, or it is not so any more."""
        ...
