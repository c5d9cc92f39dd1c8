"""Conversations of v2: a foreign relay in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as TwistedConnectionRefused

from messageu.client import (
    KeyRequest,
    NotRegistered,
    Sender,
    TooLarge,
    Undecipherable,
    UnknownPeer,
    Why,
)
from messageu.tui import Conversations
from messageu.tui._port import Happening, LineChanged, Mark, Notice, State
from messageu.tui._v2 import (
    ITEMS_LIMIT,
    LONG_TEXTS_LIMIT,
    POLL_PAUSE,
    POLL_PAUSE_AWAY,
    V2Conversations,
)

from ..client.relay import ANNA, BERN, ClientCase
from .world import NOW


class V2Tests(ClientCase):
    """What is seen of a client of v2."""

    def setUp(self) -> None:
        super().setUp()
        conversations: Conversations = V2Conversations(self.clock, self.client, lambda: NOW)
        assert isinstance(conversations, V2Conversations)
        self.anna = conversations
        self.heard: list[Happening] = []
        self.anna.observe(self.heard.append)
        self.bern = self.client_in(self.folder_of(BERN, "bern"))

    def start(self) -> None:
        """Begin to ask for mail."""
        self.anna.start()
        self.relay.run()

    def wait(self, seconds: float = POLL_PAUSE) -> None:
        """Let it ask once more."""
        self.clock.advance(seconds)
        self.relay.run()

    def lines(self) -> list[bool]:
        """When it was online."""
        return [each.line.online for each in self.heard if isinstance(each, LineChanged)]

    def test_marks(self) -> None:
        """Everybody is marked as not authenticated; nobody can be verified."""
        self.start()
        (bern,) = self.anna.people()
        self.assertEqual((bern.name, bern.mark), (BERN.name.decode(), Mark.V2))
        self.assertFalse(self.anna.proven)
        name = ANNA.name.decode()
        self.assertEqual(self.anna.me, f"{name} | v2: not authenticated")
        self.assertEqual(self.anna.link, name)
        self.assertEqual(self.anna.safety_number(bern.key), "")
        self.anna.block(bern.key)
        for nothing in (self.anna.accept, self.anna.rename):
            nothing(bern.key, "bernie")
        self.anna.verify(bern.key, verified=True)
        self.assertEqual(self.anna.decide(bern.key, replace=True), bern.key)
        self.assertEqual(self.anna.people(), [bern])

    def test_talk(self) -> None:
        """A key goes out before the first text; what comes is asked for again and again."""
        self.start()
        key = BERN.client_id.raw
        self.get(Deferred.fromCoroutine(self.anna.send_text(key, "hello")))
        self.get(self.bern.fetch(lambda _: None))
        self.get(self.bern.send_text(ANNA.client_id, "hi \x1b[2J"))
        self.wait()
        mine, theirs = self.anna.before(key, None, 9)
        self.assertEqual((mine.text, mine.state), ("hello", State.STORED))
        self.assertEqual((theirs.text, theirs.mine), ("hi \\x1b[2J", False))
        self.assertEqual(self.anna.last_numbers(), {key: theirs.number})
        self.assertEqual(self.anna.count_received(key, 0, 9), 1)
        self.assertEqual(self.anna.item(mine.message_id, None), mine)
        self.assertEqual(self.anna.whole_text(theirs), theirs.text)
        self.assertEqual(self.lines(), [True, True])

    def test_file(self) -> None:
        """A file is sent, and one that comes says where it is."""
        self.start()
        self.share_key()
        file = self.root / "maps.txt"
        file.write_bytes(b"maps")
        self.get(Deferred.fromCoroutine(self.anna.send_file(BERN.client_id.raw, file)))
        self.get(Deferred.fromCoroutine(self.anna.send_text(BERN.client_id.raw, "x")))
        files = [item.file for item in self.anna.before(None, None, 9)]
        self.assertEqual(files[0].name, "maps.txt")

    def test_not_sent(self) -> None:
        """What could not be sent says why."""
        self.start()
        self.relay.clients.clear()
        self.get(Deferred.fromCoroutine(self.anna.send_text(BERN.client_id.raw, "x")))
        (mine,) = self.anna.before(None, None, 9)
        self.assertIs(mine.state, State.UNDELIVERED)
        self.assertTrue(mine.why)

    def test_away(self) -> None:
        """A relay that cannot be reached is told, and asked again later, or now."""
        self.relay.unreachable.append(TwistedConnectionRefused())
        self.start()
        self.assertEqual(self.lines(), [False])
        self.wait(POLL_PAUSE_AWAY)
        self.assertEqual(self.lines(), [False, True])
        self.start()
        self.assertEqual(self.lines(), [False, True, True])

    def test_add(self) -> None:
        """Somebody is added by the name that the relay lists; nobody else."""
        self.start()
        adding = Deferred.fromCoroutine(self.anna.add(BERN.name.decode(), ""))
        self.assertEqual(self.get(adding), BERN.client_id.raw)
        self.fails(Deferred.fromCoroutine(self.anna.add("nobody", "")), UnknownPeer)

    def test_close(self) -> None:
        """Afterwards nothing is asked for any more, also when it was just asking."""
        self.start()
        self.get(self.anna.close())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.anna.start()
        self.get(self.anna.close())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_else_comes(self) -> None:
        """What is no text has words of ours; what is held is bounded."""
        sender = Sender(BERN.client_id, None)
        for message in (KeyRequest(sender), Undecipherable(sender, Why.NO_KEY), TooLarge()):
            self.anna._take(message)
        texts = [item.text for item in self.anna.before(None, None, 9)]
        self.assertIn("asks for a symmetric key", texts[0])
        self.assertIn("cannot be read", texts[1])
        self.assertTrue(any(isinstance(each, Notice) for each in self.heard))
        for number in range(ITEMS_LIMIT + 10):
            raw = "x" * 5_000 if number < 50 else ""
            self.anna._keep(BERN.client_id.raw, mine=False, raw=raw)
        self.assertEqual(len(self.anna.before(None, None, 10**6)), ITEMS_LIMIT)
        self.assertLessEqual(len(self.anna._texts), LONG_TEXTS_LIMIT)

    def test_not_registered(self) -> None:
        """A folder without an identity says so."""
        client: Any = self.client_in(self.folder_of(None, "new"))
        self.assertRaises(NotRegistered, V2Conversations, self.clock, client)
