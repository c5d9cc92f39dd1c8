"""A relay of v3 in memory, and clients of it that speak the codec of v3 over TLS."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from attrs import evolve, field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from messageu.crypto.certificates import make_certificate
from messageu.model.v3 import (
    BUNDLE_LIFE,
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
from messageu.server import Limits, LimitSettings
from messageu.server._factory import Pseudonyms
from messageu.server._notices import Notices
from messageu.server.v3 import ALPN, RelayFactory, TlsFactory
from messageu.store import News
from messageu.store.v3 import IAccountStore, MemoryAccountStore
from messageu.testing.transport import Faults
from messageu.wire import NEED_DATA, Parser, v3
from tests.server.relay import TurningLine

CERTIFICATE = make_certificate()
NOW = 1_700_000_000.0


@frozen
class Person:
    """Somebody with keys."""

    ed25519: Ed25519PrivateKey = field(factory=Ed25519PrivateKey.generate)
    curve25519: X25519PrivateKey = field(factory=X25519PrivateKey.generate)

    @property
    def keys(self) -> IdentityKeys:
        """What he shows."""
        raw = Encoding.Raw, PublicFormat.Raw
        return IdentityKeys(
            self.ed25519.public_key().public_bytes(*raw),
            self.curve25519.public_key().public_bytes(*raw),
        )

    @property
    def account(self) -> Any:
        """His account id."""
        return self.keys.identity.account_id

    def proof(self, nonce: bytes, binding: bytes, generation: int = 1) -> v3.Authenticate:
        """A signed proof that he is on this connection; of a generation, what counts."""
        generation <<= GENERATION_BITS
        text = authentication_text(nonce, self.keys.identity, generation, binding)
        return v3.Authenticate(self.keys, generation, self.ed25519.sign(text))

    def bundle(self, sequence: int = 1, not_after: float = NOW + BUNDLE_LIFE) -> Bundle:
        """Signed prekeys."""
        bundle = Bundle(
            self.keys.identity,
            sequence,
            int(not_after),
            1,
            bytes(HPKE_KEY_SIZE),
            1,
            bytes(32),
            bytes(64),
        )
        return evolve(bundle, signature=self.ed25519.sign(bundle.signed_text))

    def one_time_keys(self, *key_ids: int) -> tuple[OneTimeKey, ...]:
        """Signed one-time keys."""
        return tuple(
            OneTimeKey(
                key_id,
                bytes(32),
                self.ed25519.sign(one_time_key_text(self.keys.identity, key_id, bytes(32))),
            )
            for key_id in key_ids
        )


_envelope_ids = count(1)


def envelope(recipient: Person, sealed: bytes = b"sealed", number: int | None = None) -> v3.Send:
    """An envelope for somebody, of a number that no other has unless it is given."""
    number = next(_envelope_ids) if number is None else number
    name = EnvelopeId(number.to_bytes(16, "big"))
    return v3.Send(SealedEnvelope(recipient.account, name, 1, sealed))


@implementer(IOpenSSLClientConnectionCreator)
class ClientTls:
    """A client that believes any certificate."""

    def __init__(
        self, protocols: Sequence[bytes] = (ALPN,), version: int = SSL.TLS1_3_VERSION
    ) -> None:
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.context.set_max_proto_version(version)
        if protocols:
            self.context.set_alpn_protos(list(protocols))

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """As Twisted asks for it."""
        return SSL.Connection(self.context, None)


@implementer(IHandshakeListener)
class ClientSide(Protocol):
    """What a client has received, and its channel binding.

    :ivar encrypted: bytes that were received before the handshake was over count as well.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self.binding: bytes | None = None
        self.lost: Failure | None = None

    def handshakeCompleted(self) -> None:
        """Remember the channel binding."""
        tls = self.transport.getHandle()
        self.binding = tls.export_keying_material(b"EXPORTER-Channel-Binding", 32)

    def dataReceived(self, data: bytes) -> None:
        """Remember."""
        self.received += data

    def connectionLost(self, reason: Failure) -> None:
        """Remember."""
        self.lost = reason


@frozen
class _Address:
    host: str


class MemoryRelay:
    """A relay of v3 with a clock; its time begins at ``NOW``."""

    def __init__(
        self,
        store: IAccountStore | None = None,
        registration: Registration = Registration.OPEN,
        clock: Clock | None = None,
        **settings: float,
    ) -> None:
        self.clock = clock or Clock()
        self.store = store if store is not None else MemoryAccountStore(now=self.now)
        verifyObject(IAccountStore, self.store)
        self.limits = Limits(LimitSettings(**settings))
        peer_name, notices = Pseudonyms(), Notices(self.clock)
        self.limits.on_hit = lambda limit, address: notices.note(
            peer_name(address), f"has met a limit: {limit}"
        )
        self.factory = RelayFactory(
            self.store,
            self.clock,
            self.limits,
            now=self.now,
            registration=registration,
            peer_name=peer_name,
            notices=notices,
        )
        self.factory.doStart()
        self.listener = TlsFactory(self.factory, self.clock)
        self.listener.load(CERTIFICATE)

    def hear(self, news: News) -> None:
        """What another relay on the same database has done."""
        self.factory.exchange.postmaster.hear(news)

    def now(self) -> float:
        """The time of day."""
        return NOW + self.clock.seconds()

    def dial(
        self,
        *,
        host: str = "192.0.2.1",
        tls: ClientTls | None = None,
        from_client: Faults | None = None,
        from_server: Faults | None = None,
    ) -> MemoryClient:
        """A new connection, from a host; it must not be refused."""
        protocol = self.listener.buildProtocol(_Address(host))
        assert protocol is not None, "refused"
        return MemoryClient(self, protocol, tls or ClientTls(), from_client, from_server)

    def log_in(
        self, person: Person, generation: int = 1, name: str | None = None, **how: Any
    ) -> MemoryClient:
        """A connection on which somebody is authenticated, and registered if he has a name."""
        client = self.dial(**how)
        client.authenticate(person, generation)
        if name is not None:
            assert client.ask(v3.Register(name.encode())) == v3.Registered()
        return client

    def wait(self, seconds: float, *clients: MemoryClient) -> None:
        """Let time pass, a little at a time, and everything happen that it brings."""
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            for client in clients:
                client.line.run()


class MemoryClient:
    """One client of a :class:`MemoryRelay`."""

    def __init__(
        self,
        relay: MemoryRelay,
        protocol: Protocol,
        tls: ClientTls,
        from_client: Faults | None,
        from_server: Faults | None,
    ) -> None:
        self.relay = relay
        self.side = ClientSide()
        factory = Factory.forProtocol(lambda: self.side)
        outer = TLSMemoryBIOFactory(tls, True, factory, relay.clock).buildProtocol(None)
        self.line = TurningLine(
            relay.clock, outer, protocol, from_client=from_client, from_server=from_server
        )
        self.parser = Parser(v3.ResponseCodec(relay.limits.settings.sealed_size))
        self._correlations = count(1)
        self.line.run()

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self.side.lost is not None

    def send(self, *bodies: v3.RequestBody) -> list[int]:
        """Ask, and let everything happen that follows at once; the correlations."""
        numbers = [next(self._correlations) for _ in bodies]
        requests = zip(numbers, bodies, strict=True)
        self.write(b"".join(v3.Request(number, body).encode() for number, body in requests))
        return numbers

    def write(self, data: bytes) -> None:
        """Put bytes on the line, and let everything happen that follows at once."""
        self.side.transport.write(data)
        self.line.run()

    def take(self) -> list[v3.Response]:
        """What has been answered and pushed since the last time."""
        self.line.run()
        self.parser.receive_data(bytes(self.side.received))
        self.side.received.clear()
        events = []
        while (event := self.parser.next_event()) is not NEED_DATA:
            events.append(event)
        return events

    def pushed(self) -> list[v3.ResponseBody]:
        """What has been pushed since the last time; nothing else must have come."""
        responses = self.take()
        assert all(response.correlation == v3.PUSH for response in responses), responses
        return [response.body for response in responses]

    def sequences(self) -> list[int]:
        """The places of the mail that was pushed since the last time, and nothing else."""
        return [body.delivery.sequence for body in self.pushed()]

    def sequences_behind(self, correlation: int) -> list[int]:
        """The same, behind the answer to a request."""
        answer, *pushes = self.take()
        assert answer.correlation == correlation, answer
        return [push.body.delivery.sequence for push in pushes]

    def ask(self, body: v3.RequestBody) -> v3.ResponseBody:
        """Send a request; its answer. Pushes are kept."""
        (answer,) = self.ask_all(body)
        return answer

    def ask_all(self, *bodies: v3.RequestBody) -> list[v3.ResponseBody]:
        """Send requests at once; their answers, in the order of the requests. Pushes are kept."""
        numbers = self.send(*bodies)
        responses = self.take()
        answers = {response.correlation: response.body for response in responses}
        for response in responses:
            if response.correlation == v3.PUSH:
                self.side.received += response.encode()
        return [answers[number] for number in numbers]

    def authenticate(self, person: Person, generation: int = 1) -> v3.Authenticated:
        """Say who it is; it must be believed."""
        answer = self.attempt(person, generation)
        assert isinstance(answer, v3.Authenticated), answer
        return answer

    def attempt(self, person: Person, generation: int = 1) -> v3.ResponseBody:
        """Say who it is; the answer."""
        welcome = self.ask(v3.Hello())
        assert isinstance(welcome, v3.Welcome), welcome
        return self.ask(person.proof(welcome.nonce, self.side.binding, generation))

    def subscribe(self, messages: int = 100, size: int = 2**20) -> None:
        """Subscribe; it must be granted."""
        assert self.ask(v3.Subscribe(messages, size)) == v3.Subscribed()

    def close(self) -> None:
        """Go."""
        self.side.transport.loseConnection()
        self.line.run()
