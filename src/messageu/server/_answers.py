"""Answers that can be long: read from the store in bounded pieces, with a size that is fixed first.

An answer whose pieces cannot be had any more is broken off, never padded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from messageu.model import StoredMessage
from messageu.store import Directory, IMailboxStore, Lease, Span, StoreError
from messageu.wire import v2

from ._delivery import Delivery

_log = Logger()


class AnswerBroken(Exception):
    """The store no longer gives what an answer has announced."""


@frozen
class Encoded:
    """An answer that is a frame already."""

    frame: bytes

    def encode(self) -> bytes:
        """The frame."""
        return self.frame


class Stream(ABC):
    """An answer in pieces.

    :ivar delivery: what is to be told how the answer fares, if that matters.
    """

    delivery: Delivery | None = None

    @property
    @abstractmethod
    def exhausted(self) -> bool:
        """Whether all of it has been read."""

    @abstractmethod
    async def next_chunk(self) -> bytes:
        """The next piece, at least one byte; the header is in front of the first.

        :raises AnswerBroken: when the rest of the answer is not there.
        :raises StoreError: when the store cannot be read.
        """


class DirectoryStream(Stream):
    """2101 (docs/protocol/v2.md), in pieces of at most ``chunk`` bytes."""

    def __init__(self, store: IMailboxStore, directory: Directory, chunk: int) -> None:
        self._store = store
        self._directory = directory
        self._page = max(1, chunk // v2.LISTED_CLIENT_SIZE)
        self._next: int | None = 0
        self._left = directory.count
        self._header: bytes = v2.clients_list_header(directory.count)

    @property
    def exhausted(self) -> bool:
        return not self._header and not self._left

    async def next_chunk(self) -> bytes:
        pieces = [self._header]
        self._header = b""
        if self._left:
            if self._next is None:
                raise AnswerBroken
            page = await self._store.directory_page(self._directory, self._next, self._page)
            self._next = page.next
            self._left -= len(page.clients)
            if self._left < 0 or not page.clients:
                raise AnswerBroken
            pieces += map(v2.listed_client, page.clients)
        return b"".join(pieces)


class MailStream(Stream):
    """2104 (docs/protocol/v2.md), in pieces of at most ``chunk`` bytes and one message's head."""

    def __init__(self, store: IMailboxStore, lease: Lease, chunk: int) -> None:
        self._store = store
        self._chunk = chunk
        self._waiting = deque(lease.messages)
        self._offset: int | None = None  # None: the head of the first one has not been given
        self._header = v2.waiting_messages_header(
            sum(v2.WAITING_HEAD_SIZE + message.size for message in lease.messages)
        )
        self.delivery = Delivery(
            settle=lambda: _report(store.settle(lease)),
            give_back=lambda: _report(store.release(lease)),
        )

    @property
    def exhausted(self) -> bool:
        return not self._waiting

    async def next_chunk(self) -> bytes:
        pieces: list[bytes | Span] = [self._header]
        self._header = b""
        room = self._chunk
        while self._waiting and room > 0:
            message = self._waiting[0]
            if self._offset is None:
                pieces.append(_head(message))
                room -= v2.WAITING_HEAD_SIZE
                self._offset = 0
            size = max(0, min(room, message.size - self._offset))
            if size:
                pieces.append(Span(message.sequence, self._offset, size=size))
                room -= size
            self._offset += size
            if self._offset == message.size:
                self._waiting.popleft()
                self._offset = None
        return await self._fill_in(pieces)

    async def _fill_in(self, pieces: list[bytes | Span]) -> bytes:
        spans = [piece for piece in pieces if isinstance(piece, Span)]
        contents = iter(await self._store.read(spans) if spans else ())
        filled: list[bytes] = []
        for piece in pieces:
            if isinstance(piece, Span):
                content = next(contents, b"")
                if len(content) != piece.size:
                    raise AnswerBroken
                filled.append(content)
            else:
                filled.append(piece)
        return b"".join(filled)


def _head(message: StoredMessage) -> bytes:
    return v2.waiting_message_head(message.sender, message.message_id, message.type, message.size)


def _report(ended: Deferred[None]) -> None:
    # Mail whose lease could not be ended waits on: it comes twice, which is better than never.
    ended.addErrback(_log_failed_end)


def _log_failed_end(failure: Failure) -> None:
    if failure.check(StoreError):
        _log.warn("a lease could not be ended: {reason}", reason=str(failure.value))
    else:
        _log.failure("a lease could not be ended", failure)
