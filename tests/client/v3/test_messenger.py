"""The library, with a relay that says what the test wants, over real TLS in memory."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from messageu.client import AnswerCut, ClientError, RelayAddress, RelayUnreachable
from messageu.client.v3 import (
    Backoff,
    Connected,
    ContactExists,
    ContactUnknown,
    Displaced,
    Heard,
    Messenger,
    MessengerSettings,
    NotDelivered,
    Offline,
    RelayLink,
    RelayNotTrusted,
    RequestRefused,
    StaleState,
    Why,
    _messenger,
    create_profile,
    open_profile,
)
from messageu.client.v3._events import (
    FileFailed,
    FileProgress,
    MessageDelivered,
    MessageStored,
    MessageUndelivered,
)
from messageu.client.v3._sending import FOLLOWED_LIMIT, Sendings
from messageu.crypto.v3 import Account
from messageu.model.v3 import Identity, Reason, Registration, Terms
from messageu.testing.network import MemoryNetwork
from messageu.wire import v3

from .tls import FakeRelay, listener, relay_key

TERMS = Terms(
    sealed_size=2**20,
    mailbox_messages=1000,
    mailbox_bytes=2**30,
    window_messages=256,
    window_bytes=2**23,
    one_time_keys=50,
    mail_life=30 * 86400,
    idle=600,
    registration=Registration.OPEN,
)
SOMEBODY = Account.create().keys
START = 1_700_000_000.0


class ScriptedRelay(FakeRelay):
    """A relay that says yes to everybody, unless the test has something else to say.

    :cvar answers: what it says instead, by the class of the request; None: nothing.
    """

    def __init__(self, clock: Clock, answers: dict[type, object]) -> None:
        super().__init__()
        self._clock = clock
        self._answers = answers

    def asked(self, request: v3.Request) -> None:
        body = request.body
        answer = self._answers.get(type(body), self._proper(body))
        if answer is not None:
            self.say(answer, request.correlation)

    def _proper(self, body: object) -> object:
        match body:
            case v3.Hello():
                return v3.Welcome(bytes(32), int(self._clock.seconds()), TERMS)
            case v3.Authenticate():
                return v3.Authenticated(True, 50)
            case v3.Register():
                return v3.Registered()
            case v3.Resolve():
                return v3.Resolved(SOMEBODY)
            case v3.Publish(_, keys):
                return v3.Published(len(keys))
            case v3.Subscribe():
                return v3.Subscribed()
            case v3.DeleteAccount():
                return v3.AccountDeleted()
            case v3.Claim():
                return v3.Error(Reason.NOT_FOUND)
            case v3.Ping():
                return v3.Pong()
        return None


class MessengerCase(SynchronousTestCase):
    """A profile in a folder, and a network with a relay."""

    def setUp(self) -> None:
        scratch = TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.clock = Clock()
        self.clock.advance(START)
        self.network = MemoryNetwork(self.clock)
        self.answers: dict[type, object] = {}
        self.relays: list[ScriptedRelay] = []
        self.heard: list[Heard] = []
        self.link = RelayLink(RelayAddress("192.0.2.1", 1358), relay_key().pin)
        create_profile(self.folder, self.link, None)
        self.listen()
        self.messenger = self.open()

    def listen(self, **options: object) -> None:
        """Have a relay."""
        self.network.listener = listener(self.clock, self.make_relay, **options)

    def make_relay(self) -> ScriptedRelay:
        """Its side of one connection."""
        self.relays.append(ScriptedRelay(self.clock, self.answers))
        return self.relays[-1]

    def open(self) -> Messenger:
        """Open the profile; it is closed at the end of the test."""
        settings = MessengerSettings(
            endpoint=self.network.endpoint(),
            now=self.clock.seconds,
            backoff=Backoff(spread=lambda: 1.0),
        )
        messenger = open_profile(
            self.clock,
            self.folder,
            None,
            settings,
            run_in_thread=maybeDeferred,
        )
        messenger.observe(self.heard.append)
        self.addCleanup(self.close, messenger)
        return messenger

    def close(self, messenger: Messenger) -> None:
        """Close it, and see that it is closed."""
        closing = messenger.close()
        self.network.run()
        self.successResultOf(closing)

    def online(self) -> None:
        """Come online, with an account."""
        registering = self.messenger.register("anna")
        self.messenger.start()
        self.network.run()
        self.assertEqual(self.successResultOf(registering), "anna")

    def get(self, deferred: Deferred[object]) -> object:
        """What it gives when nothing moves any more."""
        self.network.run()
        return self.successResultOf(deferred)

    def fails(self, deferred: Deferred[object], kind: type[Exception]) -> str:
        """The text of what it fails with."""
        self.network.run()
        return str(self.failureResultOf(deferred, kind).value)

    def asked(self, kind: type) -> int:
        """How many requests of a kind were made."""
        return sum(
            isinstance(request.body, kind) for relay in self.relays for request in relay.received
        )

    def offline(self) -> list[Offline]:
        """What was told of not being connected."""
        return [heard for heard in self.heard if isinstance(heard, Offline)]


class ConnectionTests(MessengerCase):
    """Coming and going."""

    def test_online(self) -> None:
        """It connects when it is told to, registers, and says so."""
        self.assertEqual(self.relays, [])
        self.assertFalse(self.messenger.online)
        self.online()
        self.assertTrue(self.messenger.online)
        self.assertIn(Connected(), self.heard)
        self.assertIsNone(self.get(self.messenger.come_online()))
        self.assertEqual(self.messenger.core.profile.name, "anna")
        self.assertEqual(self.asked(v3.Subscribe), 1)

    def test_generations(self) -> None:
        """Each connection has a higher generation, which is on the disk before it is dialled."""
        self.online()
        for _ in range(3):
            self.network.lines[-1].reset()
            self.network.wait(70, step=1)
        generations = [
            request.body.generation
            for relay in self.relays
            for request in relay.received
            if isinstance(request.body, v3.Authenticate)
        ]
        self.assertEqual(len(generations), 4)
        self.assertEqual(generations, sorted(set(generations)))

    def test_backoff(self) -> None:
        """A relay that is away is tried after 1, 2, 4 … seconds, and is found again."""
        listening, self.network.listener = self.network.listener, None
        self.messenger.start()
        self.network.wait(14, step=0.5)
        waits = [offline.retry_in for offline in self.offline()]
        self.assertEqual(waits[:4], [1, 2, 4, 8])
        self.assertIsInstance(self.offline()[0].why, RelayUnreachable)
        self.assertIn("192.0.2.1:1358 cannot be reached", str(self.offline()[0].why))
        self.network.listener = listening
        self.network.wait(8, step=0.5)
        self.assertEqual(len(self.relays), 1)

    def test_retry_after(self) -> None:
        """A relay that goes away is not bothered before the time that it has said."""
        self.online()
        self.relays[0].say(v3.GoingAway(20))
        self.network.run()
        self.network.wait(19, step=0.5)
        self.assertEqual(len(self.relays), 1)
        self.network.wait(10, step=0.5)
        self.assertEqual(len(self.relays), 2)

    def test_start_while_waiting(self) -> None:
        """Whoever does not want to wait for the next attempt starts it."""
        listening, self.network.listener = self.network.listener, None
        self.messenger.start()
        self.network.listener = listening
        self.messenger.start()
        self.network.run()
        self.assertEqual(len(self.relays), 1)

    def test_another_key(self) -> None:
        """A relay with another key hears nothing, and is tried again later."""
        self.listen(key=relay_key("somebody else"))
        self.messenger.start()
        self.network.run()
        self.assertIsInstance(self.offline()[0].why, RelayNotTrusted)
        self.assertEqual((self.offline()[0].retry_in, self.relays[0].received), (1, []))

    def test_displaced(self) -> None:
        """A profile that is open elsewhere does not come back by itself, but when it is told to."""
        self.online()
        self.relays[0].say(v3.Displaced())
        self.network.run()
        self.network.wait(10_000, step=1000)
        self.assertIn(Displaced(), self.heard)
        self.assertIsNone(self.offline()[-1].retry_in)
        self.assertEqual(len(self.relays), 1)
        self.messenger.start()
        self.network.run()
        self.assertEqual(len(self.relays), 2)

    def test_stale_state(self) -> None:
        """A copy that is too old says so, stays away, and does not dial before it is reset."""
        self.answers[v3.Authenticate] = v3.Error(Reason.STALE_STATE)
        coming = self.messenger.come_online()
        self.messenger.start()
        self.fails(coming, ClientError)
        self.assertIsNone(self.offline()[-1].retry_in)
        self.assertEqual(
            str(self.offline()[-1].why), "this profile is older than what the relay knows"
        )
        self.messenger.start()
        self.network.run()
        self.assertEqual(len(self.relays), 1)
        self.assertIsInstance(self.offline()[-1].why, StaleState)
        del self.answers[v3.Authenticate]
        self.messenger.do(lambda core: core.reset())
        self.messenger.start()
        self.network.run()
        self.assertTrue(self.messenger.online)

    def test_close(self) -> None:
        """After closing nothing is left on the clock, and the folder can be opened again."""
        self.online()
        waiting = self.messenger.send_text(self.add(), "hello").delivered()
        self.close(self.messenger)
        self.fails(waiting, AnswerCut)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.messenger.start()
        self.network.run()
        self.assertEqual(len(self.relays), 1)
        self.messenger = self.open()
        self.assertEqual(len(self.messenger.messages()), 1)

    def add(self) -> str:
        """Have a contact."""
        return self.get(self.messenger.add("bern")).label

    def test_relay_is_told_of_itself(self) -> None:
        """What the relay says of its clock and limits is known."""
        self.clock.advance(0.5)
        self.online()
        self.assertAlmostEqual(self.messenger.welcome.ahead, -0.5)
        self.assertEqual(self.messenger.welcome.terms, TERMS)
        self.assertEqual(self.messenger.one_time_keys, 50)

    def test_observer_with_a_bug(self) -> None:
        """An observer that raises is logged, and the others hear all the same."""

        def broken(_: Heard) -> None:
            raise ZeroDivisionError

        forget = self.messenger.observe(broken)
        self.online()
        self.assertGreater(len(self.flushLoggedErrors(ZeroDivisionError)), 0)
        self.assertTrue(self.messenger.online)
        forget()
        self.relays[0].say(v3.Displaced())
        self.network.run()


class RequestTests(MessengerCase):
    """What is asked of the relay."""

    def test_add_by_name(self) -> None:
        """Somebody is added by the name that he has at the relay; capitals are no others."""
        self.online()
        contact = self.get(self.messenger.add("Bern", "my brother"))
        self.assertEqual((contact.label, contact.name), ("my brother", "bern"))
        self.assertEqual(contact.identity, SOMEBODY.identity)

    def test_add_by_link(self) -> None:
        """Somebody is added by a link, without a connection."""
        link = f"messageu://192.0.2.1:1358/{'A' * 43}#{str(self.link).partition('#')[2]}"
        contact = self.get(self.messenger.add(link))
        self.assertEqual(contact.identity, Identity(bytes(32)))
        self.assertEqual(contact.label, "00000000")
        self.assertIn("contact already", self.fails(self.messenger.add(link), ContactExists))

    def test_own_link(self) -> None:
        """The own link holds the relay's address and pin, and the own identity."""
        link = self.messenger.link
        self.assertEqual(link.relay, self.link)
        self.assertEqual(link.identity, self.messenger.core.profile.identity)

    def test_link_that_is_cut(self) -> None:
        """A link that is not whole is no name."""
        words = self.fails(self.messenger.add("messageu://a:1/AAAA#AAAA"), ClientError)
        self.assertIn("not whole", words)

    def test_refusals(self) -> None:
        """What the relay refuses is said in a sentence, with the reason's number as a value."""
        self.online()
        for reason, words in (
            (Reason.NOT_FOUND, "knows nobody of that name"),
            (Reason.RATE_LIMITED, "too often"),
        ):
            self.answers[v3.Resolve] = v3.Error(reason)
            adding = self.messenger.add("nobody")
            self.assertIn(words, self.fails(adding, RequestRefused))
        self.assertEqual(RequestRefused(Reason.BUSY, 5).retry_after, 5)
        self.assertIn("try again in 5 seconds", str(RequestRefused(Reason.BUSY, 5)))
        self.assertIn("reason 999", str(RequestRefused(999)))
        self.assertIn("cannot be used", str(RequestRefused(None)))

    def test_every_reason_has_words(self) -> None:
        """A reason without a sentence of its own is a number."""
        for reason in Reason:
            self.assertNotIn("\n", str(RequestRefused(reason)))
        self.assertLess(set(_messenger._REASONS), set(Reason))

    def test_registration_refused(self) -> None:
        """A name that somebody has is refused, and another one can be asked for."""
        self.answers[v3.Authenticate] = v3.Authenticated(False, 0)
        self.answers[v3.Register] = v3.Error(Reason.NAME_TAKEN)
        registering = self.messenger.register("anna")
        self.messenger.start()
        self.assertIn("somebody has this name", self.fails(registering, RequestRefused))
        del self.answers[v3.Register]
        self.assertEqual(self.get(self.messenger.register("annette")), "annette")

    def test_names_that_can_be_nobodys(self) -> None:
        """They are refused without the relay."""
        self.fails(self.messenger.register("Ä"), ClientError)
        self.fails(self.messenger.add("x"), ClientError)

    def test_waiting_that_is_given_up(self) -> None:
        """Whoever does not wait any more hears nothing."""
        adding = self.messenger.add("bern")
        adding.addErrback(lambda _: None)
        adding.cancel()
        self.online()
        self.assertEqual(self.asked(v3.Resolve), 1)

    def test_delete_account(self) -> None:
        """The relay forgets the account, and the Deferred fires."""
        self.online()
        self.assertIsNone(self.get(self.messenger.delete_account()))

    def test_unknown_contact(self) -> None:
        """Nothing is sent to somebody whom nobody knows."""
        with self.assertRaises(ContactUnknown):
            self.messenger.send_text("nobody", "hello")
        self.fails(self.messenger.send_file("nobody", self.folder / "x"), ContactUnknown)


class SendingTests(SynchronousTestCase):
    """What becomes of what was sent."""

    def setUp(self) -> None:
        self.sendings = Sendings()

    def test_text(self) -> None:
        """A text is stored, then delivered; who asks later learns it at once."""
        sending = self.sendings.follow(b"1")
        stored, delivered = sending.stored(), sending.delivered()
        self.sendings.hear(MessageStored(b"2"))
        self.assertNoResult(stored)
        self.sendings.hear(MessageStored(b"1"))
        self.assertIsNone(self.successResultOf(stored))
        self.assertNoResult(delivered)
        self.sendings.hear(MessageDelivered(b"1"))
        self.assertIsNone(self.successResultOf(delivered))
        self.assertIsNone(self.successResultOf(sending.stored()))
        self.assertIsNone(self.successResultOf(sending.delivered()))

    def test_file(self) -> None:
        """A file is stored when its last piece is, and delivered when its recipient has it."""
        sending = self.sendings.follow(b"1", whole=False)
        stored, delivered = sending.stored(), sending.delivered()
        for event in (MessageStored(b"1"), FileProgress(b"1", 1, 2)):
            self.sendings.hear(event)
        self.assertNoResult(stored)
        self.sendings.hear(FileProgress(b"1", 2, 2))
        self.assertIsNone(self.successResultOf(stored))
        self.assertNoResult(delivered)
        self.assertFalse(sending.is_delivered)
        self.sendings.hear(MessageDelivered(b"1"))
        self.assertIsNone(self.successResultOf(delivered))

    def test_file_whose_last_answers_are_lost(self) -> None:
        """A file that its recipient has, the relay has had."""
        sending = self.sendings.follow(b"1", whole=False)
        stored = sending.stored()
        for event in (MessageStored(b"1"), FileProgress(b"1", 1, 2), MessageDelivered(b"1")):
            self.sendings.hear(event)
        self.assertIsNone(self.successResultOf(stored))
        self.assertTrue(sending.is_stored and sending.is_delivered)

    def test_file_of_another(self) -> None:
        """What a contact does under the id of a message of ours says nothing of that."""
        sending = self.sendings.follow(b"1", whole=False)
        contact = Identity(bytes(32))
        self.sendings.hear(FileProgress(b"1", 2, 2, contact))
        self.sendings.hear(FileFailed(b"1", "it was made to", contact))
        self.assertEqual((sending.is_stored, sending.failure), (False, None))

    def test_failures(self) -> None:
        """All who wait learn why it is not delivered, and so do those who ask later."""
        for event, words in (
            *((MessageUndelivered(b"1", why), "not delivered: ") for why in Why),
            (FileFailed(b"1", "it was changed"), "not delivered: it was changed"),
        ):
            sending = self.sendings.follow(b"1")
            waiting = [sending.stored(), sending.delivered()]
            self.sendings.hear(event)
            for deferred in (*waiting, sending.stored()):
                error = self.failureResultOf(deferred, NotDelivered).value
                self.assertIn(words, str(error))

    def test_cancelled(self) -> None:
        """Whoever does not wait any more does not hear of it."""
        sending = self.sendings.follow(b"1")
        waiting = sending.stored()
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        self.sendings.hear(MessageStored(b"1"))
        self.assertTrue(sending.is_stored)

    def test_limit(self) -> None:
        """Of too many the oldest is let go."""
        waiting = self.sendings.follow(b"first").stored()
        for number in range(FOLLOWED_LIMIT - 1):
            self.sendings.follow(number.to_bytes(16, "big"))
        self.assertNoResult(waiting)
        self.sendings.follow(b"last")
        self.failureResultOf(waiting, NotDelivered)
