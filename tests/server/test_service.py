"""The relay as a service: how it starts, fails to, and stops."""

from __future__ import annotations

import io
import os
import sys
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import NOBODY, Envelope, PublicKey, UserName
from messageu.server import (
    Balancing,
    Door,
    Expiry,
    Health,
    Limits,
    RelayService,
    StartFailed,
    read_networks,
)
from messageu.server._health import HealthFactory
from messageu.server._probe import probe_of, proxied_probe_of
from messageu.server._proxied import ProxiedFactory
from messageu.server._readiness import Condition
from messageu.server._service import EXPIRY_INTERVAL, SPARE_DESCRIPTORS, descriptors_for
from messageu.store import MemoryStore, StoreUnavailable, StoreUnusable
from messageu.testing.transport import HalfCloseableRecorder, Line
from messageu.wire import v2


class BrokenDoor:
    """An endpoint whose port cannot be had."""

    def listen(self, _: object) -> Deferred[Any]:
        """Fail."""
        return fail(CannotListenError("127.0.0.1", 1, OSError(98, "Address already in use")))


class ServiceTests(SynchronousTestCase):
    """The service on a reactor in memory."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.store = MemoryStore(now=self.reactor.seconds)
        self.stderr = io.StringIO()
        self.patch(sys, "__stderr__", self.stderr)

    def make(self, *doors: Door, expiry: Expiry | None = None) -> RelayService:
        """A service with a door, or with these."""
        door = Door("tcp:1357", serverFromString(self.reactor, "tcp:1357"))
        return RelayService(doors or (door,), self.store, self.reactor, Limits(), expiry or None)

    def test_twistd(self) -> None:
        """Under twistd the port is bound before the store is opened, and once."""
        service = self.make()
        service.privilegedStartService()
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [1357])
        self.assertFalse(self.store.is_open)
        service.startService()
        self.assertTrue(self.store.is_open)
        self.assertEqual(len(self.reactor.tcpServers), 1)

    def test_twist(self) -> None:
        """Under twist, which knows no privileged start, it is bound with the rest."""
        self.make().startService()
        self.assertEqual(len(self.reactor.tcpServers), 1)

    def test_several_doors(self) -> None:
        """It listens at each of its doors."""
        doors = [Door(text, serverFromString(self.reactor, text)) for text in ("tcp:1", "tcp:2")]
        self.make(*doors).startService()
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [1, 2])

    def test_stop(self) -> None:
        """When it stops, the store is closed last, and no timer is left."""
        service = self.make(expiry=Expiry(10.0, self.reactor.seconds))
        service.startService()
        self.successResultOf(service.stopService())
        self.assertFalse(self.store.is_open)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop_before_start(self) -> None:
        """A service that never started stops."""
        self.successResultOf(self.make().stopService())

    def test_stop_waits_for_connections(self) -> None:
        """The store stays open until the last connection is gone."""
        service = self.make()
        service.startService()
        gone: Deferred[None] = Deferred()
        self.patch(service._factory, "drain", lambda: gone)
        stopped = service.stopService()
        self.assertNoResult(stopped)
        self.assertTrue(self.store.is_open)
        gone.callback(None)
        self.successResultOf(stopped)
        self.assertFalse(self.store.is_open)

    def test_port_in_use(self) -> None:
        """A port that cannot be had is one line and an exit with 1."""
        door = Door("tcp:1357", BrokenDoor())
        for start in ("privilegedStartService", "startService"):
            exit_ = self.assertRaises(SystemExit, getattr(self.make(door), start))
            self.assertEqual(exit_.code, 1)
            self.assertEqual(
                self.stderr.getvalue(),
                "messageu: cannot listen on tcp:1357: [Errno 98] Address already in use\n",
            )
            self.stderr.truncate(0)
            self.stderr.seek(0)

    def test_unusable_store(self) -> None:
        """So is a store that cannot be opened."""

        def refuse(_: MemoryStore) -> None:
            raise StoreUnusable("it is not a database")

        self.patch(MemoryStore, "open", refuse)
        self.assertEqual(self.assertRaises(SystemExit, self.make().startService).code, 1)
        self.assertEqual(self.stderr.getvalue(), "messageu: it is not a database\n")

    def test_failure_in_a_daemon(self) -> None:
        """In the child of a daemon a failure is an ordinary exception, for the parent to hear."""
        service = self.make(Door("tcp:1357", BrokenDoor()))
        self.patch(os, "getpid", lambda: -1)
        error = self.assertRaises(StartFailed, service.privilegedStartService)
        self.assertIn("cannot listen on tcp:1357", str(error))
        self.assertEqual(self.stderr.getvalue(), "")

    def test_expiry(self) -> None:
        """Mail that has waited for too long is deleted at the start and every hour."""
        self.store.open()
        anna = self.successResultOf(self.store.register(UserName(b"a"), PublicKey(bytes(160))))
        service = self.make(expiry=Expiry(EXPIRY_INTERVAL * 1.5, self.reactor.seconds))
        service.startService()
        self.successResultOf(self.store.put([Envelope(anna, anna, 3, b"old")]))

        def waiting() -> int:
            lease = self.successResultOf(self.store.lease(anna, 10, 1000, 1000))
            self.successResultOf(self.store.release(lease))
            return int(lease.count)

        self.reactor.advance(EXPIRY_INTERVAL)
        self.assertEqual(waiting(), 1)
        self.reactor.advance(EXPIRY_INTERVAL)
        self.assertEqual(waiting(), 0)

    def test_expiry_fails(self) -> None:
        """When old mail cannot be deleted, it is tried again an hour later."""
        results = [fail(StoreUnavailable("full")), succeed(3)]
        self.patch(MemoryStore, "expire", lambda *_: results.pop(0))
        self.make(expiry=Expiry(1.0, self.reactor.seconds)).startService()
        self.assertEqual(len(results), 1)
        self.reactor.advance(EXPIRY_INTERVAL)
        self.assertEqual(results, [])

    def test_late_failure(self) -> None:
        """An endpoint that takes its time to fail does so in the log."""
        listening: Deferred[Any] = Deferred()
        service = self.make(Door("slow:1", mock.Mock(listen=lambda _: listening)))
        service.startService()
        with capturedLogs() as events:
            listening.errback(OSError("no such thing"))
        self.assertEqual(
            [(event["log_level"], event["line"]) for event in events],
            [(LogLevel.critical, "cannot listen on slow:1: no such thing")],
        )


class Port:
    """An endpoint, and the port that it makes.

    :ivar factory: what listens there, while something does.
    """

    factory: Any = None

    def listen(self, factory: Any) -> Deferred[Any]:
        """Listen."""
        self.factory = factory
        factory.doStart()
        return succeed(self)

    def stopListening(self) -> None:  # noqa: N802 - Twisted's name
        """Listen no more."""
        self.factory.doStop()
        self.factory = None


class BalancingTests(SynchronousTestCase):
    """What a relay does for a load balancer, from its start to its end."""

    def start(self, drain: float = 0.0, **agreed: Any) -> RelayService:
        """A relay that serves at one door, and is asked at another how it is."""
        self.reactor = MemoryReactorClock()
        self.store = MemoryStore(now=self.reactor.seconds)
        self.door, self.health = Port(), Port()
        self.impatient: list[Any] = []
        self.service = RelayService(
            [Door("a door", self.door)],
            self.store,
            self.reactor,
            Limits(),
            balancing=Balancing(
                health=Health(Door("health", self.health), self.store),
                drain=drain,
                heed=self.impatient.append,
                **agreed,
            ),
        )
        self.service.startService()
        return self.service

    def condition(self) -> Condition:
        """What whoever asks is told."""
        return self.successResultOf(self.health.factory.readiness.ask())

    def test_serving(self) -> None:
        """It is ready when it serves, and says at the start where it is asked."""
        with capturedLogs() as events:
            self.start()
        self.assertIsInstance(self.health.factory, HealthFactory)
        self.assertIs(self.condition(), Condition.READY)
        self.assertEqual(events[-1]["doors"], "a door and health")

    def test_drain(self) -> None:
        """Told to stop, it is not ready at once; but it lets in whoever comes, and answers, until
        the time is over."""
        stopped = self.start(drain=5).stopService()
        lines: list[Line] = []
        for turn in range(5):
            self.assertIs(self.condition(), Condition.DRAINING)
            lines.append(Line(HalfCloseableRecorder(), self.door.factory.buildProtocol(None)))
            for number, line in enumerate(lines):
                name = UserName(b"%d in turn %d" % (number, turn))
                line.client.write(
                    v2.Request(NOBODY, v2.Register(name, PublicKey(bytes(160)))).encode()
                )
                line.run()
                self.assertEqual(len(line.client.protocol.received), (turn - number + 1) * 23)
            self.assertNoResult(stopped)
            self.reactor.advance(1)
        self.assertIsNone(self.door.factory)
        for line in lines:
            line.run()
            self.assertTrue(line.server.closed)
        self.successResultOf(stopped)

    def test_impatience(self) -> None:
        """Whoever does not want to wait for that need not."""
        stopped = self.start(drain=5).stopService()
        self.impatient[0]()
        self.successResultOf(stopped)
        self.assertFalse(self.store.is_open)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_drain(self) -> None:
        """Without such a time it stops at once, and nobody is asked for his patience."""
        self.successResultOf(self.start().stopService())
        self.assertEqual(self.impatient, [])
        self.assertEqual((self.door.factory, self.health.factory), (None, None))

    def test_never_started(self) -> None:
        """One that does not serve does not drain."""
        service = RelayService(
            [], self.make_store(), MemoryReactorClock(), Limits(), balancing=Balancing(drain=5)
        )
        self.successResultOf(service.stopService())

    def make_store(self) -> MemoryStore:
        """One that is not open."""
        return MemoryStore(now=lambda: 0.0)

    def test_health_is_last(self) -> None:
        """It can be asked how it is until everybody has gone and the store is closed."""
        service = self.start()
        gone: Deferred[None] = Deferred()
        self.patch(service._factory, "drain", lambda: gone)
        stopped = service.stopService()
        self.assertIsNone(self.door.factory)
        self.assertIs(self.condition(), Condition.DRAINING)
        closed: Deferred[None] = Deferred()
        self.patch(self.store, "close", lambda: closed)
        gone.callback(None)
        self.assertIs(self.condition(), Condition.DRAINING)
        closed.callback(None)
        self.successResultOf(stopped)
        self.assertIsNone(self.health.factory)

    def test_headers(self) -> None:
        """Behind balancers all its doors want headers, but for that of its health. Those whose header
        is awaited when it stops are let go."""
        service = self.start(networks=read_networks("10.0.0.0/8"))
        self.assertIsInstance(self.door.factory, ProxiedFactory)
        self.assertIsInstance(self.health.factory, HealthFactory)
        waiting = self.door.factory.buildProtocol(mock.Mock(host="10.0.0.1"))
        waiting.transport = mock.Mock()
        self.successResultOf(service.stopService())
        waiting.transport.abortConnection.assert_called_once_with()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(service.limits.connections, 0)

    def test_good_byes(self) -> None:
        """What the kernel has acknowledged counts unless a balancer is between, and then if it is
        said to."""
        networks = read_networks("10.0.0.0/8")
        for agreed, probe in (
            ({}, probe_of),
            ({"networks": networks}, proxied_probe_of),
            ({"networks": networks, "goodbyes": True}, probe_of),
        ):
            self.assertIs(self.start(**agreed)._factory.exchange.probe_of, probe)


class DescriptorTests(SynchronousTestCase):
    """How many connections the system allows."""

    def set_hard_limit(self, hard: int) -> list[tuple[int, int]]:
        """Pretend that there is such a limit; the limits that are then set."""
        calls: list[tuple[int, int]] = []
        self.patch(descriptors_for.__globals__["resource"], "getrlimit", lambda _: (10, hard))
        self.patch(
            descriptors_for.__globals__["resource"],
            "setrlimit",
            lambda _, limits: calls.append(limits),
        )
        return calls

    def test_enough(self) -> None:
        """The soft limit is raised to the hard one, which is enough."""
        calls = self.set_hard_limit(20_000)
        self.assertEqual(descriptors_for(10_000), 10_000)
        self.assertEqual(calls, [(20_000, 20_000)])

    def test_too_few(self) -> None:
        """When the hard limit is too low, there are fewer connections, but at least one."""
        self.set_hard_limit(1024)
        self.assertEqual(descriptors_for(10_000), 1024 - SPARE_DESCRIPTORS)
        self.set_hard_limit(10)
        self.assertEqual(descriptors_for(10_000), 1)
