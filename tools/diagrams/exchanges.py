"""Sequence diagrams (Mermaid) of exchanges that have taken place, between clients and a relay in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from attrs import evolve, field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from messageu.crypto.certificates import make_certificate
from messageu.model import NOBODY, ClientId, PublicKey, UserName
from messageu.model.v3 import (
    GENERATION_BITS,
    HPKE_KEY_SIZE,
    Bundle,
    EnvelopeId,
    IdentityKeys,
    OneTimeKey,
    Registration,
    SealedEnvelope,
    authentication_text,
    one_time_key_text,
)
from messageu.server import Limits, LimitSettings, RelayFactory
from messageu.server import v3 as server_v3
from messageu.server._notices import Notices
from messageu.store import MemoryStore
from messageu.store.v3 import MemoryAccountStore
from messageu.testing.transport import Line
from messageu.wire import NEED_DATA, Parser, v2, v3

ADDRESS: Final = IPv4Address("TCP", "192.0.2.1", 40000)
RELAY: Final = "relay"
NOW: Final = 1_700_000_000.0
TURNS: Final = 4
"""Turns of lines and clock after which everything that follows from a request has happened."""


@frozen
class Frame:
    """One frame: who sent it to whom, and what it is called."""

    source: str
    target: str
    label: str


@frozen
class Log:
    """The frames of an exchange, as they were sent and received."""

    frames: list[Frame] = field(factory=list)

    def asked(self, who: str, label: str) -> None:
        """A client has sent something."""
        self.frames.append(Frame(who, RELAY, label))

    def told(self, who: str, label: str) -> None:
        """A client has received something."""
        self.frames.append(Frame(RELAY, who, label))


def sequence_diagram(frames: Iterable[Frame]) -> str:
    """The text of a diagram; what a relay sends is dashed."""
    frames = list(frames)
    names = dict.fromkeys(name for frame in frames for name in (frame.source, frame.target))
    names.pop(RELAY)
    first, *others = names
    lines = ["sequenceDiagram"]
    lines += [f"    participant {name}" for name in (first, RELAY, *others)]
    for frame in frames:
        arrow = "-->>" if frame.source == RELAY else "->>"
        lines.append(f"    {frame.source}{arrow}{frame.target}: {frame.label}")
    return "\n".join(lines)


def _words(code: Any) -> str:
    return f"{code.value} {code.name.lower().replace('_', ' ')}"


# v2


class _V2Client(Protocol):
    """One client of v2, which keeps its connection."""

    transport: Any

    def __init__(self, name: str, log: Log, factory: RelayFactory, clock: Clock) -> None:
        self._name = name
        self._log = log
        self._parser = Parser(v2.ResponseCodec())
        self._items: list[str] = []
        self._last: Any = None
        self.client_id = NOBODY
        relay: Any = factory.buildProtocol(ADDRESS)
        self._clock, self._line = clock, Line(self, relay)

    def ask(self, body: v2.RequestBody) -> Any:
        """Send a request; its answer, or the end of it."""
        kind = f", {_type(body.type)}" if isinstance(body, v2.SendMessage) else ""
        self._log.asked(self._name, _words(body.code) + kind)
        self.transport.write(v2.Request(self.client_id, body).encode())
        for _ in range(TURNS):
            self._line.run()
            self._clock.advance(0)
        return self._last

    def dataReceived(self, data: bytes) -> None:
        self._parser.receive_data(data)
        while (event := self._parser.next_event()) is not NEED_DATA:
            self._heard(event)

    def _heard(self, event: v2.ResponseEvent) -> None:
        self._last = event
        match event:
            case v2.WaitingMessage():
                self._items.append(_type(event.type))
                return
            case v2.EndOfMessages():
                label = _words(v2.ResponseCode.WAITING_MESSAGES)
            case v2.EndOfClients():
                label = _words(v2.ResponseCode.CLIENTS_LIST)
            case v2.Registered() | v2.PublicKeyOf() | v2.Stored() | v2.GeneralError():
                label = _words(event.code)
            case _:
                return
        if isinstance(event, v2.EndOfMessages):
            label += ", " + (", ".join(self._items) or "none")
        self._items.clear()
        self._log.told(self._name, label)


def _type(number: int) -> str:
    return v2.MessageType(number).name.lower().replace("_", " ")


def v2_exchange() -> list[Frame]:
    """Two clients register, exchange a key, and one writes to the other."""
    log, clock = Log(), Clock()
    store = MemoryStore(now=clock.seconds)
    store.open()
    factory = RelayFactory(store, clock, Limits(LimitSettings()))
    factory.doStart()
    alice, bob = (_V2Client(name, log, factory, clock) for name in ("alice", "bob"))
    for client, name in ((alice, b"alice"), (bob, b"bob")):
        client.client_id = client.ask(v2.Register(UserName(name), PublicKey(bytes(160)))).client_id
    alice.ask(v2.ListClients())
    alice.ask(_message(bob.client_id, v2.MessageType.KEY_REQUEST, b""))
    bob.ask(v2.FetchMessages())
    bob.ask(v2.GetPublicKey(alice.client_id))
    bob.ask(_message(alice.client_id, v2.MessageType.SYMMETRIC_KEY, bytes(128)))
    alice.ask(v2.FetchMessages())
    alice.ask(_message(bob.client_id, v2.MessageType.TEXT, bytes(16)))
    bob.ask(v2.FetchMessages())
    bob.ask(v2.FetchMessages())
    return log.frames


def _message(recipient: ClientId, kind: v2.MessageType, content: bytes) -> v2.SendMessage:
    return v2.SendMessage(recipient, kind, content)


# v3


@implementer(IOpenSSLClientConnectionCreator)
class _Tls:
    """A client's side of TLS: the relay is in the same process, so that nobody looks at its key."""

    def __init__(self) -> None:
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self._context.set_alpn_protos([server_v3.ALPN])

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """As Twisted asks for it."""
        return SSL.Connection(self._context, None)


@implementer(IHandshakeListener)
class _V3Client(Protocol):
    """One client of v3, whose messages are not sealed: a relay does not look into them."""

    transport: Any

    def __init__(self, name: str, log: Log, listener: server_v3.TlsFactory, clock: Clock) -> None:
        self.name = name
        self.lines: list[Line] = []
        self._log = log
        self._key = Ed25519PrivateKey.generate()
        self.keys = IdentityKeys(self._key.public_key().public_bytes_raw(), bytes(32))
        self._parser: Parser[v3.Response] = Parser(v3.ResponseCodec())
        self._correlation = 0
        self._binding = b""
        self._last: Any = None
        factory = Factory.forProtocol(lambda: self)
        outer: Any = TLSMemoryBIOFactory(_Tls(), True, factory, clock).buildProtocol(ADDRESS)
        relay: Any = listener.buildProtocol(ADDRESS)
        self._clock, self._line = clock, Line(outer, relay)
        self._everybody = [self]
        self.run()

    def meet(self, *everybody: _V3Client) -> None:
        """Whoever's connections move when this one's do."""
        self._everybody = list(everybody)

    def run(self) -> None:
        """Let everything happen that is due."""
        for _ in range(TURNS):
            for client in self._everybody:
                client._line.run()
            self._clock.advance(0)

    def handshakeCompleted(self) -> None:
        """Remember the channel binding."""
        tls = self.transport.getHandle()
        self._binding = tls.export_keying_material(b"EXPORTER-Channel-Binding", 32)

    def dataReceived(self, data: bytes) -> None:
        self._parser.receive_data(data)
        while (event := self._parser.next_event()) is not NEED_DATA:
            number = f" [{event.correlation}]" if event.correlation else ", pushed"
            self._log.told(self.name, _words(event.body.code) + number)
            self._last = event.body

    def ask(self, body: v3.RequestBody) -> Any:
        """Send a request; what came last."""
        self._correlation += 1
        self._log.asked(self.name, f"{_words(body.code)} [{self._correlation}]")
        self.transport.write(v3.Request(self._correlation, body).encode())
        self.run()
        return self._last

    def log_in(self) -> None:
        """Say who it is, and register."""
        nonce = self.ask(v3.Hello()).nonce
        generation = 1 << GENERATION_BITS
        text = authentication_text(nonce, self.keys.identity, generation, self._binding)
        self.ask(v3.Authenticate(self.keys, generation, self._key.sign(text)))
        self.ask(v3.Register(self.name.encode()))

    def publish(self) -> None:
        """Publish prekeys."""
        identity = self.keys.identity
        bundle = Bundle(identity, 1, int(NOW) + 1, 1, bytes(HPKE_KEY_SIZE), 1, bytes(32), bytes(64))
        bundle = evolve(bundle, signature=self._key.sign(bundle.signed_text))
        signature = self._key.sign(one_time_key_text(identity, 1, bytes(32)))
        self.ask(v3.Publish(bundle, (OneTimeKey(1, bytes(32), signature),)))


def v3_exchange() -> list[Frame]:
    """Two clients register, one subscribes, and the other writes to it."""
    log, clock = Log(), Clock()
    factory = server_v3.RelayFactory(
        MemoryAccountStore(now=lambda: NOW),
        clock,
        Limits(LimitSettings()),
        now=lambda: NOW,
        registration=Registration.OPEN,
        peer_name=str,
        notices=Notices(clock),
    )
    factory.doStart()
    listener = server_v3.TlsFactory(factory, clock)
    listener.load(make_certificate())
    alice, bob = (_V3Client(name, log, listener, clock) for name in ("alice", "bob"))
    alice.meet(alice, bob)
    bob.log_in()
    bob.publish()
    bob.ask(v3.Subscribe(64, 2**20))
    alice.log_in()
    bob_id = alice.ask(v3.Resolve(b"bob")).keys.identity.account_id
    alice.ask(v3.Claim(bob_id))
    alice.ask(v3.Send(SealedEnvelope(bob_id, EnvelopeId(bytes(16)), 1, bytes(1648))))
    bob.ask(v3.Acknowledge((bob._last.delivery.sequence,)))
    return log.frames
