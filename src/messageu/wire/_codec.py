"""What a codec tells the parser: how the payload behind a header is to be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from attrs import frozen

from ._errors import RemoteProtocolError

Event = TypeVar("Event")
Item = TypeVar("Item")

Segment: TypeAlias = bytes | bytearray
"""What the parser stores: one segment as it came, or what several have left."""


@frozen
class Whole(Generic[Event]):
    """A payload of ``size`` bytes that is decoded at once.

    ``decode`` is given the bytes that are stored and where in them the payload begins and ends.
    It copies what it keeps, and leaves no view of them behind. It may raise a
    :class:`RemoteProtocolError`.
    """

    size: int
    decode: Callable[[Segment, int, int], Event]


@frozen
class Skipped(Generic[Event]):
    """A payload of ``size`` bytes that is not wanted and never stored.

    The parser answers with ``outcome`` at once: it yields an event, and raises an error.
    """

    size: int
    outcome: Event | RemoteProtocolError


@frozen
class Items(Generic[Event]):
    """A payload of ``size`` bytes that is a row of items, each decoded by itself, and an end.

    An item begins with ``head_size`` bytes, from which ``read_head`` tells how the rest of it is
    to be read, given what is stored and where in it the head begins. It raises a fatal
    :class:`RemoteProtocolError` for a head that makes no sense.
    """

    size: int
    head_size: int
    read_head: Callable[[Segment, int], Whole[Event] | Skipped[Event]]
    end: Event


Frame: TypeAlias = Whole[Event] | Skipped[Event] | Items[Event]


@frozen
class Run(Generic[Item]):
    """Frames of the codec's most frequent kind, which stand one after another and are complete.

    :ivar items: what they say, decoded together.
    :ivar last: where the last of them begins in what is stored.
    :ivar end: where it ends.
    """

    items: Sequence[Item]
    last: int
    end: int


class Codec(Protocol[Event]):
    """One direction of one version of the protocol."""

    @property
    def header_size(self) -> int:
        """Bytes of a frame's header."""
        ...  # pragma: no cover

    def read_header(self, stored: Segment, start: int) -> Frame[Event]:
        """Judge a frame by its header alone, which begins at ``start``.

        :raises RemoteProtocolError: fatal, for a size that the code cannot have or above the limit.
        """
        ...  # pragma: no cover

    def read_run(self, stored: Segment, start: int, limit: int) -> Run[Any] | None:
        """At most so many frames from ``start`` on; None when the next one wants a closer look.

        Each of them means what ``read_header`` and its ``decode`` would have made of it.
        """
        ...  # pragma: no cover
