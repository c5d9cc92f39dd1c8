"""What clients, relays and HAProxy see of each other: the example of deploy/haproxy, and its kin."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import ssl
import subprocess
from contextlib import closing

from twisted.trial.unittest import SynchronousTestCase

from tests.processes.test_v3 import HELLO, WELCOME
from tests.sockets.client import (
    PATIENCE,
    SocketClient,
    fetch,
    message,
    messages_in,
    registration,
    wait_until,
)

from .haproxy import EXAMPLE, HAPROXY, SKIP, BalancedTestCase

HEADERS = ("send-proxy", "send-proxy-v2")
"""How HAProxy is told to send a header of version 1, and of version 2."""


class ExampleTests(SynchronousTestCase):
    """The example as it stands there."""

    skip = SKIP

    def test_valid(self) -> None:
        """HAProxy finds nothing wrong with it."""
        checked = subprocess.run(
            [HAPROXY, "-c", "-f", EXAMPLE], capture_output=True, check=False, text=True
        )
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))
        self.assertIn("Configuration file is valid", checked.stdout)


def dial_v3(port: int) -> ssl.SSLSocket:
    """A client of v3 that has said hello, and was welcomed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["messageu/3"])
    client = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
    client.sendall(HELLO)
    answer = b""
    while len(answer) < 85:
        answer += client.recv(100)
    assert (answer[:11], len(answer)) == (WELCOME, 85), answer
    return client


class AddressTests(BalancedTestCase):
    """Whom the relay sees."""

    def test_clients(self) -> None:
        """Behind headers of either version, each client has the limits of his own address, and the
        balancer's are no limit for them; v3 is served as well."""
        for header in HEADERS:
            self.setUp()
            relay = self.start_relay(0, "--limit", "registrations_a_minute=1")
            self.start_haproxy("relay1", header=header)
            for number in range(2, 5):
                source = f"127.0.0.{number}"
                self.assertEqual(self.dial(source=source).ask(self.name(number, 1)).code, 2100)
                self.assertEqual(self.dial(source=source).ask(self.name(number, 2)).code, 9000)
            self.check_v3()
            self.assertEqual(relay.log.count("has met a limit: registrations_a_minute (1)"), 3)
            self.assertNotRegex(relay.log, r"127\.0\.0\.[2-4]")
            self.assertNotIn("PROXY header that is refused", relay.log)
            relay.stop(signal.SIGKILL)

    def name(self, client: int, number: int) -> bytes:
        """A registration under a name that is new."""
        return registration(b"%d of %d" % (number, client))

    def check_v3(self) -> None:
        """Our protocol is spoken over TLS that ends in the relay."""
        client = dial_v3(self.haproxy.fronts["v3"])
        self.addCleanup(client.close)

    def test_past_the_balancer(self) -> None:
        """Whoever dials the relay itself cannot say that he is somebody else: he is refused, with a
        header and without; and a balancer without a header is refused, too."""
        relay = self.start_relay(0)
        header = b"PROXY TCP4 192.0.2.7 127.0.0.1 1 1\r\n"
        for port in (self.places[0].v2, self.places[0].v3):
            for source, data in (
                ("127.0.0.2", header + registration(b"anna")),
                ("127.0.0.2", registration(b"anna")),
                ("127.0.0.1", registration(b"anna")),
            ):
                client = SocketClient(port, source=source)
                with self.assertRaises((AssertionError, ConnectionError)):
                    client.ask(data)
                client.close()
        self.assertRegex(relay.log, r"peer-\w+: is refused, because it is no balancer \(1\)")
        self.assertRegex(relay.log, r"peer-\w+: sent a PROXY header that is refused: .* \(1\)")
        self.assertNotIn("127.0.0.2", relay.log)
        client = SocketClient(self.places[0].v2)
        client.send(header)
        client.register(b"anna")
        client.close()

    def test_half_close(self) -> None:
        """Who shuts down its half gets its answers through the balancer, and then the end."""
        self.start_relay(0)
        self.start_haproxy("relay1")
        client = self.dial()
        client.send(b"".join(registration(b"number %d" % number) for number in range(200)))
        client.half_close()
        self.assertEqual([client.answer().code for _ in range(200)], [2100] * 200)
        self.assertEqual(client.read_rest(), b"")


class DrainTests(BalancedTestCase):
    """How a relay goes, and nobody notices."""

    def test_drain(self) -> None:
        """A relay that is told to stop is taken out, while it still serves: those who are there,
        and whoever comes in the meantime. Then it answers what has come, tells clients of v3 that
        it goes away, and goes."""
        first = self.start_relay(0, "--drain", "60")
        haproxy = self.start_haproxy("relay1")
        client = self.dial()
        anna = client.register(b"anna")
        client_of_v3 = dial_v3(self.haproxy.fronts["v3"])
        second = self.start_relay(1)
        haproxy.wait_for("UP", "relay2")
        os.kill(first.pid, signal.SIGTERM)
        haproxy.wait_for("DOWN", "relay1")
        self.assertEqual(haproxy.states()["relays_v3", "relay2"], "UP")
        self.assertIn("draining: the relay still serves for 60.0 s", first.log)
        self.assertEqual(client.ask(message(anna, anna, b"while it drains")).code, 2103)
        # What comes past the balancer's knowledge, such as what was on its way when it noticed.
        late = SocketClient(self.places[0].v2)
        late.send(b"PROXY UNKNOWN\r\n")
        (waiting,) = messages_in(late.ask(fetch(anna)))
        self.assertEqual(waiting.content, b"while it drains")
        late.close()
        # Everybody else comes to the other.
        other = self.dial()
        other.register(b"bern")
        self.assertEqual(other.ask(fetch(anna)).code, 9000)
        # Nobody wants to wait for the rest of the time. What is in flight is answered, and what is
        # not answered was not carried out.
        client.send(*[message(anna, anna, b"in flight") for _ in range(500)])
        wait_until(client.unread, "the first of it is answered")
        os.kill(first.pid, signal.SIGTERM)
        answers = client.read_rest()
        client.close()
        said = client_of_v3.recv(100)
        self.assertEqual(said[1:3], (2723).to_bytes(2, "little"))
        self.assertEqual(client_of_v3.recv(100), b"")
        client_of_v3.close()
        self.assertEqual(first.wait(), -signal.SIGTERM)
        self.assertIn("the drain is cut short", first.log)
        self.assertNotIn("Traceback", first.log + second.log)
        stored = b"\x02" + (2103).to_bytes(2, "little") + (20).to_bytes(4, "little") + anna
        self.assertEqual(len(answers), 27 * answers.count(stored))
        self.assertEqual(answers.count(stored), self.count("relay1.db", b"in flight"))

    def count(self, database: str, content: bytes) -> int:
        """How many messages of a content wait in a database."""
        with closing(sqlite3.connect(self.folder / database)) as connection:
            rows = connection.execute("SELECT 1 FROM messages WHERE Content = ?", (content,))
            return len(rows.fetchall())
