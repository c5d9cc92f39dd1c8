"""The attacks of the table on v2, where each of them works."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from shutil import copytree

from twisted.internet.task import Clock

from messageu.client import KeyReceived
from messageu.crypto.v2 import PrivateKey, SymmetricKey, wrap
from messageu.model import Envelope, UserName
from messageu.store import MemoryStore, Quota, SqliteStore
from messageu.testing.threadpool import threadless_pool
from messageu.wire import v2
from tests.server.relay import KEY, MemoryRelay, answers_in

from .v2 import V2Case

BLOCK = 16


class MailboxTests(V2Case):
    """Whoever knows an id is its client."""

    def test_draining(self) -> None:
        """A stranger lists the ids, fetches bob's mail with his, and bob hears of nothing."""
        self.share_key()
        self.say("for bob alone")
        (stranger,) = self.mallory.ask(v2.Register(UserName(b"mallory"), KEY))
        *listed, _ = self.mallory.ask(v2.ListClients(), stranger.client_id)
        bob = next(client.client_id for client in listed if client.name == b"bob")
        stolen, _ = self.mallory.ask(v2.FetchMessages(), bob)
        self.assertEqual(stolen.sender, self.id_of(self.alice))
        self.mallory.ask(v2.FetchMessages(), bob)  # which settles the first
        self.assertEqual(self.fetch(self.bob), [])

    def test_forged_sender(self) -> None:
        """A stranger sends bob a key and a text with alice's id: bob reads them as alice's."""
        bob, alice = self.id_of(self.bob), self.id_of(self.alice)
        key = SymmetricKey.generate()
        self.peer(self.bob, "alice")
        (public,) = self.mallory.ask(v2.GetPublicKey(bob), alice)
        self.mallory.ask(v2.SendMessage(bob, 2, wrap(public.public_key, key)), alice)
        self.mallory.ask(v2.SendMessage(bob, 3, key.seal(b"pay mallory")), alice)
        self.assertEqual(self.texts(self.bob), [(b"alice", b"pay mallory")])

    def test_passed_on_as_ones_own(self) -> None:
        """A stranger sends what alice has sealed for bob from an id of his own: bob reads alice's
        words as the stranger's."""
        (stranger,) = self.mallory.ask(v2.Register(UserName(b"mallory"), KEY))
        self.share_key()
        self.say("I owe you 100")
        sealed = [
            request.body for request in self.wire.seen if isinstance(request.body, v2.SendMessage)
        ]
        self.fetch(self.bob)
        for body in sealed:
            self.mallory.ask(body, stranger.client_id)
        self.peer(self.bob, "mallory")
        self.assertEqual(self.texts(self.bob), [(b"mallory", b"I owe you 100")])

    def test_copied_client(self) -> None:
        """A copy of bob's client gets what bob was to get. Nobody is told."""
        self.share_key()
        copytree(self.folder / "bob", self.folder / "copy")
        copy = self.new_client("copy", register=False)
        self.say("one")
        self.assertEqual(self.texts(copy), [(b"alice", b"one")])
        self.assertEqual(self.fetch(self.bob), [])

    def test_drained_by_sends(self) -> None:
        """A stranger who is not even registered sends in another's name, without end, until bob's
        mailbox is full, and what alice writes is refused."""
        clock = Clock()
        relay = MemoryRelay(MemoryStore(now=clock.seconds, quota=Quota(10, 10_000)))
        alice, bob = relay.register("alice"), relay.register("bob")
        stranger = relay.dial()
        answers = [stranger.ask(v2.SendMessage(bob, 3, b"junk"), bob)[0] for _ in range(11)]
        self.assertIsInstance(answers[9], v2.Stored)
        self.assertIsInstance(answers[10], v2.GeneralError)
        self.assertEqual(relay.dial().ask(v2.SendMessage(bob, 3, b"x"), alice), [v2.GeneralError()])

    def test_squatted_name(self) -> None:
        """Names of the operator and names that look like alice's are given to whoever asks."""
        for name in (b"admin", b"postmaster", b"a1ice", b"alice ", b"Alice"):
            (answer,) = self.mallory.ask(v2.Register(UserName(name), KEY))
            self.assertIsInstance(answer, v2.Registered, name)


class RelayTests(V2Case):
    """What the relay, or whoever is on the wire, does to honest people."""

    def test_swapped_key(self) -> None:
        """Whoever hands out his own key for bob's reads what alice writes to bob."""
        own = PrivateKey.generate()

        def swap(request: v2.Request, answer: bytes) -> bytes:
            if isinstance(request.body, v2.GetPublicKey):
                return v2.PublicKeyOf(request.body.client_id, own.public_key).encode()
            return answer

        self.wire.on_answer = swap
        self.get(self.alice.send_key(self.peer(self.alice, "bob")))
        self.say("between us")
        key, text = (
            request.body for request in self.wire.seen if isinstance(request.body, v2.SendMessage)
        )
        self.assertEqual(own.unwrap(key.content).open(text.content), b"between us")

    def test_foreign_prekey(self) -> None:
        """A recorded answer about somebody else's key passes for bob's: carol reads along."""
        carol = self.new_client("carol")

        def foreign(request: v2.Request, answer: bytes) -> bytes:
            if isinstance(request.body, v2.GetPublicKey):
                key = carol.identity.private_key.public_key
                return v2.PublicKeyOf(request.body.client_id, key).encode()
            return answer

        self.wire.on_answer = foreign
        self.get(self.alice.send_key(self.peer(self.alice, "bob")))
        (sent,) = (
            request.body for request in self.wire.seen if isinstance(request.body, v2.SendMessage)
        )
        self.assertIsInstance(carol.identity.private_key.unwrap(sent.content), SymmetricKey)

    def recorded(self) -> v2.Request:
        """The last request that sends something."""
        return [request for request in self.wire.seen if isinstance(request.body, v2.SendMessage)][
            -1
        ]

    def test_replay(self) -> None:
        """A recorded message that is sent again, and again, is read as a new one each time."""
        self.share_key()
        self.say("once")
        request = self.recorded()
        for _ in range(2):
            self.mallory.send(request.encode())
        self.assertEqual(self.texts(self.bob), [(b"alice", b"once")] * 3)

    def test_replayed_first_message(self) -> None:
        """The key that alice sent last month, sent again, becomes the one that bob uses."""
        self.get(self.alice.send_key(self.peer(self.alice, "bob")))
        old = self.recorded()
        self.fetch(self.bob)
        self.get(self.alice.send_key(self.peer(self.alice, "bob")))
        self.fetch(self.bob)
        used = self.bob.keyring.peer(self.id_of(self.alice)).symmetric_key
        self.mallory.send(old.encode())
        (message,) = self.fetch(self.bob)
        self.assertIsInstance(message, KeyReceived)
        self.assertNotEqual(self.bob.keyring.peer(self.id_of(self.alice)).symmetric_key, used)

    def answer_with(self, change) -> None:
        """The relay changes the list of what waits."""

        def changed(request: v2.Request, answer: bytes) -> bytes:
            if not isinstance(request.body, v2.FetchMessages):
                return answer
            *waiting, _ = answers_in(answer)
            return v2.WaitingMessages(tuple(change(waiting))).encode()

        self.wire.on_answer = changed

    def test_reorder(self) -> None:
        """Texts that the relay puts into another order are read in it, and nothing shows it."""
        self.share_key()
        self.say("no", "shall I pay him?", "yes")
        self.answer_with(lambda waiting: waiting[::-1])
        self.assertEqual(
            [raw for _, raw in self.texts(self.bob)], [b"yes", b"shall I pay him?", b"no"]
        )

    def test_withhold(self) -> None:
        """A text that the relay keeps back is not missed."""
        self.share_key()
        self.say("do not", "worry", "sell")
        self.answer_with(lambda waiting: waiting[2:])
        self.assertEqual([message.raw for message in self.fetch(self.bob)], [b"sell"])

    def test_flipped_bits(self) -> None:
        """A bit of the ciphertext that is turned over turns one of the text over, unnoticed."""
        self.share_key()
        self.say("0123456789abcdef" + "you owe me 10 00")

        def flip(waiting):
            for message in waiting:
                raw = bytearray(message.content)
                raw[13] ^= ord(" ") ^ ord("0")
                yield _with(message, bytes(raw))

        self.answer_with(flip)
        ((_, raw),) = self.texts(self.bob)
        self.assertEqual(raw[BLOCK:], b"you owe me 10000")

    def test_truncated(self) -> None:
        """Of a text whose words are known, the end can be cut off, unnoticed."""
        self.share_key()
        self.say("0123456789abcdef" + "we pay, but only" + " if you come")

        def cut(waiting):
            for message in waiting:
                raw = bytearray(message.content[: 2 * BLOCK])
                for at in range(BLOCK - 10, BLOCK):  # ", but only" becomes padding
                    raw[at] ^= b"we pay, but only"[at] ^ 10
                yield _with(message, bytes(raw))

        self.answer_with(cut)
        ((_, raw),) = self.texts(self.bob)
        self.assertEqual(raw[BLOCK:], b"we pay")

    def test_downgrade(self) -> None:
        """Whoever refuses version 2 brings a client to ask in version 1."""
        self.wire.on_request = lambda request: (
            v2.GeneralError().encode() if request.version == 2 else request
        )
        self.new_client("carol")
        self.assertEqual([request.version for request in self.wire.seen][-2:], [2, 1])

    def test_relayed_challenge(self) -> None:
        """A relay of somebody else's learns a client's id from a request, and is the client."""
        self.share_key()
        elsewhere = [request.client_id for request in self.wire.seen]  # what such a relay hears
        self.say("for bob alone")
        bob = next(client_id for client_id in elsewhere if client_id == self.id_of(self.bob))
        stolen, _ = self.mallory.ask(v2.FetchMessages(), bob)
        self.assertEqual(stolen.sender, self.id_of(self.alice))

    def test_wrong_relay(self) -> None:
        """Whoever listens at the address is the relay, and what he hears is in the clear."""
        other = MemoryRelay()
        self.wire.relay = other
        self.new_client("carol")
        self.assertIn(b"carol\0", bytes(self.wire.heard))
        self.assertEqual(len(other.store._clients), 1)


class ThiefTests(V2Case):
    """What is on disks."""

    def test_stolen_database(self) -> None:
        """The relay's database names the sender of each message, its recipient and its type."""
        folder = Path(self.mktemp())
        folder.mkdir()
        path = folder / "defensive.db"
        clock = Clock()
        store = SqliteStore(path, clock, now=clock.seconds, new_pool=threadless_pool)
        store.open()

        def done(deferred):
            for _ in range(10):
                clock.advance(0)
            return self.successResultOf(deferred)

        alice, bob = (done(store.register(UserName(name), KEY)) for name in (b"alice", b"bob"))
        done(store.put([Envelope(alice, bob, 3, b"sealed")]))
        done(store.close())
        with closing(sqlite3.connect(path)) as database:
            rows = database.execute("SELECT FromClient, ToClient, Type FROM messages").fetchall()
            names = {name for (name,) in database.execute("SELECT UserName FROM clients")}
        self.assertEqual(rows, [(alice.raw, bob.raw, 3)])
        self.assertEqual(len(names), 2)

    def test_stolen_state(self) -> None:
        """bob's identity file opens all that was ever recorded, and all that will be."""
        self.share_key()
        self.say("last year")
        recorded = [
            request.body for request in self.wire.seen if isinstance(request.body, v2.SendMessage)
        ]
        stolen = self.bob.identity.private_key
        self.say("next year")
        recorded.append(self.recorded_last())
        key = stolen.unwrap(recorded[0].content)
        self.assertEqual(
            [key.open(body.content) for body in recorded[1:]], [b"last year", b"next year"]
        )

    def recorded_last(self) -> v2.SendMessage:
        """What was sent last."""
        return self.wire.seen[-1].body


def _with(message: v2.WaitingMessage, content: bytes) -> v2.WaitingMessage:
    return v2.WaitingMessage(message.sender, message.message_id, message.type, content)
