"""The header of the PROXY protocol, as bytes."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.server import BadHeader, Header, HeaderReader
from messageu.server._proxy_header import (
    BINARY_REST_LIMIT,
    HEADER_SIZE_LIMIT,
    TEXT_SIZE_LIMIT,
)

from .headers import (
    LOCAL,
    SIGNATURE,
    TCP6,
    UDP4,
    UDP6,
    UNIX,
    UNIX_DATAGRAM,
    UNSPECIFIED,
    addresses,
    binary,
    extension,
    text,
)

GOOD: dict[bytes, str | None] = {
    # Version 1.
    text(): "192.0.2.7",
    text("2001:db8::7", "2001:db8::1"): "2001:db8::7",
    text("2001:0DB8:0:0:0:0:0:7", "::1"): "2001:db8::7",
    text("::ffff:192.0.2.7", "::1"): "192.0.2.7",
    text("ffff:" * 7 + "ffff", "ffff:" * 7 + "ffff").replace(b" 1357", b" 65535"): "ffff:" * 7
    + "ffff",
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN whatever it may be\r\n": None,
    b"PROXY UNKNOWN " + b"x" * (TEXT_SIZE_LIMIT - 16) + b"\r\n": None,
    b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n": "0.0.0.0",
    # Version 2.
    binary(addresses()): "192.0.2.7",
    binary(addresses("2001:db8::7", "::1"), family=TCP6): "2001:db8::7",
    binary(addresses("::ffff:192.0.2.7", "::1"), family=TCP6): "192.0.2.7",
    binary(addresses() + extension(4, b"") + extension(0x21, b"x" * 300)): "192.0.2.7",
    binary(addresses() + b"x" * (BINARY_REST_LIMIT - 12)): "192.0.2.7",
    binary(b"/a".ljust(108, b"\0") + b"/b".ljust(108, b"\0"), family=UNIX): None,
    binary(bytes(216), family=UNIX_DATAGRAM): None,
    binary(addresses(), family=UDP4): None,
    binary(addresses("::1", "::2"), family=UDP6): None,
    binary(b"", family=UNSPECIFIED): None,
    binary(b"anything", family=UNSPECIFIED): None,
    binary(b"", command=LOCAL, family=UNSPECIFIED): None,
    binary(addresses(), command=LOCAL): None,
    binary(b"x", command=LOCAL, family=0xEE): None,
}
"""Headers, and the address that each of them tells."""

BAD = [
    # What is none at all.
    *(b"\0", b"GET / HTTP/1.1\r\n", bytes(23), b"proxy TCP4", b"PROXY\tTCP4", b" PROXY TCP4"),
    *(b"\r\n\r\n\r\n", b"\n" + text(), SIGNATURE[:-1] + b"\r"),
    # Version 1.
    *(b"PROXY \r\n", b"PROXY TCP4\r\n", b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n"),
    *(b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n"),
    *(b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n"),
    *(b"PROXY TCP4 ::1 1.2.3.4 1 2\r\n", b"PROXY TCP6 1.2.3.4 ::1 1 2\r\n"),
    *(b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.456 1 2\r\n"),
    *(b"PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n", b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n"),
    *(b"PROXY TCP4 \xff 1.2.3.4 1 2\r\n", b"PROXY TCP4 host 1.2.3.4 1 2\r\n"),
    *(b"PROXY TCP4 1.2.3.4 1.2.3.4 x 2\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n"),
    *(b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n"),
    *(b"PROXY TCP4 1.2.3.4 1.2.3.4 \xb2 2\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4  2\r\n"),
    b"PROXY UNKNOWN " + b"x" * (TEXT_SIZE_LIMIT - 15) + b"\r\n",
    b"PROXY UNKNOWN " + b"x" * (TEXT_SIZE_LIMIT - 14),
    # Version 2.
    *(binary(addresses(), version=1), binary(addresses(), version=3)),
    *(binary(addresses(), command=2), binary(addresses(), command=15)),
    *(binary(addresses(), family=code) for code in (0x01, 0x10, 0x13, 0x30, 0x41, 0xFF)),
    *(binary(addresses()[:-1]), binary(addresses(), family=TCP6), binary(bytes(215), family=UNIX)),
    binary(b"", size=BINARY_REST_LIMIT + 1),
    binary(b"", size=65_535, command=LOCAL),
]
"""What is refused."""

REST = b"what the client has sent"

REFUSED = "refused"

Outcome = tuple[str | None, bytes] | str | None


def outcome(pieces: list[bytes]) -> Outcome:
    """What becomes of a stream that arrives in pieces: an address, and all that comes after the
    header; that it is refused; or None, when it goes on."""
    reader = HeaderReader()
    for number, piece in enumerate(pieces):
        try:
            read = reader.feed(piece)
        except BadHeader:
            return REFUSED
        if read is not None:
            header, rest = read
            return header.host, b"".join([rest, *pieces[number + 1 :]])
    return None


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Pieces of some bytes; some may be empty."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


class HeaderTests(SynchronousTestCase):
    """Headers, and what is none."""

    def test_good(self) -> None:
        """Both versions tell a client's address, in one form; or that there is none to be told. What
        comes after the header is not touched."""
        for data, host in GOOD.items():
            self.assertEqual(outcome([data + REST]), (host, REST), data)

    def test_size(self) -> None:
        """A header knows how long it is."""
        for data, host in GOOD.items():
            self.assertEqual(HeaderReader().feed(data), (Header(host, len(data)), b""))

    def test_bad(self) -> None:
        """Anything else is refused."""
        for data in BAD:
            self.assertEqual(outcome([data]), REFUSED, data)
            self.assertEqual(outcome([data + REST]), REFUSED, data)

    def test_bytewise(self) -> None:
        """Byte by byte it is the same."""
        for data in (*GOOD, *BAD):
            stream = data + REST
            pieces = [stream[place : place + 1] for place in range(len(stream))]
            self.assertEqual(outcome(pieces), outcome([stream]), data)

    def test_every_cut(self) -> None:
        """So it is when it is cut once, anywhere."""
        for data in (*GOOD, *BAD):
            stream = data + REST
            for cut in range(len(stream) + 1):
                self.assertEqual(outcome(split(stream, [cut])), outcome([stream]), (data, cut))

    def test_more_is_waited_for(self) -> None:
        """Of a good header nothing is said before its last byte is there."""
        for data in GOOD:
            for end in range(len(data)):
                self.assertIsNone(outcome([data[:end]]), data[:end])

    def test_refused_early(self) -> None:
        """What is none is refused with its first byte that does not fit, and what would be too long
        with the byte that says so."""
        for data, needed in (
            (b"GET ", 1),
            (b"PROXX", 5),
            (b"\r\n\r\n\1", 5),
            (binary(b"", size=BINARY_REST_LIMIT + 1), 16),
            (b"PROXY UNKNOWN " + b"x" * 200, TEXT_SIZE_LIMIT),
        ):
            self.assertIsNone(outcome([data[: needed - 1]]), data)
            self.assertEqual(outcome([data[:needed]]), REFUSED, data)

    def test_text_quotes_nothing(self) -> None:
        """What is wrong is said without what was sent."""
        for data in BAD:
            error = self.assertRaises(BadHeader, HeaderReader().feed, data)
            self.assertRegex(str(error), r"\A[a-z ,]+\Z")


class StreamTests(SynchronousTestCase):
    """Any bytes in any pieces."""

    @given(
        st.one_of(
            st.sampled_from([*GOOD, *BAD]),
            st.binary(max_size=64),
            st.binary(max_size=300).map(binary),
            st.binary(max_size=120).map(lambda line: b"PROXY " + line),
        ),
        st.binary(max_size=40),
        st.lists(st.integers(0, 3_000), max_size=12),
    )
    @example(b"", b"", [])
    @example(binary(addresses()), b"", [15])
    @example(text(), b"", [5, 7])
    def test_any_split(self, data: bytes, rest: bytes, cuts: list[int]) -> None:
        """Any split of any bytes gives the same as the whole."""
        stream = data + rest
        self.assertEqual(outcome(split(stream, cuts)), outcome([stream]))

    @given(st.binary(max_size=3_000))
    def test_any_bytes(self, data: bytes) -> None:
        """Any bytes are a header, the beginning of one, or refused; an address is one of IP, written
        in its one form."""
        for stream in (data, binary(data), b"PROXY " + data):
            found = outcome([stream])
            if isinstance(found, tuple) and found[0] is not None:
                self.assertEqual(str(ip_address(found[0])), found[0])

    def test_memory(self) -> None:
        """No more is stored than the longest header, however much comes at once."""
        reader = HeaderReader()
        header = binary(b"x" * BINARY_REST_LIMIT, command=LOCAL)
        self.assertIsNone(reader.feed(header[:-1]))
        read = reader.feed(header[-1:] + bytes(1 << 20))
        self.assertEqual(read, (Header(None, HEADER_SIZE_LIMIT), bytes(1 << 20)))
        self.assertEqual(len(reader._stored), HEADER_SIZE_LIMIT)
