"""v3 under attack: the relay over TLS in memory, clients with their databases, and evil relays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3 import _events as events
from messageu.client.v3._errors import StaleState
from messageu.model.v3 import Delivery
from messageu.wire import v3
from tests.client.v3.harness import Database, Device
from tests.server.v3.relay import MemoryClient, MemoryRelay

__all__ = ["Database", "Relay", "V3Case"]


class Relay:
    """A relay over TLS, and what its operator makes of what goes through his hands.

    :ivar on_request: what becomes of a request: it, another, an answer in its place, or nothing.
    :ivar on_response: what a client gets in the place of an answer or a push.
    :ivar seen: what clients have asked, in order.
    """

    def __init__(self, **settings: float) -> None:
        self.inner = MemoryRelay(**settings)
        self.now = self.inner.now
        self.on_request: Callable[[v3.Request], v3.Request | v3.Response | None] = lambda it: it
        self.on_response: Callable[[v3.Response], Iterable[v3.Response]] = lambda it: (it,)
        self.seen: list[v3.RequestBody] = []

    def connect(self) -> End:
        """A new connection."""
        return End(self, self.inner.dial())

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.inner.clock.advance(seconds)


class End:
    """A client's connection."""

    def __init__(self, relay: Relay, client: MemoryClient) -> None:
        self.relay, self.client = relay, client
        self._answers: deque[v3.Response] = deque()

    @property
    def binding(self) -> bytes:
        """What this connection is bound to."""
        return self.client.side.binding

    @property
    def answers(self) -> deque[v3.Response]:
        """What has come and was not taken."""
        for response in self.client.take():
            self._answers.extend(self.relay.on_response(response))
        return self._answers

    def take(self, request: v3.Request) -> None:
        """Carry a request to the relay."""
        self.relay.seen.append(request.body)
        outcome = self.relay.on_request(request)
        if isinstance(outcome, v3.Response):
            self._answers.append(outcome)
        elif outcome is not None:
            self.client.write(outcome.encode())

    def close(self) -> None:
        """Hang up."""
        self.client.close()


class TlsDevice(Device):
    """A client that signs for the channel that it has."""

    end: Any

    def dial(self) -> bool:
        """Connect; False when the profile must be reset first."""
        self.hang_up()
        try:
            self.core.begin()
        except StaleState:
            return False
        self.end = self.relay.connect()
        self.core.connected(self.end.binding)
        return True


class V3Case(SynchronousTestCase):
    """alice and bob are registered, and each other's contacts."""

    settings: dict[str, float] = {}  # noqa: RUF012 - a subclass may say otherwise

    def setUp(self) -> None:
        """Everybody is there."""
        self.relay = Relay(**self.settings)
        self.alice, self.bob = self.device("alice"), self.device("bob")
        self.befriend(self.alice, self.bob)

    def device(self, name: str, *, register: bool = True) -> TlsDevice:
        """A client, which has an account."""
        device = TlsDevice(self.relay, name)
        if register:
            device.core.register(name)
            device.go()
            self.assertTrue(device.told(events.Registered), name)
        return device

    def befriend(self, *devices: TlsDevice) -> None:
        """Make each the others' contact."""
        for device in devices:
            for other in devices:
                if other is not device:
                    device.core.add_contact(other.identity, other.name)

    def settle(self, *devices: TlsDevice, seconds: float = 0.0) -> None:
        """Let clients talk until there is nothing left, and time pass."""
        everybody = devices or (self.alice, self.bob)
        for _ in range(1000):
            for device in everybody:
                if device.end is not None and device.end.client.closed:
                    device.hang_up()
                if device.end is None:
                    device.dial()
            if sum(device.step() for device in everybody):
                continue
            if seconds <= 0:
                return
            self.relay.wait(min(seconds, 2.0))
            seconds -= 2.0
            for device in everybody:
                device.core.tick()
                device.events.extend(device.core.events())
        self.fail("it does not settle")

    def say(self, *texts: str, by: TlsDevice | None = None, to: str = "bob") -> None:
        """alice, or somebody else, writes, and everything happens that follows."""
        speaker = by or self.alice
        for text in texts:
            speaker.core.send_text(to, text)
        self.settle()

    def converse(self) -> None:
        """Both have written to each other, so that the ratchet has turned."""
        self.say("hello")
        self.say("hi", by=self.bob, to="alice")
        self.settle(seconds=10)

    def sent(self) -> list[v3.Send]:
        """All that was sent to the relay."""
        return [body for body in self.relay.seen if isinstance(body, v3.Send)]

    def tamper(self, change: Callable[[Delivery], Iterable[Delivery]]) -> None:
        """The relay changes what it delivers."""

        def changed(response: v3.Response) -> Iterable[v3.Response]:
            if not isinstance(response.body, v3.Deliver):
                return (response,)
            return [
                v3.Response(v3.PUSH, v3.Deliver(delivery))
                for delivery in change(response.body.delivery)
            ]

        self.relay.on_response = changed

    def raw(self, device: TlsDevice) -> MemoryClient:
        """A further connection on which a client is authenticated, and speaks by hand."""
        connection = self.relay.inner.dial()
        welcome = connection.ask(v3.Hello())
        proof = self.proof(device, welcome.nonce, connection.side.binding)
        answer = connection.ask(proof)
        self.assertIsInstance(answer, v3.Authenticated, answer)
        return connection

    def proof(self, device: TlsDevice, nonce: bytes, binding: bytes) -> v3.Authenticate:
        """What a client signs, with its next generation."""
        device.hang_up()
        device.core.begin()
        device.core.connected(binding)
        (hello,) = device.core.requests()
        welcome = v3.Welcome(nonce, int(self.relay.now()), self.terms())
        device.core.receive(v3.Response(hello.correlation, welcome))
        (request,) = device.core.requests()
        device.core.disconnected()
        return request.body

    def terms(self) -> Any:
        """What the relay tells of itself."""
        return self.relay.inner.factory.exchange.postmaster.terms
