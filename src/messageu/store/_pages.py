"""Cutting what waits in a mailbox into pages of bounded size, without I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from ._interface import Page, Piece, Position, StoreError

MESSAGE_COST: Final = 32
"""Bytes that each message takes of a page beside its content, so that those without any are
bounded, too."""


def fill_page(
    messages: Iterable[Piece],
    start: Position,
    room: int,
    read: Callable[[int, int, int], bytes],
) -> Page:
    """The page that begins at a position: as many whole messages as fit, or a part of one.

    Messages are only asked for as long as there is room.

    :param messages: from the one at the position on, each from its beginning; the content is
        empty where it has to be read.
    :param read: reads a part of a content: of the message of this sequence, from there, so many
        bytes, or as much of them as is there.
    :raises StoreError: when a part is not there.
    """
    begin, offset = start
    pieces: list[Piece] = []
    for message in messages:
        sequence, sender, kind, size, _, content = message
        if sequence != begin:
            offset = 0
        left = size - offset
        if pieces and left + MESSAGE_COST > room:
            return Page(pieces, (sequence, offset))
        if not offset and left <= room and len(content) == size:
            pieces.append(message)
        else:
            taken = min(left, room)
            if len(content) == size:
                part = content[offset : offset + taken]
            else:
                part = read(sequence, offset, taken)
            if len(part) != taken:
                raise StoreError("there is no such piece of a message")
            pieces.append((sequence, sender, kind, size, offset, part))
            if taken < left:
                return Page(pieces, (sequence, offset + taken))
        room -= left + MESSAGE_COST
    return Page(pieces, None)
