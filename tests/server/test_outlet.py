"""The way out of a connection: to the kernel at once, or by way of the transport."""

from __future__ import annotations

import contextlib
import gc
import socket
from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IPullProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from messageu.server._answers import Stream
from messageu.server._outlet import Outlet


@define
class Transport:
    """As much of a transport as an outlet needs; its buffer leaves when the test says so."""

    buffer: bytearray = field(factory=bytearray)
    producer: IPullProducer | None = None

    def write(self, data: bytes) -> None:
        """Into the buffer."""
        self.buffer += data

    def registerProducer(self, producer: IPullProducer, streaming: bool) -> None:
        """As a transport does it with pull producers."""
        assert self.producer is None
        assert not streaming
        self.producer = producer
        producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Nobody is asked any more."""
        self.producer = None

    def leave(self) -> bytes:
        """Everything leaves; what it was."""
        data = bytes(self.buffer)
        self.buffer.clear()
        if self.producer is not None:
            self.producer.resumeProducing()
        return data


class Pieces(Stream):
    """A stream of given pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    @property
    def exhausted(self) -> bool:
        """Whether all were taken."""
        return not self.pieces

    async def next_chunk(self) -> bytes:
        """The next one."""
        return self.pieces.pop(0)


class OutletTests(SynchronousTestCase):
    """An outlet over a transport, with a socket under it or without."""

    def make(self, handle: socket.socket | None = None) -> Outlet:
        """An outlet, and what it tells."""
        self.clock = Clock()
        self.transport = Transport()
        self.moves: list[int] = []
        self.on_move: Callable[[], None] = lambda: None
        self.emptied = 0
        self.last: list[bytes] = []
        return Outlet(
            self.transport,
            handle,
            self.clock,
            self,
        )

    def output_moved(self, unsent: int) -> None:
        """Remember; and give up, if the test wants that."""
        self.moves.append(unsent)
        self.on_move()

    def output_left(self) -> None:
        """Count."""
        self.emptied += 1

    def last_piece_leaves(self) -> None:
        """Remember what has not left before it."""
        self.last.append(bytes(self.transport.buffer))

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Two joined sockets, of which the first does not block."""
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        near.setblocking(False)
        return near, far

    def test_interface(self) -> None:
        """It is a pull producer."""
        verifyObject(IPullProducer, self.make())

    def test_given_up_while_it_writes(self) -> None:
        """A stream that is given up because of what was just written goes no further."""
        outlet = self.make()
        self.on_move = outlet.lose
        stream = Pieces(b"one", b"two")
        outlet.stream(stream)
        self.assertEqual(stream.pieces, [b"two"])
        gc.collect()  # a failure that nobody sees is logged when its Deferred is gone
        self.assertEqual((outlet.watched, self.flushLoggedErrors()), (False, []))

    def test_without_socket(self) -> None:
        """Without a socket everything goes to the transport, which says when it has left."""
        outlet = self.make()
        outlet.write(b"one")
        outlet.write(b"two")
        self.assertEqual((outlet.unsent, outlet.watched, self.emptied), (6, True, 0))
        self.assertEqual(self.transport.leave(), b"onetwo")
        self.assertEqual((outlet.unsent, outlet.watched, self.emptied), (0, False, 1))
        self.assertEqual(self.moves, [3, 6, 0])

    def test_with_socket(self) -> None:
        """What the kernel takes is gone at once, and nobody is told."""
        near, far = self.pair()
        outlet = self.make(near)
        outlet.write(b"one")
        self.assertEqual(far.recv(100), b"one")
        self.assertEqual((outlet.unsent, outlet.watched, self.moves), (0, False, []))

    def test_full_socket(self) -> None:
        """What the kernel does not take goes to the transport, and what follows goes after it."""
        near, far = self.pair()
        outlet = self.make(near)
        data = bytes(range(256)) * 20_000
        outlet.write(data)
        self.assertTrue(0 < outlet.unsent < len(data))
        outlet.write(b"more")
        received = bytearray()
        with contextlib.suppress(BlockingIOError):
            far.setblocking(False)
            while True:
                received += far.recv(1 << 20)
        self.assertEqual(bytes(received) + self.transport.leave(), data + b"more")
        self.assertEqual((outlet.unsent, outlet.watched, self.emptied), (0, False, 1))
        outlet.write(b"after")
        self.assertEqual(far.recv(100), b"after")

    def test_broken_socket(self) -> None:
        """An error is the transport's to meet."""
        near, _ = self.pair()
        outlet = self.make(near)
        near.close()
        outlet.write(b"one")
        self.assertEqual(bytes(self.transport.buffer), b"one")

    def test_gathered(self) -> None:
        """Answers that follow each other are written together."""
        near, far = self.pair()
        outlet = self.make(near)
        outlet.write(b"one", more=True)
        outlet.write(b"two", more=True)
        outlet.write(b"three")
        self.assertEqual(far.recv(100), b"onetwothree")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gathered_in_vain(self) -> None:
        """If nothing follows, they are written as soon as the reactor has time."""
        near, far = self.pair()
        outlet = self.make(near)
        outlet.write(b"one", more=True)
        self.clock.advance(0)
        self.assertEqual(far.recv(100), b"one")
        outlet.write(b"two", more=True)
        outlet.close()
        self.assertEqual(far.recv(100), b"two")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lost(self) -> None:
        """When the transport is gone, nothing is written any more."""
        near, far = self.pair()
        outlet = self.make(near)
        outlet.write(b"one", more=True)
        outlet.lose()
        self.clock.advance(0)
        far.setblocking(False)
        self.assertRaises(BlockingIOError, far.recv, 100)

    def test_stream(self) -> None:
        """A stream goes piece by piece, each when the one before has left; its end is told."""
        outlet = self.make()
        sent = outlet.stream(Pieces(b"one", b"two"))
        self.assertEqual((self.transport.leave(), self.last), (b"one", [b""]))
        self.assertNoResult(sent)
        self.assertEqual(self.transport.leave(), b"two")
        self.assertIsNone(self.successResultOf(sent))
        self.assertFalse(outlet.watched)

    def test_stream_to_the_kernel(self) -> None:
        """What the kernel takes of a stream at once has left, and the next piece follows."""
        near, far = self.pair()
        outlet = self.make(near)
        outlet.write(b"before", more=True)
        sent = outlet.stream(Pieces(b"one", b"two"))
        self.assertEqual(far.recv(100), b"beforeonetwo")
        self.assertIsNone(self.successResultOf(sent))
        self.assertFalse(outlet.watched)
        self.assertEqual(len(self.last), 1)

    def test_stream_fills_the_kernel(self) -> None:
        """When the kernel takes only a part, the next piece waits until the rest has left."""
        near, _ = self.pair()
        outlet = self.make(near)
        large = bytes(2**23)
        sent = outlet.stream(Pieces(large, b"two"))
        self.assertTrue(outlet.watched)
        self.assertEqual(len(self.transport.buffer), outlet.unsent)
        self.assertLess(0, outlet.unsent)
        self.assertLess(outlet.unsent, len(large))
        self.transport.leave()
        self.assertNoResult(sent)
        self.assertEqual(self.transport.leave(), b"two")
        self.assertIsNone(self.successResultOf(sent))

    def test_stream_after_unsent(self) -> None:
        """A stream begins when what was written before it has left."""
        outlet = self.make()
        outlet.write(b"before")
        sent = outlet.stream(Pieces(b"one"))
        self.assertEqual(self.transport.leave(), b"before")
        self.assertEqual(self.transport.leave(), b"one")
        self.successResultOf(sent)
