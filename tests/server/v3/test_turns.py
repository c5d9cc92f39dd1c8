"""Whoever has kept the relay busy waits until others had their turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.components import proxyForInterface
from twisted.trial.unittest import SynchronousTestCase

from messageu.model.v3 import Handle
from messageu.server.v3._connection import SLICE
from messageu.server.v3._tls import READ, READ_COSTLY, READ_MORE
from messageu.server.v3._turns import ROUND, Turns
from messageu.store.v3 import IAccountStore, MemoryAccountStore
from messageu.testing.transport import Line
from messageu.wire import NEED_DATA, v3

from .relay import NOW, MemoryClient, MemoryRelay, Person, envelope


def turn_of(clock: Clock) -> None:
    """One turn of a reactor: what is due now happens, and not what is asked for meanwhile."""
    for call in [each for each in clock.calls if each.getTime() <= clock.seconds()]:
        if call in clock.calls:
            clock.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)


@define(eq=False)
class Waiter:
    """Somebody whose turns are counted, and who does something in each."""

    does: Callable[[], object] = lambda: None
    turns: int = 0

    def wake(self) -> None:
        self.turns += 1
        self.does()


class TurnsTests(SynchronousTestCase):
    """The row by itself."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = Turns(self.clock)
        self.guests = [Waiter() for _ in range(6)]

    def taken(self) -> list[int]:
        """How many turns each has had, after one more of the reactor."""
        turn_of(self.clock)
        return [guest.turns for guest in self.guests]

    def test_order(self) -> None:
        """In the order in which they came, as much work as there may be in a turn of the reactor."""
        for guest in self.guests:
            self.turns.wait(guest, ROUND / 2)
        self.assertEqual(self.taken(), [1, 1, 0, 0, 0, 0])
        self.assertEqual(self.taken(), [1, 1, 1, 1, 0, 0])
        self.assertEqual(self.taken(), [1] * 6)
        self.assertEqual(self.taken(), [1] * 6)
        self.assertEqual(self.clock.calls, [])

    def test_much_work(self) -> None:
        """However much work it will be, each turn of the reactor is somebody's."""
        for guest in self.guests:
            self.turns.wait(guest, 10 * ROUND)
        self.assertEqual(self.taken(), [1, 0, 0, 0, 0, 0])
        self.assertEqual(self.taken(), [1, 1, 0, 0, 0, 0])

    def test_again(self) -> None:
        """Whoever waits again during his turn stands behind all others."""
        self.guests[0].does = lambda: self.turns.wait(self.guests[0], ROUND)
        self.turns.wait(self.guests[0], ROUND)
        self.turns.wait(self.guests[1], ROUND)
        self.assertEqual(self.taken(), [1, 0, 0, 0, 0, 0])
        self.assertEqual(self.taken(), [1, 1, 0, 0, 0, 0])
        self.assertEqual(self.taken(), [2, 1, 0, 0, 0, 0])


class HardStore(proxyForInterface(IAccountStore, "store")):
    """A store in which looking for a name is work: so many seconds go by."""

    work = 0.0
    clock: Clock

    def __init__(self) -> None:
        super().__init__(MemoryAccountStore(now=lambda: NOW))

    def resolve(self, name: Handle) -> Deferred[Any]:
        self.clock.rightNow += self.work
        return self.store.resolve(name)


class RelayTests(SynchronousTestCase):
    """Connections that take turns."""

    def setUp(self) -> None:
        self.store = HardStore()
        self.relay = MemoryRelay(self.store, resolves_a_minute=1_000_000)
        self.store.clock = self.relay.clock
        self.anna, self.bert = Person(), Person()
        self.busy = self.relay.log_in(self.anna, name="anna")
        self.other = self.relay.log_in(self.bert, name="bert")

    def move(self, client: MemoryClient) -> None:
        """All that can move on its line within this turn of the reactor."""
        Line.run(client.line)

    def say(self, client: MemoryClient, *bodies: v3.RequestBody, first: int = 1000) -> None:
        """Ask, and let it arrive."""
        requests = [v3.Request(first + number, body) for number, body in enumerate(bodies)]
        client.side.transport.write(b"".join(request.encode() for request in requests))
        client.side.transport._aggregator.flush()
        self.move(client)

    def turn(self) -> None:
        """One turn of the reactor."""
        turn_of(self.relay.clock)
        self.move(self.busy)
        self.move(self.other)

    def answers(self, client: MemoryClient) -> int:
        """How many answers have arrived since the last time."""
        client.parser.receive_data(bytes(client.side.received))
        client.side.received.clear()
        return sum(1 for _ in iter(client.parser.next_event, NEED_DATA))

    def test_many_requests(self) -> None:
        """Of requests that are answered at once some are taken, and the others when it is their turn;
        whoever asks meanwhile is answered before them. All of them are answered."""
        self.say(self.busy, *[v3.Ping()] * 600)
        self.turn()
        self.turn()
        self.say(self.other, v3.Ping())
        got = self.answers(self.busy)
        self.turn()
        self.assertEqual(self.answers(self.other), 1)
        got += self.answers(self.busy)
        self.assertTrue(SLICE <= got <= 600 - SLICE, got)
        while got < 600:
            self.turn()
            got += self.answers(self.busy)
        self.assertEqual(self.busy.ask(v3.Ping()), v3.Pong())

    def test_gone_meanwhile(self) -> None:
        """Whoever is gone when it is his turn is not asked for."""
        self.say(self.busy, *[v3.Ping()] * 250)
        self.busy.line.reset()
        self.turn()
        self.turn()
        self.assertEqual(self.relay.limits.connections, 1)
        self.assertEqual(self.other.ask(v3.Ping()), v3.Pong())

    def test_large_requests(self) -> None:
        """Of a large request a little is read, and the rest when it is its turn: much at once."""
        server = self.busy.line.server
        self.say(self.busy, envelope(self.bert, bytes(200_000)))
        self.assertEqual(server.bufferSize, READ_MORE)
        self.assertGreater(server.unread(), 200_000 - READ)
        self.turn()
        self.assertLess(server.unread(), 200_000 - READ_MORE)
        while not self.answers(self.busy):
            self.turn()
        self.assertEqual(self.busy.ask(v3.Ping()), v3.Pong())
        self.assertEqual(server.bufferSize, READ)

    def test_costly_requests(self) -> None:
        """From whoever has a lot to say that is work, less is read at once, and the more work it was
        the fewer of them have their turn together."""
        self.store.work = 0.01
        server = self.busy.line.server
        self.busy.ask(v3.Resolve(b"anna"))
        self.store.work = 0.002
        names = [v3.Resolve(b"anna")] * 400
        self.say(self.busy, *names)
        self.assertEqual(server.bufferSize, READ_COSTLY)
        left = server.unread()
        self.turn()
        self.assertGreaterEqual(server.unread(), left - READ_COSTLY)
        got, turns = self.answers(self.busy), 0
        while got < len(names):
            self.turn()
            turns += 1
            got += self.answers(self.busy)
        self.assertGreater(turns, 5)

    def test_work_at_once(self) -> None:
        """After one request that was work the next is read when others had their turn."""
        server = self.busy.line.server
        self.store.work = 0.05
        self.say(self.busy, v3.Resolve(b"anna"))
        self.say(self.busy, v3.Ping(), first=2000)
        self.assertGreater(server.unread(), 0)
        self.turn()
        self.turn()
        self.assertEqual(self.answers(self.busy), 2)

    def test_as_much_as_there_may_be(self) -> None:
        """Where there are many connections, never more is read at once than each may hold."""
        relay = MemoryRelay(input_bytes=2**20, sealed_size=2**19, v3_connections=10_000)
        for number in range(250):
            self.assertIsNotNone(relay.limits.admit(f"198.51.100.{number}"))
        client = relay.log_in(self.anna, name="anna")
        relay.wait(1.5, client)
        client.side.transport.write(v3.Request(99, envelope(self.anna, bytes(100_000))).encode())
        client.side.transport._aggregator.flush()
        self.move(client)
        self.assertEqual(client.line.server.bufferSize, relay.limits.read_size)
        self.assertEqual(relay.limits.read_size, 4096)
