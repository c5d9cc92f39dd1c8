"""Thousands of connections in one thread, which send as fast as the relay lets them."""

from __future__ import annotations

import resource
import selectors
import socket
import time
from collections.abc import Sequence

from attrs import define
from twisted.trial.unittest import SkipTest

PORTS_OF_AN_ADDRESS = 5_000
"""Connections that come from one address. Above 80 % of all places the one that holds most gets no
more, so that ten thousand have to come from several."""

SPARE = 200
"""Descriptors that are not for the crowd."""

STEP = 1 << 16
"""Bytes that one of them sends or reads at once."""


def raise_descriptors(count: int) -> None:
    """Let this process have so many connections.

    :raises SkipTest: when it cannot.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + SPARE:
        raise SkipTest(f"only {hard} open files are allowed, and {count + SPARE} needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@define(eq=False)
class _Guest:
    socket: socket.socket
    words: memoryview
    sent: int = 0


class Crowd:
    """Many connections to one port. Whoever is cut off is out; the others go on."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._guests: dict[_Guest, None] = {}

    @property
    def size(self) -> int:
        """How many are not known to be cut off."""
        return len(self._guests)

    def join(self, count: int, receive_buffer: int | None = None) -> None:
        """So many more connections, whose kernels keep so many bytes of answers for them."""
        raise_descriptors(len(self._guests) + count)
        for _ in range(count):
            address = f"127.0.1.{len(self._guests) // PORTS_OF_AN_ADDRESS + 1}"
            guest = socket.socket()
            if receive_buffer is not None:
                guest.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            guest.bind((address, 0))
            guest.connect(("127.0.0.1", self._port))
            guest.setblocking(False)
            self._guests[_Guest(guest, memoryview(b""))] = None

    def say(self, *words: bytes) -> None:
        """Each sends what it has to say, once: the first the first, and so on in turn."""
        for number, guest in enumerate(self._guests):
            guest.socket.setblocking(True)
            guest.socket.sendall(words[number % len(words)])
            guest.socket.setblocking(False)

    def rage(self, words: Sequence[bytes], seconds: float, *, reads: bool) -> None:
        """Each sends its words over and over, as fast as it can, for so long.

        :param words: of the first, of the second, and so on in turn.
        :param reads: whether they read their answers.
        """
        with selectors.DefaultSelector() as selector:
            for number, guest in enumerate(self._guests):
                guest.words, guest.sent = memoryview(words[number % len(words)]), 0
                interest = selectors.EVENT_WRITE | (selectors.EVENT_READ if reads else 0)
                selector.register(guest.socket, interest, guest)
            end = time.monotonic() + seconds
            while selector.get_map() and time.monotonic() < end:
                for key, events in selector.select(0.1):
                    if not self._go_on(key.data, events):
                        selector.unregister(key.fileobj)
                        del self._guests[key.data]
                        key.data.socket.close()

    def _go_on(self, guest: _Guest, events: int) -> bool:
        try:
            if events & selectors.EVENT_READ and not guest.socket.recv(STEP):
                return False
            if events & selectors.EVENT_WRITE:
                piece = guest.words[guest.sent : guest.sent + STEP]
                guest.sent = (guest.sent + guest.socket.send(piece)) % len(guest.words)
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def leave(self) -> None:
        """All of them are gone."""
        for guest in self._guests:
            guest.socket.close()
        self._guests.clear()
