"""TCP connections in memory, kernel queues and faults included, that move only when told to.

A :class:`Line` joins two protocols. What one writes goes from its transport's buffer into its
"kernel", from there into the other's, and from there to the other protocol: in pieces, and as far as
the test lets it. What has arrived is acknowledged at once, but an acknowledgement does not overtake
what the other side had sent before. Each end also answers as the probe of its own queues.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from attrs import frozen
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IPullProducer,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

RECEIVE_SIZE: Final = 64 * 1024
"""Bytes that an end reads at once unless told otherwise, as Twisted's TCP does."""

STEP_LIMIT: Final = 1_000_000
"""Steps after which a line that never comes to rest is a failure."""


@frozen
class Faults:
    """What is wrong with the way from one end.

    :ivar piece: bytes that the network carries at once.
    :ivar window: bytes that this end's kernel takes while the other's has acknowledged none.
    :ivar cut_after: the connection is reset when so many bytes have arrived.
    """

    piece: int = RECEIVE_SIZE
    window: int = 4 * RECEIVE_SIZE
    cut_after: int | None = None


@implementer(ITCPTransport, IConsumer, IPushProducer)
class LineEnd:
    """One end of a line: the transport of ``protocol``, and the probe of it.

    :ivar bufferSize: bytes that are read at once.
    :ivar held: while it is true, nothing that this end sends arrives.
    :ivar closed: its protocol has been told that the connection is lost.
    """

    def __init__(self, protocol: IProtocol, address: IPv4Address, faults: Faults) -> None:
        self.protocol = protocol
        self.faults = faults
        self.bufferSize = RECEIVE_SIZE
        self.held = False
        self.closed = False
        self.other: LineEnd
        self._address = address
        self._reading = True
        self._buffer = bytearray()
        self._kernel = bytearray()
        self._inbox = bytearray()
        self._delivered = 0
        # Acknowledgements on their way: behind how many bytes of the other's, and of how many.
        self._acknowledging: deque[tuple[int, int]] = deque()
        self._producer: IPullProducer | IPushProducer | None = None
        self._pushing = False  # it is a push producer
        self._paused = False  # and was told to wait
        self._aborting = False  # abortConnection was called
        self._closing = False  # loseConnection was called
        self._half_closing = False  # loseWriteConnection was called
        self._output_over = False  # the FIN has left
        self._input_over = False  # the other's FIN has arrived
        self._input_told = False  # and the protocol knows
        self._error: BaseException | None = None  # a reset that nobody has looked at

    def connect(self) -> None:
        """Give the protocol its transport."""
        self.protocol.makeConnection(self)

    # What the protocol may ask.

    def write(self, data: bytes) -> None:
        """Put bytes into the buffer."""
        if not (self.closed or self._half_closing or self._output_over):
            self._buffer += data
        if self._pushing and not self._paused and len(self._buffer) > self.bufferSize:
            self._paused = True
            IPushProducer(self._producer).pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Put bytes into the buffer."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close when everything has left: at once, as Twisted does, if this half is shut down."""
        self._closing = True
        if self._output_over and not self._aborting:
            self._end_output()

    @property
    def disconnecting(self) -> bool:
        """Whether it closes when everything has left, as protocols of Twisted ask."""
        return self._closing

    def loseWriteConnection(self) -> None:
        """Shut down this half when everything has left."""
        self._half_closing = True

    def abortConnection(self) -> None:
        """Reset, as soon as the line moves."""
        self._aborting = True

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Ask a pull producer for more whenever everything has left. Pause a push producer while
        more than ``bufferSize`` bytes have not."""
        if self._producer is not None:
            raise RuntimeError("one producer at a time")
        if self.closed:
            producer.stopProducing()
            return
        self._pushing, self._paused = streaming, False
        if streaming:
            self._producer = IPushProducer(producer)
        else:
            self._producer = IPullProducer(producer)
            self._producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Ask nobody."""
        self._producer = None
        self._pushing = self._paused = False

    def pauseProducing(self) -> None:
        """Read no more for now."""
        self._reading = False

    def resumeProducing(self) -> None:
        """Read again."""
        self._reading = True

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()

    def getPeer(self) -> IPv4Address:
        """The other's address."""
        return self.other._address

    def getHost(self) -> IPv4Address:
        """This one's address."""
        return self._address

    def getTcpNoDelay(self) -> bool:
        """Nothing is delayed."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing is delayed."""

    def getTcpKeepAlive(self) -> bool:
        """Nothing is kept alive."""
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing is kept alive."""

    # What a probe may ask.

    handle = None

    def unread(self) -> int | None:
        """Bytes that have arrived and were not read."""
        return len(self._inbox)

    def unacknowledged(self) -> int | None:
        """Bytes that have left the buffer and are not known to have arrived; a FIN counts as one."""
        acknowledging = self._acknowledging
        while acknowledging and acknowledging[0][0] <= self.other._delivered:
            acknowledging.popleft()
        on_their_way = sum(size for _, size in acknowledging)
        fin = self._output_over and not self.other._input_over
        return len(self._kernel) + on_their_way + fin

    def failed(self) -> bool:
        """Whether there was a reset."""
        return self._error is not None

    # What a program may do with its socket, beside its transport.

    def send(self, data: bytes) -> int:
        """Hand bytes to the kernel, past the buffer, which must be empty; how many it took.

        :raises OSError: when it takes none.
        """
        if self.closed or self._error is not None:
            raise ConnectionResetError
        sent = min(len(data), self.faults.window - len(self._kernel))
        if sent <= 0:
            raise BlockingIOError
        self._kernel += data[:sent]
        return sent

    # What a test may do.

    def inbox(self) -> bytes:
        """What has arrived and was not read."""
        return bytes(self._inbox)

    def kill(self) -> None:
        """End the process of this end, whose protocol learns nothing. What its kernel has goes on
        its way with a FIN after it; but if something was not read, that is a reset."""
        if self.closed:
            return
        if self._inbox:
            self._kernel.clear()
            self.other._receive_reset()
        self._buffer.clear()
        self._producer = None
        self.closed = True
        self._output_over = True

    # What the line does.

    def step(self) -> bool:
        """Move what can be moved once; whether anything moved."""
        return any((self._leave(), self._carry(), self._read()))

    def _leave(self) -> bool:
        if self.closed:
            return False
        if self._aborting:
            self._die(ConnectionAborted())
            self.other._receive_reset()
            return True
        moved = bytes(self._buffer[: max(0, self.faults.window - len(self._kernel))])
        if moved and self._error is not None:  # only who writes learns of it
            self._die(self._error)
            return True
        self._kernel += moved
        del self._buffer[: len(moved)]
        if self._buffer:
            return bool(moved)
        if self._producer is not None and (self._paused or not self._pushing):
            if moved:
                self._paused = False
                self._producer.resumeProducing()
            return bool(moved)
        return self._end_output() or bool(moved)

    def _end_output(self) -> bool:
        if self._half_closing and not self._output_over:
            self._output_over = True
            IHalfCloseableProtocol(self.protocol).writeConnectionLost()
            return True
        if self._closing:
            if self._inbox:  # a close with unread input is a reset
                self.other._receive_reset()
            self._die(ConnectionDone())
            return True
        return False

    def _carry(self) -> bool:
        other = self.other
        if self.held or other._input_over:
            return False
        piece = bytes(self._kernel[: self.faults.piece])
        cut = self.faults.cut_after
        if cut is not None and self._delivered + len(piece) > cut:
            piece = piece[: cut - self._delivered]
            other._inbox += piece
            other._read()
            self._receive_reset()
            other._receive_reset()
            return True
        del self._kernel[: len(piece)]
        self._delivered += len(piece)
        if piece and other.closed:
            self._receive_reset()
            return True
        other._inbox += piece
        if piece and other._kernel:
            self._acknowledging.append((other._delivered + len(other._kernel), len(piece)))
        if not self._kernel and self._output_over:
            other._input_over = True
            return True
        return bool(piece)

    def _read(self) -> bool:
        if self.closed or self._aborting or not self._reading or self._input_told:
            return False
        if self._inbox:
            data = bytes(self._inbox[: self.bufferSize])
            del self._inbox[: len(data)]
            self.protocol.dataReceived(data)
            return True
        if self._input_over:
            self._input_told = True
            if IHalfCloseableProtocol.providedBy(self.protocol):
                IHalfCloseableProtocol(self.protocol).readConnectionLost()
            else:
                self._die(ConnectionDone())
            return True
        return False

    def _receive_reset(self) -> None:
        self._error = ConnectionLost()
        self._kernel.clear()
        if not self._input_told:  # otherwise nobody watches the socket
            self._die(self._error)

    def _die(self, reason: BaseException) -> None:
        if self.closed:
            return
        self.closed = True
        self._output_over = True
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self.protocol.connectionLost(Failure(reason))


class Recorder(Protocol):
    """The other side, for tests that speak bytes: it remembers what it was told.

    :ivar received: all bytes so far.
    :ivar lost: why the connection was lost, if it was.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """Remember."""
        self.received += data

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Remember."""
        self.lost = reason


@implementer(IHalfCloseableProtocol)
class HalfCloseableRecorder(Recorder):
    """A recorder that may send on when the other has shut down its half.

    :ivar input_ended: the other has.
    """

    def __init__(self) -> None:
        super().__init__()
        self.input_ended = False

    def readConnectionLost(self) -> None:
        """Remember."""
        self.input_ended = True

    def writeConnectionLost(self) -> None:
        """As we wanted."""


class Line:
    """A connection between two protocols, of which ``client`` has dialled ``server``."""

    def __init__(
        self,
        client: IProtocol,
        server: IProtocol,
        *,
        from_client: Faults | None = None,
        from_server: Faults | None = None,
    ) -> None:
        self.client = LineEnd(
            client, IPv4Address("TCP", "127.0.0.1", 40000), from_client or Faults()
        )
        self.server = LineEnd(
            server, IPv4Address("TCP", "127.0.0.1", 1357), from_server or Faults()
        )
        self.client.other, self.server.other = self.server, self.client
        self.server.connect()
        self.client.connect()

    def step(self) -> bool:
        """Move what can be moved once, at both ends; whether anything moved."""
        return any((self.client.step(), self.server.step()))

    def run(self) -> None:
        """Go on until nothing moves.

        :raises RuntimeError: when that never happens.
        """
        for _ in range(STEP_LIMIT):
            if not self.step():
                return
        raise RuntimeError("the line never comes to rest")

    def reset(self) -> None:
        """Break the connection at once, for both."""
        self.client._receive_reset()
        self.server._receive_reset()
