"""Answers that can be long: read from the store in bounded pieces, with a size that is fixed first.

An answer whose pieces cannot be had any more is broken off, never padded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from messageu.model import MESSAGE_ID_LIMIT
from messageu.store import Directory, IMailboxStore, Lease, Page, Piece, Position
from messageu.wire import v2

from ._delivery import Delivery


class AnswerBroken(Exception):
    """The store no longer gives what an answer has announced."""

    def __init__(self) -> None:
        super().__init__("the store no longer gives what was announced")


@frozen
class Encoded:
    """An answer that is a frame already."""

    frame: bytes

    def encode(self) -> bytes:
        """The frame."""
        return self.frame


class Stream(ABC):
    """An answer in pieces.

    :ivar brief: whether the first piece is all of it.
    :ivar delivery: what is to be told how the answer fares, if that matters.
    :ivar messages: how many messages it has leased; ``ended`` is called when their lease ends.
    """

    brief: bool
    delivery: Delivery | None = None
    messages: int = 0
    ended: Callable[[], object] | None = None

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
        self.brief = directory.count <= self._page
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
    """2104 (docs/protocol/v2.md), in pieces of at most ``chunk`` bytes and one message's head.

    :param end: is called with what fires when the store has ended the lease, or could not.
    """

    def __init__(
        self,
        store: IMailboxStore,
        lease: Lease,
        chunk: int,
        end: Callable[[Deferred[None]], None],
    ) -> None:
        self._store = store
        self._chunk = chunk
        self.brief = lease.first.next is None
        self.messages = lease.count
        self._first: Page | None = lease.first
        self._next: Position | None = lease.first.next
        # The first page goes first, and should not stay as long as the lease.
        self._lease = lease = evolve(lease, first=Page((), None))
        self._left = v2.WAITING_HEAD_SIZE * lease.count + lease.size
        self._header = v2.waiting_messages_header(self._left)
        self.delivery = Delivery(
            settle=lambda: end(self._end(store.settle)),
            give_back=lambda: end(self._end(store.release)),
        )

    def _end(self, how: Callable[[Lease], Deferred[None]]) -> Deferred[None]:
        ended, self.ended = self.ended, None
        if ended is not None:
            ended()
        return how(self._lease)

    @property
    def exhausted(self) -> bool:
        return self._first is None and self._next is None

    async def next_chunk(self) -> bytes:
        page, self._first = self._first, None
        if page is None:
            if self._next is None:
                raise AnswerBroken
            page = await self._store.read(self._lease, self._next, self._chunk)
        self._next = page.next
        payload = _encode(page.pieces)
        self._left -= len(payload)
        if not payload or self._left < 0 or (self._left and page.next is None):
            raise AnswerBroken
        header, self._header = self._header, b""
        return header + payload if header else payload


def _encode(pieces: Sequence[Piece]) -> bytes:
    encoded: list[bytes] = []
    for sequence, sender, kind, size, offset, content in pieces:
        if not offset:
            number = sequence % MESSAGE_ID_LIMIT
            encoded.append(v2.waiting_message_head(sender, number, kind, size))
        encoded.append(content)
    return encoded[0] if len(encoded) == 1 else b"".join(encoded)
