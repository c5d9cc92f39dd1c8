"""The way out of one connection: no more is handed to TLS than its transport takes.

What the transport does not take now waits here, where it is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IConsumer, IPushProducer, IReactorTime, ITransport
from zope.interface import implementer

PIECE: Final = 16 * 1024
"""Bytes that are written at once: a record of TLS."""


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

    __slots__ = ("_clock", "_frames", "_moved", "_transport", "moved_at", "paused", "waiting")

    def __init__(
        self, transport: ITlsTransport, clock: IReactorTime, moved: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._moved = moved
        self._frames: deque[bytes] = deque()  # none is longer than a piece
        self.paused = False
        self.waiting = 0
        self.moved_at = clock.seconds()
        transport.registerProducer(self, True)

    def write(self, frame: bytes) -> None:
        """Send a frame, now or as soon as may be."""
        if not self.paused and len(frame) <= PIECE:
            self._transport.write(frame)
            return
        starts = range(0, len(frame), PIECE)
        self._frames.extend([frame[start : start + PIECE] for start in starts])
        self.waiting += len(frame)
        self._flow()
        self._moved()

    def end(self) -> None:
        """Nothing more is written."""
        self._frames.clear()
        self.waiting = 0
        self._transport.unregisterProducer()

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
        self._frames.clear()
        self.waiting = 0
