"""The network that fails in these tests passes everything while it does not."""

from __future__ import annotations

import socket
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from tests.sockets.client import PATIENCE

from .gate import Gate

LARGE = 1 << 20


class GateTests(SynchronousTestCase):
    """A gate in front of somebody who says everything again."""

    def setUp(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.server.close)
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            self.gate = Gate(nobody.getsockname()[1], self.server.getsockname()[1])
        self.addCleanup(self.gate.close)

    def dial(self) -> tuple[socket.socket, socket.socket]:
        """Both ends of a connection."""
        one = socket.create_connection(("127.0.0.1", self.gate.port), PATIENCE)
        self.addCleanup(one.close)
        other, _ = self.server.accept()
        other.settimeout(PATIENCE)
        self.addCleanup(other.close)
        return one, other

    def test_passes(self) -> None:
        """Much goes both ways, and so does the end of each half, past whoever does not listen."""
        one, other = self.dial()

        def send() -> None:
            one.sendall(bytes(LARGE))
            one.shutdown(socket.SHUT_WR)

        sending = Thread(target=send)
        sending.start()
        self.assertEqual(read_all(other), LARGE)
        sending.join()
        other.sendall(b"thanks")
        other.close()
        self.assertEqual(read_all(one), len(b"thanks"))

    def test_cut(self) -> None:
        """After a cut both ends are reset, and nobody gets through until it is healed."""
        ends = self.dial()
        self.gate.cut()
        for end in ends:
            self.assertRaises(ConnectionResetError, end.recv, 1)
        with socket.create_connection(("127.0.0.1", self.gate.port), PATIENCE) as refused:
            self.assertEqual(refused.recv(1), b"")
        self.gate.heal()
        self.dial()

    def test_hold(self) -> None:
        """What is held back arrives when it is healed."""
        one, other = self.dial()
        self.gate.hold()
        one.sendall(b"late")
        other.settimeout(0)
        self.assertRaises(BlockingIOError, other.recv, 1)
        other.settimeout(PATIENCE)
        self.gate.heal()
        self.assertEqual(other.recv(4), b"late")


def read_all(end: socket.socket) -> int:
    """How many bytes come until the end."""
    count = 0
    while piece := end.recv(1 << 16):
        count += len(piece)
    return count
