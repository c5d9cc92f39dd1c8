"""tools/wireshark/messageu.lua says of v3 within TLS what our own codec says."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from attrs import frozen
from OpenSSL import SSL

from tests.client.v3.tls import relay_key

from . import shown
from .dissector import SEED, V3_ANSWERS, V3_REQUESTS, DissectorTestCase
from .pcap import Capture, Stream


class TlsTests(DissectorTestCase):
    """v3 in TLS 1.3, with the secrets of its connections."""

    def setUp(self) -> None:
        self.capture = Capture()
        self.secrets: list[bytes] = []

    def connect(self, port: int, protocols: Sequence[bytes]) -> Tunnel:
        """A connection whose records and secrets are captured, after its handshake."""
        relay_context = relay_key().options().getContext()
        relay_context.set_alpn_select_callback(lambda _, offered: offered[0])
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_keylog_callback(lambda _, line: self.secrets.append(line))
        if protocols:
            context.set_alpn_protos(list(protocols))
        tunnel = Tunnel(
            SSL.Connection(context, None),
            SSL.Connection(relay_context, None),
            self.capture.stream(port),
        )
        tunnel.shake_hands()
        return tunnel

    def decrypt(self, *options: str) -> Any:
        """The frames that tshark shows when it has the secrets."""
        secrets = Path(self.mktemp()).absolute()
        secrets.write_bytes(b"\n".join(self.secrets) + b"\n")
        return self.run_tshark(
            self.capture,
            "messageu3",
            *("-o", f"tls.keylog_file:{secrets}", *options),
        )

    def check(self, ports: Sequence[int], protocols: Sequence[bytes], *options: str) -> None:
        """Every frame is shown that goes through a tunnel to each of these ports."""
        tunnels = [self.connect(port, protocols) for port in ports]
        chance = random.Random(SEED)
        sides = ((True, V3_REQUESTS), (False, V3_ANSWERS))
        for tunnel in tunnels:
            for from_client, frames in sides:
                data = b"".join(frame.encode() for frame in frames)
                tunnel.send(data, from_client, sorted(chance.sample(range(len(data)), 20)))
        streams = self.decrypt(*options)
        for tunnel in tunnels:
            for from_client, frames in sides:
                self.assert_shown(
                    streams[tunnel.stream.client_port, from_client],
                    list(map(shown.v3_frame, frames)),
                )

    def test_alpn(self) -> None:
        """On any port the ALPN tells what it is."""
        self.check([1358, 7003], [b"messageu/3"])

    def test_port(self) -> None:
        """Where no ALPN is in the capture, the port tells: 1358, or the one that is set."""
        self.check([1358], [])
        self.capture, self.secrets = Capture(), []
        self.check([7004], [], "-o", "messageu3.port:7004")

    def test_without_secrets(self) -> None:
        """Without the secrets of its connection nothing is shown."""
        tunnel = self.connect(1358, [b"messageu/3"])
        tunnel.send(V3_REQUESTS[0].encode(), True, [])
        self.secrets.clear()
        self.assertEqual(self.decrypt()[tunnel.stream.client_port, True], [])


@frozen
class Tunnel:
    """Both ends of a TLS connection, and the segments between them."""

    client: SSL.Connection
    relay: SSL.Connection
    stream: Stream

    def shake_hands(self) -> None:
        """Go on until both are ready."""
        self.client.set_connect_state()
        self.relay.set_accept_state()
        for _ in range(4):
            for from_client, end in ((True, self.client), (False, self.relay)):
                with contextlib.suppress(SSL.WantReadError):
                    end.do_handshake()
                self._carry(from_client)

    def send(self, data: bytes, from_client: bool, cuts: Sequence[int]) -> None:
        """Bytes in one direction, in records that end at each cut."""
        sender, receiver = (self.client, self.relay) if from_client else (self.relay, self.client)
        received = b""
        for start, end in pairwise((0, *cuts, len(data))):
            if start < end:
                sender.sendall(data[start:end])
                self._carry(from_client)
                with contextlib.suppress(SSL.WantReadError):
                    while True:
                        received += receiver.recv(2**16)
        assert received == data

    def _carry(self, from_client: bool) -> None:
        sender, receiver = (self.client, self.relay) if from_client else (self.relay, self.client)
        with contextlib.suppress(SSL.WantReadError):
            while True:
                records = sender.bio_read(2**16)
                self.stream.send(records, from_client=from_client)
                receiver.bio_write(records)
