"""Many bad clients in one process: ``python -m tests.abuse.swarm PORT BEHAVIOUR OPTIONS``.

The last is JSON, as :class:`Plan` has it. At the end it prints as JSON what has become of them.
"""

from __future__ import annotations

import errno
import json
import resource
import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import ClassVar, Final

from attrs import frozen

from tests.sockets.client import NOBODY, fetch, frame, header, message

LARGEST: Final = 21 + (1 << 24) + 16
"""The payload of the largest 603."""

OPENING: Final = 128
"""Connections that are begun in one turn."""

BLOCKS: Final = 16
"""Blocks that one connection writes in one turn."""

NO_PORT_YET: Final = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)

_ABORT: Final = struct.pack("ii", 1, 0)
_ANSWER: Final = struct.Struct("<BHI")


@frozen(kw_only=True)
class Plan:
    """How large an attack is.

    :ivar count: connections at once.
    :ivar total: connections in all; without it each that ends is replaced.
    :ivar seconds: after which it ends, if it has not ended by itself.
    :ivar sources: addresses from which they come.
    :ivar client_id: one of theirs, in hexadecimal.
    :ivar amount: how much each of them does; what that means is the behaviour's.
    :ivar size: bytes of what they send, where there is a choice.
    :ivar patience: seconds that they go on when they have all, where they end by themselves.
    """

    count: int
    seconds: float
    total: int | None = None
    sources: int = 250
    client_id: str = NOBODY.hex()
    amount: int = 0
    size: int = 0
    patience: int = sys.maxsize


class BadClient:
    """One connection: it says all that it has to say, then does nothing.

    :cvar reads: whether it reads what it is answered.
    :cvar receive_buffer: what its kernel may hold for it, in bytes.
    :cvar segment: bytes that it takes at once, by which the relay's kernel judges how much to hold.
    """

    reads: ClassVar[bool] = True
    receive_buffer: ClassVar[int | None] = None
    segment: ClassVar[int | None] = None

    def __init__(self, plan: Plan, fates: Counter[str]) -> None:
        self.plan = plan
        self.fates = fates
        self.client_id = bytes.fromhex(plan.client_id)
        self.socket = socket.socket()
        self.socket.setblocking(False)
        if self.receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        if self.segment is not None:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, self.segment)
        self.connected = False
        self.ended = False
        self._words = self.words()
        self._unsent = memoryview(b"")
        self._silent = False
        self._heard = bytearray()

    def words(self) -> Iterator[bytes]:
        """What it says."""
        raise NotImplementedError

    def finish(self) -> None:
        """It has said everything."""

    def tick(self) -> None:
        """A second has passed."""

    @property
    def interest(self) -> int:
        """What its poller is to look for."""
        if not self.connected:
            return select.EPOLLOUT
        events = select.EPOLLRDHUP
        if self.reads:
            events |= select.EPOLLIN
        return events if self._silent else events | select.EPOLLOUT

    def handle(self, events: int) -> None:
        """Something can be done."""
        try:
            if not self.connected:
                self._connect()
            if self.connected and events & select.EPOLLOUT:
                self._write()
            if not self.ended and self.connected and self.reads and events & select.EPOLLIN:
                self._read()
            if not self.ended and events & (select.EPOLLERR | select.EPOLLHUP):
                self.end("reset")
            elif not self.ended and events & select.EPOLLRDHUP and not self.reads:
                self.end("closed")
        except BlockingIOError:
            pass
        except OSError:
            self.end("reset")

    def _connect(self) -> None:
        if self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.end("not connected")
        else:
            self.connected = True
            self.fates["connected"] += 1

    def _write(self) -> None:
        for _ in range(BLOCKS):
            if not self._unsent:
                block = next(self._words, None)
                if block is None:
                    self._silent = True
                    self.finish()
                    return
                self._unsent = memoryview(block)
            sent = self.socket.send(self._unsent)
            self._unsent = self._unsent[sent:]

    def say(self, more: bytes) -> None:
        """Say something beside its words; what the kernel does not take is forgotten."""
        if self.connected and not self.ended:
            try:
                self.socket.send(more)
            except BlockingIOError:
                pass
            except OSError:
                self.end("reset")

    def _read(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            self.end("closed")
        self._heard += data
        while len(self._heard) >= _ANSWER.size:
            _, code, size = _ANSWER.unpack_from(self._heard)
            if len(self._heard) < _ANSWER.size + size:
                break
            del self._heard[: _ANSWER.size + size]
            self.fates[f"answered {code}"] += 1

    def end(self, how: str) -> None:
        """It is over."""
        if not self.ended:
            self.ended = True
            self.fates[how] += 1
            self.socket.close()

    def reset(self) -> None:
        """End it with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.end("done")


class HalfHeader(BadClient):
    """Begins a header, and does not go on."""

    def words(self) -> Iterator[bytes]:
        yield header(603, 100, self.client_id)[:12]


class Drip(BadClient):
    """A byte of a large frame each second."""

    def words(self) -> Iterator[bytes]:
        yield header(603, LARGEST, self.client_id)

    def tick(self) -> None:
        self.say(b"\0")


class Announcer(BadClient):
    """Announces the largest frame and sends so many bytes of it."""

    def words(self) -> Iterator[bytes]:
        yield header(603, LARGEST, self.client_id)
        yield self.client_id + struct.pack("<BI", 3, LARGEST - 21)
        yield from repeat(bytes(1 << 16), self.plan.amount >> 16)


class NeverReader(BadClient):
    """Asks for its mail, and never reads it."""

    reads = False
    receive_buffer = 4096

    def words(self) -> Iterator[bytes]:
        yield fetch(self.client_id)


class Keeper(BadClient):
    """Asks for its mail, reads it, and never says that it has it."""

    def words(self) -> Iterator[bytes]:
        yield fetch(self.client_id)


class HalfCloser(NeverReader):
    """The same, and shuts down its sending half."""

    def finish(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)


class Pipeliner(BadClient):
    """Sends to itself and asks for its key without end, and never reads an answer."""

    reads = False
    receive_buffer = 4096

    def words(self) -> Iterator[bytes]:
        key = frame(602, self.client_id, self.client_id)
        yield from repeat(message(self.client_id, self.client_id, bytes(300)) * 20 + key * 200)


class Greedy(BadClient):
    """Sends to itself without end, and reads the answers."""

    def words(self) -> Iterator[bytes]:
        yield from repeat(message(self.client_id, self.client_id, bytes(300)) * 200)


class Filler(BadClient):
    """Sends so many messages to itself, and goes when all are answered."""

    def words(self) -> Iterator[bytes]:
        yield from repeat(message(self.client_id, self.client_id, bytes(300)), self.plan.amount)

    def finish(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)


class Passer(BadClient):
    """Connects and is gone; every second one without a goodbye."""

    def words(self) -> Iterator[bytes]:
        yield from ()

    def finish(self) -> None:
        if self.fates["connected"] % 2:
            self.reset()
        else:
            self.end("done")


class Resetter(BadClient):
    """Sends, begins to fetch, and resets the connection."""

    def words(self) -> Iterator[bytes]:
        yield message(self.client_id, self.client_id, b"sealed") + fetch(self.client_id) * 2

    def finish(self) -> None:
        self.reset()


class Registrar(BadClient):
    """Registers one name after the other, so many in all, and goes when all are answered."""

    def words(self) -> Iterator[bytes]:
        prefix = b"%s %d " % (self.__class__.__name__.encode(), id(self))
        for number in range(self.plan.amount):
            yield frame(600, (prefix + b"%d" % number).ljust(255, b"\0") + bytes(160))

    def finish(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)


BEHAVIOURS: Final = {
    each.__name__: each
    for each in (
        HalfHeader,
        Drip,
        Announcer,
        NeverReader,
        Keeper,
        HalfCloser,
        Pipeliner,
        Greedy,
        Filler,
        Passer,
        Resetter,
        Registrar,
    )
}


class Swarm:
    """All of them, in one loop.

    :param behaviours: of the first, of the second, and so on in turn.
    """

    def __init__(self, port: int, behaviours: Sequence[type[BadClient]], plan: Plan) -> None:
        self._port = port
        self._behaviours = behaviours
        self._plan = plan
        self._poller = select.epoll()
        self._clients: dict[int, BadClient] = {}
        self._begun = 0
        self.fates: Counter[str] = Counter()

    def run(self) -> None:
        """Until all have ended, or the time is over."""
        began = tick = time.monotonic()
        while self._go_on() and time.monotonic() - began < self._plan.seconds:
            for descriptor, events in self._poller.poll(0.05):
                self._let(descriptor, lambda client, events=events: client.handle(events))
            if time.monotonic() - tick >= 1:
                tick += 1
                for descriptor in tuple(self._clients):
                    self._let(descriptor, lambda client: client.tick())
        self.fates["left"] = len(self._clients)
        self.fates["begun"] = self._begun
        for client in self._clients.values():
            client.reset()

    def _go_on(self) -> bool:
        """Begin what may be begun; whether there is anybody."""
        total = sys.maxsize if self._plan.total is None else self._plan.total
        room = min(OPENING, self._plan.count - len(self._clients), total - self._begun)
        for _ in range(room):
            self._begin()
        return bool(self._clients) or self._begun < total

    def _begin(self) -> None:
        client = self._behaviours[self._begun % len(self._behaviours)](self._plan, self.fates)
        source = self._begun % self._plan.sources
        self._begun += 1
        client.socket.setsockopt(socket.IPPROTO_IP, NO_PORT_YET, 1)
        client.socket.bind((f"127.1.{source >> 8 & 255}.{(source & 255) or 1}", 0))
        code = client.socket.connect_ex(("127.0.0.1", self._port))
        if code in (0, errno.EINPROGRESS):
            descriptor = client.socket.fileno()
            self._poller.register(descriptor, client.interest)
            self._clients[descriptor] = client
        else:
            client.end("not connected")

    def _let(self, descriptor: int, act: Callable[[BadClient], None]) -> None:
        client = self._clients[descriptor]
        before = client.interest
        act(client)
        if not self._sweep(descriptor, client) and client.interest != before:
            self._poller.modify(descriptor, client.interest)

    def _sweep(self, descriptor: int, client: BadClient) -> bool:
        # A descriptor that is closed has left the poller.
        if client.ended:
            self._clients.pop(descriptor, None)
        return client.ended


def main(behaviours: Mapping[str, type[BadClient]], port: str, names: str, options: str) -> None:
    """Attack.

    :param names: of those of the behaviours that are wanted, with commas between.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = [behaviours[name] for name in names.split(",")]
    swarm = Swarm(int(port), wanted, Plan(**json.loads(options)))
    swarm.run()
    print(json.dumps(swarm.fates))  # noqa: T201


if __name__ == "__main__":
    main(BEHAVIOURS, *sys.argv[1:])
