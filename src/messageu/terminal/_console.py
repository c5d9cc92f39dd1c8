"""What the program speaks through."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from messageu.client import ClientError


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

    @property
    def encoding(self) -> str:
        """What texts are written in, as Python calls it."""
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
