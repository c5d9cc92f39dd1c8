"""The ways in which a client may behave that fetches its mail: the rows of docs/promises.md."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

from attrs import frozen

from .client import PATIENCE, SocketClient, fetch, frame, wait_until

SOME = 4096
"""Bytes of an answer that is too large for the kernels to hold all of it."""

# A client in a process of its own, which ends only when it is killed.
_PROGRAM: Final = """
import fcntl, signal, socket, struct, sys, termios, time
port, request, read, unread, half_close = sys.argv[1:]
client = socket.create_connection(("127.0.0.1", int(port)), timeout=20)
client.sendall(bytes.fromhex(request))
if half_close == "before":
    client.shutdown(socket.SHUT_WR)
left = int(read)
while left:
    left -= len(client.recv(min(left, 1 << 20)) or sys.exit("the relay has closed"))
while struct.unpack("i", fcntl.ioctl(client, termios.FIONREAD, b"1234"))[0] < int(unread):
    time.sleep(0.002)
if half_close == "after":
    client.shutdown(socket.SHUT_WR)
print("done", flush=True)
signal.pause()
"""


@frozen
class Fetcher:
    """Somebody whose mail waits.

    :ivar size: bytes of the answer that brings it.
    :ivar fits: whether the kernels can hold all of that.
    :ivar wait_until_alone: waits until the relay has seen the end of all connections.
    """

    port: int
    client_id: bytes
    size: int
    fits: bool
    wait_until_alone: Callable[[], None]

    @property
    def held(self) -> int:
        """Bytes of the answer that arrive though nobody reads them."""
        return self.size if self.fits else SOME

    def ask(self, *, half_close: bool = False, receive_buffer: int | None = None) -> SocketClient:
        """A connection on which the mail has been asked for."""
        client = SocketClient(self.port, receive_buffer=receive_buffer)
        client.send(fetch(self.client_id))
        if half_close:
            client.half_close()
        return client

    def await_held(self, client: SocketClient) -> None:
        """Until this side's kernel has as much as it will have for sure."""
        wait_until(lambda: client.unread() >= self.held, "the answer has come")


def read_and_close(fetcher: Fetcher) -> None:
    client = fetcher.ask()
    client.read(fetcher.size)
    client.close()


def read_and_reset(fetcher: Fetcher) -> None:
    client = fetcher.ask()
    client.read(fetcher.size)
    client.reset()


def close_unread(fetcher: Fetcher) -> None:
    client = fetcher.ask()
    fetcher.await_held(client)
    client.close()


def close_in_the_middle(fetcher: Fetcher) -> None:
    client = fetcher.ask()
    fetcher.await_held(client)
    client.read(fetcher.held // 2)
    client.close()


def ask_again(fetcher: Fetcher) -> None:
    client = fetcher.ask()
    client.read(fetcher.size)
    assert client.ask(fetch(fetcher.client_id)) == (2, 2104, b"")
    client.reset()


def ask_something_else(fetcher: Fetcher) -> None:
    client = fetcher.ask()
    client.read(fetcher.size)
    assert client.ask(frame(601, client_id=fetcher.client_id)).code == 2101
    client.reset()


def ask_twice_at_once(fetcher: Fetcher) -> None:
    client = SocketClient(fetcher.port)
    client.send(fetch(fetcher.client_id) * 2)
    client.read(2 * fetcher.size)
    client.reset()


def half_close_before(fetcher: Fetcher) -> None:
    client = fetcher.ask(half_close=True)
    client.read(fetcher.size)
    assert client.read_rest() == b""
    client.close()


def half_close_during(fetcher: Fetcher) -> None:
    client = fetcher.ask()
    fetcher.await_held(client)
    client.read(fetcher.held // 2)
    client.half_close()
    client.read(fetcher.size - fetcher.held // 2)
    assert client.read_rest() == b""
    client.close()


def half_close_after(fetcher: Fetcher) -> None:
    client = fetcher.ask()
    client.read(fetcher.size)
    client.half_close()
    assert client.read_rest() == b""
    client.close()


def half_close_before_and_close_unread(fetcher: Fetcher) -> None:
    client = fetcher.ask(half_close=True)
    fetcher.await_held(client)
    if fetcher.fits:
        fetcher.wait_until_alone()
    client.close()


def be_killed(
    fetcher: Fetcher, *, reads: bool, half_close: str = "never", late: bool = False
) -> None:
    """A process that does this and is killed; ``late``: when the relay has drawn its conclusion."""
    read, unread = (fetcher.size, 0) if reads else (0, fetcher.held)
    arguments = [str(fetcher.port), fetch(fetcher.client_id).hex(), str(read), str(unread)]
    client = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _PROGRAM, *arguments, half_close],
        stdout=subprocess.PIPE,
    )
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == b"done\n", "the client has failed"
        if late and fetcher.fits:
            fetcher.wait_until_alone()
    finally:
        client.kill()
        client.communicate(timeout=PATIENCE)


def vanish(fetcher: Fetcher, *, half_close: bool = False) -> None:
    client = fetcher.ask(half_close=half_close, receive_buffer=SOME)
    wait_until(client.unread, "the answer has begun to come")
    fetcher.wait_until_alone()
    client.close()


@frozen
class Behaviour:
    """One row.

    :ivar deadline: whether it lasts until the relay gives up.
    """

    text: str
    act: Callable[[Fetcher], None]
    deadline: bool = False


BEHAVIOURS: Final = (
    Behaviour("reads all of it and closes", read_and_close),
    Behaviour("reads all of it and asks again on the same connection", ask_again),
    Behaviour("reads all of it and asks for something else", ask_something_else),
    Behaviour("reads all of it and resets the connection", read_and_reset),
    Behaviour("asks twice at once, reads both answers, resets", ask_twice_at_once),
    Behaviour("closes without reading", close_unread),
    Behaviour("closes in the middle", close_in_the_middle),
    Behaviour("is killed before it reads", partial(be_killed, reads=False)),
    Behaviour("is killed when it has read all of it", partial(be_killed, reads=True)),
    Behaviour("half-closes before the answer, and reads it", half_close_before),
    Behaviour("half-closes during the answer, and reads the rest", half_close_during),
    Behaviour("half-closes after the answer", half_close_after),
    Behaviour(
        "half-closes before the answer, and closes without reading",
        half_close_before_and_close_unread,
    ),
    Behaviour(
        "half-closes when its kernel has the answer, and is killed before it reads",
        partial(be_killed, reads=False, half_close="after", late=True),
    ),
    Behaviour("vanishes: neither reads nor closes", vanish, deadline=True),
    Behaviour(
        "half-closes before the answer, and vanishes", partial(vanish, half_close=True), True
    ),
)
