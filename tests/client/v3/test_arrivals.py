"""What comes, from a place that is kept; and what is sent once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from messageu.client import ClientError, FileNotSaved
from messageu.client.v3 import (
    Heard,
    MessageReceived,
    NotDelivered,
    Offline,
    Place,
    RequestReceived,
    Status,
    StoredMessage,
    Why,
    arrivals,
)
from messageu.client.v3._sending import Sending
from messageu.crypto.v3 import Kind
from messageu.model.v3 import Identity
from messageu.wire import v3

from .test_messenger import MessengerCase

ANNA = Identity(b"a" * 32)


def message(number: int, *, mine: bool = False, status: Status = Status.RECEIVED) -> StoredMessage:
    """A text."""
    why = Why.GAVE_UP if status is Status.UNDELIVERED else None
    return StoredMessage(number, ANNA, bytes(16), mine, 0, Kind.TEXT, b"hello", status, why)


class FakeMessenger:
    """A history, and those who are told of it."""

    def __init__(self) -> None:
        self.history: list[StoredMessage] = []
        self.observers: list[Callable[[Heard], None]] = []

    def observe(self, observer: Callable[[Heard], None]) -> Callable[[], None]:
        self.observers.append(observer)
        return lambda: self.observers.remove(observer)

    def messages(self, *, after: int, limit: int) -> list[StoredMessage]:
        return [each for each in self.history if each.number > after][:limit]

    def tell(self, heard: Heard) -> None:
        for observer in tuple(self.observers):
            observer(heard)

    def come(self, number: int, *, mine: bool = False) -> None:
        """One more message."""
        self.history.append(message(number, mine=mine))
        if not mine:
            self.tell(MessageReceived(self.history[-1]))


class ArrivalsTests(SynchronousTestCase):
    """Messages, one at a time."""

    def setUp(self) -> None:
        scratch = TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.file = Path(scratch.name) / "place"
        self.place = Place(self.file)
        self.messenger = FakeMessenger()
        self.taken: list[int] = []
        self.work: list[Deferred[None]] = []

    def follow(self) -> Deferred[None]:
        """Somebody who takes each message when the test lets him."""

        async def run() -> None:
            async with aclosing(arrivals(self.messenger, self.place)) as messages:
                async for each in messages:
                    self.taken.append(each.number)
                    self.work.append(Deferred())
                    await self.work[-1]

        coroutine: Coroutine[Any, Any, None] = run()
        following = Deferred.fromCoroutine(coroutine)
        self.addCleanup(self.leave, following)
        return following

    @staticmethod
    def leave(following: Deferred[None]) -> None:
        """Follow no longer."""
        following.cancel()
        following.addErrback(lambda failure: failure.trap(CancelledError))

    def test_place_is_behind_what_is_done(self) -> None:
        """The place is behind a message when the next is asked for, and no sooner."""
        self.messenger.come(1)
        self.messenger.come(2, mine=True)
        self.messenger.come(3)
        self.follow()
        self.assertEqual((self.taken, self.place.read()), ([1], 0))
        self.work[-1].callback(None)
        self.assertEqual((self.taken, self.place.read()), ([1, 3], 1))
        self.work[-1].callback(None)
        self.assertEqual(self.place.read(), 3)

    def test_killed(self) -> None:
        """Who goes while he works on a message gets it again, and then what is behind it."""
        self.messenger.come(1)
        self.messenger.come(2)
        following = self.follow()
        following.cancel()
        self.failureResultOf(following, CancelledError)
        self.assertEqual(self.messenger.observers, [])
        self.follow()
        self.work[-1].callback(None)
        self.assertEqual(self.taken, [1, 1, 2])

    def test_what_comes(self) -> None:
        """What comes is waited for, also when it comes while another is worked on."""
        following = self.follow()
        self.messenger.come(1)
        self.messenger.come(2)
        self.messenger.history.append(message(3))
        self.messenger.tell(RequestReceived(ANNA))
        for _ in range(3):
            self.work[-1].callback(None)
        self.assertEqual(self.taken, [1, 2, 3])
        following.cancel()
        self.failureResultOf(following, CancelledError)

    def test_more_than_a_page(self) -> None:
        """A long history comes whole."""
        for number in range(1, 251):
            self.messenger.come(number, mine=number % 2 == 0)
        self.follow()
        while not self.work[-1].called:
            self.work[-1].callback(None)
        self.assertEqual(self.taken, list(range(1, 251, 2)))

    def test_end(self) -> None:
        """When nothing more can come it ends with the reason, after all that has come before."""
        following = self.follow()
        self.messenger.come(1)
        self.messenger.come(2)
        self.messenger.tell(Offline(ClientError("for now"), 1.0))
        self.messenger.tell(Offline(ClientError("displaced"), None))
        self.work[-1].callback(None)
        self.assertNoResult(following)
        self.work[-1].callback(None)
        self.assertEqual(str(self.failureResultOf(following, ClientError).value), "displaced")
        self.assertEqual((self.taken, self.place.read()), ([1, 2], 2))

    def test_bad_place(self) -> None:
        """What is no number is the beginning; a place that cannot be written ends it."""
        for content in (b"", b"\xff", b"-1", b"1" * 100):
            self.file.write_bytes(content)
            self.assertEqual(self.place.read(), 0)
        self.place.write(7)
        self.assertEqual(self.file.read_bytes(), b"7\n")
        self.assertRaises(FileNotSaved, Place(self.file / "below").write, 1)


class OnceTests(MessengerCase):
    """What is sent once."""

    def test_once(self) -> None:
        """Under one name one text is sent to a contact, also after a restart; to another contact, or
        under another name, it is another."""
        self.online()
        bern = self.get(self.messenger.add("bern")).identity
        first = self.messenger.send_text(bern, "hello", once=b"1")
        self.assertIs(self.messenger.send_text(bern, "hello", once=b"1"), first)
        self.assertNotEqual(
            self.messenger.send_text(bern, "hello", once=b"2").message_id, first.message_id
        )
        self.close(self.messenger)
        self.messenger = self.open()
        again = self.messenger.send_text(bern, "hello", once=b"1")
        self.assertEqual(again.message_id, first.message_id)
        self.messenger.do(lambda core: core.add_contact(Identity(b"c" * 32), "carl"))
        other = self.messenger.send_text("carl", "hello", once=b"1")
        self.assertNotEqual(other.message_id, first.message_id)
        self.assertEqual(len(self.messenger.messages()), 3)
        self.assertEqual(self.asked(v3.Send), 0)

    def test_what_became_of_it(self) -> None:
        """Who asks again learns what has become of it meanwhile."""
        for status, stored, delivered in (
            (Status.QUEUED, False, False),
            (Status.STORED, True, False),
            (Status.DELIVERED, True, True),
        ):
            sending = Sending(bytes(16), whole=True)
            sending.recall(message(1, mine=True, status=status))
            self.assertEqual((sending.is_stored, sending.is_delivered), (stored, delivered))
        sending = Sending(bytes(16), whole=True)
        sending.recall(message(1, mine=True, status=Status.UNDELIVERED))
        self.failureResultOf(sending.delivered(), NotDelivered)
