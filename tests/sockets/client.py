"""A client that speaks bytes over a blocking socket, each of whose waits is bounded.

It knows frames, and nothing of ours: what it is answered is compared byte for byte.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from termios import FIONREAD
from typing import NamedTuple

PATIENCE = 20.0
"""Seconds after which something that should have happened has not."""

NOBODY = bytes(16)
KEY = bytes(range(160))
ERROR = (2, 9000, b"")

_INT = struct.Struct("i")
_ABORT = struct.pack("ii", 1, 0)


class Answer(NamedTuple):
    """One frame of the relay."""

    version: int
    code: int
    payload: bytes


class Waiting(NamedTuple):
    """One message of a 2104."""

    sender: bytes
    number: int
    type: int
    content: bytes


def header(code: int, size: int, client_id: bytes = NOBODY, version: int = 2) -> bytes:
    """The header of a request."""
    return client_id + struct.pack("<BHI", version, code, size)


def frame(code: int, payload: bytes = b"", client_id: bytes = NOBODY, version: int = 2) -> bytes:
    """A request."""
    return header(code, len(payload), client_id, version) + payload


def registration(name: bytes, key: bytes = KEY, client_id: bytes = NOBODY) -> bytes:
    """A 600; the name is the whole field, or is padded with zeros."""
    return frame(600, name.ljust(255, b"\0") + key, client_id)


def message(sender: bytes, recipient: bytes, content: bytes, kind: int = 3) -> bytes:
    """A 603."""
    return frame(603, recipient + struct.pack("<BI", kind, len(content)) + content, sender)


def fetch(client_id: bytes) -> bytes:
    """A 604."""
    return frame(604, client_id=client_id)


def messages_in(answer: Answer) -> list[Waiting]:
    """The messages of a 2104, which must fill it."""
    assert answer.code == 2104, answer
    return list(_split(answer.payload))


def _split(payload: bytes) -> Iterator[Waiting]:
    offset = 0
    while offset < len(payload):
        sender, number, kind, size = struct.unpack_from("<16sIBI", payload, offset)
        offset += 25
        assert offset + size <= len(payload), "a message is cut off"
        yield Waiting(sender, number, kind, payload[offset : offset + size])
        offset += size


def wait_until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Look at short intervals until something is so; if it is not in time, say what."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain until {what}")
        time.sleep(0.005)


class SocketClient:
    """One connection."""

    def __init__(
        self,
        port: int,
        *,
        receive_buffer: int | None = None,
        send_buffer: int | None = None,
        source: str | None = None,
    ) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        for option, size in ((socket.SO_RCVBUF, receive_buffer), (socket.SO_SNDBUF, send_buffer)):
            if size is not None:
                self.socket.setsockopt(socket.SOL_SOCKET, option, size)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", port))

    def send(self, *pieces: bytes) -> None:
        """Send pieces, each in a segment of its own if the kernel has room."""
        for piece in pieces:
            self.socket.sendall(piece)

    def read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        data = bytearray(size)
        view, got = memoryview(data), 0
        while got < size:
            count = self.socket.recv_into(view[got:])
            if not count:
                raise AssertionError(f"the connection ended after {bytes(data[:got])!r:.100}")
            got += count
        return bytes(data)

    def read_rest(self) -> bytes:
        """Everything until the relay has shut down its half."""
        pieces = []
        while piece := self.socket.recv(1 << 20):
            pieces.append(piece)
        return b"".join(pieces)

    def answer(self) -> Answer:
        """The next answer."""
        version, code, size = struct.unpack("<BHI", self.read(7))
        return Answer(version, code, self.read(size))

    def ask(self, request: bytes) -> Answer:
        """Send a request in one piece; its answer."""
        self.send(request)
        return self.answer()

    def register(self, name: bytes, key: bytes = KEY) -> bytes:
        """A new client; its id."""
        answer = self.ask(registration(name, key))
        assert answer.code == 2100, answer
        return answer.payload

    def fetch_all(self, client_id: bytes) -> list[Waiting]:
        """All that waits, settled: it asks until nothing comes."""
        fetched: list[Waiting] = []
        while messages := messages_in(self.ask(fetch(client_id))):
            fetched += messages
        return fetched

    def unread(self) -> int:
        """Bytes that this side's kernel has, and nobody has read."""
        return int(_INT.unpack(ioctl(self.socket.fileno(), FIONREAD, _INT.pack(0)))[0])

    def half_close(self) -> None:
        """Send no more."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close; the kernel makes it a reset if there is something unread."""
        self.socket.close()

    def reset(self) -> None:
        """Close with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.socket.close()
