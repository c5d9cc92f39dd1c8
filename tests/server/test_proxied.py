"""Connections that a balancer passes on, in memory; and what the kernel tells of them."""

from __future__ import annotations

import socket
from itertools import count, pairwise

from attrs import evolve
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import ILoggingContext
from twisted.internet.protocol import Factory
from twisted.logger import capturedLogs
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from messageu.model import NOBODY, Envelope, UserName
from messageu.server import BadNetworks, read_networks
from messageu.server._factory import Pseudonyms
from messageu.server._probe import ITransportProbe, ProxiedProbe, proxied_probe_of
from messageu.server._proxied import ProxiedFactory
from messageu.testing.transport import HalfCloseableRecorder, Line
from messageu.wire import v2, v3

from .headers import LOCAL, PROXY, TCP6, UNSPECIFIED, addresses, binary, text
from .relay import KEY, MemoryClient, MemoryRelay, TurningLine
from .v3.relay import ClientSide, ClientTls
from .v3.relay import MemoryRelay as RelayOfV3

HEADERS = (text(), binary(addresses()))
"""A client at 192.0.2.7, in both versions."""

BALANCER = "10.0.0.1"


class NetworkTests(SynchronousTestCase):
    """Where balancers may be."""

    def test_networks(self) -> None:
        """Networks and single addresses, of IPv4 and IPv6, with commas between."""
        networks = read_networks("10.0.0.0/8, 192.0.2.1,2001:db8::/32")
        for host in ("10.255.0.1", "192.0.2.1", "2001:db8::9", "::ffff:10.1.2.3"):
            self.assertIn(host, networks)
        for host in ("11.0.0.1", "192.0.2.2", "2001:db9::", "::ffff:11.0.0.1", "", "/run/socket"):
            self.assertNotIn(host, networks)

    def test_none(self) -> None:
        """What is no network is refused, and so is one with bits of a host in it."""
        for words in ("", "10.0.0.0/8,", "10.0.0.1/8", "10/8", "balancer.example.org", "::/129"):
            self.assertRaises(BadNetworks, read_networks, words)


class ProxiedTestCase(SynchronousTestCase):
    """Tests with a relay whose balancers are in 10.0.0.0/8."""

    def start(self, **settings: float) -> None:
        """The relay."""
        self.relay = MemoryRelay(**settings)
        self.factory = self.relay.behind_balancer()
        self._names = count()

    def setUp(self) -> None:
        self.start()

    def pass_on(self, *pieces: bytes) -> MemoryClient:
        """A connection from a balancer, which sends these pieces."""
        client = self.relay.pass_on(self.factory, b"", BALANCER)
        for piece in pieces:
            client.send(piece)
        return client

    def request(self) -> bytes:
        """To be registered, under a name that nobody has."""
        name = UserName(b"number %d" % next(self._names))
        return v2.Request(NOBODY, v2.Register(name, KEY)).encode()

    def answer_to(self, *pieces: bytes) -> object:
        """What the first request of a connection is answered."""
        (answer,) = self.pass_on(*pieces).take()
        return answer

    def check_gone(self, client: MemoryClient) -> None:
        """It is reset, without a word, and nothing is left of it."""
        self.assertEqual(client.take(), [])
        self.assertTrue(client.line.server.closed)
        self.assertEqual(self.relay.limits.connections, 0)
        waiting = [
            call for call in self.relay.clock.getDelayedCalls() if "_give_up_waiting" in str(call)
        ]
        self.assertEqual(waiting, [])


class AddressTests(ProxiedTestCase):
    """Whose connection it is."""

    def test_pieces(self) -> None:
        """A client is served behind a header of either version, in whatever pieces both come."""
        for header in HEADERS:
            for cuts in ([], [13], [len(header)], range(1, len(header) + 20)):
                whole = header + self.request()
                places = [0, *cuts, len(whole)]
                pieces = [whole[start:end] for start, end in pairwise(places)]
                self.assertIsInstance(self.answer_to(*pieces), v2.Registered)

    def test_registrations(self) -> None:
        """Each client has his own registrations, by the address in the header, whichever balancer
        passes them on."""
        self.start(registrations_a_minute=1)
        for source in ("192.0.2.7", "192.0.2.8"):
            header = text(source)
            self.assertIsInstance(self.answer_to(header, self.request()), v2.Registered)
            self.assertIsInstance(self.answer_to(header, self.request()), v2.GeneralError)
            other = self.relay.pass_on(self.factory, header, "10.9.9.9")
            other.send(self.request())
            self.assertIsInstance(other.take()[0], v2.GeneralError)

    def test_one_address(self) -> None:
        """A client of IPv4 is the same in both versions, and as IPv6 writes his address."""
        self.start(registrations_a_minute=1)
        mapped = binary(addresses("::ffff:192.0.2.7", "::1"), family=TCP6)
        self.assertIsInstance(self.answer_to(text(), self.request()), v2.Registered)
        for header in (*HEADERS, mapped):
            self.assertIsInstance(self.answer_to(header, self.request()), v2.GeneralError)

    def test_crowd(self) -> None:
        """When the relay is crowded, the client who holds most connections is refused, and no
        other: nobody is, because they come through one balancer."""
        self.start(connections=10)
        held = [self.pass_on(text(f"192.0.2.{1 + number // 4}")) for number in range(7)]
        held.append(self.pass_on(text("192.0.2.9")))
        greedy = self.pass_on(text("192.0.2.1"))
        self.assertTrue(greedy.line.server.closed)
        self.assertEqual(self.relay.limits.hits["connections"], 1)
        held.append(self.pass_on(text("192.0.2.10")))
        self.assertFalse(any(client.line.server.closed for client in held))

    def test_log(self) -> None:
        """The log has the pseudonym of the client, not of the balancer."""
        self.start(registrations_a_minute=0)
        with capturedLogs() as events:
            self.answer_to(text(), self.request())
        name_of = self.relay.factory.exchange.peer_name
        self.assertEqual([event["who"] for event in events], [name_of("192.0.2.7")])
        self.assertNotEqual(name_of("192.0.2.7"), name_of(BALANCER))

    def test_own_connections(self) -> None:
        """Where the header names nobody, it is the balancer's own connection."""
        self.start(registrations_a_minute=1)
        headers = (
            binary(b"", command=LOCAL, family=UNSPECIFIED),
            binary(addresses(), command=LOCAL),
            binary(b"", command=PROXY, family=UNSPECIFIED),
            b"PROXY UNKNOWN\r\n",
        )
        self.assertIsInstance(self.answer_to(headers[0], self.request()), v2.Registered)
        for header in headers:
            self.assertIsInstance(self.answer_to(header, self.request()), v2.GeneralError)
        self.assertIsInstance(self.answer_to(text(), self.request()), v2.Registered)

    def test_addresses_of_twisted(self) -> None:
        """What serves a connection is given an address of its client's kind."""
        given = []
        factory = ProxiedFactory(
            Factory.forProtocol(HalfCloseableRecorder),
            read_networks(BALANCER),
            self.relay.clock,
            self.relay.limits,
            lambda host, what: None,
        )
        factory.served.buildProtocol = lambda addr: given.append(addr) or HalfCloseableRecorder()
        for header in (text(), text("2001:db8::7", "::1"), b"PROXY UNKNOWN\r\n"):
            self.relay.pass_on(factory, header, BALANCER)
        self.assertEqual(
            given[:2], [IPv4Address("TCP", "192.0.2.7", 0), IPv6Address("TCP", "2001:db8::7", 0)]
        )
        self.assertEqual(given[2].host, BALANCER)


class RefusalTests(ProxiedTestCase):
    """Who does not get in."""

    def test_no_balancer(self) -> None:
        """Whoever is in no network of balancers is refused before he has said anything, so that he
        cannot name an address; that is counted, and logged under his pseudonym."""
        strangers = (IPv4Address("TCP", "192.0.2.7", 1), UNIXAddress("/run/x"), None)
        with capturedLogs() as events:
            for stranger in strangers:
                self.assertIsNone(self.factory.buildProtocol(stranger))
        self.assertEqual(self.relay.limits.hits["not_a_balancer"], len(strangers))
        self.assertEqual(self.relay.limits.connections, 0)
        self.assertEqual(events[0]["who"], self.relay.factory.exchange.peer_name("192.0.2.7"))
        self.assertEqual(events[0]["what"], "is refused, because it is no balancer")

    def test_no_header(self) -> None:
        """A connection without a header is reset, whatever it begins with; the log says why, and
        does not quote it."""
        for data in (self.request(), b"GET / HTTP/1.0\r\n\r\n", b"PROXY TCP4 secret\r\n"):
            self.start()
            with capturedLogs() as events:
                client = self.pass_on(data)
            self.check_gone(client)
            self.assertEqual(self.relay.limits.hits["bad_proxy_header"], 1)
            (event,) = events
            self.assertIn("sent a PROXY header that is refused: ", event["what"])
            self.assertNotIn("secret", str(event))

    def test_two_headers(self) -> None:
        """Behind a header comes the client: another one is a frame as any, and not believed."""
        client = self.pass_on(text("192.0.2.7"), text("192.0.2.8"))
        self.assertEqual(client.take(), [v2.GeneralError()])
        self.assertEqual(
            dict(self.relay.limits._places["connections"]._addresses), {"192.0.2.7": 1}
        )

    def test_silence(self) -> None:
        """A header has to be there in time, however slowly it comes."""
        for pieces in ((), (b"PROXY ",), tuple(text()[place : place + 1] for place in range(4))):
            self.start(proxy_deadline=3)
            client = self.pass_on()
            for piece in pieces:
                client.send(piece)
                self.relay.clock.advance(0.5)
            client.line.run()
            self.assertFalse(client.line.server.closed)
            self.relay.clock.advance(3)
            client.line.run()
            self.check_gone(client)
            self.assertEqual(self.relay.limits.hits["proxy_deadline"], 1)

    def test_in_time(self) -> None:
        """Behind a header the deadline is over."""
        client = self.pass_on(text())
        client.wait(20)
        self.assertFalse(client.line.server.closed)
        self.assertEqual(self.relay.limits.hits["proxy_deadline"], 0)

    def test_end_within(self) -> None:
        """A connection that ends within its header is gone, and so is one that ends before."""
        for data in (b"", b"PROXY TCP4", binary(addresses())[:20]):
            client = self.pass_on(data)
            client.line.client.loseConnection()
            client.line.run()
            self.check_gone(client)

    def test_counted(self) -> None:
        """Connections count while their header is awaited; above the limit there are no more, and
        when one has got its header it counts once."""
        self.start(connections=2)
        first, second = self.pass_on(), self.pass_on()
        self.assertEqual(self.relay.limits.connections, 2)
        self.assertIsNone(self.factory.buildProtocol(IPv4Address("TCP", BALANCER, 1)))
        first.send(text())
        self.assertEqual(self.relay.limits.connections, 2)
        for client in (first, second):
            client.line.client.loseConnection()
            client.line.run()
        self.assertEqual(self.relay.limits.connections, 0)

    def test_refused_behind_header(self) -> None:
        """A client whom the relay does not admit is reset."""
        self.start(connections=10)
        held = [self.pass_on(text("192.0.2.1")) for _ in range(8)]
        client = self.pass_on(text("192.0.2.1") + self.request())
        self.assertTrue(client.line.server.closed)
        self.assertEqual(client.take(), [])
        self.assertEqual(self.relay.limits.connections, len(held))

    def test_stop(self) -> None:
        """When the relay stops, those whose header is not there are reset, and nobody new gets in."""
        client = self.pass_on(b"PROXY ")
        self.factory.close()
        client.line.run()
        self.check_gone(client)
        self.assertIsNone(self.factory.buildProtocol(IPv4Address("TCP", BALANCER, 1)))


class TransportTests(ProxiedTestCase):
    """What stays as without a balancer."""

    def test_half_close(self) -> None:
        """A client who shuts down its half gets its answers, also when that comes with all the
        rest."""
        for pause in (False, True):
            client = self.pass_on()
            client.line.client.write(text() + self.request())
            if pause:
                client.line.run()
            client.line.client.loseWriteConnection()
            client.line.run()
            self.assertEqual(len(client.take()), 1)
            self.assertTrue(client.side.input_ended)

    def test_nothing_between(self) -> None:
        """What serves the client has the transport itself, which tells it what happens."""
        client = self.pass_on(text())
        served = client.line.server.protocol
        self.assertIs(served.transport, client.line.server)
        self.assertIn(served, self.relay.factory._connections)

    def test_deadlines(self) -> None:
        """The deadlines of the relay are looked after once a port listens."""
        relay = MemoryRelay(idle_deadline=5)
        relay.factory._deadlines.stop()
        factory = relay.behind_balancer()
        factory.doStart()
        client = relay.pass_on(factory, text())
        client.wait(7)
        self.assertTrue(client.line.server.closed)
        factory.doStop()

    def test_name(self) -> None:
        """In the log a port is that of the factory behind."""
        verifyObject(ILoggingContext, self.factory)
        self.assertEqual(self.factory.logPrefix(), "RelayFactory")

    def test_tls(self) -> None:
        """The header comes before TLS: v3 is served behind it, under the address that it names."""
        for header in HEADERS:
            relay = RelayOfV3(authentications_a_minute=1)
            peer_name = Pseudonyms()
            factory = ProxiedFactory(
                relay.listener,
                read_networks(BALANCER),
                relay.clock,
                relay.limits,
                lambda host, what, peer_name=peer_name: peer_name(host),
            )
            protocol = factory.buildProtocol(IPv4Address("TCP", BALANCER, 1))
            side = ClientSide()
            tls = TLSMemoryBIOFactory(
                ClientTls(), True, Factory.forProtocol(lambda side=side: side), relay.clock
            ).buildProtocol(None)
            line = TurningLine(relay.clock, Preceded(header, tls), protocol)
            line.run()
            side.transport.write(v3.Request(1, v3.Hello()).encode())
            line.run()
            self.assertEqual(len(side.received), 85)
            self.assertEqual(dict(relay.limits._places["connections"]._addresses), {"192.0.2.7": 1})


class Preceded:
    """A client before whose first word a balancer has put its header."""

    def __init__(self, header: bytes, client: object) -> None:
        self._header = header
        self._client = client

    def makeConnection(self, transport: object) -> None:
        """The header first."""
        transport.write(self._header)
        transport.protocol = self._client
        self._client.makeConnection(transport)


class ProbeTests(SynchronousTestCase):
    """What the kernel tells of a connection from a balancer."""

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Two ends of a connection on the loopback."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = socket.create_connection(listener.getsockname())
            far, _ = listener.accept()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        return near, far

    def test_probe(self) -> None:
        """What has arrived is told, and whether it failed; what was acknowledged is not."""
        near, far = self.pair()
        line = Line(HalfCloseableRecorder(), HalfCloseableRecorder())
        self.assertFalse(isinstance(proxied_probe_of(line.server), ProxiedProbe))
        line.server.getHandle = lambda: near
        probe = proxied_probe_of(line.server)
        verifyObject(ITransportProbe, probe)
        self.assertIs(probe.handle, near)
        far.sendall(b"12345")
        self.assertEqual((probe.unread(), probe.unacknowledged(), probe.failed()), (5, None, False))
        near.close()
        self.assertTrue(probe.failed())


class DeliveryTests(ProxiedTestCase):
    """When mail has arrived, behind a balancer that acknowledges for its clients."""

    def setUp(self) -> None:
        self.start()
        self.anna = self.relay.register("anna")
        self.relay.store.put([Envelope(self.anna, self.anna, 3, b"mail")])
        self.fetch = v2.Request(self.anna, v2.FetchMessages()).encode()

    def believe_nothing(self) -> None:
        """The kernel tells what it does behind a balancer."""
        factory = self.relay.factory

        class Probe:
            handle = None

            def __init__(self, end: object) -> None:
                self.unread, self.failed = end.unread, end.failed

            def unacknowledged(self) -> None:
                return None

        factory.exchange = evolve(factory.exchange, probe_of=Probe)

    def end_half(self) -> None:
        """Somebody fetches, and shuts down its half."""
        client = self.pass_on(text() + self.fetch)
        client.line.client.loseWriteConnection()
        client.line.run()
        client.wait(1)
        self.assertTrue(client.line.server.closed)

    def test_good_bye(self) -> None:
        """The end of a half is no proof, unless it is said to be one."""
        self.end_half()
        self.assertEqual(self.relay.waiting(self.anna), [])
        self.setUp()
        self.believe_nothing()
        self.end_half()
        self.assertEqual(self.relay.waiting(self.anna), [b"mail"])

    def test_next_request(self) -> None:
        """The next request is."""
        self.believe_nothing()
        client = self.pass_on(text() + self.fetch)
        client.send(self.fetch)
        self.assertEqual(self.relay.waiting(self.anna), [])
