"""A foreign relay in memory, with the habits that others' relays have, and clients of it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from messageu.client import Client, Identity, Message, Settings
from messageu.crypto.v2 import SymmetricKey, wrap
from messageu.model import ClientId, ListedClient, MessageId, PublicKey
from messageu.testing.transport import Faults, Line
from messageu.wire import NEED_DATA, Parser, RemoteProtocolError, v2

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "wild-clients.json"
REFUSED = v2.GeneralError().encode()


@cache
def wild_clients() -> dict[str, Any]:
    """The three foreign clients, by name."""
    peers: dict[str, Any] = json.loads(VECTORS.read_text("utf-8"))["peers"]
    return peers


def wild_identity(peer: str = "peer-a", person: str = "A") -> Identity:
    """An identity that a foreign client has made."""
    return Identity.decode(wild_clients()[peer]["identities"][person]["text"].encode("utf-8"))


ANNA = wild_identity("peer-a", "A")
BERN = wild_identity("peer-a", "B")
KEY = SymmetricKey(bytes(range(16)))


@implementer(IStreamClientEndpoint)
class ForeignRelay:
    """The rules, the way to it, and what is wrong with them.

    :ivar closes: it closes the connection after each answer.
    :ivar version: the only version byte that it takes; None: any.
    :ivar deletes: "sent" messages, as foreign relays do; "seen" ones, as ours; or "never".
    :ivar numbers: the message ids that it gives.
    :ivar tail: what it sends after each answer.
    :ivar says: answers that it gives next, whatever the request; None is silence.
    :ivar faults: of its side of the next connections.
    :ivar unreachable: with what the next attempts to connect fail.
    :ivar requests: everything it was asked.
    """

    def __init__(self) -> None:
        self.closes = False
        self.version: int | None = None
        self.deletes = "sent"
        self.numbers: Iterator[int] = count(1)
        self.tail = b""
        self.says: deque[bytes | None] = deque()
        self.faults: deque[Faults] = deque()
        self.unreachable: deque[Exception] = deque()
        self.requests: list[v2.Request] = []
        self.lines: list[Line] = []
        self.clients: dict[ClientId, tuple[bytes, PublicKey]] = {}
        self.mail: dict[ClientId, list[v2.WaitingMessage]] = {}

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """Open a line."""
        if self.unreachable:
            return fail(self.unreachable.popleft())
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1357))
        faults = self.faults.popleft() if self.faults else None
        self.lines.append(Line(protocol, _ForeignConnection(self), from_server=faults))
        return succeed(protocol)

    def run(self) -> None:
        """Move all lines until nothing moves."""
        while sum(line.step() for line in list(self.lines)):
            pass

    @property
    def codes(self) -> list[int]:
        """What it was asked, as codes."""
        return [request.body.code for request in self.requests]

    def add(self, identity: Identity) -> None:
        """Somebody has registered."""
        self.clients[identity.client_id] = identity.name, identity.private_key.public_key

    def put(self, sender: Identity, recipient: Identity, kind: int, content: bytes) -> None:
        """A message waits."""
        self._put(sender.client_id, recipient.client_id, kind, content)

    def put_text(self, text: str, *, sender: Identity = BERN, recipient: Identity = ANNA) -> None:
        """A text waits, sealed with KEY."""
        self.put(sender, recipient, v2.MessageType.TEXT, KEY.seal(text.encode("utf-8")))

    def put_key(self, *, sender: Identity = BERN, recipient: Identity = ANNA) -> None:
        """KEY waits, sealed for its recipient."""
        sealed = wrap(recipient.private_key.public_key, KEY)
        self.put(sender, recipient, v2.MessageType.SYMMETRIC_KEY, sealed)

    def _put(self, sender: ClientId, recipient: ClientId, kind: int, content: bytes) -> MessageId:
        number = MessageId(next(self.numbers))
        waiting = v2.WaitingMessage(sender, number, kind, content)
        self.mail.setdefault(recipient, []).append(waiting)
        return number

    def answer(self, request: v2.Request, unseen: list[v2.WaitingMessage]) -> bytes:
        """Serve one request. ``unseen``: what this connection was sent and did not react to."""
        self.requests.append(request)
        asker, body = request.client_id, request.body
        if self.version not in (None, request.version):
            return REFUSED
        waiting = self.mail.setdefault(asker, [])
        for message in unseen:
            waiting.remove(message)
        unseen.clear()
        match body:
            case v2.Register(name, key):
                return self._register(name.raw, key)
            case v2.ListClients():
                others = [
                    ListedClient(client_id, name)
                    for client_id, (name, _) in self.clients.items()
                    if client_id != asker
                ]
                return v2.ClientsList(tuple(others)).encode()
            case v2.GetPublicKey(client_id) if client_id in self.clients:
                return v2.PublicKeyOf(client_id, self.clients[client_id][1]).encode()
            case v2.SendMessage(recipient, kind, content) if recipient in self.clients:
                return v2.Stored(recipient, self._put(asker, recipient, kind, content)).encode()
            case v2.FetchMessages():
                answer = v2.WaitingMessages(tuple(waiting)).encode()
                if self.deletes == "sent":
                    waiting.clear()
                elif self.deletes == "seen":
                    unseen.extend(waiting)
                return answer
        return REFUSED

    def _register(self, name: bytes, key: PublicKey) -> bytes:
        if any(taken == name for taken, _ in self.clients.values()):
            return REFUSED
        client_id = ClientId(bytes((len(self.clients) + 1,)) * 16)
        self.clients[client_id] = name, key
        return v2.Registered(client_id).encode()


class _ForeignConnection(Protocol):
    def __init__(self, relay: ForeignRelay) -> None:
        self._relay = relay
        self._parser = Parser(v2.RequestCodec())
        self._unseen: list[v2.WaitingMessage] = []

    def dataReceived(self, data: bytes) -> None:
        self._parser.receive_data(data)
        while (request := self._next()) is not NEED_DATA:
            proper = self._relay.answer(request, self._unseen)
            answer = self._relay.says.popleft() if self._relay.says else proper
            if answer is None:
                continue
            self.transport.write(answer + self._relay.tail)
            if self._relay.closes:
                self.transport.loseConnection()

    def _next(self) -> Any:
        try:
            return self._parser.next_event()
        except RemoteProtocolError as error:  # our client sends nothing that deserves it
            raise AssertionError from error


def at_once(function: Callable[..., Any], *arguments: object) -> Deferred[Any]:
    """In place of a thread."""
    return maybeDeferred(function, *arguments)


class ClientCase(SynchronousTestCase):
    """A foreign relay, a folder, and clients that live in folders.

    Its ``setUp`` makes anna's client in ``folder``, and lets the relay know her and bern.
    """

    def setUp(self) -> None:
        scratch = TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)
        self.downloads = self.root / "downloads"
        self.downloads.mkdir()
        self.clock = Clock()
        self.relay = ForeignRelay()
        self.warnings: list[str] = []
        self.shown: list[Message] = []
        for identity in (ANNA, BERN):
            self.relay.add(identity)
        self.folder = self.folder_of(ANNA)
        self.client = self.client_in(self.folder)

    def folder_of(self, identity: Identity | None, name: str = "client") -> Path:
        """A folder, with an identity file."""
        folder = self.root / name
        folder.mkdir()
        if identity is not None:
            (folder / "me.info").write_bytes(identity.encode())
        return folder

    def client_in(self, folder: Path) -> Client:
        """A client that starts now."""
        settings = Settings(download_folder=self.downloads, endpoint=self.relay)
        return Client(
            self.clock, folder, settings, run_in_thread=at_once, warn=self.warnings.append
        )

    def get(self, deferred: Deferred[Any]) -> Any:
        """What it gives, once nothing moves any more."""
        self.relay.run()
        return self.successResultOf(deferred)

    def fails(self, deferred: Deferred[Any], kind: type[Exception]) -> str:
        """The text of the error with which it fails, once nothing moves any more."""
        self.relay.run()
        return str(self.failureResultOf(deferred, kind).value)

    def share_key(self) -> None:
        """anna shares KEY with bern, as in a run before."""
        self.client.keyring.learn_name(ListedClient(BERN.client_id, BERN.name))
        self.client.keyring.share(BERN.client_id, KEY)

    def fetch(self) -> Any:
        """Fetch into ``shown``."""
        return self.get(self.client.fetch(self.shown.append))
