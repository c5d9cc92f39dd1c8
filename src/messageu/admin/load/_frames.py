"""What a load says in v2."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from attrs import define, field

from messageu.model import PUBLIC_KEY_SIZE, ClientId, PublicKey, UserName
from messageu.wire import v2

PREFIX: Final = "messageu-load"
"""With this all names begin that a load registers."""

CONTENT_TYPE: Final = 3
"""A text, which nobody will read."""

_NOBODY: Final = ClientId(bytes(16))


def names(count: int) -> Sequence[str]:
    """So many names that nobody has, and that are known for what they are."""
    unique = os.urandom(6).hex()
    return [f"{PREFIX}-{unique}-{number}" for number in range(count)]


def registration(name: str) -> bytes:
    """The request that registers a name, with a key that is none."""
    body = v2.Register(UserName.from_text(name), PublicKey(os.urandom(PUBLIC_KEY_SIZE)))
    return v2.Request(_NOBODY, body).encode()


@define
class Frames:
    """The messages of a load: to each user one from the next, as the benchmarks' generator does.

    :ivar users: who was registered.
    """

    users: Sequence[ClientId]
    content: bytes = field(repr=False)
    _sends: Sequence[bytes] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        senders = [*self.users[1:], self.users[0]]
        self._sends = [
            v2.Request(sender, v2.SendMessage(recipient, CONTENT_TYPE, self.content)).encode()
            for recipient, sender in zip(self.users, senders, strict=True)
        ]

    def send(self, mailbox: int) -> bytes:
        """The request that sends to a user, by number."""
        return self._sends[mailbox]

    def fetch(self, mailbox: int) -> bytes:
        """The request for what waits for a user."""
        return v2.Request(self.users[mailbox], v2.FetchMessages()).encode()
