"""The last messages with somebody, looked through page by page."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from messageu.client.v3 import Messenger, StoredMessage
from messageu.crypto.v3 import Kind
from messageu.terminal import offer_of

_PAGE: Final = 100


def last_messages(
    messenger: Messenger, who: str, search: str, *, limit: int
) -> Sequence[StoredMessage]:
    """The last messages that hold a text, the oldest first.

    :param search: in either case, in texts and names of files; empty: all messages.
    :param limit: so many; that is also what is held at once.
    """
    wanted = search.casefold()
    found = (message for message in _all(messenger, who) if wanted in _searched(message))
    return deque(found, maxlen=limit)


def _all(messenger: Messenger, who: str) -> Iterator[StoredMessage]:
    place = 0
    while page := messenger.messages(who, after=place, limit=_PAGE):
        yield from page
        place = page[-1].number


def _searched(message: StoredMessage) -> str:
    if message.kind == Kind.TEXT:
        return message.text.casefold()
    offer = offer_of(message)
    return "" if offer is None else offer.name.casefold()
