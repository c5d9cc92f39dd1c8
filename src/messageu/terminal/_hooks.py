"""Each message of a contact, and each file that has come, is given to a command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from messageu.client import FileNotSaved
from messageu.client.v3 import (
    ContactUnknown,
    FileFailed,
    FileReceived,
    Heard,
    Messenger,
    Standing,
    StoredMessage,
    read_small_file,
    replace_small_file,
)
from messageu.crypto.v3 import Kind

from ._hook import Hook
from ._words import name_of, offer_of

AWAITED_FILE: Final = "hook.files"
"""The numbers of messages whose files are on their way, for the command."""

AWAITED_LIMIT: Final = 1000
"""Files that are awaited; the one that is awaited longest is given up for one more."""

_SIZE_LIMIT: Final = 32 * AWAITED_LIMIT

Encode = Callable[[StoredMessage], bytes]


def text_of(message: StoredMessage) -> bytes:
    """What a command is given to read: a text as it came, in UTF-8, and nothing of a file."""
    return message.text.encode("utf-8") if message.kind == Kind.TEXT else b""


class Hooks:
    """Gives a command what has come: texts in their order, and files when they are complete.

    Those who ask to write to us cannot have anything run. Files that are on their way are noted
    beside the profile, so that a program that is started again gives them, too.

    :param encode: what the command is given to read.
    :ivar failed: fails when a note cannot be written; otherwise it never fires.
    """

    def __init__(
        self, messenger: Messenger, folder: Path, hook: Hook, encode: Encode = text_of
    ) -> None:
        self._messenger = messenger
        self._file = folder / AWAITED_FILE
        self._hook = hook
        self._encode = encode
        self._looking: Deferred[None] | None = None
        self._look_again = False
        self.failed: Deferred[None] = Deferred()
        self._awaited = self._read()
        self._forget = messenger.observe(self._hear)
        self._look()

    async def take(self, message: StoredMessage) -> None:
        """Have the command run on a message, to its end; on a file that is on its way, later.

        :raises FileNotSaved: when it cannot be noted that a file is awaited.
        """
        if message.kind == Kind.TEXT or self._messenger.path_of(message) is not None:
            await self._run(message)
        elif offer_of(message) is not None and self._outcome_of(message) is None:
            self._write([*self._awaited, message.number][-AWAITED_LIMIT:])
            self._look()

    def close(self) -> None:
        """Run nothing more."""
        self._forget()
        if self._looking is not None:
            self._looking.cancel()

    async def _run(self, message: StoredMessage) -> None:
        try:
            contact = self._messenger.core.contact(message.contact)
        except ContactUnknown:  # he was removed meanwhile
            return
        if contact.standing is not Standing.ACCEPTED:
            return
        facts = {
            "MESSAGEU_FROM": name_of(contact),
            "MESSAGEU_ID": message.message_id.hex(),
            "MESSAGEU_KIND": "text" if message.kind == Kind.TEXT else "file",
            "MESSAGEU_NUMBER": str(message.number),
            "MESSAGEU_STANDING": contact.standing.name.lower(),
        }
        path = self._messenger.path_of(message)
        if path is not None:
            facts["MESSAGEU_PATH"] = str(path)
        await self._hook.run(self._encode(message), facts)

    # Files.

    def _hear(self, heard: Heard) -> None:
        if isinstance(heard, FileReceived | FileFailed):
            self._look()

    def _look(self) -> None:
        """See which of the files that are awaited are there; one look at a time."""
        self._look_again = True
        if self._looking is None:
            self._looking = looking = Deferred.fromCoroutine(self._look_at_all())
            looking.addCallbacks(self._looked, self._fail)

    def _looked(self, _: None) -> None:
        self._looking = None

    def _fail(self, failure: Failure) -> None:
        self._looking = None
        if not failure.check(CancelledError) and not self.failed.called:
            self.failed.errback(failure)

    async def _look_at_all(self) -> None:
        while self._look_again:
            self._look_again = False
            for number in self._awaited:
                if await self._is_over(number):
                    self._write([other for other in self._awaited if other != number])

    async def _is_over(self, number: int) -> bool:
        found = self._messenger.messages(after=number - 1, limit=1)
        if not found or found[0].number != number:  # it was removed meanwhile
            return True
        if self._messenger.path_of(found[0]) is not None:
            await self._run(found[0])
            return True
        return self._outcome_of(found[0]) is not None

    def _outcome_of(self, message: StoredMessage) -> bool | None:
        try:
            return self._messenger.core.file_outcome(message.contact, message.message_id)
        except ContactUnknown:
            return False

    def _read(self) -> Sequence[int]:
        try:
            words = read_small_file(self._file, _SIZE_LIMIT).decode("ascii").split()
        except (OSError, UnicodeDecodeError):
            return ()
        return [int(word) for word in words if word.isdecimal()][-AWAITED_LIMIT:]

    def _write(self, awaited: Sequence[int]) -> None:
        data = "".join(f"{number}\n" for number in awaited).encode("ascii")
        try:
            replace_small_file(self._file, data)
        except OSError as error:
            raise FileNotSaved(f"{AWAITED_FILE} cannot be written: {error.strerror}") from None
        self._awaited = awaited
