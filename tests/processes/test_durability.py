"""What was acknowledged is there after the relay has been stopped or killed, and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from threading import Thread

from tests.sockets.client import (
    PATIENCE,
    SocketClient,
    fetch,
    frame,
    message,
    messages_in,
    wait_until,
)

from .children import ANY_PORT, ProcessTestCase, Relay

MEBIBYTE = 1 << 20
RECEIVE_BUFFER = (socket.SOL_SOCKET, socket.SO_RCVBUF)


class Sender(Thread):
    """Somebody who sends messages, one after the other, until the connection breaks.

    :ivar sent: the contents that have been sent.
    :ivar acknowledged: the contents whose 2103 has arrived.
    """

    def __init__(self, relay: Relay, label: str, client_id: bytes) -> None:
        super().__init__(daemon=True)
        self._client = relay.dial()
        self._client_id = client_id
        self._contents = (b"%s %d" % (label.encode(), number) for number in range(1_000_000))
        self.sent: list[bytes] = []
        self.acknowledged: list[bytes] = []

    def run(self) -> None:
        """Send."""
        # An AssertionError says that the connection has ended within an answer.
        with contextlib.suppress(OSError, AssertionError):
            for content in self._contents:
                self.sent.append(content)
                answer = self._client.ask(message(self._client_id, self._client_id, content))
                if answer.code != 2103:
                    break
                self.acknowledged.append(content)
        self._client.close()


class DurabilityTests(ProcessTestCase):
    """A relay that is started again and again on one database."""

    def start_again(self) -> Relay:
        """A relay on the database of this test."""
        return self.start(*ANY_PORT)

    def send_until(
        self, relay: Relay, anna: bytes, label: str, how: signal.Signals
    ) -> list[Sender]:
        """Many send at once, and in the midst of it the relay gets a signal."""
        senders = [Sender(relay, f"{label}, sender {number}", anna) for number in range(6)]
        for sender in senders:
            sender.start()
        wait_until(
            lambda: sum(len(sender.acknowledged) for sender in senders) >= 200,
            "messages have been acknowledged",
        )
        relay.stop(how)
        for sender in senders:
            sender.join(PATIENCE)
            self.assertFalse(sender.is_alive())
        return senders

    def check_found(
        self, relay: Relay, anna: bytes, latest: list[Sender], senders: list[Sender]
    ) -> None:
        """All that was acknowledged to the latest is there, and nothing that nobody has sent."""
        client = relay.dial()
        found = {waiting.content for waiting in client.fetch_all(anna)}
        client.close()
        self.assertEqual(set(_all(latest, "acknowledged")) - found, set())
        self.assertEqual(found - set(_all(senders, "sent")), set())

    def register(self, relay: Relay) -> bytes:
        """A new client."""
        client = relay.dial()
        anna = client.register(b"anna")
        client.close()
        return anna

    def test_killed(self) -> None:
        """Whatever was acknowledged before a kill -9, while many were sending, is there when the
        relay is started again: five times in a row."""
        relay = self.start_again()
        anna = self.register(relay)
        senders: list[Sender] = []
        for number in range(5):
            latest = self.send_until(relay, anna, f"round {number}", signal.SIGKILL)
            senders += latest
            relay = self.start_again()
            # What was fetched in the round before may come again, and need not.
            self.check_found(relay, anna, latest, senders)

    def test_stopped(self) -> None:
        """So is whatever was acknowledged before a SIGTERM, which is not delayed by the many who
        send, nor by those who do nothing."""
        relay = self.start_again()
        anna = self.register(relay)
        idle = relay.dial()
        senders = self.send_until(relay, anna, "at the end", signal.SIGTERM)
        self.assertEqual(idle.read_rest(), b"")
        idle.close()
        self.check_found(self.start_again(), anna, senders, senders)

    def begin_to_fetch(self, relay: Relay, anna: bytes) -> tuple[SocketClient, int]:
        """A connection on which the answer to a fetch has begun, and the bytes that it has."""
        client = relay.dial()
        for number in range(8):
            client.ask(message(anna, anna, bytes([65 + number]) * MEBIBYTE))
        client.close()
        client = SocketClient(relay.ports[0], receive_buffer=4096)
        client.send(fetch(anna))
        wait_until(client.unread, "the answer has begun")
        return client, 7 + 8 * (25 + MEBIBYTE)

    def test_answer_in_progress_is_finished(self) -> None:
        """After a SIGTERM an answer that has begun is finished, while nobody new is let in."""
        relay = self.start_again()
        client, size = self.begin_to_fetch(relay, self.register(relay))
        os.kill(relay.pid, signal.SIGTERM)
        wait_until(lambda: "Port" in relay.log and "Closed" in relay.log, "the port is closed")
        self.assertRaises(ConnectionRefusedError, relay.dial)
        client.socket.setsockopt(*RECEIVE_BUFFER, MEBIBYTE)
        self.assertEqual(len(client.read(size)), size)
        self.assertEqual(client.read_rest(), b"")
        client.close()
        self.assertEqual(relay.wait(), -signal.SIGTERM)

    def test_mail_on_its_way_waits(self) -> None:
        """Mail that was being fetched when the relay was killed waits again."""
        relay = self.start_again()
        anna = self.register(relay)
        client, _ = self.begin_to_fetch(relay, anna)
        client.read(7)
        relay.stop(signal.SIGKILL)
        client.close()
        client = self.start_again().dial()
        answer = messages_in(client.ask(fetch(anna)))
        self.assertEqual([len(waiting.content) for waiting in answer], [MEBIBYTE] * 8)
        client.close()

    def test_clients_stay(self) -> None:
        """Who is registered, and under which key, is kept over a kill."""
        relay = self.start_again()
        client = relay.dial()
        key = b"a key of hers".ljust(160, b"!")
        anna, bern = client.register(b"anna", key), client.register(b"bern")
        relay.stop(signal.SIGKILL)
        client.close()
        client = self.start_again().dial()
        self.assertEqual(client.ask(frame(602, anna, bern)).payload, anna + key)
        client.close()


def _all(senders: list[Sender], what: str) -> Iterator[bytes]:
    for sender in senders:
        yield from getattr(sender, what)
