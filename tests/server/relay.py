"""A relay in memory, and lines to it: what the tests of the server stand on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.components import proxyForInterface
from zope.interface.verify import verifyObject

from messageu.model import NOBODY, ClientId, Envelope, PublicKey, UserName
from messageu.server import Limits, LimitSettings, RelayFactory, RelayProtocol, read_networks
from messageu.server._proxied import ProxiedFactory
from messageu.store import IMailboxStore, MemoryStore
from messageu.testing.transport import Faults, HalfCloseableRecorder, Line
from messageu.wire import NEED_DATA, Parser, v2

KEY = PublicKey(bytes(range(160)))


def answers_in(data: bytes) -> list[v2.ResponseEvent]:
    """Everything that a client would read from these bytes; they must end with an answer."""
    parser = Parser(v2.ResponseCodec())
    parser.receive_data(bytes(data))
    events = []
    while (event := parser.next_event()) is not NEED_DATA:
        events.append(event)
    assert not parser.mid_frame, "the answers end in the middle of a frame"
    return events


class SlowStore(proxyForInterface(IMailboxStore, "store")):
    """A store whose ``put`` answers when the test says so.

    :ivar waiting: the sends that were not answered yet.
    """

    def __init__(self, store: IMailboxStore) -> None:
        super().__init__(store)
        self.waiting: list[tuple[Sequence[Envelope], Deferred[Any]]] = []

    def put(self, envelopes: Sequence[Envelope]) -> Deferred[Any]:
        """Wait."""
        answer: Deferred[Any] = Deferred()
        self.waiting.append((envelopes, answer))
        return answer

    def finish(self, number: int) -> None:
        """Do one of the sends now, and answer it."""
        envelopes, answer = self.waiting.pop(number)
        self.store.put(envelopes).chainDeferred(answer)


@frozen
class _Address:
    host: str


class MemoryRelay:
    """A relay with a clock, and unless another is given a store, in memory."""

    def __init__(self, store: IMailboxStore | None = None, **settings: float) -> None:
        self.clock = Clock()
        self.store = store if store is not None else MemoryStore(now=self.clock.seconds)
        verifyObject(IMailboxStore, self.store)
        self.store.open()
        self.limits = Limits(LimitSettings(**settings))
        self.factory = RelayFactory(self.store, self.clock, self.limits)
        # The exchange of a factory asks the kernel; here each end of a line knows its own queues.
        self.factory.exchange = evolve(self.factory.exchange, probe_of=lambda end: end)
        self.factory.doStart()

    def dial(
        self,
        *,
        host: str = "192.0.2.1",
        from_client: Faults | None = None,
        from_server: Faults | None = None,
    ) -> MemoryClient:
        """A new connection, from a host; it must not be refused."""
        protocol = self.factory.buildProtocol(_Address(host))
        assert protocol is not None, "refused"
        return MemoryClient(self, protocol, from_client, from_server)

    def behind_balancer(self, networks: str = "10.0.0.0/8") -> ProxiedFactory:
        """What makes its connections when balancers in some networks pass them on."""
        exchange = self.factory.exchange
        return ProxiedFactory(
            self.factory,
            read_networks(networks),
            self.clock,
            self.limits,
            lambda host, what: exchange.notices.note(exchange.peer_name(host), what),
        )

    def pass_on(
        self, factory: ProxiedFactory, header: bytes, host: str = "10.0.0.1"
    ) -> MemoryClient:
        """A new connection by way of a balancer, which has sent this; it must not be refused."""
        protocol = factory.buildProtocol(_Address(host))
        assert protocol is not None, "refused"
        client = MemoryClient(self, protocol, None, None)
        client.send(header)
        return client

    def register(self, name: str) -> ClientId:
        """A new client."""
        client = self.dial()
        (answer,) = client.ask(v2.Register(UserName.from_text(name), KEY))
        client.line.client.loseConnection()
        client.line.run()
        return answer.client_id

    def send(self, sender: ClientId, recipient: ClientId, content: bytes = b"x") -> None:
        """Put a message into a mailbox; it must be accepted."""
        client = self.dial()
        (answer,) = client.ask(v2.SendMessage(recipient, 3, content), sender)
        assert isinstance(answer, v2.Stored)
        client.line.client.loseConnection()
        client.line.run()

    def waiting(self, client_id: ClientId) -> list[bytes]:
        """The contents of what waits for a client; they go on waiting."""
        lease = _result(self.store.lease(client_id, 10**6, 10**9, 10**9))
        _result(self.store.release(lease))
        return [content for *_, content in lease.first.pieces]


class TurningLine(Line):
    """A line whose turns are turns of a clock as well: what is due happens."""

    def __init__(self, clock: Clock, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clock = clock

    def run(self) -> None:
        """Go on until nothing moves and nothing is due."""
        super().run()
        while any(call.getTime() <= self._clock.seconds() for call in self._clock.calls):
            self._clock.advance(0)
            super().run()


class MemoryClient:
    """The bytes of one client of a :class:`MemoryRelay`."""

    def __init__(
        self,
        relay: MemoryRelay,
        protocol: RelayProtocol,
        from_client: Faults | None,
        from_server: Faults | None,
    ) -> None:
        self.relay = relay
        self.side = HalfCloseableRecorder()
        self.line = TurningLine(
            relay.clock, self.side, protocol, from_client=from_client, from_server=from_server
        )

    def send(self, *data: bytes) -> None:
        """Put bytes onto the line, and let everything happen that follows at once."""
        for piece in data:
            self.line.client.write(piece)
        self.line.run()

    def wait(self, seconds: int) -> None:
        """Let time pass, a little at a time, and everything happen that it brings."""
        for _ in range(seconds * 10):
            self.line.run()
            self.relay.clock.advance(0.1)
        self.line.run()

    def ask(self, body: v2.RequestBody, client_id: ClientId = NOBODY) -> list[v2.ResponseEvent]:
        """Send a request; what is answered at once."""
        self.send(v2.Request(client_id, body).encode())
        return self.take()

    def take(self) -> list[v2.ResponseEvent]:
        """What has been answered since the last time."""
        events = answers_in(bytes(self.side.received))
        self.side.received.clear()
        return events


def _result(deferred: Deferred[Any]) -> Any:
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "the store has not answered yet"
    return results[0]
