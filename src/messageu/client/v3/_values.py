"""The values that the core hands out."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final

from attrs import field, frozen

from messageu.model.v3 import Identity, IdentityKeys

TEXT_SIZE_LIMIT: Final = 65_536
"""Bytes of a text in UTF-8."""


class Standing(IntEnum):
    """How somebody stands with us; the value is what the database holds."""

    ACCEPTED = 0
    REQUEST = 1
    BLOCKED = 2
    REMOVED = 3


class Naming(IntEnum):
    """Whether a contact is to be told our display name; the value is what the database holds.

    UNSURE: he was, before anything showed that he listens to us.
    """

    TOLD = 0
    DUE = 1
    UNSURE = 2


class Trust(Enum):
    """Whom we write to: whoever a name or link has led to first, or verified contacts only."""

    TOFU = "tofu"
    MANUAL = "manual"


class Status(IntEnum):
    """What has become of a message; the value is what the database holds."""

    QUEUED = 0
    SEALED = 1
    STORED = 2
    DELIVERED = 3
    UNDELIVERED = 4
    RECEIVED = 5


class Why(IntEnum):
    """Why a message was not delivered; the value is what the database holds."""

    NO_ACCOUNT = 1
    REFUSED = 2
    TOO_LARGE = 3
    GAVE_UP = 4
    EXPIRED = 5
    WITHDRAWN = 6
    FILE_GONE = 7
    NOT_KEPT = 8

    @property
    def words(self) -> str:
        """For a person."""
        return _WORDS[self]


_WORDS: Final = {
    Why.NO_ACCOUNT: "the recipient has no account any more",
    Why.REFUSED: "the relay has refused it",
    Why.TOO_LARGE: "it is larger than the relay takes",
    Why.GAVE_UP: "the relay could not be reached for a week",
    Why.EXPIRED: "the recipient did not fetch all of it in time",
    Why.WITHDRAWN: "it was withdrawn",
    Why.FILE_GONE: "the file was changed or removed before its recipient had it",
    Why.NOT_KEPT: "the recipient could not keep it",
}


@frozen
class Profile:
    """Who we are.

    :ivar name: ours at the relay; None until it is registered.
    :ivar stale: whether it must be reset before anything is sent.
    :ivar unopened: how many envelopes could not be opened.
    :ivar display_name: what contacts are told that we call ourselves; it may be empty.
    """

    keys: IdentityKeys
    name: str | None
    relay: str
    registered: bool
    stale: bool
    trust: Trust
    unopened: int
    display_name: str

    @property
    def identity(self) -> Identity:
        """What our two keys hash to."""
        return self.keys.identity


@frozen
class Contact:
    """Somebody.

    :ivar keys: None until they were claimed for the first time.
    :ivar label: what we call him; the name that he gives himself is ``display_name``, raw.
    :ivar name: his name at the relay, if that has led to him.
    :ivar changed_to: who has his name by now, when that is somebody else.
    :ivar missing: how many of his messages have not come.
    """

    identity: Identity
    keys: IdentityKeys | None
    label: str
    name: str | None
    relay: str
    standing: Standing
    verified: bool
    changed_to: Identity | None
    missing: int
    display_name: bytes


@frozen
class StoredMessage:
    """A message in the history.

    :ivar number: its place there; grows.
    :ivar mine: whether we have sent it.
    :ivar time: in milliseconds since the epoch, as its sender says.
    :ivar body: raw, as it came.
    :ivar why: of what was not delivered.
    """

    number: int
    contact: Identity
    message_id: bytes
    mine: bool
    time: int
    kind: int
    body: bytes = field(repr=False)
    status: Status
    why: Why | None = None

    @property
    def text(self) -> str:
        """The body as text. What is no UTF-8 is replaced, nothing is escaped."""
        return self.body.decode("utf-8", "replace")


@frozen
class Verdict:
    """Why the connection is to be closed.

    :ivar reconnect: whether to come back by itself.
    :ivar retry_after: no sooner than after so many seconds; None leaves it to the caller.
    """

    reconnect: bool
    reason: str
    retry_after: float | None = None
