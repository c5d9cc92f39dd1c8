"""Conversations of v3: profiles in folders, a relay in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from messageu.client import ClientError, RelayAddress
from messageu.client.v3 import (
    AccountDeleted,
    ContactExists,
    Displaced,
    FileFailed,
    MessengerSettings,
    Offline,
    RelayLink,
    StateIsStale,
    TextInvalid,
    Unopened,
    create_profile,
)
from messageu.crypto.certificates import check_certificate
from messageu.terminal import Desk
from messageu.testing.network import MemoryNetwork
from messageu.tui import Conversations, Seen, V3Conversations
from messageu.tui._book import Book
from messageu.tui._port import Happening, LineChanged, Mark, Notice, State
from messageu.tui._v3 import DELETED, DISPLACED, STALE

from ..cli.test_commands import FakeConsole
from ..server.v3.relay import CERTIFICATE, MemoryRelay

LINK = RelayLink(RelayAddress("192.0.2.7", 1358), check_certificate(CERTIFICATE))


class V3Case(SynchronousTestCase):
    """Anna and Bern, each with a book of what is to be seen."""

    def setUp(self) -> None:
        self.relay = MemoryRelay()
        self.network = MemoryNetwork(self.relay.clock, self.relay.listener)
        self.heard: list[Happening] = []
        self.folder = Path(self.mktemp()).absolute()
        self.anna = self.person("anna")
        self.bern = self.person("bern")
        self.book = Book(self.anna, Seen(self.folder / "anna"))
        self.anna.observe(self.book.hear)
        self.anna.observe(self.heard.append)

    def person(self, name: str) -> V3Conversations:
        """Somebody with an account, who is online."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        create_profile(folder, LINK, None)
        desk = Desk(
            self.relay.clock,
            folder,
            FakeConsole(),
            {},
            settings=MessengerSettings(endpoint=self.network.endpoint(), now=self.relay.now),
            run_in_thread=maybeDeferred,
        )
        messenger = desk.open(None)
        self.addCleanup(messenger.close)
        registering = messenger.register(name)
        conversations: Conversations = V3Conversations(desk, messenger)
        conversations.start()
        self.network.wait(2)
        self.successResultOf(registering)
        assert isinstance(conversations, V3Conversations)
        return conversations

    def do(self, work: Any) -> Any:
        """Do something that waits for the relay."""
        doing = Deferred.fromCoroutine(work)
        self.network.wait(3)
        return self.successResultOf(doing)

    def meet(self) -> bytes:
        """Anna adds Bern, who has accepted her; his key."""
        key: bytes = self.do(self.anna.add(self.bern.link, "bern"))
        self.do(self.bern.add("anna", ""))
        return key


class V3Tests(V3Case):
    """What is seen of a profile."""

    def test_talk(self) -> None:
        """A text goes from queued to delivered, and what comes is new until it is seen."""
        bern = self.meet()
        self.book.catch_up()
        self.book.open(bern)
        Deferred.fromCoroutine(self.anna.send_text(bern, "hello"))
        self.book.catch_up()
        self.assertIs(self.book.window.items[-1].state, State.QUEUED)
        self.network.wait(2)
        self.book.catch_up()
        self.assertIs(self.book.window.items[-1].state, State.DELIVERED)
        anna = self.bern.people()[0]
        self.assertEqual((anna.name, anna.mark), ("anna", Mark.UNVERIFIED))
        self.book.watch(attentive=False)
        self.do(self.bern.send_text(anna.key, "you \x1b[2J\u202e [b]too[/b]\n2"))
        self.book.catch_up()
        item = self.book.window.items[-1]
        self.assertEqual(item.text, "you \\x1b[2J\\u202e [b]too[/b]\n2")
        self.assertEqual(self.book.conversation(bern).unread, 1)
        self.assertEqual(self.anna.count_received(bern, 0, 10), 1)
        self.assertEqual([each.mine for each in self.anna.before(bern, None, 9)], [True, False])
        self.assertEqual([each.number for each in self.anna.before(None, item.number, 9)], [1])
        self.assertEqual(self.anna.whole_text(item), item.text)
        self.assertEqual(
            (self.anna.me, self.anna.now()), ("anna at 192.0.2.7:1358", self.relay.now())
        )

    def test_refused(self) -> None:
        """What the core refuses is an error with words."""
        bern = self.meet()
        sending = Deferred.fromCoroutine(self.anna.send_text(bern, "x" * 70_000))
        self.failureResultOf(sending, TextInvalid)

    def test_nobody_of_that_name(self) -> None:
        """A name that nobody has is told, and so is a relay that cannot be reached."""
        adding = Deferred.fromCoroutine(self.anna.add("nobody", ""))
        self.network.wait(2)
        self.assertIn("nobody of that name", str(self.failureResultOf(adding).value))

    def test_request(self) -> None:
        """Somebody who asks is marked, and accepted, blocked and verified here."""
        anna = self.do(self.bern.add(self.anna.link, "anna"))
        self.do(self.bern.send_text(anna, "hi"))
        self.book.catch_up()
        (bern,) = (each.person for each in self.book.conversations())
        self.assertIs(bern.mark, Mark.ASKS)
        self.assertEqual(bern.offered, "")
        self.anna.accept(bern.key, "bernie")
        self.assertEqual(self.anna.people()[0].name, "bernie")
        self.anna.rename(bern.key, "bern")
        self.assertEqual(self.anna.people()[0].name, "bern")
        self.assertEqual(self.anna.safety_number(bern.key), self.bern.safety_number(anna))
        self.anna.verify(bern.key, verified=True)
        self.assertIs(self.anna.people()[0].mark, Mark.VERIFIED)
        self.anna.block(bern.key)
        self.assertIs(self.anna.people()[0].mark, Mark.BLOCKED)
        self.assertEqual(self.anna.decide(bern.key, replace=False), bern.key)

    def offered(self, display_name: str) -> str:
        """What Bern is offered as, who writes to Anna, is accepted, and gives himself a name."""
        self.bern._messenger.do(lambda core: core.set_display_name(display_name))
        anna = self.do(self.bern.add(self.anna.link, "anna"))
        self.do(self.bern.send_text(anna, "hi"))
        (asking,) = (each for each in self.anna.people() if each.mark is Mark.ASKS)
        self.assertEqual((asking.called, asking.offered), ("", ""))  # nobody names himself unasked
        self.anna.accept(asking.key, "")
        self.do(self.bern.send_text(anna, "hello"))
        self.network.wait(3)
        (bern,) = (each for each in self.anna.people() if each.key == asking.key)
        self.assertEqual(bern.called, display_name)
        return bern.offered

    def test_offered(self) -> None:
        """Whoever was accepted without a name is offered under the one that he gives himself."""
        self.assertEqual(self.offered("Bern B."), "Bern B.")

    def test_not_offered(self) -> None:
        """A name that is another contact's in other letters is not offered, nor one that is not plain."""
        carl = self.person("carl")
        self.do(self.anna.add(carl.link, "Carl"))
        self.assertEqual(self.offered("cARL"), "")

    def test_not_plain(self) -> None:
        """What cannot be told from other letters, or moves the cursor, is not offered."""
        self.assertEqual(self.offered("C\u0430rl"), "")

    def test_taken_label(self) -> None:
        """A label that is another's is refused, and the request stays one."""
        carl = self.person("carl")
        self.do(self.anna.add(carl.link, "carl"))
        anna = self.do(self.bern.add(self.anna.link, "anna"))
        self.do(self.bern.send_text(anna, "hi"))
        bern = self.anna.people()[-1]
        self.assertRaises(ContactExists, self.anna.accept, bern.key, "carl")
        self.assertIs(self.anna.people()[-1].mark, Mark.ASKS)
        self.assertRaises(ContactExists, self.anna.rename, bern.key, "carl")

    def test_file(self) -> None:
        """A file is seen on its way, and where it was put when it has come."""
        bern = self.meet()
        file = self.folder / "[b]maps.txt"
        file.write_bytes(b"x" * 200_000)
        self.do(self.anna.send_file(bern, file))
        self.network.wait(10)
        (mine,) = self.anna.before(bern, None, 9)
        self.assertEqual(
            (mine.file.name, mine.file.size, mine.state), (file.name, 200_000, State.DELIVERED)
        )
        anna = self.bern.people()[0].key
        (theirs,) = self.bern.before(anna, None, 9)
        self.assertTrue(theirs.file.here)
        self.assertEqual(Path(theirs.file.path).read_bytes(), file.read_bytes())
        self.assertTrue(any(type(each).__name__ == "FileMoved" for each in self.heard))

    def test_line(self) -> None:
        """Online, offline with its reason and time, and what is wrong besides, are told."""

        def last() -> Any:
            self.book.catch_up()
            return self.book.line

        self.anna.start()
        hear = self.anna._hear
        hear(Offline(ClientError("nothing \x1b listens"), 4.0))
        self.assertEqual((last().words, last().online), ("nothing \\x1b listens", False))
        self.assertEqual(last().retry_at, self.relay.now() + 4)
        for event, words in (
            (Displaced(), DISPLACED),
            (AccountDeleted(), DELETED),
            (StateIsStale(), STALE),
        ):
            hear(event)
            self.assertEqual((last().words, last().serious), (words, True))
        hear(Offline(ClientError("closed"), None))
        self.assertEqual(last().words, STALE)

    def test_notices(self) -> None:
        """What cannot be opened or kept is told once."""
        self.anna._hear(Unopened(2))
        self.anna._hear(FileFailed(bytes(16), "no \x1b room"))
        words = [each.words for each in self.heard if isinstance(each, Notice)]
        self.assertEqual(words, ["2 envelopes could not be opened", "a file: no \\x1b room"])
        self.assertFalse([each for each in self.heard if isinstance(each, LineChanged)][1:])
