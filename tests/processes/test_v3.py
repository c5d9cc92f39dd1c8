"""v3 over real sockets, with OpenSSL as its client."""

from __future__ import annotations

import socket
import ssl

from .children import ANY_PORT, ProcessTestCase

HELLO = bytes(16) + b"\x03" + (700).to_bytes(2, "little") + (4).to_bytes(4, "little") + b"\1\0\0\0"
WELCOME = b"\x03" + (2700).to_bytes(2, "little") + (78).to_bytes(4, "little") + b"\1\0\0\0"


class SocketTests(ProcessTestCase):
    """Who gets in."""

    def setUp(self) -> None:
        super().setUp()
        relay = self.start(*ANY_PORT, "--v3", ANY_PORT[1], "--limit", "handshake_deadline=1")
        address = relay.v3_addresses[0].partition("#")[0]
        self.port = int(address.rpartition(":")[2])

    def dial(
        self, *protocols: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> ssl.SSLSocket:
        """A client of TLS, without looking at the certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = version
        if protocols:
            context.set_alpn_protocols(list(protocols))
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        self.addCleanup(plain.close)
        client = context.wrap_socket(plain)
        self.addCleanup(client.close)
        return client

    def test_who_is_served(self) -> None:
        """Who speaks our protocol over TLS 1.3 is answered. TLS 1.2 is refused; without our ALPN,
        or without a handshake in time, nothing is said before the end."""
        client = self.dial("messageu/3")
        client.sendall(HELLO)
        answer = b""
        while len(answer) < 85:
            answer += client.recv(100)
        self.assertEqual((answer[:11], len(answer)), (WELCOME, 85))
        self.assertRaises(
            (ssl.SSLError, ConnectionError),
            self.dial,
            "messageu/3",
            version=ssl.TLSVersion.TLSv1_2,
        )
        self.assertEqual(self.all_of(self.dial()), b"")
        self.assertRaises((ssl.SSLError, ConnectionError), self.dial, "http/1.1")
        for said in (b"", b"\x16\x03\x01\x00\xff\x01", HELLO):
            with socket.create_connection(("127.0.0.1", self.port), timeout=30) as plain:
                plain.sendall(said)
                self.assertNotIn(WELCOME, self.all_of(plain))

    def all_of(self, client: socket.socket) -> bytes:
        """All that the relay says until it closes."""
        pieces = []
        try:
            while piece := client.recv(4096):
                pieces.append(piece)
        except ConnectionError:
            pass
        return b"".join(pieces)
