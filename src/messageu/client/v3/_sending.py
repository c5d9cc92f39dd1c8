"""What becomes of what was sent, for whoever waits for it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from twisted.internet.defer import Deferred, fail, succeed

from .._errors import ClientError
from ._events import (
    Event,
    FileFailed,
    FileProgress,
    MessageDelivered,
    MessageStored,
    MessageUndelivered,
)
from ._values import Status, StoredMessage

FOLLOWED_LIMIT: Final = 10_000
"""Messages that are followed at once. The oldest is let go for one more."""


class NotDelivered(ClientError):
    """A message was given up, or its recipient did not get it in time."""


class Sending:
    """A message on its way.

    :ivar message_id: 16 bytes.
    :ivar is_stored: whether the relay has all of it, of a file every piece.
    :ivar is_delivered: whether its recipient has said that he has it, of a file all of it.
    :ivar failure: why it is not sent any more; None: it is.
    """

    def __init__(self, message_id: bytes, *, whole: bool) -> None:
        self.message_id = message_id
        self.is_stored = False
        self.is_delivered = False
        self.failure: ClientError | None = None
        self._whole = whole  # it has no pieces that follow it
        self._waiting_for_stored: list[Deferred[None]] = []
        self._waiting_for_delivered: list[Deferred[None]] = []

    def stored(self) -> Deferred[None]:
        """Fires when the relay has all of it.

        :raises NotDelivered: when it was given up.
        """
        return self._wait(self.is_stored, self._waiting_for_stored)

    def delivered(self) -> Deferred[None]:
        """Fires when its recipient has it: a file is on his disk then, and was compared.

        :raises NotDelivered: when it was given up, or was not fetched in time.
        """
        return self._wait(self.is_delivered, self._waiting_for_delivered)

    def hear(self, event: Event) -> None:
        """Something has become of it."""
        match event:
            case MessageStored() if self._whole:
                self._store()
            case FileProgress(_, done, total, None) if done >= total:
                self._store()
            case MessageDelivered():
                self._store()
                self.is_delivered = True
                _fire(self._waiting_for_delivered)
            case MessageUndelivered(_, why):
                self.let_go(NotDelivered(f"not delivered: {why.words}"))
            case FileFailed(_, why, None):
                self.let_go(NotDelivered(f"not delivered: {why}"))

    def recall(self, message: StoredMessage) -> None:
        """What has become of it before it was followed."""
        match message.status:
            case Status.STORED:
                self._store()
            case Status.DELIVERED:
                self.hear(MessageDelivered(self.message_id))
            case Status.UNDELIVERED if message.why is not None:
                self.hear(MessageUndelivered(self.message_id, message.why))

    @property
    def over(self) -> bool:
        """Whether nothing more can become of it."""
        return self.failure is not None or (self.is_stored and self.is_delivered)

    def let_go(self, failure: ClientError) -> None:
        """Tell all who wait that they wait in vain."""
        self.failure = failure
        for waiting in (self._waiting_for_stored, self._waiting_for_delivered):
            while waiting:
                waiting.pop().errback(failure)

    def _store(self) -> None:
        self.is_stored = True
        _fire(self._waiting_for_stored)

    def _wait(self, done: bool, waiting: list[Deferred[None]]) -> Deferred[None]:
        if done:
            return succeed(None)
        if self.failure is not None:
            return fail(self.failure)
        deferred: Deferred[None] = Deferred(waiting.remove)
        waiting.append(deferred)
        return deferred


def _fire(waiting: list[Deferred[None]]) -> None:
    while waiting:
        waiting.pop().callback(None)


class Sendings:
    """All messages that are followed, by their ids."""

    def __init__(self) -> None:
        self._followed: OrderedDict[bytes, Sending] = OrderedDict()

    def follow(self, message_id: bytes, *, whole: bool = True) -> Sending:
        """Follow one more; ``whole``: no pieces of a file belong to it."""
        if message_id in self._followed:
            return self._followed[message_id]
        sending = Sending(message_id, whole=whole)
        self._followed[message_id] = sending
        if len(self._followed) > FOLLOWED_LIMIT:
            _, oldest = self._followed.popitem(last=False)
            oldest.let_go(NotDelivered("too many messages are followed; this one is not any more"))
        return sending

    def hear(self, event: Event) -> None:
        """Something has happened, maybe to one of them."""
        message_id = getattr(event, "message_id", None)
        sending = self._followed.get(message_id) if message_id is not None else None
        if sending is not None:
            sending.hear(event)
            if sending.over:
                del self._followed[sending.message_id]

    def let_go(self, why: ClientError) -> None:
        """Nobody hears any more what becomes of any of them."""
        while self._followed:
            _, sending = self._followed.popitem()
            sending.let_go(why)
