"""Opening what was fetched, and telling what comes again from what is new."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final, Protocol, TypeAlias, TypeVar

from attrs import frozen

from messageu.crypto.v2 import CryptoError, PrivateKey, SymmetricKey
from messageu.wire import v2

from ._files import remove
from ._keyring import Keyring
from ._messages import (
    FileReceived,
    KeyReceived,
    KeyRequest,
    Sender,
    SentMessage,
    Text,
    Undecipherable,
    Why,
)

REMEMBERED_LIMIT: Final = 100_000
"""Messages of the last answer that are remembered, at some 100 bytes each."""

FILE_PREFIX: Final = "messageu-"
THREAD_FROM: Final = 256 * 1024
"""Bytes from which on sealing and opening are left to a thread."""

Result = TypeVar("Result")


class Run(Protocol):
    """Calls a function, for a while in a thread, and answers what it returned or raised."""

    def __call__(
        self, function: Callable[..., Result], *arguments: object
    ) -> Awaitable[Result]: ...  # pragma: no cover


Fingerprint: TypeAlias = bytes
_NUMBER_SIZE: Final = 4

OVERSIZED: Final[Fingerprint] = bytes(_NUMBER_SIZE)
"""In place of the fingerprint of a message that was skipped."""


class LastAnswer:
    """Tells the messages that come again from those that are new.

    Our relay keeps what it cannot know to have arrived, and sends it again: after an answer that
    broke, or after one that was whole and not followed by another request. Some foreign relays
    never delete. So what an answer brings is compared with the answer before it, and with nothing
    older: a message that agrees with one there in sender, id, type and content has come again.
    Each counts once, so that of two equal messages both are shown.

    A relay that gives every message the id 0 says nothing by it; there no message is taken for a
    repetition. What remains is a relay that deletes what it sends *and* gives a used id anew: it
    would have to do so for the same text from the same sender, right after an answer that broke.
    """

    def __init__(self, limit: int = REMEMBERED_LIMIT) -> None:
        self._limit = limit
        self._before: Counter[Fingerprint] = Counter()  # may come again
        self._whole: Counter[Fingerprint] = Counter()  # what the last whole answer held
        self._now: Counter[Fingerprint] = Counter()

    def begin(self) -> None:
        """An answer begins. If the one before did not end, what was left of it may still come."""
        self._before += self._now
        self._now = Counter()

    def comes_again(self, mark: Fingerprint) -> bool:
        """Whether a message was in the answer before; if so, it is taken note of."""
        if not any(mark[:_NUMBER_SIZE]) or self._before[mark] < 1:
            return False
        self._before[mark] -= 1
        self.note(mark)
        return True

    def note(self, mark: Fingerprint) -> None:
        """Take note of a message that the application has been given."""
        if len(self._now) < self._limit:
            self._now[mark] += 1

    def end(self) -> bool:
        """The answer was whole. Whether it was the same again as the whole one before it."""
        same = bool(self._now) and self._now == self._whole
        self._before, self._whole, self._now = self._now, self._now.copy(), Counter()
        return same


def fingerprint(message: v2.WaitingMessage) -> Fingerprint:
    """What tells one message from another: the id, and a digest of all the rest."""
    digest = blake2b(message.sender.raw, digest_size=16)
    digest.update(bytes((message.type,)))
    digest.update(message.content)
    return message.message_id.number.to_bytes(_NUMBER_SIZE, "little") + digest.digest()


@frozen
class Opener:
    """Opens messages with the keys that we have.

    :ivar folder: where received files go; None: the temporary folder of the system.
    """

    private_key: PrivateKey
    keyring: Keyring
    run_in_thread: Run
    folder: Path | None = None

    async def open(self, message: v2.WaitingMessage) -> SentMessage:
        """What a message turns out to be. A symmetric key in it is in the keyring then.

        :raises OSError: when a file could not be saved.
        """
        peer = self.keyring.peer(message.sender)
        sender = Sender(message.sender, peer.name)
        if message.type == v2.MessageType.KEY_REQUEST:
            return KeyRequest(sender)
        if message.type == v2.MessageType.SYMMETRIC_KEY:
            return self._take_key(sender, message.content)
        if message.type not in (v2.MessageType.TEXT, v2.MessageType.FILE):
            return Undecipherable(sender, Why.UNKNOWN_TYPE)
        if peer.symmetric_key is None:
            return Undecipherable(sender, Why.NO_KEY)
        try:
            if message.type == v2.MessageType.TEXT:
                content = await self._run(peer.symmetric_key.open, message.content)
                return Text(sender, content)
            path = await self._run(_save, message.content, peer.symmetric_key, self.folder)
            return FileReceived(sender, path)
        except CryptoError:
            return Undecipherable(sender, Why.WRONG_KEY)

    def _take_key(self, sender: Sender, content: bytes) -> SentMessage:
        try:
            self.keyring.share(sender.client_id, self.private_key.unwrap(content))
        except CryptoError:
            return Undecipherable(sender, Why.NOT_FOR_US)
        return KeyReceived(sender)

    async def _run(self, function: Callable[..., Result], content: bytes, *more: object) -> Result:
        if len(content) < THREAD_FROM:
            return function(content, *more)
        return await self.run_in_thread(function, content, *more)


def _save(sealed: bytes, key: SymmetricKey, folder: Path | None) -> Path:
    content = key.open(sealed)
    descriptor, name = tempfile.mkstemp(prefix=FILE_PREFIX, dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
    except BaseException:
        remove(Path(name))
        raise
    return Path(name).absolute()
