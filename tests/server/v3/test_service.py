"""v3 as a part of a relay: its doors, its address, its end."""

from __future__ import annotations

import io
import socket
import sys
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from messageu.model.v3 import Registration
from messageu.server import Door, Limits, RelayService
from messageu.server._service import EXPIRY_INTERVAL, address_of
from messageu.server.v3 import Offer, TlsFactory
from messageu.store import MemoryStore
from messageu.wire import v3

from .relay import NOW, MemoryClient, MemoryRelay, Person, envelope


class ServiceTests(SynchronousTestCase):
    """The service on a reactor in memory, with v3 alone."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.path = Path(self.mktemp()).absolute()
        self.store = MemoryStore(now=self.now)
        self.stderr = io.StringIO()
        self.patch(sys, "__stderr__", self.stderr)
        door = Door("v3 on tcp:7", serverFromString(self.reactor, "tcp:7:interface=192.0.2.7"))
        offer = Offer((door,), self.path, self.store.accounts, Registration.OPEN, self.now)
        self.service = RelayService((), self.store, self.reactor, Limits(), offer=offer)

    def now(self) -> float:
        """The time of day."""
        return NOW + self.reactor.seconds()

    def client(self) -> MemoryClient:
        """A connection through the door."""
        factory = self.reactor.tcpServers[0][1]
        self.assertIsInstance(factory, TlsFactory)
        relay: Any = MemoryRelay()
        relay.clock, relay.limits, relay.listener = self.reactor, self.service.limits, factory
        return relay.dial()

    def test_start(self) -> None:
        """The port is bound first, before there is a certificate; the start makes it, and says
        what clients are given."""
        self.service.privilegedStartService()
        self.assertEqual(self.reactor.tcpServers[0][0], 7)
        self.assertFalse(self.path.exists())
        with capturedLogs() as events:
            self.service.startService()
        self.assertTrue(self.path.exists())
        (said,) = [event["address"] for event in events if "address" in event]
        self.assertEqual([said], list(self.service.addresses))
        self.assertTrue(said.endswith(f"#{self.service.v3.pin}"))
        self.assertIsInstance(self.client().ask(v3.Hello()), v3.Welcome)

    def test_bad_certificate(self) -> None:
        """A certificate that cannot be used is one line, and the relay does not start."""
        self.path.write_bytes(b"none")
        self.path.chmod(0o600)
        self.assertRaises(SystemExit, self.service.startService)
        self.assertIn(f"messageu: the certificate {self.path} cannot", self.stderr.getvalue())
        self.assertEqual(self.stderr.getvalue().count("\n"), 1)

    def test_stop(self) -> None:
        """A stop says goodbye, and closes the store when everybody is gone."""
        self.service.startService()
        client = self.client()
        stopped = self.service.stopService()
        self.assertEqual(client.pushed(), [v3.GoingAway(5)])
        self.successResultOf(stopped)
        self.assertFalse(self.store.is_open)

    def test_expiry(self) -> None:
        """Mail of v3 has a life of its own, after which it is gone; that of v2 stays."""
        self.service.startService()
        client, person = self.client(), Person()
        client.authenticate(person)
        client.ask(v3.Register(b"anna"))
        client.ask(envelope(person))
        waiting = self.store.accounts.waiting
        for days, expected in ((29, 1), (31, 0)):
            self.reactor.advance(days * 86_400 - self.reactor.seconds() + EXPIRY_INTERVAL)
            mail = self.successResultOf(waiting(person.account, 0, 10, 1000))
            self.assertEqual(len(mail), expected)

    def test_status(self) -> None:
        """What there is to know: the pin, numbers, and nobody."""
        self.service.startService()
        client, person = self.client(), Person()
        client.authenticate(person)
        client.ask(v3.Register(b"anna"))
        client.subscribe()
        client.ask(envelope(person))
        status = dict(self.service.v3.status())
        self.assertEqual(status.pop("v3_pin"), self.service.v3.pin)
        self.assertEqual(
            status,
            {
                "v3_connections": "1 of 4000",
                "v3_registration": "open",
                "v3_subscriptions": 1,
                "v3_pushed": 1,
                "v3_stored": 1,
            },
        )


class AddressTests(SynchronousTestCase):
    """What a client is given."""

    def test_host(self) -> None:
        """The host is that of the door, or this machine's name where the door is at all."""
        here = socket.gethostname()
        for host, expected in (
            (IPv4Address("TCP", "192.0.2.1", 5), "192.0.2.1"),
            (IPv4Address("TCP", "0.0.0.0", 5), here),
            (IPv6Address("TCP", "::", 5), here),
            (IPv6Address("TCP", "2001:db8::1", 5), "[2001:db8::1]"),
        ):
            self.assertEqual(address_of(host, "pin"), f"messageu://{expected}:5#pin")
