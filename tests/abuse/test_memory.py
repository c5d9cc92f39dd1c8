"""What thousands of connections hold of a relay's memory, seen from outside, and what they leave.

A relay of Twisted as it comes would read 64 KiB for each of them and keep that beside a byte of a
frame: 2,000 of them would hold 125 MiB.
"""

from __future__ import annotations

import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import frozen
from twisted.trial.unittest import SkipTest

from tests import torture
from tests.processes.children import ProcessTestCase, Relay
from tests.sockets.client import (
    SocketClient,
    fetch,
    frame,
    header,
    message,
    wait_until,
)
from tests.sockets.relay import RelayTestCase, blocking

from .crowd import Crowd, raise_descriptors

MIB: Final = 1 << 20
LARGEST: Final = 21 + (1 << 24) + 16
"""The payload of the largest 603."""

LIMIT: Final = 256
"""MiB that a relay with the defaults may have at the most."""

HELD: Final = 2_000
"""Connections that hold a part of a frame, in every run."""

GROWTH: Final = 40
"""MiB that they may add. 16 of it are bytes that have arrived."""

CROWD: Final = torture.scaled(300, 9_990)
"""At full size as many connections as there may be, but for those of the test."""

SECONDS: Final = torture.scaled(0.5, 12.0)
"""How long they rage."""


def memory(relay: Relay, what: str = "VmRSS") -> int:
    """The memory that a relay has, or with ``VmHWM`` the most that it has had, in MiB."""
    for line in Path(f"/proc/{relay.pid}/status").read_text("ascii").splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) >> 10
    raise SkipTest("this system does not tell how much memory a process has")


def descriptors(pid: int | str) -> int:
    """How many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def large(client_id: bytes, size: int = LARGEST) -> bytes:
    """The header and the head of a 603 whose payload has so many bytes."""
    return header(603, size, client_id) + client_id + struct.pack("<BI", 3, size - 21)


@frozen
class Mix:
    """Something that each of them says over and over, as fast as it can.

    :ivar mailbox: messages that wait for them before: how many, and of how many bytes.
    """

    name: str
    words: Callable[[bytes], bytes]
    reads: bool = True
    mailbox: tuple[int, int] = (0, 0)


MIXES: Final = (
    Mix("largest frames", lambda it: large(it) + bytes(LARGEST - 21)),
    Mix("sends without content", lambda it: message(it, it, b"") * 200),
    Mix("sends", lambda it: message(it, it, bytes(300)) * 200),
    Mix("sends, answers unread", lambda it: message(it, it, bytes(300)) * 200, reads=False),
    Mix("keys, unread", lambda it: frame(602, it, it) * 1000, reads=False),
    Mix("large mail, unread", fetch, reads=False, mailbox=(40, MIB)),
    Mix("much small mail, unread", fetch, reads=False, mailbox=(19_200, 0)),
    Mix("sends and fetches", lambda it: message(it, it, b"") * 20 + fetch(it)),
    Mix(
        "half a frame behind a fetch that waits",
        lambda it: frame(605, bytes(64_900)) + fetch(it) + large(it, 1000)[:400],
        reads=False,
        mailbox=(40, MIB),
    ),
)


class MemoryTests(ProcessTestCase):
    """A relay in a process of its own, with the defaults."""

    def start_relay(self, database: str = "defensive.db") -> tuple[Relay, SocketClient, bytes]:
        """A relay, a client of it, and the client's id."""
        relay = self.start("-e", "tcp:0:interface=127.0.0.1:backlog=1024", "-d", database)
        client = relay.dial()
        self.addCleanup(client.close)
        return relay, client, client.register(b"anna")

    def crowd(self, relay: Relay, count: int, receive_buffer: int | None = None) -> Crowd:
        """So many connections."""
        crowd = Crowd(relay.ports[0])
        self.addCleanup(crowd.leave)
        crowd.join(count, receive_buffer)
        return crowd

    def test_partial_frames(self) -> None:
        """Two thousand connections that each hold a part of a frame cost their bytes and a few
        KiB: half a header, a header and half a payload, or 24 KiB of the largest frame."""
        relay, client, anna = self.start_relay()
        before = memory(relay)
        crowd = self.crowd(relay, HELD)
        crowd.say(
            header(603, 600, anna)[:12],
            large(anna, 1000) + bytes(400),
            large(anna) + bytes(24 << 10),
        )
        for _ in range(5):  # it has read everything when it has looked at all sockets
            self.assertEqual(client.ask(frame(602, anna, anna)).code, 2102)
        self.assertGreater(memory(relay), before + 16)  # what has arrived was read
        self.assertLess(memory(relay, "VmHWM"), before + GROWTH)
        crowd.leave()
        wait_until(lambda: descriptors(relay.pid) < HELD, "they are gone")
        self.assertEqual(relay.stop(), -signal.SIGTERM, relay.log)

    def test_full_house(self) -> None:
        """Whatever ten thousand connections send, and whether they read or not, the relay stays
        below its limit, and afterwards it serves whoever comes, and ends when it is told to."""
        for mix in torture.scaled(MIXES[::4], MIXES):
            self.rage(mix)

    def rage(self, mix: Mix) -> None:
        """One of the mixes."""
        relay, client, anna = self.start_relay(f"{mix.name}.db")
        count, size = mix.mailbox
        for _ in range(count // 40):
            client.send(message(anna, anna, bytes(size)) * 40)
            for _ in range(40):
                self.assertEqual(client.answer().code, 2103)
        client.close()
        crowd = self.crowd(relay, CROWD, None if mix.reads else 4096)
        crowd.rage([mix.words(anna)], SECONDS, reads=mix.reads)
        left = crowd.size
        crowd.leave()
        wait_until(lambda: descriptors(relay.pid) < 100, "they are gone")
        late = relay.dial()
        self.assertEqual(late.ask(message(anna, anna, b"late")).code, 2103, mix.name)
        late.close()
        most = memory(relay, "VmHWM")
        torture.report(f"10,000 connections: {mix.name}", runs=CROWD, memory_mib=most, left=left)
        self.assertLess(most, LIMIT, mix.name)
        self.assertEqual(relay.stop(), -signal.SIGTERM, relay.log)


def _half_close_at_once(client: SocketClient, _: bytes) -> None:
    client.half_close()
    client.close()


def _half_close_in_a_header(client: SocketClient, anna: bytes) -> None:
    client.send(header(603, 600, anna)[:12])
    client.half_close()
    assert client.read_rest() == b""
    client.close()


def _half_close_and_read(client: SocketClient, anna: bytes) -> None:
    client.send(frame(602, anna, anna) * 3)
    client.half_close()
    assert len(client.read_rest()) == 3 * (7 + 16 + 160)
    client.close()


def _half_close_and_reset(client: SocketClient, anna: bytes) -> None:
    client.send(fetch(anna))
    client.half_close()
    client.reset()


def _half_close_and_close_unread(client: SocketClient, anna: bytes) -> None:
    client.send(fetch(anna) + frame(602, anna, anna) * 50)
    client.half_close()
    wait_until(client.unread, "some of it has come")
    client.close()


def _half_close_after_garbage(client: SocketClient, _: bytes) -> None:
    client.send(header(601, 1))
    client.half_close()
    client.close()


def _half_close_and_vanish(client: SocketClient, anna: bytes) -> None:
    client.send(fetch(anna) * 2 + frame(602, anna, anna) * 50)
    client.half_close()


HALF_CLOSES: Final = (
    _half_close_at_once,
    _half_close_in_a_header,
    _half_close_and_read,
    _half_close_and_reset,
    _half_close_and_close_unread,
    _half_close_after_garbage,
    _half_close_and_vanish,
)

HALF_CLOSED: Final = torture.scaled(504, 10_003)
"""Connections that are half-closed, as many of each kind."""

IMPATIENT: Final = {"progress_deadline": 2, "crowded_deadline": 1, "drain_deadline": 1}
"""Deadlines of relays that do not wait long for those who have vanished."""


def half_close(port: int) -> list[SocketClient]:
    """All of them; those who have vanished."""
    raise_descriptors(HALF_CLOSED)
    client = SocketClient(port)
    anna = client.register(b"anna")
    for _ in range(8):
        assert client.ask(message(anna, anna, bytes(MIB))).code == 2103
    client.close()
    vanished = []
    for number in range(HALF_CLOSED):
        client = SocketClient(port, receive_buffer=4096)
        HALF_CLOSES[number % len(HALF_CLOSES)](client, anna)
        if client.socket.fileno() != -1:
            vanished.append(client)
    return vanished


class HalfCloseTests(RelayTestCase):
    """Half-closes without end, of every careless kind, in this process."""

    timeout = torture.scaled(120, 600)

    @blocking
    def test_counters(self) -> None:
        """Afterwards every counter of the relay is at zero, and nobody has a place that others
        could have; also while those who have vanished still hold their ends."""
        port = self.start_relay(**IMPATIENT)
        vanished = half_close(port)
        self.assertEqual(len(vanished), HALF_CLOSED // len(HALF_CLOSES))
        self.wait_until_alone()
        limits = self.limits
        wait_until(lambda: not limits.leased, "every lease has ended")
        self.assertEqual(
            (limits.connections, limits.requests, limits.input_bytes, limits.output_bytes),
            (0, 0, 0, 0),
        )
        streams = self.service._factory.exchange.streams
        self.assertEqual((streams.tokens, streams.waiting), (limits.settings.streams, []))
        for client in vanished:
            client.close()


class DescriptorTests(ProcessTestCase):
    """The same, at a relay in a process of its own."""

    def test_descriptors(self) -> None:
        """Afterwards the relay has as many files open as before, also while those who have vanished
        still hold their ends."""
        options = [f"--limit={name}={value}" for name, value in IMPATIENT.items()]
        relay = self.start("-e", "tcp:0:interface=127.0.0.1:backlog=1024", *options)
        client = relay.dial()
        client.register(b"bern")  # the database is open
        client.close()
        before = descriptors(relay.pid)
        vanished = half_close(relay.ports[0])
        wait_until(lambda: descriptors(relay.pid) <= before, "it has let go of all of them")
        torture.report("half-closes", runs=HALF_CLOSED, descriptors=descriptors(relay.pid) - before)
        for client in vanished:
            client.close()
        self.assertNotIn("Traceback", relay.log)
