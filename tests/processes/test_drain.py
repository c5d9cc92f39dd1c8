"""How a relay is asked how it is, and how it goes when it is given time, in each of the ways in which
it can be started."""

from __future__ import annotations

import contextlib
import os
import signal
from http.client import HTTPConnection

from tests.sockets.client import PATIENCE, SocketClient, message, wait_until

from .children import ANY_PORT, ProcessTestCase, Relay

HEALTH = ("--health", "tcp:0:interface=127.0.0.1")
LONG = "600"
"""Seconds that nobody waits for."""


def ask(relay: Relay, path: str) -> tuple[int, str]:
    """What a relay answers: status and text."""
    connection = HTTPConnection("127.0.0.1", relay.health_port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode().strip()
    finally:
        connection.close()


class DrainTests(ProcessTestCase):
    """Relays that are given time."""

    def start_in(self, way: str, *options: str) -> Relay:
        """A relay that is started in a way."""
        options = (*ANY_PORT, *HEALTH, *options)
        return self.start_daemon(*options) if way == "daemon" else self.start(*options, way=way)

    def check_drain(self, relay: Relay, client: SocketClient, anna: bytes) -> None:
        """It is not ready, is alive, lets everybody in, and answers."""
        wait_until(lambda: ask(relay, "/readyz") == (503, "draining"), "it drains")
        self.assertEqual(ask(relay, "/healthz"), (200, "ready"))
        self.assertEqual(client.ask(message(anna, anna, b"to one who stays")).code, 2103)
        other = relay.dial()
        self.assertEqual(other.ask(message(anna, anna, b"to one who comes")).code, 2103)
        other.close()

    def test_two_signals(self) -> None:
        """The first signal makes it unready, and it serves on; the second ends that. Either signal
        can be the first and the second."""
        for way, first, second in (
            ("twistd", signal.SIGTERM, signal.SIGTERM),
            ("twistd", signal.SIGINT, signal.SIGTERM),
            ("twist", signal.SIGTERM, signal.SIGINT),
        ):
            relay = self.start_in(way, "--drain", LONG, "-d", f"{way}.db")
            self.assertEqual(ask(relay, "/readyz"), (200, "ready"))
            client = relay.dial()
            anna = client.register(b"anna %d" % first)
            os.kill(relay.pid, first)
            self.check_drain(relay, client, anna)
            os.kill(relay.pid, second)
            self.assertEqual(client.read_rest(), b"")
            client.close()
            self.assertEqual(relay.wait(), -first, relay.log)
            self.assertIn("the drain is cut short", relay.log)
            self.assertIn("the relay has stopped", relay.log)
            self.assertNotIn("Traceback", relay.log)

    def test_daemon(self) -> None:
        """So it is with a daemon."""
        relay = self.start_in("daemon", "--drain", LONG)
        client = relay.dial()
        anna = client.register(b"anna")
        os.kill(relay.pid, signal.SIGTERM)
        self.check_drain(relay, client, anna)
        os.kill(relay.pid, signal.SIGTERM)
        self.assertEqual(client.read_rest(), b"")
        client.close()
        wait_until(lambda: "Server Shut Down." in relay.log, "the daemon has stopped")
        wait_until(lambda: not (self.folder / "relay.pid").exists(), "its pid file is gone")
        self.assertNotIn("Traceback", relay.log)

    def test_time_is_over(self) -> None:
        """When the time is over it goes by itself."""
        relay = self.start_in("twistd", "--drain", "0.5")
        client = relay.dial()
        self.assertEqual(relay.stop(), -signal.SIGTERM)
        with contextlib.suppress(ConnectionResetError):  # as it ends, that is as good
            self.assertEqual(client.read_rest(), b"")
        client.close()
        self.assertNotIn("the drain is cut short", relay.log)
        self.assertNotIn("Traceback", relay.log)

    def test_many_signals(self) -> None:
        """However many signals come, it ends as after the first."""
        relay = self.start_in("twistd", "--drain", LONG)
        os.kill(relay.pid, signal.SIGTERM)
        wait_until(lambda: "draining" in relay.log, "it drains")
        for _ in range(5):
            os.kill(relay.pid, signal.SIGTERM)
        self.assertEqual(relay.wait(), -signal.SIGTERM)
        self.assertNotIn("Traceback", relay.log)

    def test_killed_while_it_drains(self) -> None:
        """What is acknowledged while it drains is kept as any other."""
        relay = self.start_in("twistd", "--drain", LONG)
        client = relay.dial()
        anna = client.register(b"anna")
        os.kill(relay.pid, signal.SIGTERM)
        self.check_drain(relay, client, anna)
        relay.stop(signal.SIGKILL)
        client.close()
        client = self.start(*ANY_PORT).dial()
        self.assertEqual(len(client.fetch_all(anna)), 2)
        client.close()
