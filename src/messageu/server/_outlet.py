"""The way out of one connection: what was written and has not left, and answers in pieces.

While there is something that the kernel has not taken, the outlet is registered with the transport
as a pull producer, and so learns when the last byte has left.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPullProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from ._answers import Stream


@implementer(IPullProducer)
class Outlet:
    """Writes to one transport.

    :param moved: is called with the bytes that have not left, whenever they have changed.
    :param emptied: is called when everything that was written has left.
    :ivar unsent: bytes that the kernel has not taken; more than there are, never fewer.
    :ivar moved_at: when ``unsent`` was last nothing, in seconds.
    """

    __slots__ = (
        "_clock",
        "_emptied",
        "_ended",
        "_leaving",
        "_moved",
        "_reading",
        "_registered",
        "_stream",
        "_transport",
        "moved_at",
        "unsent",
    )

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
        self._ended: Deferred[None] = Deferred()
        self._leaving: Callable[[], None] = _nothing
        self._reading = False
        self._registered = False
        self.unsent = 0
        self.moved_at = clock.seconds()

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport."""
        if not self.unsent:
            self.moved_at = self._clock.seconds()
        self._register()
        self.unsent += len(data)
        self._transport.write(data)
        self._moved(self.unsent)

    def stream(self, stream: Stream, leaving: Callable[[], None]) -> Deferred[None]:
        """Write an answer piece by piece, each when the one before has left.

        Fires when all of it has left. It fails when a piece cannot be read, and does nothing
        more after :meth:`close`.

        :param leaving: is called when the last piece is about to go.
        """
        self._stream = stream
        self._leaving = leaving
        self._ended = ended = Deferred[None]()
        self._register()  # if it is, the stream begins when what was written before has left
        return ended

    def close(self) -> None:
        """Watch the transport no more, and write nothing that is not written yet."""
        self._stream = None
        self._unregister()

    def resumeProducing(self) -> None:
        """The kernel has taken everything, or we have just registered."""
        had_any = self.unsent > 0
        if had_any:
            self.unsent = 0
            self.moved_at = self._clock.seconds()
            self._moved(0)
        if self._stream is not None:
            self._continue(self._stream)
        elif had_any:
            self._unregister()
            self._emptied()

    def stopProducing(self) -> None:
        """The transport is going away; its protocol hears of it."""

    def _continue(self, stream: Stream) -> None:
        if self._reading:
            return
        if stream.exhausted:
            self.close()
            self._ended.callback(None)
            return
        self._reading = True
        chunk = Deferred.fromCoroutine(stream.next_chunk())
        chunk.addCallback(self._write_chunk)
        chunk.addErrback(self._break_off)

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

    def _register(self) -> None:
        if not self._registered:
            self._registered = True
            self._transport.registerProducer(self, False)

    def _unregister(self) -> None:
        if self._registered:
            self._registered = False
            self._transport.unregisterProducer()


def _nothing() -> None:
    """Until there is something to do."""
