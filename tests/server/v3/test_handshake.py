"""What has to be before a word is said: TLS 1.3, our protocol, and in time."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from messageu.testing.transport import HalfCloseableRecorder, Line
from messageu.wire import v3
from tests.server.relay import TurningLine

from .relay import ClientTls, MemoryRelay, Person


class HandshakeTests(SynchronousTestCase):
    """Who is served."""

    def setUp(self) -> None:
        self.relay = MemoryRelay()

    def test_other_protocol(self) -> None:
        """Without our ALPN, or with another, the connection is reset, and nothing was said."""
        for protocols in ((), (b"http/1.1",), (b"messageu/2", b"h2")):
            client = self.relay.dial(tls=ClientTls(protocols))
            client.send(v3.Hello())
            self.assertTrue(client.closed, protocols)
            self.assertEqual(client.side.received, b"")
            self.assertEqual(self.relay.limits.connections, 0)
        self.assertEqual(self.relay.limits.hits["not_our_protocol"], 3)

    def test_ours_among_others(self) -> None:
        """Whoever speaks other protocols as well is served."""
        client = self.relay.dial(tls=ClientTls((b"http/1.1", b"messageu/3")))
        self.assertIsInstance(client.ask(v3.Hello()), v3.Welcome)

    def test_older_tls(self) -> None:
        """TLS 1.2 does not come to a connection."""
        client = self.relay.dial(tls=ClientTls(version=SSL.TLS1_2_VERSION))
        self.assertTrue(client.closed)
        self.assertIsNone(client.side.binding)
        self.assertEqual(self.relay.limits.connections, 0)
        self.assertEqual(self.relay.limits.hits["not_our_protocol"], 1)

    def test_no_tls(self) -> None:
        """Whoever speaks something else does not come to a connection, and counts as such; whoever
        only hangs up does not."""
        for said in (b"GET / HTTP/1.1\r\n\r\n", b""):
            side = HalfCloseableRecorder()
            line = TurningLine(self.relay.clock, side, self.relay.listener.buildProtocol(None))
            line.client.write(said)
            line.run()
            line.client.loseConnection()
            line.run()
            self.assertIsNotNone(side.lost)
            self.assertEqual(self.relay.limits.connections, 0)
            self.assertEqual(self.relay.limits.hits["not_our_protocol"], 1)

    def test_silence_first(self) -> None:
        """The relay says nothing before the client does: neither before the handshake nor after."""
        protocol = self.relay.listener.buildProtocol(None)
        side = HalfCloseableRecorder()
        TurningLine(self.relay.clock, side, protocol).run()
        self.assertEqual(side.received, b"")
        self.assertEqual(self.relay.dial().take(), [])

    def test_no_resumption(self) -> None:
        """A session is not resumed: each connection has a handshake of its own."""
        tls = ClientTls()
        first = self.relay.dial(tls=tls)
        first.ask(v3.Ping())
        session = first.side.transport.getHandle().get_session()

        class Resuming(ClientTls):
            def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
                connection = super().clientConnectionForTLS(protocol)
                connection.set_session(session)
                return connection

        again = Resuming()
        again.context = tls.context
        second = self.relay.dial(tls=again)
        second.ask(v3.Ping())
        self.assertFalse(SSL._lib.SSL_session_reused(second.side.transport.getHandle()._ssl))

    def test_hybrid_group(self) -> None:
        """The key exchange is post-quantum as well, where OpenSSL can."""
        handle = self.relay.dial().side.transport.getHandle()
        group = handle.get_group_name()
        if SSL._lib.OPENSSL_VERSION_NUMBER < 0x30500000:
            raise SkipTest("this OpenSSL has none")
        self.assertEqual(group, "X25519MLKEM768")

    def test_slow_handshake(self) -> None:
        """Whoever does not finish the handshake is sent away in time, however he drips, and counts
        until then."""
        lines = []
        for said in (b"", b"\x16\x03\x01\x02\x00\x01"):
            side = HalfCloseableRecorder()
            line = Line(side, self.relay.listener.buildProtocol(None))
            line.client.write(said)
            line.run()
            lines.append((line, side))
        self.assertEqual(self.relay.limits.connections, 2)
        for _ in range(12):
            lines[1][0].client.write(b"\x00")
            lines[1][0].run()
            self.relay.clock.advance(1)
            lines[0][0].run()
        self.assertEqual([side.lost is not None for _, side in lines], [True, True])
        self.assertEqual(self.relay.limits.hits["handshake_deadline"], 2)
        self.assertEqual(self.relay.limits.connections, 0)

    def test_long_handshake(self) -> None:
        """Whoever sends more than a handshake needs is sent away at once."""
        hello = b"\x01\x02\x00\x00" + bytes(60_000)  # says that it has 128 KiB
        side = HalfCloseableRecorder()
        line = Line(side, self.relay.listener.buildProtocol(None))
        for start in range(0, len(hello), 4_000):
            piece = hello[start : start + 4_000]
            line.client.write(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece)
            self.relay.clock.advance(0)
            line.run()
        self.assertIsNotNone(side.lost)
        self.assertEqual(self.relay.limits.hits["handshake_bytes"], 1)
        self.assertEqual(self.relay.limits.connections, 0)

    def test_refused(self) -> None:
        """Above the limits of connections, those of v3 and all, nobody is let in."""
        for limit in ("connections", "v3_connections"):
            self.relay = MemoryRelay(**{limit: 1})
            client = self.relay.log_in(Person())
            self.assertIsNone(self.relay.listener.buildProtocol(None))
            self.assertEqual(client.ask(v3.Ping()), v3.Pong())
            self.assertEqual(self.relay.limits.hits[limit], 1)
            client.close()
            self.relay.dial()

    def test_makes_way(self) -> None:
        """When all places are taken, the oldest connection that has not authenticated makes way for
        a new one, in its handshake or after it; whoever has authenticated stays."""
        self.relay = MemoryRelay(v3_connections=4)
        anna = self.relay.log_in(Person(), host="192.0.2.1")
        side = HalfCloseableRecorder()
        line = Line(side, self.relay.listener.buildProtocol(None))
        line.run()
        stranger = self.relay.dial(host="192.0.2.2")
        bert = self.relay.log_in(Person(), host="192.0.2.3")
        newcomers = []
        for number in range(2):
            newcomers.append(self.relay.dial(host=f"198.51.100.{number}"))
            line.run()
            stranger.line.run()
            self.assertEqual((side.lost is None, stranger.closed), (False, number == 1))
            self.assertEqual(self.relay.limits.v3_connections, 4)
        for client in (anna, bert, *newcomers):
            self.assertEqual(client.ask(v3.Ping()), v3.Pong())
        self.assertEqual(self.relay.limits.hits["v3_connections"], 2)
        for client in (anna, bert, *newcomers):
            client.close()
        self.assertEqual((self.relay.limits.v3_connections, self.relay.limits.connections), (0, 0))

    def test_nobody_makes_way_for_most(self) -> None:
        """Nobody makes way for the address that holds most places."""
        self.relay = MemoryRelay(v3_connections=4)
        other = self.relay.dial(host="192.0.2.2")
        for _ in range(3):
            self.relay.dial(host="192.0.2.1")
        self.assertIsNone(self.relay.listener.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)))
        self.assertEqual(other.ask(v3.Ping()), v3.Pong())

    def test_stop_in_handshake(self) -> None:
        """Whoever is in the handshake when the relay stops is sent away."""
        side = HalfCloseableRecorder()
        line = Line(side, self.relay.listener.buildProtocol(None))
        stopped = self.relay.factory.drain()
        line.run()
        self.successResultOf(stopped)
        self.assertIsNotNone(side.lost)
