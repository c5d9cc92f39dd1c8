"""The way out of one connection: what was written and has not left, and answers in pieces.

What the kernel takes at once is handed to it at once: to let the reactor ask whether it may, for each
answer, costs more than all the rest. That is possible while the transport's own buffer is empty.
Otherwise the outlet is registered with the transport as a pull producer, and so learns when the last
byte has left.
"""

from __future__ import annotations

import socket
from typing import Protocol
from weakref import proxy

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IDelayedCall, IPullProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from ._answers import Stream


class Writer(Protocol):
    """Whoever writes to an outlet."""

    def output_moved(self, unsent: int) -> None:
        """So many bytes have not left; there were more or fewer before."""

    def output_left(self) -> None:
        """All that did not leave at once has left now."""

    def last_piece_leaves(self) -> None:
        """The last piece of a stream is about to go."""


@implementer(IPullProducer)
class Outlet:
    """Writes to one transport.

    :param handle: the socket under it, if it is a plain one.
    :param writer: is told how it goes.
    :ivar unsent: bytes that were written and have not left; more than there are, never fewer.
    :ivar moved_at: when there were last none, or the first of them was written, in seconds.
    """

    __slots__ = (
        "_clock",
        "_ended",
        "_flushing",
        "_gathered",
        "_handle",
        "_reading",
        "_registering",
        "_stream",
        "_transport",
        "_writer",
        "moved_at",
        "unsent",
        "watched",
    )

    _ended: Deferred[None]  # while there is a stream

    def __init__(
        self,
        transport: IConsumer,
        handle: socket.socket | None,
        clock: IReactorTime,
        writer: Writer,
    ) -> None:
        self._transport = transport
        self._handle = handle
        self._clock = clock
        # Weak, or each connection would be a cycle that only the collector ends.
        self._writer = proxy(writer)
        self._stream: Stream | None = None
        self._gathered: list[bytes] = []
        self._flushing: IDelayedCall | None = None
        self._reading = False
        self._registering = False
        self.watched = False
        self.unsent = 0
        self.moved_at = clock.seconds()

    @property
    def busy(self) -> bool:
        """Whether something that was written, or is to be read, has not left."""
        return self.watched or bool(self._gathered)

    def write(self, data: bytes, *, more: bool = False) -> None:
        """Hand bytes to the kernel, and what it does not take to the transport.

        :param more: other bytes will follow at once, so that these may wait for them, until the
            reactor has done what it does now.
        """
        self._gathered.append(data)
        if not more:
            self.flush()
        elif self._flushing is None:
            self._flushing = self._clock.callLater(0, self.flush)

    def flush(self) -> None:
        """Let go what was gathered."""
        gathered = self._gathered
        data = gathered[0] if len(gathered) == 1 else b"".join(gathered)
        self._forget_gathered()
        if data:
            self._send(data)

    def _forget_gathered(self) -> None:
        self._gathered.clear()
        flushing, self._flushing = self._flushing, None
        if flushing is not None and flushing.active():
            flushing.cancel()

    def _send(self, data: bytes) -> None:
        if self._handle is not None and not self.watched:
            try:
                sent = self._handle.send(data)
            except OSError:  # it is full; or the transport meets the same error, and reports it
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        self._watch()
        self.unsent += len(data)
        self._transport.write(data)
        self._writer.output_moved(self.unsent)

    def stream(self, stream: Stream) -> Deferred[None]:
        """Write an answer piece by piece, each when the one before has left.

        Fires when all of it has left. It fails when a piece cannot be read, and does nothing
        more after :meth:`close`.
        """
        self.flush()
        self._stream = stream
        self._ended = ended = Deferred[None]()
        if not self.watched:
            self._continue(stream)
        return ended

    def close(self) -> None:
        """Let go what was gathered, read no more of a stream, and watch the transport no more."""
        self.flush()
        self.lose()

    def lose(self) -> None:
        """The transport is gone, or will be: forget everything."""
        self._forget_gathered()
        if self._stream is not None:
            self._stream = None
            del self._ended
        if self.watched:
            self.watched = False
            self._transport.unregisterProducer()

    def resumeProducing(self) -> None:
        """The kernel has taken everything."""
        if self._registering:
            return
        self.unsent = 0
        self.moved_at = self._clock.seconds()
        self._writer.output_moved(0)
        if self._stream is not None:
            self._continue(self._stream)
        else:
            self.close()
            self._writer.output_left()

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
            ended = self._ended
            self.close()
            ended.callback(None)
            return
        self._reading = True
        chunk = Deferred.fromCoroutine(stream.next_chunk())
        chunk.addCallbacks(self._write_chunk, self._break_off)

    def _write_chunk(self, chunk: bytes) -> None:
        self._reading = False
        stream = self._stream
        if stream is None:
            return
        if stream.exhausted:
            self._writer.last_piece_leaves()
        self._send(chunk)
        # The writer may have given the stream up, because of just this piece.
        if self._stream is stream and not self.watched:  # the kernel has taken all of it
            self._continue(stream)

    def _break_off(self, failure: Failure) -> None:
        self._reading = False
        if self._stream is not None:
            ended = self._ended
            self.close()
            ended.errback(failure)
