"""The pull parser, which every direction of every version shares.

Its contract:

- ``receive_data`` only stores; ``next_event`` decodes at most one event, or raises, or answers
  NEED_DATA. Call it until it does: then at most the rest of one header or of one payload waits.
  Whoever stops before calls ``trim``, or a segment stays as long as a byte of it is not decoded.
- ``next_run`` is a short cut: it takes frames of the codec's most frequent kind together, where
  ``next_event`` would have given them one by one. It never raises, and may always take none.
- Any split of any bytes gives the same events and the same errors as the whole.
- A frame is judged when its header is there. What is skipped is never stored.
- After a fatal error it stays failed, and stores nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, Generic, Literal, TypeAlias

from ._codec import Codec, Event, Items, Segment, Skipped, Whole
from ._errors import RemoteProtocolError


class _Signal(Enum):
    NEED_DATA = "NEED_DATA"


NEED_DATA: Final = _Signal.NEED_DATA
NeedData: TypeAlias = Literal[_Signal.NEED_DATA]


class Parser(Generic[Event]):
    """Turns the bytes of one connection into the events of one codec."""

    # A segment that comes when nothing is stored is kept as it is, and read by its offset, so that
    # a row of small frames is copied once. What is left of it is copied, to let it go.
    __slots__ = (
        "_codec",
        "_failure",
        "_frame",
        "_items",
        "_left",
        "_passed",
        "_skip",
        "_start",
        "_started_at",
        "_stored",
    )

    def __init__(self, codec: Codec[Event]) -> None:
        self._codec = codec
        self._stored: Segment = b""
        self._start = 0  # what was decoded of what is stored
        self._passed = 0  # what was decoded or skipped before what is stored
        self._frame: Whole[Event] | None = None
        self._items: Items[Event] | None = None
        self._left = 0  # bytes of the row of items that are still to be read
        self._skip = 0
        self._started_at = 0
        self._failure: str | None = None

    @property
    def buffered(self) -> int:
        """Bytes that are stored and not yet decoded."""
        return len(self._stored) - self._start

    @property
    def held(self) -> int:
        """Bytes of memory that are taken by what is stored, and by what was decoded beside it."""
        return len(self._stored)

    @property
    def received(self) -> int:
        """Bytes that have been received since the connection began."""
        return self._passed + len(self._stored)

    @property
    def frame_offset(self) -> int:
        """Where in the stream the frame of the last event or error began, in bytes."""
        return self._started_at

    @property
    def missing(self) -> int:
        """Bytes without which no event can come; 0 while a header is being read."""
        if self._frame is not None:
            return max(0, self._frame.size - self.buffered)
        return self._skip

    @property
    def mid_frame(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return bool(
            self._start < len(self._stored)
            or self._skip
            or self._frame is not None
            or self._items is not None
        )

    def receive_data(self, data: bytes) -> None:
        """Store what arrived; skip what is not wanted."""
        if self._failure is not None:
            return
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            self._passed += skipped
            data = data[skipped:]
        if self._start == len(self._stored):
            self._passed += self._start
            self._stored, self._start = data, 0
        else:
            self._compact()
            self._stored += data

    def next_event(self) -> Event | NeedData:
        """The next event, or NEED_DATA.

        :raises RemoteProtocolError: for a frame that is refused. Unless it is fatal, go on.
        """
        if self._failure is not None:
            raise RemoteProtocolError(self._failure, fatal=True)
        try:
            event = self._advance()
        except RemoteProtocolError as error:
            if error.fatal:
                self._fail(str(error))
            raise
        if event is NEED_DATA:
            self._compact()
        return event

    def next_run(self, limit: int) -> Sequence[Any]:
        """At most so many frames of the most frequent kind, if they come next and are complete."""
        if self._start == len(self._stored) or not self._between_frames:
            return ()
        run = self._codec.read_run(self._stored, self._start, limit)
        if run is None:
            return ()
        self._started_at = self._passed + run.last
        self._start = run.end
        if run.end == len(self._stored):
            self._passed += run.end
            self._stored, self._start = b"", 0
        return run.items

    def trim(self) -> None:
        """Nothing is asked for now: hold at most twice as much as is still to be decoded."""
        # To copy what is left each time would cost its square, when little is asked for at a time.
        if self._start * 2 >= len(self._stored):
            self._compact()

    @property
    def _between_frames(self) -> bool:
        return self._frame is None and self._items is None and not self._skip

    def close(self) -> None:
        """Give up: drop what is stored, and whatever still comes."""
        self._fail("the parser is closed")

    def _fail(self, reason: str) -> None:
        self._failure = reason
        self._passed += len(self._stored)
        self._stored, self._start = b"", 0
        self._frame = self._items = None
        self._skip = self._left = 0

    def _compact(self) -> None:
        """Keep no more than is still to be decoded, so that it can grow."""
        if self._start == len(self._stored):
            self._passed += self._start
            self._stored, self._start = b"", 0
        elif self._start or not isinstance(self._stored, bytearray):
            with memoryview(self._stored) as stored:
                rest = bytearray(stored[self._start :])
            self._passed += self._start
            self._stored, self._start = rest, 0

    def _advance(self) -> Event | NeedData:
        if self._skip:
            return NEED_DATA
        if self._frame is None:
            outcome = self._begin_frame() if self._items is None else None
            if outcome is None and self._items is not None:
                outcome = self._begin_item(self._items)
            if outcome is not None:
                return outcome
        frame = self._frame
        if frame is None:
            return NEED_DATA
        start, end = self._start, self._start + frame.size
        if end > len(self._stored):
            return NEED_DATA
        self._frame, self._start = None, end
        return frame.decode(self._stored, start, end)

    def _begin_frame(self) -> Event | NeedData | None:
        """Read a header. None: the payload is to be read, ``_frame`` or ``_items`` says how."""
        start, end = self._start, self._start + self._codec.header_size
        if end > len(self._stored):
            return NEED_DATA
        self._started_at = self._passed + start
        self._start = end
        frame = self._codec.read_header(self._stored, start)
        match frame:
            case Whole():
                self._frame = frame
            case Items():
                self._items = frame
                self._left = frame.size
            case Skipped():
                return self._begin_skip(frame)
        return None

    def _begin_item(self, row: Items[Event]) -> Event | NeedData | None:
        """Read the head of an item. None: the rest of it is to be read, as ``_frame`` says."""
        if not self._left:
            self._items = None
            return row.end
        if self._left < row.head_size:
            raise RemoteProtocolError("a payload ends inside an item", fatal=True)
        start, end = self._start, self._start + row.head_size
        if end > len(self._stored):
            return NEED_DATA
        self._start = end
        item = row.read_head(self._stored, start)
        self._left -= row.head_size
        if item.size > self._left:
            raise RemoteProtocolError("an item is longer than its payload", fatal=True)
        self._left -= item.size
        if isinstance(item, Skipped):
            return self._begin_skip(item)
        self._frame = item
        return None

    def _begin_skip(self, frame: Skipped[Event]) -> Event:
        stored = min(frame.size, self.buffered)
        self._start += stored
        self._skip = frame.size - stored
        if isinstance(frame.outcome, RemoteProtocolError):
            # Not itself: it would remember this frame of the stack, which knows it, and such a
            # circle, with the connection in it, is freed late.
            raise RemoteProtocolError(str(frame.outcome), fatal=frame.outcome.fatal)
        return frame.outcome
