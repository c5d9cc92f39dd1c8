"""The way out of a connection: what is handed to TLS, and when."""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from messageu.server.v3._output import PIECE, Output


class Tls:
    """A transport that takes so many bytes, and then no more until the test says so."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.room = 10 * PIECE
        self.producer: Output | None = None

    def write(self, data: bytes) -> None:
        """Take it."""
        self.written.append(data)
        self.room -= len(data)
        if self.room < 0 and self.producer is not None:
            self.producer.pauseProducing()

    def registerProducer(self, producer: Output, streaming: bool) -> None:
        """Pause this one."""
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        """Pause nobody."""
        self.producer = None


class OutputTests(SynchronousTestCase):
    """One connection's."""

    def setUp(self) -> None:
        self.clock, self.tls, self.moved = Clock(), Tls(), list[int]()
        self.output = Output(self.tls, self.clock, lambda: self.moved.append(self.output.waiting))
        verifyObject(IPushProducer, self.output)

    def test_gathered(self) -> None:
        """What is written in one turn of the reactor leaves as one record, once."""
        for frame in (b"a", b"b", b"c"):
            self.output.write(frame)
        self.assertEqual(self.tls.written, [])
        self.clock.advance(0)
        self.output.write(b"d")
        self.clock.advance(0)
        self.assertEqual(self.tls.written, [b"abc", b"d"])
        self.assertEqual((self.moved, self.clock.calls), ([], []))

    def test_as_much_as_a_piece(self) -> None:
        """No more is gathered than a piece, before anybody is asked."""
        frame = bytes(PIECE // 4)
        for _ in range(9):
            self.output.write(frame)
        self.assertEqual([len(data) for data in self.tls.written], [PIECE, PIECE])

    def test_order(self) -> None:
        """A large frame leaves in pieces, behind what was gathered before it."""
        large = bytes(range(256)) * 300
        self.output.write(b"first")
        self.output.write(large)
        self.output.write(b"last")
        self.clock.advance(0)
        self.assertEqual(b"".join(self.tls.written), b"first" + large + b"last")
        self.assertLessEqual(max(map(len, self.tls.written)), PIECE)
        self.assertEqual(self.output.waiting, 0)

    def test_paused(self) -> None:
        """While TLS takes nothing everything waits, and is counted; then it leaves in its order."""
        self.tls.room = PIECE
        self.output.write(b"first")
        self.output.write(bytes(3 * PIECE))
        self.output.write(b"last")
        self.assertEqual(len(self.tls.written), 2)
        self.assertEqual(self.output.waiting, 2 * PIECE + 4)
        self.assertEqual(self.moved[-1], self.output.waiting)
        self.tls.room = 10 * PIECE
        self.output.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(b"".join(self.tls.written), b"first" + bytes(3 * PIECE) + b"last")
        self.assertEqual((self.output.waiting, self.moved[-1]), (0, 0))

    def test_end(self) -> None:
        """At its end what was gathered, and not flushed, is forgotten."""
        self.output.write(b"said")
        self.output.flush()
        self.output.write(b"unsaid")
        self.output.end()
        self.clock.advance(0)
        self.assertEqual((self.tls.written, self.tls.producer), ([b"said"], None))

    def test_gone(self) -> None:
        """When the transport is gone nothing is written, and nothing held."""
        self.output.write(b"unsaid")
        self.output.stopProducing()
        self.clock.advance(0)
        self.assertEqual(self.tls.written, [])
        self.assertEqual((self.output.waiting, self.clock.calls), (0, []))
