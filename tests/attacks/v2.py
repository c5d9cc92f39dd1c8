"""v2 under attack: a relay, two people who use it as it is meant, and somebody on the wire."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.trial.unittest import SynchronousTestCase

from messageu.client import Client, Message, Settings, Text
from messageu.model import ClientId, UserName
from messageu.testing.network import MemoryNetwork
from messageu.wire import NEED_DATA, Parser, RemoteProtocolError, v2
from tests.server.relay import MemoryClient, MemoryRelay

OnRequest = Callable[[v2.Request], v2.Request | bytes | None]
OnAnswer = Callable[[v2.Request, bytes], bytes]


class Wire(ServerFactory):
    """The wire between clients and the relay, and whoever sits on it.

    :ivar on_request: what becomes of a request: another, an answer in the relay's place, or nothing.
    :ivar on_answer: what becomes of the bytes of an answer.
    :ivar seen: all requests.
    :ivar heard: all bytes from clients.
    """

    noisy = False

    def __init__(self, relay: MemoryRelay) -> None:
        self.relay = relay
        self.on_request: OnRequest = lambda request: request
        self.on_answer: OnAnswer = lambda _, answer: answer
        self.seen: list[v2.Request] = []
        self.heard = bytearray()

    def buildProtocol(self, addr: Any) -> IProtocol:
        """Stand between a client and the relay."""
        return _Between(self)


class _Between(Protocol):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._parser = Parser(v2.RequestCodec())

    def connectionMade(self) -> None:
        self._relay: MemoryClient = self._wire.relay.dial()

    def dataReceived(self, data: bytes) -> None:
        wire = self._wire
        wire.heard += data
        self._parser.receive_data(data)
        while (request := self._next()) is not NEED_DATA:
            wire.seen.append(request)
            outcome = wire.on_request(request)
            if isinstance(outcome, v2.Request):
                self._relay.send(outcome.encode())
                outcome = bytes(self._relay.side.received)
                self._relay.side.received.clear()
            if outcome is not None:
                self.transport.write(wire.on_answer(request, outcome))

    def _next(self) -> Any:
        try:
            return self._parser.next_event()
        except RemoteProtocolError as error:
            raise AssertionError from error


class V2Case(SynchronousTestCase):
    """alice and bob are registered, and have a wire to the relay; mallory speaks bytes."""

    settings: dict[str, float] = {}  # noqa: RUF012 - a subclass may say otherwise

    def setUp(self) -> None:
        """Everybody is there, and alice and bob share a key."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.relay = MemoryRelay(**self.settings)
        self.wire = Wire(self.relay)
        self.network = MemoryNetwork(self.relay.clock, self.wire)
        self.alice, self.bob = (self.new_client(name) for name in ("alice", "bob"))
        self.mallory = self.relay.dial(host="198.51.100.66")

    def new_client(self, name: str, *, register: bool = True) -> Client:
        """A client with a folder of its own."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        client = Client(
            self.relay.clock,
            folder,
            Settings(endpoint=self.network.endpoint(), download_folder=folder),
            run_in_thread=execute,
        )
        if register:
            self.get(client.register(UserName(name.encode())))
        return client

    def get(self, deferred: Deferred[Any]) -> Any:
        """What a Deferred fires with when everything has happened."""
        self.network.run()
        return self.successResultOf(deferred)

    def id_of(self, client: Client) -> ClientId:
        """Whose it is."""
        return client.identity.client_id

    def share_key(self) -> None:
        """alice sends bob a key."""
        self.get(self.alice.send_key(self.peer(self.alice, "bob")))
        self.fetch(self.bob)

    def peer(self, client: Client, name: str) -> ClientId:
        """The id that a client finds under a name."""
        return self.get(client.find(name.encode())).client_id

    def say(self, *texts: str) -> None:
        """alice writes to bob."""
        for text in texts:
            self.get(self.alice.send_text(self.peer(self.alice, "bob"), text))

    def fetch(self, client: Client) -> list[Message]:
        """All that waits for a client."""
        messages: list[Message] = []
        self.get(client.fetch(messages.append))
        return messages

    def texts(self, client: Client) -> list[tuple[bytes | None, bytes]]:
        """All texts that wait for a client, and who is said to have written them."""
        return [
            (message.sender.name, message.raw)
            for message in self.fetch(client)
            if isinstance(message, Text)
        ]
