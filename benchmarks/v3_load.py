"""A load for either protocol, in a process of its own: ``python -m benchmarks.v3_load MODE …``.

It is Python on both sides of a comparison, so that the client costs the same per byte, but for TLS.
All connections take a step together: each sends its block of requests, then each reads its answers.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from attrs import define, field
from OpenSSL import SSL

from messageu.admin.load import Frames, names, registration
from messageu.crypto.v3 import Account
from messageu.model import ClientId
from messageu.model.v3 import EnvelopeId, Handle, SealedEnvelope, authentication_text
from messageu.wire import NEED_DATA, Parser, v2, v3

HOST = "127.0.0.1"
BINDING = b"EXPORTER-Channel-Binding"
READ = 65_536
SOURCES = 200
"""Addresses of loopback that connections come from, so that no port is short."""


class Client(Protocol):
    """A connection that is ready to send."""

    def send_block(self, count: int) -> None:
        """Send so many messages."""

    def read_answers(self, count: int) -> None:
        """Wait for as many answers."""


def dial(port: int, number: int) -> socket.socket:
    """A connection, from an address that few others come from."""
    source = f"127.0.{1 + number // SOURCES % 250}.{1 + number % SOURCES}"
    return socket.create_connection((HOST, port), source_address=(source, 0))


def _read_exactly(read: object, size: int) -> bytes:
    pieces = []
    while size:
        piece = read(min(READ, size))  # type: ignore[operator]
        if not piece:
            raise SystemExit("v3_load: the relay has closed the connection")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


@define
class PlainClient:
    """A client of v2 that sends to itself."""

    port: int
    number: int
    content: bytes = field(repr=False)
    _socket: socket.socket = field(init=False)
    _frame: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._socket = dial(self.port, self.number)
        (name,) = names(1)
        self._socket.sendall(registration(name))
        answer = _read_exactly(self._socket.recv, 23)
        self._frame = Frames([ClientId(answer[7:])], self.content).send(0)

    def send_block(self, count: int) -> None:
        self._socket.sendall(self._frame * count)

    def read_answers(self, count: int) -> None:
        answers = _read_exactly(self._socket.recv, 27 * count)
        _check(answers, 27, b"\x02" + v2.ResponseCode.STORED.to_bytes(2, "little"))


@define
class SealedClient:
    """A client of v3 that sends to itself, without opening anything."""

    port: int
    number: int
    content: bytes = field(repr=False, default=b"")
    account: Account = field(factory=Account.create, repr=False)
    registers: bool = True
    _tls: SSL.Connection = field(init=False)
    _parser: Parser[v3.Response] = field(init=False, factory=lambda: Parser(v3.ResponseCodec()))
    _asked: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_alpn_protos([b"messageu/3"])
        context.set_verify(SSL.VERIFY_NONE)
        self._tls = SSL.Connection(context, dial(self.port, self.number))
        self._tls.set_connect_state()
        self._tls.do_handshake()
        self.authenticate()

    def authenticate(self) -> None:
        """Prove who this is, and register unless that was done."""
        welcome = self.ask(v3.Hello())
        assert isinstance(welcome, v3.Welcome)  # noqa: S101 - a check of the load
        binding = self._tls.export_keying_material(BINDING, 32, None)
        keys, generation = self.account.keys, time.time_ns()
        text = authentication_text(welcome.nonce, keys.identity, generation, binding)
        self.ask(v3.Authenticate(keys, generation, self.account.sign(text)))
        if self.registers:
            name = Handle(f"load{self.number}-{os.getpid()}")
            self.ask(v3.Register(name.raw))

    def ask(self, body: v3.RequestBody) -> v3.ResponseBody:
        """One request, and its answer.

        :raises SystemExit: when it is refused.
        """
        self._asked += 1
        self._tls.sendall(v3.Request(self._asked, body).encode())
        while (event := self._parser.next_event()) is NEED_DATA:
            self._parser.receive_data(self._tls.recv(READ))
        assert isinstance(event, v3.Response)  # noqa: S101 - a check of the load
        if isinstance(event.body, v3.Error):
            raise SystemExit(f"v3_load: {type(body).__name__} is refused: {event.body!r}")
        return event.body

    def send_block(self, count: int) -> None:
        me = self.account.keys.identity.account_id
        frames = []
        for _ in range(count):
            self._asked += 1
            envelope = SealedEnvelope(me, EnvelopeId(os.urandom(16)), 1, self.content)
            frames.append(v3.Request(self._asked, v3.Send(envelope)).encode())
        self._tls.sendall(b"".join(frames))

    def read_answers(self, count: int) -> None:
        answers = _read_exactly(self._tls.recv, 27 * count)
        _check(answers, 27, b"\x03" + v3.ResponseCode.STORED.to_bytes(2, "little"))


def _check(answers: bytes, size: int, head: bytes) -> None:
    if any(answers[at : at + 3] != head for at in range(0, len(answers), size)):
        raise SystemExit("v3_load: an answer is not the one that was expected")


def sends(options: argparse.Namespace) -> dict[str, float]:
    """Acknowledged sends a second, closed loop."""
    content = os.urandom(options.size)
    make = PlainClient if options.protocol == "v2" else SealedClient
    clients: Sequence[Client] = [
        make(options.port, number, content) for number in range(options.connections)
    ]
    _step(clients, options.window)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < options.seconds:
        _step(clients, options.window)
        count += len(clients) * options.window
    return {"rate": count / (time.perf_counter() - began)}


def _step(clients: Sequence[Client], window: int) -> None:
    for client in clients:
        client.send_block(window)
    for client in clients:
        client.read_answers(window)


def connects(options: argparse.Namespace) -> dict[str, float]:
    """Connections a second that are made, authenticated and closed, one after the other."""
    account = SealedClient(options.port, 0).account
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < options.seconds:
        SealedClient(options.port, count, account=account, registers=False)
        count += 1
    return {"rate": count / (time.perf_counter() - began)}


def idle(options: argparse.Namespace) -> dict[str, float]:
    """Hold subscribed connections until standard input ends."""
    clients = []
    for number in range(options.connections):
        client = SealedClient(options.port, number)
        client.ask(v3.Subscribe(64, 2**20))
        clients.append(client)
    print("ready", flush=True)
    with suppress(KeyboardInterrupt):
        sys.stdin.read()
    return {"connections": len(clients)}


MODES = {"sends": sends, "connects": connects, "idle": idle}


def main(arguments: Sequence[str]) -> None:
    """Run a load, and print what it found as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--protocol", choices=("v2", "v3"), default="v3")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--window", type=int, default=32, help="requests in flight of each")
    parser.add_argument("--size", type=int, default=1648, help="bytes of a message")
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args(arguments)
    print(json.dumps(MODES[options.mode](options)))


if __name__ == "__main__":
    main(sys.argv[1:])
