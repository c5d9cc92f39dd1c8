"""What has to be before a word is said: TLS 1.3, our protocol, and in time."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from messageu.testing.transport import HalfCloseableRecorder, Line
from messageu.wire import v3
from tests.server.relay import TurningLine

from .relay import ClientTls, MemoryRelay


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
        self.assertEqual(
            self.relay.limits.hits["not_our_protocol"], 1
        )  # OpenSSL refuses the others

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

    def test_refused(self) -> None:
        """Above the limit of connections nobody is let in."""
        self.relay = MemoryRelay(connections=1)
        self.relay.dial()
        self.assertIsNone(self.relay.listener.buildProtocol(None))

    def test_stop_in_handshake(self) -> None:
        """Whoever is in the handshake when the relay stops is sent away."""
        side = HalfCloseableRecorder()
        line = Line(side, self.relay.listener.buildProtocol(None))
        stopped = self.relay.factory.drain()
        line.run()
        self.successResultOf(stopped)
        self.assertIsNotNone(side.lost)
