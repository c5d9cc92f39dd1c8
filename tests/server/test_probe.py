"""What the kernel tells of a real socket."""

from __future__ import annotations

import socket
import struct

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from messageu.server._probe import BlindProbe, ITransportProbe, SocketProbe, probe_of
from messageu.testing.transport import Line, Recorder


class Transport:
    """As much of a transport as a probe needs."""

    def __init__(self, handle: object) -> None:
        self.handle = handle

    def getHandle(self) -> object:
        """The socket."""
        return self.handle


class ProbeTests(SynchronousTestCase):
    """Each kind of probe."""

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Two ends of a connection on the loopback."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = socket.create_connection(listener.getsockname())
            far, _ = listener.accept()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        return near, far

    def test_unread(self) -> None:
        """Bytes that have arrived and were not read are counted."""
        near, far = self.pair()
        probe = probe_of(Transport(near))
        self.assertEqual(probe.unread(), 0)
        far.sendall(b"12345")
        near.recv(1)
        self.assertEqual(probe.unread(), 4)

    def test_unacknowledged(self) -> None:
        """Bytes that the other kernel has no room for are counted."""
        near, far = self.pair()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        near.setblocking(False)
        sent = 0
        try:
            while True:
                sent += near.send(b"x" * 65_536)
        except BlockingIOError:
            pass
        unacknowledged = probe_of(Transport(near)).unacknowledged()
        self.assertTrue(0 < unacknowledged < sent)

    def test_reset(self) -> None:
        """A reset that nobody has looked at is a failure."""
        near, far = self.pair()
        probe = probe_of(Transport(near))
        self.assertFalse(probe.failed())
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        self.assertTrue(probe.failed())

    def test_closed(self) -> None:
        """Of a socket that is closed there is no telling, and it has failed."""
        near, _ = self.pair()
        near.close()
        probe = SocketProbe(near)
        self.assertEqual((probe.unread(), probe.unacknowledged()), (None, None))
        self.assertTrue(probe.failed())

    def test_no_socket(self) -> None:
        """Where there is no socket, as under TLS, there is no telling."""
        for transport in (StringTransport(), Transport(object())):
            probe = probe_of(transport)
            self.assertIsInstance(probe, BlindProbe)
            self.assertEqual(
                (probe.unread(), probe.unacknowledged(), probe.failed()), (None, None, False)
            )

    def test_interfaces(self) -> None:
        """All probes are alike, those of the tests included."""
        line = Line(Recorder(), Recorder())
        for probe in (BlindProbe(), SocketProbe(self.pair()[0]), line.client):
            verifyObject(ITransportProbe, probe, tentative=True)
