"""What every menu does: it asks for a choice, serves it, and begins again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Final

from messageu.client import ClientError
from messageu.terminal import visible

from ._lines import LINE_LIMIT, EndOfInput, LineTooLong

_MIB: Final = 2**20


class MenuLoop(ABC):
    """Shows the entries, reads a choice, does it, and begins again, until there is no more input.

    An entry first asks for all that it needs, so that what a script sends for one entry is never
    taken for the choice of another, and only then goes to work.

    :param menu: what is shown before each choice.
    :param next_line: answers a line, or fails with EndOfInput or LineTooLong.
    :param write: shows text. What a peer sent has been made harmless before.
    """

    def __init__(
        self, menu: str, next_line: Callable[[], Awaitable[bytes]], write: Callable[[str], None]
    ) -> None:
        self._menu = menu
        self._next_line = next_line
        self._write = write

    @abstractmethod
    def find(self, choice: str) -> Callable[[], Awaitable[None]] | None:
        """What serves a choice; None: there is no such entry."""

    @abstractmethod
    def words_of(self, error: ClientError) -> str:
        """An error in one harmless line."""

    async def run(self) -> None:
        """Serve until the choice is 0 or the input ends."""
        try:
            while True:
                self._write(self._menu)
                choice = await self._choose()
                if choice == "0":
                    return
                if choice:
                    await self._do(choice)
        except EndOfInput:
            return

    async def _choose(self) -> str:
        try:
            return (await self._next_line()).decode("utf-8", "backslashreplace").strip()
        except LineTooLong:
            self._say_too_long()
            return ""

    async def _do(self, choice: str) -> None:
        serve = self.find(choice)
        if serve is None:
            self._say(f"there is no such entry: {visible(choice[:20])}")
            return
        try:
            await serve()
        except LineTooLong:
            self._say_too_long()
        except ClientError as error:
            self._say(self.words_of(error))

    def _say(self, line: str) -> None:
        self._write(f"{line}\n")

    def _say_too_long(self) -> None:
        self._say(f"a line of more than {LINE_LIMIT // _MIB} MiB was skipped")

    async def _ask(self, question: str) -> bytes:
        self._say(question)
        return await self._next_line()
