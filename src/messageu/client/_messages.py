"""What a client makes of a message: one value for each thing that it can turn out to be."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TypeAlias

from attrs import field, frozen

from messageu.model import ClientId


@frozen
class Sender:
    """Who the relay says has sent a message; v2 proves nothing.

    ``name`` holds bytes of a foreign choice, and is None when the relay does not list the client.
    """

    client_id: ClientId
    name: bytes | None


@frozen
class KeyRequest:
    """Type 1: the sender asks for a symmetric key. What some clients put inside is ignored."""

    sender: Sender


@frozen
class KeyReceived:
    """Type 2: a symmetric key, which is now the one that is shared with the sender."""

    sender: Sender


@frozen
class Text:
    """Type 3: a text, as bytes that should be UTF-8. It may hold anything, and ``repr`` nothing."""

    sender: Sender
    raw: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The text; bytes that are no UTF-8 are written as backslash escapes."""
        return self.raw.decode("utf-8", "backslashreplace")


@frozen
class FileReceived:
    """Type 4: a file, saved under a name of our own with mode 0600. The caller owns it now."""

    sender: Sender
    path: Path


class Why(Enum):
    """Why a message cannot be read."""

    NO_KEY = "no symmetric key is shared with the sender"
    WRONG_KEY = "it was not sealed with the key that is shared with the sender"
    NOT_FOR_US = "its symmetric key was not sealed for our public key"
    UNKNOWN_TYPE = "its type is not known"


@frozen
class Undecipherable:
    """A message of any type that cannot be read."""

    sender: Sender
    why: Why


@frozen
class TooLarge:
    """A message above the limit, which was skipped and is lost. Its sender is not known."""


SentMessage: TypeAlias = KeyRequest | KeyReceived | Text | FileReceived | Undecipherable
"""A message of which the sender is known."""

Message: TypeAlias = SentMessage | TooLarge
"""What a fetch hands over."""
