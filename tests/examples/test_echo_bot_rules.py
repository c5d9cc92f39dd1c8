"""Whom the echo bot answers, and how often: without a relay."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from examples.echo_bot import ANSWERS, PERIOD, EchoBot
from messageu.client.v3 import (
    Contact,
    ContactUnknown,
    MessageReceived,
    NotAccepted,
    Place,
    Standing,
    Status,
    StoredMessage,
)
from messageu.crypto.v3 import Kind
from messageu.model.v3 import Identity

ANNA = Identity(b"a" * 32)


class FakeMessenger:
    """Somebody's history, and what is sent to him; it is its own core.

    :ivar refuses: whether nothing can be sent.
    """

    def __init__(self) -> None:
        self.core = self
        self.history: list[StoredMessage] = []
        self.sent: list[tuple[Identity, str, bytes]] = []
        self.standing: Standing | None = Standing.ACCEPTED
        self.refuses = False

    def observe(self, observer):
        self.hear = observer
        return lambda: None

    def messages(self, *, after, limit):
        return [each for each in self.history if each.number > after][:limit]

    def contact(self, who):
        if self.standing is None:
            raise ContactUnknown("there is no such contact")
        return Contact(who, None, "anna", None, "", self.standing, False, None, 0, b"")

    def accept(self, who):
        self.standing = Standing.ACCEPTED

    def do(self, action):
        return action(self)

    def send_text(self, who, text, *, once):
        if self.refuses:
            raise NotAccepted("no")
        self.sent.append((who, text, once))

    def come(self, text: str, kind: int = Kind.TEXT) -> None:
        """One more message of anna's."""
        number = len(self.history) + 1
        body, message_id = text.encode(), number.to_bytes(16, "big")
        message = StoredMessage(number, ANNA, message_id, False, 0, kind, body, Status.RECEIVED)
        self.history.append(message)
        self.hear(MessageReceived(message))


class RulesTests(SynchronousTestCase):
    """Rules."""

    def setUp(self) -> None:
        scratch = TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.place = Place(Path(scratch.name) / "place")
        self.clock = Clock()
        self.messenger = FakeMessenger()

    def begin(self, *, accept_all: bool = False) -> None:
        """Have a bot."""
        bot = EchoBot(self.clock, self.messenger, accept_all=accept_all)
        running = Deferred.fromCoroutine(bot.run(self.place))
        running.addErrback(lambda _: None)
        self.addCleanup(running.cancel)

    def test_texts(self) -> None:
        """A text is answered with itself, under the name of what it answers; a file is not."""
        self.begin()
        self.messenger.come("hello")
        self.messenger.come("", Kind.FILE)
        self.assertEqual(self.messenger.sent, [(ANNA, "hello", (1).to_bytes(16, "big"))])
        self.assertEqual(self.place.read(), 2)

    def test_strangers(self) -> None:
        """Who asks to write is answered only when everybody is; who is not known never is."""
        self.messenger.standing = Standing.REQUEST
        self.begin()
        self.messenger.come("hello")
        self.assertEqual((self.messenger.sent, self.messenger.standing), ([], Standing.REQUEST))
        self.messenger.standing = None
        self.messenger.come("hello")
        self.assertEqual(self.messenger.sent, [])

    def test_accept_all(self) -> None:
        """Or he is accepted."""
        self.messenger.standing = Standing.REQUEST
        self.begin(accept_all=True)
        self.messenger.come("hello")
        self.assertEqual(len(self.messenger.sent), 1)
        self.assertIs(self.messenger.standing, Standing.ACCEPTED)

    def test_loop(self) -> None:
        """Another bot gets only so many answers in a while, and then the two are silent."""
        self.begin()
        for _ in range(2 * ANSWERS):
            self.messenger.come("hello")
        self.assertEqual(len(self.messenger.sent), ANSWERS)
        self.clock.advance(PERIOD)
        self.messenger.come("hello")
        self.assertEqual(len(self.messenger.sent), ANSWERS + 1)

    def test_refused(self) -> None:
        """What cannot be answered does not end the bot."""
        self.begin()
        self.messenger.refuses = True
        self.messenger.come("one")
        self.messenger.refuses = False
        self.messenger.come("two")
        self.assertEqual([text for _, text, _ in self.messenger.sent], ["two"])
