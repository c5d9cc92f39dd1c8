"""The way out of one connection: no more is handed to TLS than its transport takes.

What the transport does not take now waits here, where it is counted. What is written while it takes
something is gathered until the reactor has done what it does now, and leaves as few records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from zope.interface import implementer

PIECE: Final = 8 * 1024
"""Bytes that are written at once, at the most: a record of TLS, of which OpenSSL keeps the room."""


class ITlsTransport(ITransport, IConsumer):
    """What is written to."""


@implementer(IPushProducer)
class Output:
    """Frames on their way to the client.

    :param moved: is called when there is more or less to be sent, or the transport takes more.
    :ivar paused: the transport takes nothing now.
    :ivar waiting: bytes that it has not been given.
    :ivar moved_at: when it last took something, or was paused, in seconds.
    """

    __slots__ = (
        "_clock",
        "_flushing",
        "_frames",
        "_gathered",
        "_gathered_size",
        "_moved",
        "_transport",
        "moved_at",
        "paused",
        "waiting",
    )

    def __init__(
        self, transport: ITlsTransport, clock: IReactorTime, moved: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._moved = moved
        self._frames: deque[bytes] = deque()  # none is longer than a piece
        self._gathered: list[bytes] = []
        self._gathered_size = 0
        self._flushing: IDelayedCall | None = None
        self.paused = False
        self.waiting = 0
        self.moved_at = clock.seconds()
        transport.registerProducer(self, True)

    def write(self, frame: bytes) -> None:
        """Send a frame, now or as soon as may be."""
        if not self.paused and len(frame) <= PIECE:
            self._gather(frame)
            return
        self.flush()
        starts = range(0, len(frame), PIECE)
        self._frames.extend([frame[start : start + PIECE] for start in starts])
        self.waiting += len(frame)
        self._flow()
        self._moved()

    def flush(self) -> None:
        """Hand over what was gathered."""
        gathered, self._gathered = self._gathered, []
        self._gathered_size = 0
        if self._flushing is not None:
            if self._flushing.active():
                self._flushing.cancel()
            self._flushing = None
        if gathered:
            self._transport.write(gathered[0] if len(gathered) == 1 else b"".join(gathered))

    def end(self) -> None:
        """Nothing more is written."""
        self._forget()
        self._transport.unregisterProducer()

    def _gather(self, frame: bytes) -> None:
        self._gathered.append(frame)
        self._gathered_size += len(frame)
        if self._gathered_size >= PIECE:
            self.flush()
        elif self._flushing is None:
            self._flushing = self._clock.callLater(0, self.flush)

    def _forget(self) -> None:
        self._gathered.clear()
        self.flush()
        self._frames.clear()
        self.waiting = 0

    def _flow(self) -> None:
        while self._frames and not self.paused:
            piece = self._frames.popleft()
            self.waiting -= len(piece)
            self._transport.write(piece)

    # What the transport tells.

    def pauseProducing(self) -> None:
        """Its buffer is full."""
        if not self.paused:
            self.paused = True
            self.moved_at = self._clock.seconds()

    def resumeProducing(self) -> None:
        """Its buffer is empty."""
        if self.paused:
            self.paused = False
            self.moved_at = self._clock.seconds()
            self._flow()
            self._moved()

    def stopProducing(self) -> None:
        """It is gone."""
        self.paused = True
        self._forget()
