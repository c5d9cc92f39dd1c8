"""Connections that rest, and what they keep meanwhile."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from messageu.server import RelayProtocol
from messageu.server._recent import Recent
from messageu.wire import v2

from .relay import MemoryClient, MemoryRelay


class RecentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.gone: list[str] = []
        self.recent = Recent(2, self.gone.append)

    def test_longest_quiet_makes_way(self) -> None:
        """When there are too many, the one that was quiet for longest makes way."""
        for member in "abac":
            self.recent.touch(member)
        self.assertEqual(self.gone, ["b"])

    def test_forgotten(self) -> None:
        """Who is gone needs no place, and is not told to make way."""
        for member in "ab":
            self.recent.touch(member)
        self.recent.forget("a")
        self.recent.touch("c")
        self.assertEqual(self.gone, [])
        self.recent.forget("nobody")


class RestTests(SynchronousTestCase):
    """A relay on which one connection may keep its session while it rests."""

    def setUp(self) -> None:
        self.relay = MemoryRelay()
        self.anna = self.relay.register("anna")
        self.relay.factory.exchange = evolve(
            self.relay.factory.exchange, recent=Recent(1, RelayProtocol.sleep)
        )
        self.first, self.second = self.relay.dial(), self.relay.dial()

    def awake(self, client: MemoryClient) -> bool:
        return client.line.server.protocol._session is not None

    def talk(self, client: MemoryClient) -> None:
        (answer,) = client.ask(v2.SendMessage(self.anna, 3, b"x"), self.anna)
        self.assertIsInstance(answer, v2.Stored)

    def test_silent_client(self) -> None:
        """Who has not spoken yet has no session, and may go."""
        self.assertFalse(self.awake(self.first))
        self.first.line.client.loseConnection()
        self.first.line.run()
        self.assertTrue(self.first.line.server.closed)

    def test_session_goes_and_comes(self) -> None:
        """Whoever rests while others speak loses nothing but time, however often that happens."""
        for _ in range(3):
            self.talk(self.first)
            self.assertTrue(self.awake(self.first))
            self.talk(self.second)
            self.assertFalse(self.awake(self.first))
        self.assertEqual(len(self.relay.waiting(self.anna)), 6)

    def test_half_a_frame_is_kept(self) -> None:
        """Who has begun a request keeps what was read of it."""
        self.talk(self.first)
        frame = v2.Request(self.anna, v2.SendMessage(self.anna, 3, b"x")).encode()
        self.first.send(frame[:30])
        self.talk(self.second)
        self.assertTrue(self.awake(self.first))
        self.first.send(frame[30:])
        self.assertEqual([type(event) for event in self.first.take()], [v2.Stored])

    def test_unproven_delivery_is_kept(self) -> None:
        """Who has fetched and not shown that it arrived is remembered, and settles later."""
        self.relay.send(self.anna, self.anna, b"mail")
        self.first.ask(v2.FetchMessages(), self.anna)
        self.talk(self.second)
        self.assertTrue(self.awake(self.first))
        self.first.ask(v2.ListClients(), self.anna)
        self.assertEqual(self.relay.waiting(self.anna), [b"x"])

    def test_idle_since_the_last_request(self) -> None:
        """How long a connection has been idle counts from its last request, asleep or not."""
        idle = self.relay.limits.settings.idle_deadline
        self.second.wait(int(idle) - 10)
        self.talk(self.first)
        self.talk(self.second)
        self.assertFalse(self.awake(self.first))
        self.first.wait(int(idle) - 10)
        self.assertFalse(self.first.line.server.closed)
        self.first.wait(20)
        self.assertTrue(self.first.line.server.closed)

    def test_stop_and_abort(self) -> None:
        """A connection that has no session is closed, or given up, at once."""
        self.first.line.server.protocol.stop()
        self.second.line.server.protocol.abort()
        for client in (self.first, self.second):
            client.line.run()
            self.assertTrue(client.line.server.closed)
