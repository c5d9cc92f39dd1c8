"""Two clients of v3 and what they wait for: ``python -m benchmarks.v3_client MODE …``.

Both are real, with encrypted databases on the disk, in one process: what both compute is within
what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import react

from benchmarks.machine import use_epoll
from messageu.client.v3 import (
    FileReceived,
    MessageReceived,
    Messenger,
    create_profile,
    open_profile,
    parse_relay,
)
from messageu.model import ClientId, PublicKey, UserName
from messageu.wire import NEED_DATA, Parser, v2

TEXT = "hi"
BLOCK = 2**20


async def pair(options: argparse.Namespace, reactor: Any) -> tuple[Messenger, Messenger]:
    """Two clients that know and accept each other."""
    messengers = []
    for name in ("anna", "bern"):
        folder = options.folder / name
        folder.mkdir()
        create_profile(folder, parse_relay(options.address), None)
        messenger = open_profile(reactor, folder, None)
        messenger.start()
        await messenger.register(f"{name}{os.getpid()}")
        messengers.append(messenger)
    anna, bern = messengers
    await anna.add(str(bern.link), "bern")
    await bern.add(str(anna.link), "anna")
    for one, other in ((anna, "bern"), (bern, "anna"), (anna, "bern")):
        await one.send_text(other, TEXT).delivered()
    return anna, bern


async def latency(options: argparse.Namespace, reactor: Any) -> dict[str, float]:
    """Milliseconds from the return of ``send_text`` to the other client's callback."""
    anna, bern = await pair(options, reactor)
    arrived: list[Deferred[None]] = []

    def hear(event: object) -> None:
        if isinstance(event, MessageReceived) and arrived:
            arrived.pop().callback(None)

    bern.observe(hear)
    times = []
    for _ in range(options.count):
        waiting: Deferred[None] = Deferred()
        arrived.append(waiting)
        anna.send_text("bern", TEXT)
        began = time.perf_counter()
        await waiting
        times.append((time.perf_counter() - began) * 1000)
    await anna.close()
    await bern.close()
    return figures(times)


def figures(times: Sequence[float]) -> dict[str, float]:
    """The middle and the 99th percentile."""
    return {"p50": median(times), "p99": quantiles(times, n=100)[98]}


async def file(options: argparse.Namespace, reactor: Any) -> dict[str, float]:
    """A file, from ``send_file`` to its last byte in the other client's folder."""
    anna, bern = await pair(options, reactor)
    source = options.folder / "file.bin"
    with source.open("wb") as target:
        for _ in range(options.size // BLOCK):
            target.write(os.urandom(BLOCK))
        os.fsync(target.fileno())
    received: Deferred[Path] = Deferred()

    def hear(event: object) -> None:
        if isinstance(event, FileReceived):
            received.callback(event.path)

    bern.observe(hear)
    began = time.perf_counter()
    await anna.send_file("bern", source)
    path = await received
    seconds = time.perf_counter() - began
    if path.stat().st_size != options.size:
        raise SystemExit("v3_client: the file has another size")
    disk = write_speed(options.folder / "disk.bin", options.size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    await anna.close()
    await bern.close()
    return {"rate": options.size / seconds, "disk": disk, "peak": peak}


def write_speed(path: Path, size: int) -> float:
    """Bytes a second that are written in blocks of a piece, each of them synced."""
    block = os.urandom(2**18)
    began = time.perf_counter()
    with path.open("wb") as target:
        for _ in range(size // len(block)):
            target.write(block)
            target.flush()
            os.fdatasync(target.fileno())
    seconds = time.perf_counter() - began
    path.unlink()
    return size / seconds


def polling(options: argparse.Namespace) -> dict[str, float]:
    """The same over v2, when the other one asks again and again without a pause."""
    sender, reader = _V2(options.port, "s"), _V2(options.port, "r")
    times = []
    for _ in range(options.count):
        sender.ask(v2.SendMessage(reader.me, 3, bytes(16)))
        began = time.perf_counter()
        while not reader.fetch():
            pass
        times.append((time.perf_counter() - began) * 1000)
        reader.fetch()
    return figures(times)


class _V2:
    """A client of v2 that waits for each answer."""

    def __init__(self, port: int, name: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._parser: Parser[v2.ResponseEvent] = Parser(v2.ResponseCodec())
        self.me = ClientId(bytes(16))
        body = v2.Register(UserName.from_text(f"{name}{os.getpid()}"), PublicKey(os.urandom(160)))
        registered = self.ask(body)
        assert isinstance(registered, v2.Registered)  # noqa: S101 - a check of the load
        self.me = registered.client_id

    def ask(self, body: v2.RequestBody) -> v2.ResponseEvent:
        self._socket.sendall(v2.Request(self.me, body).encode())
        return self._next()

    def fetch(self) -> int:
        """How many messages there were."""
        self._socket.sendall(v2.Request(self.me, v2.FetchMessages()).encode())
        count = 0
        while not isinstance(self._next(), v2.EndOfMessages):
            count += 1
        return count

    def _next(self) -> v2.ResponseEvent:
        while (event := self._parser.next_event()) is NEED_DATA:
            self._parser.receive_data(self._socket.recv(65_536))
        return event


MODES: dict[str, Callable[[argparse.Namespace, Any], Coroutine[Any, Any, dict[str, float]]]] = {
    "latency": latency,
    "file": file,
}


def main(arguments: Sequence[str]) -> None:
    """Measure, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("mode", choices=[*MODES, "polling"])
    parser.add_argument("--address", help="of the relay, with its pin")
    parser.add_argument("--port", type=int, help="of v2")
    parser.add_argument("--folder", type=Path, help="an empty one, on a disk")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--size", type=int, default=2**30, help="of the file, in bytes")
    options = parser.parse_args(arguments)
    if options.mode == "polling":
        print(json.dumps(polling(options)))
        return
    use_epoll()

    def run(reactor: IReactorTime) -> Deferred[None]:
        measured = Deferred.fromCoroutine(MODES[options.mode](options, reactor))
        return measured.addCallback(lambda found: print(json.dumps(found), flush=True))

    with suppress(KeyboardInterrupt):
        react(run)


if __name__ == "__main__":
    main(sys.argv[1:])
