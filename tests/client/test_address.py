"""server.info, as people write it."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from messageu.client import AddressInvalid, RelayAddress, parse_address, read_address
from messageu.client._address import endpoint_of


class ParseTests(SynchronousTestCase):
    """One line of text."""

    def test_addresses(self) -> None:
        """IPv4, IPv6 in brackets, and host names are understood, whatever stands around them."""
        for text, host, port, shown in (
            ("127.0.0.1:1357", "127.0.0.1", 1357, "127.0.0.1:1357"),
            ("127.0.0.1:1357\r\n", "127.0.0.1", 1357, "127.0.0.1:1357"),
            ("\n  10.0.0.7 : 80 \n\nwhat else\n", "10.0.0.7", 80, "10.0.0.7:80"),
            ("127.0.0.1:1357\0\0", "127.0.0.1", 1357, "127.0.0.1:1357"),
            ("[::1]:65535", "::1", 65535, "[::1]:65535"),
            ("localhost:1", "localhost", 1, "localhost:1"),
            ("relay-1.example.org.:01357", "relay-1.example.org.", 1357, None),
        ):
            address = parse_address(text)
            self.assertEqual(address, RelayAddress(host, port))
            self.assertEqual(str(address), shown or "relay-1.example.org.:1357")

    def test_no_addresses(self) -> None:
        """Anything else is invalid, and it is said why."""
        for text, words in (
            ("", "no colon"),
            ("127.0.0.1", "no colon"),
            ("127.0.0.1:", "the port"),
            ("127.0.0.1:0", "the port"),
            ("127.0.0.1:65536", "the port"),
            ("127.0.0.1:-1", "the port"),
            ("127.0.0.1:١", "the port"),
            ("127.0.0.1:http", "the port"),
            (":1357", "neither an IP address nor a name"),
            ("256.0.0.1:1357", "no IP address"),
            ("1.2.3:1357", "no IP address"),
            ("[::g]:1357", "no IP address"),
            ("::1:1357", "brackets"),
            ("two words:1357", "neither"),
            ("a..b:1357", "neither"),
            ("\x1b[2Jx:1357", "neither"),
            ("-a:1357", "neither"),
            (f"{'a' * 64}:1357", "neither"),
            (f"{'a.' * 200}:1357", "neither"),
        ):
            with self.assertRaises(AddressInvalid, msg=text) as caught:
                parse_address(text)
            self.assertIn(words, str(caught.exception))


class ReadTests(SynchronousTestCase):
    """The file."""

    def setUp(self) -> None:
        scratch = TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.file = self.folder / "server.info"

    def complaint(self) -> str:
        """What is wrong with the file."""
        with self.assertRaises(AddressInvalid) as caught:
            read_address(self.folder)
        return str(caught.exception)

    def test_byte_order_mark(self) -> None:
        """A file that begins with a byte order mark is read."""
        self.file.write_bytes(b"\xef\xbb\xbf127.0.0.1:1357\r\n")
        self.assertEqual(read_address(self.folder), RelayAddress("127.0.0.1", 1357))

    def test_missing(self) -> None:
        """Without the file, one line says what it should hold."""
        self.assertRegex(self.complaint(), r"^server.info is missing: .*127\.0\.0\.1:1357.*\Z")

    def test_invalid(self) -> None:
        """A file of something else is named, and what it should hold."""
        self.file.write_bytes(b"\xff\xfe\x00")
        self.assertIn("server.info is invalid: there is no colon", self.complaint())

    def test_unreadable(self) -> None:
        """What is no regular file, or a large one, is not read."""
        self.file.mkdir()
        self.assertIn("not a regular file", self.complaint())
        self.file.rmdir()
        os.mkfifo(self.file)
        self.assertIn("not a regular file", self.complaint())
        self.file.unlink()
        self.file.write_bytes(b" " * 5000)
        self.assertIn("more than 4096 bytes", self.complaint())


class EndpointTests(SynchronousTestCase):
    """How an address is connected to."""

    def test_kinds(self) -> None:
        """Only a name is looked up."""
        for host, kind in (
            ("127.0.0.1", TCP4ClientEndpoint),
            ("::1", TCP6ClientEndpoint),
            ("localhost", HostnameEndpoint),
            ("my_relay", TCP4ClientEndpoint),
        ):
            endpoint = endpoint_of(MemoryReactorClock(), RelayAddress(host, 1), 5)
            self.assertIs(type(endpoint), kind)

    def test_host_and_port(self) -> None:
        """The connection goes to the host and port, with the timeout."""
        reactor = MemoryReactorClock()
        connecting = endpoint_of(reactor, RelayAddress("10.0.0.7", 1357), 5).connect(Factory())
        self.assertIsInstance(connecting, Deferred)
        [(host, port, _, timeout, _)] = reactor.tcpClients
        self.assertEqual((host, port, timeout), ("10.0.0.7", 1357, 5))
