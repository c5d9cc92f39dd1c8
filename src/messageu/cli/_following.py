"""Following: mail is shown as it comes, and so is what becomes of files."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.internet.defer import Deferred

from messageu.client import ClientError
from messageu.client.v3 import (
    FileFailed,
    FileProgress,
    FileReceived,
    Heard,
    MessageDelivered,
    MessageReceived,
    MessageUndelivered,
    Messenger,
    Offline,
    RequestReceived,
)
from messageu.model.v3 import Identity
from messageu.terminal import Away, Bars, Console, describe, name_in, offer_of, visible

from ._letters import Letters


class Following:
    """Connects, and shows what happens until it is interrupted, or there is no coming back.

    :ivar over: fails when there is not.
    """

    def __init__(self, console: Console, messenger: Messenger, letters: Letters) -> None:
        self._console = console
        self._messenger = messenger
        self._letters = letters
        self._bars = Bars(console, self._name_of_file)
        self.over: Deferred[None] = Deferred()
        messenger.observe(self._hear)
        messenger.start()

    def _hear(self, heard: Heard) -> None:
        if self.over.called:
            return
        try:
            self._show(heard)
        except ClientError as error:
            self.over.errback(error)

    def _show(self, heard: Heard) -> None:
        match heard:
            case FileProgress():
                if not self._letters.as_json:
                    self._bars.show(heard)
                return
            case FileFailed(message_id, _, contact):
                self._bars.drop(message_id, contact)
            case MessageUndelivered(message_id):
                self._bars.drop(message_id, None)
            case MessageReceived() | RequestReceived():
                self._bars.pause()
                self._letters.show_all(self._console)
            case Offline(why, None):
                raise Away(str(why))
        for line in self._lines(heard):
            self._bars.pause()
            self._console.complain(line)

    def _lines(self, heard: Heard) -> Iterator[str]:
        """What is said of something that happens, beside the mail itself."""
        match heard:
            case FileReceived(_, path):
                yield f"received: {visible(str(path))}"
            case FileFailed(_, why, contact) if contact is not None:
                sender = name_in(self._messenger, contact)
                yield f"a file of {sender} was not received: {visible(why)}"
            case MessageDelivered(message_id) if name := self._name_of_file(message_id):
                yield f"delivered: {visible(name)}"
            case MessageUndelivered(_, why):
                yield f"something that you sent was not delivered: {why.words}"
            case Offline(why, retry_in):
                yield f"{describe(why)}; again in {retry_in or 0:.0f} seconds"

    def _name_of_file(self, message_id: bytes, sender: Identity | None = None) -> str:
        """What the file of a message is called, raw; empty, where there is none."""
        message = self._messenger.core.message(message_id, sender)
        offer = None if message is None else offer_of(message)
        return "" if offer is None else offer.name
