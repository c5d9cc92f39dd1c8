"""A TCP proxy in a thread, which can be cut, and can hold back whatever comes: a network that fails."""

from __future__ import annotations

import os
import selectors
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Final, TypeAlias

from attrs import define, field

from tests.sockets.client import PATIENCE

Target: TypeAlias = int | Path
"""A port of this machine, or a socket in its file system."""

PIECE: Final = 65_536
"""Bytes that are read at once; while so many wait to be written, no more is read."""

_RESET: Final = struct.pack("ii", 1, 0)


@define(eq=False)
class _End:
    """One of the two sockets of a connection.

    :ivar waiting: what is to be written to it.
    :ivar ended: nothing comes from it any more.
    :ivar shut: nothing goes to it any more.
    :ivar watched: what the gate waits for.
    """

    socket: socket.socket
    other: _End = field(init=False)
    waiting: bytearray = field(factory=bytearray)
    ended: bool = False
    shut: bool = False
    watched: int = 0

    def write(self) -> None:
        """Write what waits; then, if no more will come, say so."""
        while self.waiting:
            try:
                written = self.socket.send(self.waiting)
            except BlockingIOError:
                return
            del self.waiting[:written]
        if self.other.ended and not self.shut:
            self.shut = True
            self.socket.shutdown(socket.SHUT_WR)

    def read(self) -> None:
        """Take what comes, for the other end."""
        try:
            data = self.socket.recv(PIECE)
        except BlockingIOError:
            return
        self.ended = not data
        self.other.waiting += data
        self.other.write()

    @property
    def interest(self) -> int:
        """What is waited for."""
        reads = 0 if self.ended or len(self.other.waiting) >= PIECE else selectors.EVENT_READ
        return reads | (selectors.EVENT_WRITE if self.waiting else 0)


class Gate:
    """Passes connections to the first of some targets that takes them, each time from the next on.

    :ivar port: where it listens, on the loopback.
    :ivar targets: where connections go to that come from now on.
    """

    def __init__(self, *targets: Target) -> None:
        self.targets: Sequence[Target] = targets
        self._turn = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._ends: set[_End] = set()
        self._selector = selectors.DefaultSelector()
        self._refuses = self._holds = self._ends_itself = False
        self._orders: list[tuple[Callable[[], None], Event]] = []
        self._wake_reads, self._wake = os.pipe()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    # What a test does.

    def cut(self) -> None:
        """Reset every connection, and take none until it is healed."""

        def do() -> None:
            self._refuses = True
            for end in tuple(self._ends):
                self._drop(end)

        self._order(do)

    def hold(self) -> None:
        """Pass nothing, and tell nobody, until it is healed."""
        self._order(lambda: self._set_holding(True))

    def heal(self) -> None:
        """All is well again, and what was held back goes on."""

        def do() -> None:
            self._refuses = False
            self._set_holding(False)

        self._order(do)

    def close(self) -> None:
        """Let go of everything."""
        self._order(lambda: setattr(self, "_ends_itself", True))
        self._thread.join()

    def _order(self, do: Callable[[], None]) -> None:
        done = Event()
        self._orders.append((do, done))
        os.write(self._wake, b"!")
        assert done.wait(PATIENCE), "the thread has ended"

    # What the thread does.

    def _run(self) -> None:
        self._selector.register(self._wake_reads, selectors.EVENT_READ, self._take_orders)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        while not self._ends_itself:
            for key, events in self._selector.select():
                if isinstance(key.data, _End):
                    self._serve(key.data, events)
                else:
                    key.data()
        for end in tuple(self._ends):
            self._drop(end)
        self._selector.close()
        self._listener.close()
        os.close(self._wake)
        os.close(self._wake_reads)

    def _set_holding(self, holds: bool) -> None:
        self._holds = holds
        for end in self._ends:
            self._watch(end)

    def _watch(self, end: _End) -> None:
        interest = 0 if self._holds else end.interest
        if interest and end.watched:
            if interest != end.watched:
                self._selector.modify(end.socket, interest, end)
        elif interest:
            self._selector.register(end.socket, interest, end)
        elif end.watched:
            self._selector.unregister(end.socket)
        end.watched = interest

    def _take_orders(self) -> None:
        os.read(self._wake_reads, 1)
        do, done = self._orders.pop(0)
        do()
        done.set()

    def _accept(self) -> None:
        try:
            came, _ = self._listener.accept()
        except OSError:
            return
        goes = None if self._refuses or self._holds else self._dial()
        if goes is None:
            came.close()
            return
        one, other = _End(came), _End(goes)
        one.other, other.other = other, one
        for end in (one, other):
            end.socket.setblocking(False)
            if end.socket.family == socket.AF_INET:
                end.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ends.add(end)
            self._watch(end)

    def _dial(self) -> socket.socket | None:
        targets = self.targets
        for number in range(len(targets)):
            target = targets[(self._turn + number) % len(targets)]
            kind = socket.AF_INET if isinstance(target, int) else socket.AF_UNIX
            dialled = socket.socket(kind)
            try:
                dialled.connect(("127.0.0.1", target) if isinstance(target, int) else str(target))
            except OSError:
                dialled.close()
            else:
                self._turn += number + 1
                return dialled
        return None

    def _serve(self, end: _End, events: int) -> None:
        if end not in self._ends:  # it was dropped with the other one
            return
        try:
            if events & selectors.EVENT_READ:
                end.read()
            if events & selectors.EVENT_WRITE:
                end.write()
            end.other.write()
        except OSError:
            self._drop(end)
            return
        if end.shut and end.other.shut:
            self._drop(end)
            return
        for each in (end, end.other):
            self._watch(each)

    def _drop(self, end: _End) -> None:
        for each in (end, end.other):
            self._ends.discard(each)
            if each.watched:
                self._selector.unregister(each.socket)
                each.watched = 0
            with suppress(OSError):
                # A reset, where the kernel knows what that is.
                each.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            each.socket.close()
