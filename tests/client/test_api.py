"""The library, as an application uses it."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread, current_thread, main_thread
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import TestCase

from messageu import client as package
from messageu.client import (
    CONTENT_SIZE_LIMIT,
    AddressInvalid,
    AlreadyRegistered,
    AnswerNonsense,
    Client,
    ClientError,
    ContentTooLarge,
    FileMissing,
    FileRefused,
    Identity,
    IdentityInvalid,
    KeyReceived,
    Listing,
    NoSharedKey,
    NotRegistered,
    OutcomeUnknown,
    PeerKeyInvalid,
    RelayRefused,
    RelayUnreachable,
    Settings,
    Text,
    UnknownPeer,
    _api,
    read_identity,
)
from messageu.client._inbox import THREAD_FROM
from messageu.crypto.v2 import PrivateKey
from messageu.model import ClientId, ListedClient, PublicKey, UserName
from messageu.wire import v2

from .relay import ANNA, BERN, KEY, REFUSED, ClientCase, wild_identity

CARL = wild_identity("peer-b", "A")


class RegisterTests(ClientCase):
    """Becoming somebody."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = self.folder_of(None, "new")
        self.client = self.client_in(self.folder)
        patch = mock.patch.object(PrivateKey, "generate", return_value=CARL.private_key)
        patch.start()
        self.addCleanup(patch.stop)

    def register(self, name: bytes = b"carl") -> Deferred[Identity]:
        """Register."""
        return self.client.register(UserName(name))

    def test_register(self) -> None:
        """The relay gets the name and the key, and the identity is on the disk."""
        identity = self.get(self.register())
        self.assertEqual(identity.name, b"carl")
        self.assertEqual(
            self.relay.clients[identity.client_id], (b"carl", CARL.private_key.public_key)
        )
        self.assertEqual(read_identity(self.folder), identity)
        self.assertEqual(self.client.identity, identity)
        self.assertEqual(self.client.keyring.owner, identity.client_id)

    def test_refused(self) -> None:
        """A name that is taken leaves nothing behind."""
        self.fails(self.register(b"bern"), RelayRefused)
        self.assertEqual([each.version for each in self.relay.requests], [2, 1])
        self.assertEqual(list(self.folder.iterdir()), [])
        with self.assertRaises(NotRegistered):
            _ = self.client.identity

    def test_relay_of_version_1(self) -> None:
        """A relay that knows only version 1 is spoken to in it from then on, and in later runs."""
        self.relay.version = 1
        self.get(self.register())
        self.get(self.client.list_clients())
        self.get(self.client_in(self.folder).list_clients())
        self.assertEqual([each.version for each in self.relay.requests], [2, 1, 1, 1])

    def test_lost_keyring_costs_one_refusal(self) -> None:
        """Without its keyring a client finds out the relay's version again."""
        self.relay.version = 1
        self.get(self.register())
        self.get(self.client.list_clients())
        (self.folder / "me.keys").unlink()
        self.get(self.client_in(self.folder).list_clients())
        self.assertEqual([each.version for each in self.relay.requests], [2, 1, 1, 2, 1])

    def test_registered_already(self) -> None:
        """Where there is an identity, the relay is not asked."""
        self.get(self.register())
        self.relay.requests.clear()
        self.assertIn("me.info exists", self.fails(self.register(), AlreadyRegistered))
        self.assertEqual(self.relay.requests, [])

    def test_twice_at_once(self) -> None:
        """Of two registrations at once the second is refused, and the relay hears of one."""
        first, second = self.register(), self.register(b"carla")
        self.assertEqual(self.get(first).name, b"carl")
        self.fails(second, AlreadyRegistered)
        self.assertEqual(self.relay.codes, [600])

    def test_folder_that_cannot_be_written(self) -> None:
        """When the identity could not be kept, the relay is not asked."""
        self.folder.rmdir()
        self.fails(self.register(), IdentityInvalid)
        self.assertEqual(self.relay.requests, [])

    def test_answer_that_does_not_come(self) -> None:
        """When the connection breaks before the answer, nobody knows, and it is said so."""
        self.relay.closes = True
        self.relay.says.append(b"")
        self.assertIn("may or may not", self.fails(self.register(), OutcomeUnknown))
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_new_identity_does_not_inherit_keys(self) -> None:
        """Keys of an identity that is gone are put aside when another takes its place."""
        (self.folder / "me.keys").write_bytes(b"{}")
        self.get(self.register())
        self.assertEqual(self.client.keyring.peers, ())
        self.assertTrue((self.folder / "me.keys.aside").exists())
        self.assertEqual(len(self.warnings), 1)


class NotRegisteredTests(ClientCase):
    """Being nobody."""

    def test_everything_needs_an_identity(self) -> None:
        """Without an identity nothing is asked of the relay."""
        for content, kind in ((None, NotRegistered), (b"", IdentityInvalid)):
            folder = self.folder_of(None, kind.__name__)
            if content is not None:
                (folder / "me.info").write_bytes(content)
            client, peer = self.client_in(folder), BERN.client_id
            for deferred in (
                client.list_clients(),
                client.find(b"bern"),
                client.public_key(peer),
                client.request_key(peer),
                client.send_key(peer),
                client.send_text(peer, ""),
                client.send_file(peer, Path(__file__)),
                client.fetch(self.shown.append),
            ):
                self.relay.run()
                self.failureResultOf(deferred, kind)
        self.assertEqual(self.relay.requests, [])


class DirectoryTests(ClientCase):
    """Who else is there."""

    def test_list(self) -> None:
        """The list leaves ourselves out, whatever the relay does, and is remembered."""
        clients = (
            ListedClient(ANNA.client_id, b"anna"),
            ListedClient(BERN.client_id, b"bern"),
            ListedClient(CARL.client_id, b"\x1b[2J"),
        )
        self.relay.says.append(v2.ClientsList(clients).encode())
        self.assertEqual(self.get(self.client.list_clients()), Listing(clients[1:]))
        self.assertEqual(self.client.keyring.peer(BERN.client_id).name, b"bern")
        later = self.client_in(self.folder)
        self.assertEqual(later.keyring.peer(CARL.client_id).name, b"\x1b[2J")

    def test_list_is_bounded(self) -> None:
        """Beyond a number, clients are counted."""
        self.relay.add(CARL)
        with mock.patch.object(_api, "LISTING_LIMIT", 1):
            listing = self.get(self.client.list_clients())
        self.assertEqual((len(listing.clients), listing.left_out), (1, 1))

    def test_find(self) -> None:
        """A name that is not known is asked for, once."""
        for _ in range(2):
            peer = self.get(self.client.find(b"bern"))
            self.assertEqual(peer.client_id, BERN.client_id)
        self.assertEqual(self.relay.codes, [601])

    def test_find_nobody(self) -> None:
        """A name that nobody has is said to be unknown, other letters included."""
        for name in (b"Bern", b"", b"anna"):
            self.fails(self.client.find(name), UnknownPeer)

    def test_find_where_there_is_no_room(self) -> None:
        """Somebody for whom there was no room in the keyring is found, and remembered."""
        self.relay.add(CARL)
        self.relay.clients[CARL.client_id] = b"carl", CARL.private_key.public_key
        self.client.keyring._limit = 1
        self.assertEqual(self.get(self.client.find(b"carl")).client_id, CARL.client_id)
        self.assertEqual(self.get(self.client.find(b"carl")).client_id, CARL.client_id)
        self.assertEqual(self.relay.codes, [601])


class KeyTests(ClientCase):
    """Public and symmetric keys."""

    def test_public_key(self) -> None:
        """A public key is given, and remembered."""
        key = self.get(self.client.public_key(BERN.client_id))
        self.assertEqual(key, BERN.private_key.public_key)
        self.assertEqual(self.client.keyring.peer(BERN.client_id).public_key, key)

    def test_public_key_that_is_none(self) -> None:
        """160 bytes that are no key are an error, and not remembered."""
        for raw in (bytes(160), b"\x30" * 160):
            self.relay.clients[BERN.client_id] = b"bern", PublicKey(raw)
            self.fails(self.client.public_key(BERN.client_id), PeerKeyInvalid)
            self.fails(self.client.send_key(BERN.client_id), PeerKeyInvalid)
        self.assertIsNone(self.client.keyring.peer(BERN.client_id).public_key)
        self.assertNotIn(603, self.relay.codes)

    def test_public_key_of_another(self) -> None:
        """A key that comes with another id is nonsense."""
        answer = v2.PublicKeyOf(CARL.client_id, CARL.private_key.public_key)
        self.relay.says.append(answer.encode())
        self.fails(self.client.public_key(BERN.client_id), AnswerNonsense)

    def test_public_key_of_nobody(self) -> None:
        """A client that the relay does not know is refused."""
        self.fails(self.client.public_key(ClientId(bytes(16))), RelayRefused)

    def test_request_key(self) -> None:
        """A request for a key is an empty message."""
        self.get(self.client.request_key(BERN.client_id))
        [message] = self.relay.mail[BERN.client_id]
        self.assertEqual((message.type, message.content), (1, b""))

    def test_send_key(self) -> None:
        """A key is made, sealed with the public key that is asked for if need be, and shared."""
        for codes in ([602, 603], [603]):
            self.relay.requests.clear()
            self.get(self.client.send_key(BERN.client_id))
            self.assertEqual(self.relay.codes, codes)
            sent = self.relay.mail[BERN.client_id][-1]
            key = BERN.private_key.unwrap(sent.content)
            self.assertEqual(self.client.keyring.peer(BERN.client_id).symmetric_key, key)
        later = self.client_in(self.folder)
        self.assertEqual(later.keyring.peer(BERN.client_id).symmetric_key, key)

    def test_key_that_was_not_stored(self) -> None:
        """A key counts only when the relay has acknowledged it."""
        self.client.keyring.share(BERN.client_id, KEY)
        self.client.keyring.learn_public_key(BERN.client_id, BERN.private_key.public_key)
        self.relay.says.extend([REFUSED, REFUSED])
        self.fails(self.client.send_key(BERN.client_id), RelayRefused)
        self.relay.closes = True
        self.relay.says.append(b"")
        self.fails(self.client.send_key(BERN.client_id), OutcomeUnknown)
        self.assertEqual(self.client.keyring.peer(BERN.client_id).symmetric_key, KEY)


class SendTests(ClientCase):
    """Texts and files."""

    def setUp(self) -> None:
        super().setUp()
        self.share_key()
        self.file = self.root / "file"

    def sent(self) -> bytes:
        """What bern would read."""
        return KEY.open(self.relay.mail[BERN.client_id][-1].content)

    def send_file(self, path: Path | None = None) -> Deferred[object]:
        """Send a file to bern."""
        return self.client.send_file(BERN.client_id, path or self.file)

    def test_text(self) -> None:
        """A text is sealed with the shared key; undecodable input stays the bytes that it was."""
        for text, raw in (("hé", "hé".encode()), ("", b""), ("\udcff", b"\xff")):
            self.get(self.client.send_text(BERN.client_id, text))
            self.assertEqual(self.sent(), raw)
        self.assertEqual(self.relay.mail[BERN.client_id][-1].type, 3)

    def test_long_text(self) -> None:
        """A text of the largest size is sent, and a longer one refused."""
        self.get(self.client.send_text(BERN.client_id, "x" * THREAD_FROM))
        self.get(self.client.send_text(BERN.client_id, "x" * CONTENT_SIZE_LIMIT))
        self.assertEqual(len(self.sent()), CONTENT_SIZE_LIMIT)
        too_long = "x" * (CONTENT_SIZE_LIMIT + 1)
        self.fails(self.client.send_text(BERN.client_id, too_long), ContentTooLarge)

    def test_no_shared_key(self) -> None:
        """Without a shared key nothing is sent."""
        self.file.write_bytes(b"")
        self.fails(self.client.send_text(CARL.client_id, "hello"), NoSharedKey)
        self.fails(self.client.send_file(CARL.client_id, self.file), NoSharedKey)
        self.assertEqual(self.relay.requests, [])

    def test_file(self) -> None:
        """A file of any size up to the limit is sent as it is."""
        for size in (0, 1, CONTENT_SIZE_LIMIT):
            self.file.write_bytes(bytes(size))
            self.get(self.send_file())
            self.assertEqual(len(self.sent()), size)
            self.assertEqual(self.relay.mail[BERN.client_id][-1].type, 4)

    def test_file_that_is_too_large(self) -> None:
        """A file above the limit is refused, without being read to its end."""
        with self.file.open("wb") as opened:
            opened.truncate(10 * CONTENT_SIZE_LIMIT)
        self.assertEqual(
            self.fails(self.send_file(), FileRefused), "the file is larger than 16 MiB"
        )

    def test_missing_file(self) -> None:
        """A path that leads nowhere is a missing file."""
        self.file.write_bytes(b"")
        for path in (Path("/no/such/file"), self.file / "below", Path("a\0b")):
            self.assertEqual(self.fails(self.send_file(path), FileMissing), "file not found")

    def test_what_is_no_file(self) -> None:
        """A folder, a device and a pipe are refused, and not waited for."""
        os.mkfifo(self.file)
        for path in (self.root, self.file, Path("/dev/zero")):
            self.assertIn("not a regular file", self.fails(self.send_file(path), FileRefused))

    def test_outcome_unknown(self) -> None:
        """When the connection breaks before the answer, it is said that nobody knows."""
        self.relay.closes = True
        self.relay.says.append(b"")
        text = self.fails(self.client.send_text(BERN.client_id, "hello"), OutcomeUnknown)
        self.assertIn("the message may or may not have been stored", text)
        self.assertEqual(self.relay.codes, [603])


class TogetherTests(ClientCase):
    """anna and bern."""

    def test_conversation(self) -> None:
        """Two clients exchange a key, texts both ways and a file, over relays of every habit."""
        for number, (closes, version, deletes) in enumerate(
            [(False, None, "seen"), (True, 1, "sent"), (False, 2, "sent"), (True, None, "never")]
        ):
            self.setUp()
            self.relay.closes, self.relay.version = closes, version
            self.relay.deletes = deletes
            bern = self.client_in(self.folder_of(BERN, "bern"))
            seen: list[object] = []
            anna_id = self.get(bern.find(b"anna")).client_id
            bern_id = self.get(self.client.find(b"bern")).client_id
            self.get(self.client.request_key(bern_id))
            self.get(bern.fetch(seen.append))
            self.get(bern.send_key(anna_id))
            self.fetch()
            self.assertIsInstance(self.shown[-1], KeyReceived)
            self.get(self.client.send_text(bern_id, "hello"))
            self.get(bern.send_text(anna_id, "hi"))
            self.get(self.client.send_file(bern_id, Path(__file__)))
            self.get(bern.fetch(seen.append))
            self.fetch()
            self.assertEqual(self.shown[-1].text, "hi")
            self.assertEqual(seen[-1].path.read_bytes(), Path(__file__).read_bytes())
            self.assertEqual([each.text for each in seen if isinstance(each, Text)], ["hello"])
            self.assertEqual(len(seen), 3, number)

    def test_many_at_once(self) -> None:
        """An application may ask for many things at once."""
        self.share_key()
        asked = [self.client.send_text(BERN.client_id, str(number)) for number in range(20)]
        self.relay.run()
        self.successResultOf(gatherResults(asked))
        texts = [KEY.open(message.content) for message in self.relay.mail[BERN.client_id]]
        self.assertEqual(texts, [str(number).encode() for number in range(20)])


class ReactorTests(ClientCase):
    """What a client takes from a reactor and a folder."""

    def test_address_of_folder(self) -> None:
        """Without another endpoint, the relay is where server.info says, at that moment."""
        reactor = MemoryReactorClock()
        client = Client(reactor, self.folder)
        self.failureResultOf(client.connect(), AddressInvalid)
        (self.folder / "server.info").write_text("10.0.0.7:99\n", "ascii")
        connecting = client.connect()
        [(host, port, *_)] = reactor.tcpClients
        self.assertEqual((host, port), ("10.0.0.7", 99))
        reactor.advance(11)
        text = str(self.failureResultOf(connecting, RelayUnreachable).value)
        self.assertEqual(text, "the relay at 10.0.0.7:99 cannot be reached: it does not react")

    def test_connect_and_close(self) -> None:
        """A connection can be made beforehand, and closed."""
        self.get(self.client.connect())
        self.assertEqual(len(self.relay.lines), 1)
        self.get(self.client.close())
        self.assertTrue(self.relay.lines[0].server.closed)

    def test_warnings_are_logged(self) -> None:
        """Without anybody to warn, warnings go to the log."""
        (self.folder / "me.keys").write_bytes(b"{")
        client = Client(Clock(), self.folder, Settings(endpoint=self.relay))
        with mock.patch.object(_api, "_log") as log:
            client = Client(Clock(), self.folder, Settings(endpoint=self.relay))
            self.assertEqual(client.keyring.peers, ())
        [call] = log.warn.call_args_list
        self.assertIn("it is damaged", call.kwargs["line"])

    def test_errors_are_one_family(self) -> None:
        """Every error that the package offers is a ClientError."""
        errors = [
            value
            for name in package.__all__
            if isinstance(value := getattr(package, name), type) and issubclass(value, Exception)
        ]
        self.assertGreater(len(errors), 20)
        for error in errors:
            self.assertTrue(issubclass(error, ClientError), error)


class ThreadTests(TestCase):
    """Slow work."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    async def test_pool_of_the_reactor(self) -> None:
        """Slow work is done by the reactor's threads."""
        client = Client(reactor, self.folder)
        threads: list[Thread] = []

        def generate() -> PrivateKey:
            threads.append(current_thread())
            return CARL.private_key

        with mock.patch.object(PrivateKey, "generate", generate):
            await self.assertFailure(client.register(UserName(b"carl")), AddressInvalid)
        self.assertIsNot(threads[0], main_thread())


class TwoProgramsTests(ClientCase):
    """anna has two terminals open, in one folder."""

    def setUp(self) -> None:
        super().setUp()
        self.other = self.client_in(self.folder)
        for client in (self.client, self.other):
            self.get(client.list_clients())

    def test_key_that_came_to_one_serves_the_other(self) -> None:
        """A key that one of them was sent, or has sent, is used by the other at once."""
        self.relay.put_key()
        self.fetch()
        self.get(self.other.send_text(BERN.client_id, "hello"))
        self.get(self.other.send_key(BERN.client_id))
        self.get(self.client.send_text(BERN.client_id, "hello"))
        first, key, second = self.relay.mail[BERN.client_id]
        self.assertEqual(KEY.open(first.content), b"hello")
        self.assertEqual(BERN.private_key.unwrap(key.content).open(second.content), b"hello")

    def test_both_learn_at_once(self) -> None:
        """What both learn while both wait for the relay is kept."""
        self.relay.add(CARL)
        sending = [self.client.send_key(BERN.client_id), self.other.send_key(CARL.client_id)]
        for each in sending:
            self.get(each)
        third = self.client_in(self.folder)
        for client in (self.client, self.other, third):
            for peer in (BERN, CARL):
                self.assertIsNotNone(client.keyring.peer(peer.client_id).symmetric_key)
        self.assertEqual(self.warnings, [])

    def test_both_fetch_at_once(self) -> None:
        """Each message is shown by one of them, or by both, and by neither only if it is none."""
        self.relay.put_key()
        self.get(self.client.fetch(self.shown.append))
        self.shown.clear()
        texts = [f"text {number}" for number in range(20)]
        for text in texts:
            self.relay.put_text(text)
        fetching = [client.fetch(self.shown.append) for client in (self.client, self.other)]
        for each in fetching:
            self.get(each)
        self.assertEqual(sorted({each.text for each in self.shown}), sorted(texts))

    def test_second_registration(self) -> None:
        """Of two that register at once one is registered, and the other is told."""
        folder = self.folder_of(None, "new")
        first, second = self.client_in(folder), self.client_in(folder)
        registering = [first.register(UserName(b"one")), second.register(UserName(b"two"))]
        identity = self.get(registering[0])
        text = self.fails(registering[1], AlreadyRegistered)
        self.assertIn("me.info has come into being meanwhile", text)
        self.assertEqual(first.identity, identity)
        self.assertEqual(second.identity, identity)
        self.assertEqual([path.name for path in folder.iterdir()], ["me.info"])
