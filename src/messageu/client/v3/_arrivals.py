"""What others have sent, one message at a time, from the place where it was left."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred

from .._errors import ClientError, FileNotSaved
from .._files import read_small, replace_file
from ._events import MessageReceived, RequestReceived
from ._messenger import Heard, Messenger, Offline
from ._values import StoredMessage

_SIZE_LIMIT: Final = 32
_PAGE: Final = 100


class Place:
    """The number of the last message that was done with, in a file of its own."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> int:
        """0 when there is no file, or no number in it: everything comes again, nothing is lost."""
        try:
            text = read_small(self._file, _SIZE_LIMIT).decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return 0
        return int(text) if text.isdecimal() else 0

    def write(self, number: int) -> None:
        """Go there, and wait until the disk has it.

        :raises FileNotSaved: when it cannot be written.
        """
        try:
            replace_file(self._file, f"{number}\n".encode("ascii"))
        except OSError as error:
            raise FileNotSaved(f"{self._file.name} cannot be written: {error.strerror}") from None


async def arrivals(messenger: Messenger, place: Place) -> AsyncGenerator[StoredMessage, None]:
    """What others have sent behind a place, and what comes; without end.

    A message is done with when the next one is asked for, and only then the place is behind it:
    whoever is killed in between gets it again, and never misses one. Messages of those who ask to
    write to us are among them. They wait in the history, and not in memory.

    :raises ClientError: when there will be no connection by itself, and all is done with that came
        before; when the place cannot be written.
    """
    bell = _Bell()
    forget = messenger.observe(bell.hear)
    try:
        number = place.read()
        while True:
            messages = messenger.messages(after=number, limit=_PAGE)
            for message in messages:
                if not message.mine:
                    yield message
                    place.write(message.number)
                number = message.number
            if not messages:
                await bell.wait()
    finally:
        forget()


class _Bell:
    """Rings when something has come, also when nobody was listening just then."""

    def __init__(self) -> None:
        self._rung = False
        self._end: ClientError | None = None
        self._waiting: Deferred[None] | None = None

    def hear(self, heard: Heard) -> None:
        match heard:
            case MessageReceived() | RequestReceived():
                self._rung = True
            case Offline(why, None):
                self._end = why
            case _:
                return
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def wait(self) -> None:
        if not self._rung and self._end is None:
            self._waiting = Deferred(self._forget)
            await self._waiting
        rung, self._rung = self._rung, False
        if self._end is not None and not rung:
            raise self._end

    def _forget(self, _: Deferred[None]) -> None:
        self._waiting = None
