"""The way out of one connection: what was written and has not left, and answers in pieces.

While there is more than a little that the kernel may not have taken, the outlet is registered with
the transport as a pull producer, and so learns when the last byte has left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPullProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from ._answers import Stream

UNWATCHED: Final = 1024
"""Bytes that may be written before it matters whether they have left: some dozens of answers. To
ask each time would cost more than to write them."""


@implementer(IPullProducer)
class Outlet:
    """Writes to one transport.

    :param moved: is called with the bytes that have not left, when there are more than a few and
        whenever they have changed.
    :param emptied: is called when they have left.
    :ivar unsent: bytes written since everything was last known to have left.
    :ivar moved_at: when that was, or when the first of them was written, in seconds.
    """

    __slots__ = (
        "_clock",
        "_emptied",
        "_ended",
        "_leaving",
        "_moved",
        "_reading",
        "_registering",
        "_stream",
        "_transport",
        "moved_at",
        "unsent",
        "watched",
    )

    _ended: Deferred[None]  # of the stream, as what follows
    _leaving: Callable[[], None]

    def __init__(
        self,
        transport: IConsumer,
        clock: IReactorTime,
        *,
        moved: Callable[[int], None],
        emptied: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._moved = moved
        self._emptied = emptied
        self._stream: Stream | None = None
        self._reading = False
        self._registering = False
        self.watched = False
        self.unsent = 0
        self.moved_at = clock.seconds()

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport."""
        self.unsent += len(data)
        if self.unsent > UNWATCHED:
            self._watch()
            self._transport.write(data)
            self._moved(self.unsent)
        else:
            self._transport.write(data)

    def stream(self, stream: Stream, leaving: Callable[[], None]) -> Deferred[None]:
        """Write an answer piece by piece, each when the one before has left.

        Fires when all of it has left. It fails when a piece cannot be read, and does nothing
        more after :meth:`close`.

        :param leaving: is called when the last piece is about to go.
        """
        self._stream = stream
        self._leaving = leaving
        self._ended = ended = Deferred[None]()
        if not self.watched:
            self._watch()
            self._continue(stream)
        return ended

    def close(self) -> None:
        """Watch the transport no more, and write nothing that is not written yet."""
        self._stream = None
        if self.watched:
            self.watched = False
            self._transport.unregisterProducer()

    def resumeProducing(self) -> None:
        """The kernel has taken everything."""
        if self._registering:
            return
        self.unsent = 0
        self.moved_at = self._clock.seconds()
        self._moved(0)
        if self._stream is not None:
            self._continue(self._stream)
        else:
            self.close()
            self._emptied()

    def stopProducing(self) -> None:
        """The transport is going away; its protocol hears of it."""

    def _watch(self) -> None:
        if not self.watched:
            self.watched = self._registering = True
            self.moved_at = self._clock.seconds()
            # A pull producer is asked at once, before anything is known.
            self._transport.registerProducer(self, False)
            self._registering = False

    def _continue(self, stream: Stream) -> None:
        if self._reading:
            return
        if stream.exhausted:
            self.close()
            self._ended.callback(None)
            return
        self._reading = True
        chunk = Deferred.fromCoroutine(stream.next_chunk())
        chunk.addCallbacks(self._write_chunk, self._break_off)

    def _write_chunk(self, chunk: bytes) -> None:
        self._reading = False
        if self._stream is None:
            return
        if self._stream.exhausted:
            self._leaving()
        self.write(chunk)

    def _break_off(self, failure: Failure) -> None:
        self._reading = False
        if self._stream is not None:
            self.close()
            self._ended.errback(failure)
