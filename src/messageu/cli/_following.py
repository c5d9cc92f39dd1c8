"""Following: mail is shown as it comes, and so is what becomes of files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

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
    arrivals,
)
from messageu.model.v3 import Identity
from messageu.terminal import (
    Away,
    Bars,
    Console,
    Hooks,
    Notifier,
    describe,
    name_in,
    offer_of,
    visible,
)

from ._letters import Letters


class Following:
    """Connects, and shows what happens until it is interrupted, or there is no coming back.

    :ivar over: fails when there is not.
    """

    def __init__(
        self,
        console: Console,
        messenger: Messenger,
        letters: Letters,
        *,
        hooks: Hooks | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._console = console
        self._messenger = messenger
        self._letters = letters
        self._hooks = hooks
        self._notifier = notifier
        self._bars = Bars(console, self._name_of_file)
        self._feeding: Deferred[None] | None = None
        self._stopped = False
        self.over: Deferred[None] = Deferred(lambda _: self._stop())
        messenger.observe(self._hear)
        if hooks is not None:
            hooks.failed.addErrback(self._fail)
            self._feeding = Deferred.fromCoroutine(self._feed(hooks))
            self._feeding.addErrback(self._fail)
        messenger.start()

    def _hear(self, heard: Heard) -> None:
        if self._stopped:
            return
        try:
            self._show(heard)
        except ClientError as error:
            self._fail(Failure(error))

    async def _feed(self, hooks: Hooks) -> None:
        """Each message is shown, and then taken by the command; only then the next one is shown."""
        async with aclosing(arrivals(self._messenger, self._letters.place)) as messages:
            async for message in messages:
                self._bars.pause()
                self._console.write(self._letters.shown(message))
                await hooks.take(message)

    def _fail(self, failure: Failure) -> None:
        if not self._stopped:
            self._stop()
            self.over.errback(failure)

    def _stop(self) -> None:
        self._stopped = True
        if self._hooks is not None:
            self._hooks.close()
        if self._notifier is not None:
            self._notifier.close()
        if self._feeding is not None:
            self._feeding.cancel()

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
                self._notify(heard)
                if self._hooks is None:
                    self._bars.pause()
                    self._letters.show_all(self._console)
            case Offline(why, None):
                raise Away(str(why))
        for line in self._lines(heard):
            self._bars.pause()
            self._console.complain(line)

    def _notify(self, heard: Heard) -> None:
        if self._notifier is not None and isinstance(heard, MessageReceived):
            self._notifier.notify(self._messenger.core.contact(heard.message.contact))

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
