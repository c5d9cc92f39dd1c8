"""What a user should hear of. Names and texts of others are raw: they are escaped where shown."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from attrs import frozen

from messageu.model.v3 import Identity, IdentityKeys, Reason

from ._values import StoredMessage, Why


@frozen
class Connected:
    """The relay knows us: mail comes, and what waits is sent."""


@frozen
class Registered:
    """The relay has an account for us, under this name."""

    name: str


@frozen
class Refused:
    """The relay did not do something.

    :ivar what: ``register``, ``resolve``, ``publish``, ``claim``, ``subscribe``, ``authenticate``,
        ``delete``; ``account``: it had one for us, and has none any more.
    :ivar reason: a number that is not known stands for itself; None: what came could not be used.
    :ivar name: of ``register`` and ``resolve``.
    :ivar contact: of ``claim``.
    :ivar retry_after: seconds; 0 when no time is known.
    """

    what: str
    reason: Reason | int | None
    name: str | None = None
    contact: Identity | None = None
    retry_after: int = 0


@frozen
class Resolved:
    """Whose name it is. Nobody was added."""

    name: str
    keys: IdentityKeys


@frozen
class MessageReceived:
    """A message of an accepted contact, or one more of somebody who asks to write to us."""

    message: StoredMessage


@frozen
class RequestReceived:
    """Somebody whom we do not know has written."""

    contact: Identity


@frozen
class MessageStored:
    """The relay has it."""

    message_id: bytes


@frozen
class MessageDelivered:
    """Its recipient has it: a file is on his disk, and is what was offered."""

    message_id: bytes


@frozen
class MessageUndelivered:
    """It is not tried any more, or its life is over without a receipt."""

    message_id: bytes
    why: Why


@frozen
class MessagesMissing:
    """So many messages of a contact have not come; 0: all have."""

    contact: Identity
    count: int


@frozen
class FileProgress:
    """So many of its pieces are at the relay, or here. It goes back when a file is sent anew.

    :ivar contact: of whom it comes; None: it is one of ours.
    """

    message_id: bytes
    done: int
    total: int
    contact: Identity | None = None


@frozen
class FileReceived:
    """A file of a contact is complete."""

    message_id: bytes
    path: Path
    contact: Identity


@frozen
class FileFailed:
    """A file cannot be sent, or kept; ``why`` is a sentence of ours.

    :ivar contact: of whom it was to come; None: it is one of ours.
    """

    message_id: bytes
    why: str
    contact: Identity | None = None


@frozen
class IdentityChanged:
    """Somebody else has the name of a contact. He is not written to until the user decides."""

    contact: Identity
    changed_to: Identity


@frozen
class PrekeysPublished:
    """The relay has our prekeys, so many one-time keys among them."""

    one_time_keys: int


@frozen
class Displaced:
    """Our mail goes to another connection of this profile: it is open elsewhere."""


@frozen
class StateIsStale:
    """The relay has seen a later state of this profile. Nothing is sent until it is reset."""


@frozen
class AccountDeleted:
    """The relay has forgotten us."""


@frozen
class Unopened:
    """So many envelopes could not be opened, altogether."""

    count: int


Event: TypeAlias = (
    Connected
    | Registered
    | Refused
    | Resolved
    | MessageReceived
    | RequestReceived
    | MessageStored
    | MessageDelivered
    | MessageUndelivered
    | MessagesMissing
    | FileProgress
    | FileReceived
    | FileFailed
    | IdentityChanged
    | PrekeysPublished
    | Displaced
    | StateIsStale
    | AccountDeleted
    | Unopened
)
