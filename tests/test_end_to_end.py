"""The client library and the relay together: on lines in memory, with each store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from messageu.client import (
    Client,
    FileReceived,
    KeyReceived,
    KeyRequest,
    Message,
    RelayError,
    RelayRefused,
    Settings,
    Text,
    Undecipherable,
)
from messageu.model import UserName
from messageu.server import Limits, LimitSettings, RelayFactory
from messageu.store import IMailboxStore, MemoryStore, SqliteStore
from messageu.testing.network import MemoryEndpoint, MemoryNetwork
from messageu.testing.threadpool import threadless_pool
from messageu.testing.transport import Faults


def at_once(function: Callable[..., Any], *arguments: object) -> Awaitable[Any]:
    """Slow work, in the thread of the test."""
    return execute(function, *arguments)


class EndToEnd:
    """What clients and a relay do together, whatever the store."""

    def make_store(self, clock: Clock, folder: Path) -> IMailboxStore:
        """The store to test with."""
        raise NotImplementedError

    def setUp(self) -> None:
        """A relay that runs, and two clients that are registered."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.clock = Clock()
        self.store = self.make_store(self.clock, self.folder)
        self.store.open()
        self.network = MemoryNetwork(self.clock)
        self.start_relay()
        self.anna, self.bern = (self.new_client(name) for name in ("anna", "bern"))
        for client, name in ((self.anna, b"anna"), (self.bern, b"bern")):
            self.await_(client.register(UserName(name)))

    def start_relay(self) -> None:
        """Listen."""
        factory = RelayFactory(self.store, self.clock, Limits(LimitSettings()))
        factory.exchange = evolve(factory.exchange, probe_of=lambda end: end)
        factory.doStart()
        self.network.listener = factory

    def stop_relay(self) -> None:
        """Stop, and close the store."""
        factory, self.network.listener = self.network.listener, None
        self.await_(factory.drain())
        self.await_(self.store.close())

    def new_client(self, name: str) -> Client:
        """A client with a folder of its own, which may be there."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return Client(
            self.clock,
            folder,
            Settings(endpoint=self.network.endpoint(), download_folder=folder),
            run_in_thread=at_once,
        )

    def await_(self, deferred: Deferred[Any]) -> Any:
        """What a Deferred fires with when everything has happened."""
        results: list[Any] = []
        deferred.addCallback(results.append)
        self.network.run()
        for _ in range(100):
            if results:
                break
            self.network.wait(0.1)
        self.assertTrue(results, "nothing has come of it")
        return results[0]

    def fetch(self, client: Client) -> list[Message]:
        """All that waits for a client."""
        messages: list[Message] = []
        self.await_(client.fetch(messages.append))
        return messages

    def peer(self, client: Client, name: bytes) -> Any:
        """The id of somebody whom a client knows by name."""
        return self.await_(client.find(name)).client_id

    def share_key(self) -> None:
        """Bern sends Anna a key."""
        self.await_(self.bern.send_key(self.peer(self.bern, b"anna")))
        (message,) = self.fetch(self.anna)
        self.assertIsInstance(message, KeyReceived)

    def test_conversation(self) -> None:
        """Two clients ask for a key, send one, and then texts and files both ways."""
        self.await_(self.anna.request_key(self.peer(self.anna, b"bern")))
        (request,) = self.fetch(self.bern)
        self.assertIsInstance(request, KeyRequest)
        self.assertEqual(request.sender.name, b"anna")
        self.share_key()
        self.await_(self.anna.send_text(self.peer(self.anna, b"bern"), "Grüße \N{SNOWMAN}"))
        self.await_(self.bern.send_text(self.peer(self.bern, b"anna"), ""))
        self.assertEqual([m.text for m in self.fetch(self.bern)], ["Grüße \N{SNOWMAN}"])
        self.assertEqual([m.text for m in self.fetch(self.anna)], [""])
        file = self.folder / "file"
        for size in (0, 15, 16, 70_000, 1_000_000):
            file.write_bytes(b"\xa5" * size)
            self.await_(self.anna.send_file(self.peer(self.anna, b"bern"), file))
        received = self.fetch(self.bern)
        self.assertTrue(all(isinstance(message, FileReceived) for message in received))
        self.assertEqual(
            [message.path.stat().st_size for message in received], [0, 15, 16, 70_000, 1_000_000]
        )
        self.assertEqual(received[-1].path.read_bytes(), file.read_bytes())

    def test_nothing_comes_twice(self) -> None:
        """What was fetched is gone from the relay, also when the client comes back as another."""
        self.share_key()
        for number in range(30):
            self.await_(self.anna.send_text(self.peer(self.anna, b"bern"), str(number)))
        self.assertEqual([m.text for m in self.fetch(self.bern)], [str(n) for n in range(30)])
        self.assertEqual(self.fetch(self.bern), [])
        self.await_(self.bern.close())
        self.assertEqual(self.fetch(self.new_client("bern")), [])

    def test_everything_outlives_a_restart(self) -> None:
        """Users, keys and mail are there when relay and clients are started again."""
        self.share_key()
        self.await_(self.anna.send_text(self.peer(self.anna, b"bern"), "still there"))
        self.stop_relay()
        self.failureResultOf(self.run_(self.bern.fetch(lambda _: None)), RelayError)
        self.store.open()
        self.start_relay()
        (message,) = self.fetch(self.new_client("bern"))
        self.assertEqual((message.text, message.sender.name), ("still there", b"anna"))
        carl = self.new_client("carl")
        self.failureResultOf(self.run_(carl.register(UserName(b"anna"))), RelayRefused)

    def test_broken_anywhere(self) -> None:
        """A connection that breaks at any byte of an answer loses nothing, brings nothing twice,
        and the next fetch brings the rest."""
        self.share_key()
        texts = ["one", "two " * 100, "three"]
        anna_knows = self.peer(self.anna, b"bern")
        for cut in (0, 3, 7, 20, 32, 48, 49, 80, 400, 480, 497):
            for text in texts:
                self.await_(self.anna.send_text(anna_knows, text))
            self.await_(self.bern.close())
            faults = [(Faults(), Faults(cut_after=cut))]
            self.network.new_faults = lambda faults=faults: (
                faults.pop() if faults else (Faults(), Faults())
            )
            messages: list[Message] = []
            self.run_(self.bern.fetch(messages.append)).addErrback(lambda f: f.trap(RelayError))
            messages += self.fetch(self.bern)
            self.assertEqual([message.text for message in messages], texts, cut)

    def test_another_key(self) -> None:
        """A text under a key that was replaced is shown as such, and what follows is read."""
        self.share_key()
        self.await_(self.anna.send_text(self.peer(self.anna, b"bern"), "under the old one"))
        self.await_(self.bern.send_key(self.peer(self.bern, b"anna")))
        (old,) = self.fetch(self.bern)
        self.assertIsInstance(old, Undecipherable)
        self.fetch(self.anna)
        self.await_(self.anna.send_text(self.peer(self.anna, b"bern"), "under the new one"))
        (new,) = self.fetch(self.bern)
        self.assertIsInstance(new, Text)

    def run_(self, deferred: Deferred[Any]) -> Deferred[Any]:
        """The same Deferred, when everything has happened."""
        self.network.wait(1)
        return deferred


class MemoryEndToEndTests(EndToEnd, SynchronousTestCase):
    """With the store in memory."""

    def make_store(self, clock: Clock, folder: Path) -> IMailboxStore:
        return MemoryStore(now=clock.seconds)


class SqliteEndToEndTests(EndToEnd, SynchronousTestCase):
    """With a database, in the thread of the test."""

    def make_store(self, clock: Clock, folder: Path) -> IMailboxStore:
        return SqliteStore(
            folder / "defensive.db", clock, now=clock.seconds, new_pool=threadless_pool
        )


class NetworkTests(SynchronousTestCase):
    """The network itself."""

    def test_interfaces(self) -> None:
        """Its endpoints are endpoints."""
        verifyObject(IStreamClientEndpoint, MemoryEndpoint(MemoryNetwork(Clock())))
