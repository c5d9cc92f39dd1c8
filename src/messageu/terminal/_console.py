"""What the program speaks through, and how it ends."""

from __future__ import annotations

from collections.abc import Awaitable
from enum import IntEnum
from typing import Protocol

from messageu.client import ClientError


class Exit(IntEnum):
    """How a command has ended.

    DONE: as it should. FAILED: not; one line says why. USAGE: it was not understood. QUEUED: what
    was to be sent is kept, and goes out when the relay can be reached. AWAY: the relay cannot be
    reached, or gave no answer in time.
    """

    DONE = 0
    FAILED = 1
    USAGE = 2
    QUEUED = 3
    AWAY = 4
    INTERRUPTED = 130


class Away(ClientError):
    """The relay cannot be reached, or does not answer in time."""


class NoTerminal(ClientError):
    """Something is to be asked, and nobody is there."""


class Console(Protocol):
    """A person, or what stands for one."""

    @property
    def interactive(self) -> bool:
        """Whether what is written is seen at once, by somebody."""
        ...  # pragma: no cover

    def write(self, text: str) -> None:
        """Show a text."""
        ...  # pragma: no cover

    def complain(self, line: str) -> None:
        """Show a line that is no part of the result."""
        ...  # pragma: no cover

    def next_line(self) -> Awaitable[bytes]:
        """The next line of the input; EndOfInput, LineTooLong."""
        ...  # pragma: no cover

    def ask_secret(self, question: str) -> Awaitable[str]:
        """What is typed in answer, unseen.

        :raises NoTerminal: when nobody can be asked.
        """
        ...  # pragma: no cover
