"""Relays that are started again, one after the other, while their clients go on."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from itertools import count
from threading import Event, Thread

from tests.processes.children import Relay
from tests.sockets.client import PATIENCE, SocketClient, registration, wait_until
from tests.torture import report, scaled

from .haproxy import BalancedTestCase, HAProxy

CLIENTS = scaled(6, 24)
ROUNDS = scaled(1, 10)
OPTIONS = ("--drain", "600", "--limit", "registrations_a_minute=1000000")
"""Seconds that nobody waits for: when HAProxy has noticed, a second signal follows."""


class Persistent(Thread):
    """Somebody who registers one name after the other. He keeps his connection, and when it ends
    without an answer he dials again, and asks the same again.

    :ivar answered: the names that he was told are registered.
    :ivar again: how often he had to ask again.
    :ivar wrong: what must not happen to him.
    """

    def __init__(self, port: int, label: str, enough: Event) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._names = (b"%s %d" % (label.encode(), number) for number in count())
        self._enough = enough
        self.answered: list[bytes] = []
        self.again = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        """Until it is enough."""
        name = next(self._names)
        while not (self._enough.is_set() or self.wrong):
            name = self._use_connection(name)

    def _use_connection(self, name: bytes) -> bytes:
        """Register names over a new connection until it ends; the one that was not answered."""
        try:
            client = SocketClient(self._port)
        except OSError as error:
            self.wrong.append(f"nobody listens: {error}")
            return name
        with closing(client):
            for number in count():
                if self._enough.is_set():
                    return name
                try:
                    answer = client.ask(registration(name))
                except (AssertionError, OSError) as error:  # the first is an end before an answer
                    self.again += 1
                    if not number:
                        self.wrong.append(f"a new connection led nowhere: {error}")
                    return name
                if answer.code != 2100:
                    self.wrong.append(f"he is answered {answer.code}")
                    return name
                self.answered.append(name)
                name = next(self._names)
        return name


class RollingTests(BalancedTestCase):
    """Restarts, one relay at a time."""

    def restart(self, number: int, relay: Relay, haproxy: HAProxy) -> Relay:
        """Stop a relay, as a supervisor does that waits until HAProxy has noticed, and start it."""
        name = f"relay{number + 1}"
        os.kill(relay.pid, signal.SIGTERM)
        haproxy.wait_for("DOWN", name)
        os.kill(relay.pid, signal.SIGTERM)
        self.assertEqual(relay.wait(), -signal.SIGTERM)
        self.assertNotIn("Traceback", relay.log)
        relay = self.start_relay(number, *OPTIONS)
        haproxy.wait_for("UP", name)
        return relay

    def test_rolling_restart(self) -> None:
        """While both relays are started again, one after the other, nobody is refused, no new
        connection leads nowhere, and whoever asks again what was not answered does it once: what
        was carried out was answered, and what was answered is there."""
        relays = [self.start_relay(number, *OPTIONS) for number in range(2)]
        haproxy = self.start_haproxy("relay1", "relay2")
        enough = Event()
        clients = [
            Persistent(haproxy.fronts["v2"], f"client {number}", enough)
            for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        try:
            for _ in range(ROUNDS):
                for number in range(2):
                    before = [len(client.answered) for client in clients]
                    relays[number] = self.restart(number, relays[number], haproxy)
                    wait_until(
                        lambda before=before: all(
                            client.wrong or len(client.answered) > number
                            for client, number in zip(clients, before, strict=True)
                        ),
                        "everybody goes on",
                    )
        finally:
            enough.set()
            for client in clients:
                client.join(PATIENCE)
        self.assertEqual([wrong for client in clients for wrong in client.wrong], [])
        for relay in relays:
            relay.stop(signal.SIGKILL)
        stored = [name for database in self.databases() for name in names_in(database)]
        answered = [name for client in clients for name in client.answered]
        self.assertEqual(sorted(stored), sorted(answered))
        again = sum(client.again for client in clients)
        self.assertGreater(again, 0)
        report("rolling restarts behind HAProxy", runs=ROUNDS, answered=len(answered), again=again)


def names_in(database: object) -> list[bytes]:
    """The names of all clients."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT UserName FROM clients")
        return [name.encode() for (name,) in rows]
