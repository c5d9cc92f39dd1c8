import struct

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from messageu.testing.strategies import Verdict
from messageu.testing.strategies_v3 import contradictory_requests, requests
from messageu.wire import NEED_DATA, LocalProtocolError, Parser, RemoteProtocolError
from messageu.wire.v3 import (
    REQUESTS,
    SEND_FRAME_OVERHEAD,
    Acknowledge,
    Authenticate,
    Hello,
    Ping,
    Publish,
    Register,
    Request,
    RequestCode,
    RequestCodec,
    Resolve,
    Subscribe,
    UnknownRequest,
)
from tests.wire._drive import answers_to, outcomes

from . import _values as values

SEALED_LIMIT = 64
CODEC = RequestCodec(SEALED_LIMIT)

BOUNDS = {
    700: (4, 4),
    701: (140, 140),
    702: (6, 54),
    703: (7, 36),
    704: (1382, 1382 + 50 * 104),
    705: (20, 20),
    706: (40, 40 + SEALED_LIMIT),
    707: (10, 10),
    708: (4 + 8, 4 + 8 * 1024),
    709: (4, 4),
    710: (4, 4),
}
"""The least and the most bytes of each payload, as the document has them."""


def header(code: int, size: int, *, version: int = 3, client_id: bytes = bytes(16)) -> bytes:
    return struct.pack("<16sBHI", client_id, version, code, size)


def framed(code: int, payload: bytes, *, correlation: int = 1) -> bytes:
    return header(code, 4 + len(payload)) + correlation.to_bytes(4, "little") + payload


class RoundTripTests(SynchronousTestCase):
    @given(requests())
    def test_round_trip(self, request):
        """Every request that can be encoded decodes to itself."""
        self.assertEqual(outcomes(CODEC, request.encode()), [request])

    def test_every_code(self):
        """There is a row for each code, and bounds for each row."""
        self.assertEqual(set(REQUESTS), set(RequestCode))
        self.assertEqual(set(BOUNDS), set(RequestCode))


class SizeTests(SynchronousTestCase):
    def test_smallest_and_largest(self):
        """The smallest and the largest request of each code have the sizes of the document."""
        for number, bodies in enumerate((values.SMALLEST_REQUESTS, values.LARGEST_REQUESTS)):
            for body in bodies:
                frame = Request(9, body).encode()
                self.assertEqual(len(frame) - 23, BOUNDS[body.code][number], body.code)
                self.assertEqual(outcomes(CODEC, frame), [Request(9, body)])

    def test_judged_by_the_header(self):
        """A size that a code cannot have is fatal before its payload is there, any other is not."""
        for code, (least, most) in BOUNDS.items():
            for size in {0, least - 1, most + 1, 2**32 - 1}:
                self.assertEqual(outcomes(CODEC, header(code, size)), [Verdict.FATAL], (code, size))
            for size in {least, most}:
                self.assertEqual(outcomes(CODEC, header(code, size)), [], (code, size))

    def test_limit_of_an_envelope(self):
        """What is sealed has at most as many bytes as the listener says, and may be empty."""
        for limit in (0, 1, 1000):
            codec = RequestCodec(limit)
            self.assertEqual(outcomes(codec, header(706, 40 + limit)), [])
            self.assertEqual(outcomes(codec, header(706, 40 + limit + 1)), [Verdict.FATAL])

    def test_send_frame_overhead(self):
        """The bytes of a frame around what is sealed are those of one that seals nothing."""
        send = values.SMALLEST_REQUESTS[6]
        self.assertEqual(len(Request(1, send).encode()), SEND_FRAME_OVERHEAD)


class HeaderTests(SynchronousTestCase):
    def test_any_version(self):
        """Any version byte will do: the port has decided."""
        payload = (1).to_bytes(4, "little")
        for version in range(256):
            data = header(710, 4, version=version) + payload
            self.assertEqual(outcomes(CODEC, data), [Request(1, Ping())])

    def test_client_id(self):
        """A single bit of a client id in the header is fatal, before the payload is there."""
        for bit in range(128):
            client_id = (1 << bit).to_bytes(16, "little")
            data = header(710, 4, client_id=client_id)
            [answer] = answers_to(CODEC, [data])
            self.assertEqual(answer.outcome, Verdict.FATAL)
            self.assertEqual(answer.reason, "a client id in the header")

    def test_client_id_before_anything_else(self):
        """It is fatal with an unknown code, too."""
        self.assertEqual(outcomes(CODEC, header(1, 4, client_id=b"x" * 16)), [Verdict.FATAL])


class CorrelationTests(SynchronousTestCase):
    def test_zero(self):
        """A request without a correlation is fatal, of a known code or not."""
        for frame in (Request(1, body).encode() for body in values.SMALLEST_REQUESTS):
            zeroed = frame[:23] + bytes(4) + frame[27:]
            self.assertEqual(outcomes(CODEC, zeroed), [Verdict.FATAL])
        self.assertEqual(outcomes(CODEC, framed(711, b"", correlation=0)), [Verdict.FATAL])

    def test_least_and_most(self):
        """1 and 2**32 - 1 are carried as they are."""
        for correlation in (1, 2**32 - 1):
            request = Request(correlation, Hello())
            self.assertEqual(outcomes(CODEC, request.encode()), [request])

    def test_what_cannot_be_sent(self):
        """A correlation of zero, or of more than 32 bits, cannot be sent."""
        for correlation in (0, -1, 2**32):
            self.assertRaises(LocalProtocolError, Request(correlation, Hello()).encode)


class UnknownCodeTests(SynchronousTestCase):
    def test_read_for_its_correlation(self):
        """A request of an unknown code is read, of 4 to 65,536 bytes, and what follows it."""
        for code in (0, 600, 699, 711, 2700, 9001, 0xFFFF):
            for size in (0, 1, 65_536 - 4):
                stream = framed(code, bytes(size), correlation=5) + Request(6, Ping()).encode()
                self.assertEqual(
                    outcomes(CODEC, stream), [Request(5, UnknownRequest()), Request(6, Ping())]
                )

    def test_sizes(self):
        """One without room for a correlation, or of more than 65,536 bytes, is fatal."""
        for size in (0, 3, 65_537, 2**32 - 1):
            self.assertEqual(outcomes(CODEC, header(711, size)), [Verdict.FATAL])

    def test_not_sent(self):
        """What is not known cannot be sent."""
        self.assertRaises(LocalProtocolError, Request(1, UnknownRequest()).encode)


class ContradictionTests(SynchronousTestCase):
    @given(contradictory_requests())
    def test_fatal(self, given):
        """A payload that contradicts itself is fatal, though its size is one of its code."""
        code, payload = given
        least, most = BOUNDS[code]
        self.assertTrue(least <= 4 + len(payload) <= most)
        [answer] = answers_to(CODEC, [framed(code, payload)])
        self.assertEqual(answer.reason, "a payload that contradicts itself")

    def test_registrations(self):
        """A registration's name and token fill its payload, and the token has 0 or 16 bytes."""
        good = {
            b"\x03abc\0": Register(b"abc"),
            b"\x03abc\x10" + b"t" * 16: Register(b"abc", b"t" * 16),
            b"\0\0": Register(b""),
            b"\x20" + b"n" * 32 + b"\0": Register(b"n" * 32),
            b"\x02\xff\0\0": Register(b"\xff\0"),
        }
        for payload, body in good.items():
            self.assertEqual(outcomes(CODEC, framed(702, payload)), [Request(1, body)])
        for payload in (
            b"\x03abc",  # no token size
            b"\x03abc\0\0",  # more than an empty token
            b"\x04abc\0",  # a name that takes the token size with it
            b"\x03abc\x01t",
            b"\x03abc\x0f" + b"t" * 15,
            b"\x03abc\x10" + b"t" * 15,
            b"\x03abc\x10" + b"t" * 17,
            b"\x21" + b"n" * 33 + b"\0",
            b"\xff" + b"n" * 20,
        ):
            self.assertEqual(outcomes(CODEC, framed(702, payload)), [Verdict.FATAL], payload)

    def test_one_time_keys(self):
        """The count of one-time keys is that of the keys that follow: one more or less is fatal."""
        bundle, key = values.BUNDLE.encode(), values.ONE_TIME_KEY.encode()
        for count in range(51):
            for there in {max(0, count - 1), count, min(50, count + 1)}:
                payload = bundle + count.to_bytes(2, "little") + key * there
                right = [Request(1, Publish(values.BUNDLE, (values.ONE_TIME_KEY,) * count))]
                expected = right if there == count else [Verdict.FATAL]
                self.assertEqual(outcomes(CODEC, framed(704, payload)), expected)


class EncodeTests(SynchronousTestCase):
    def test_what_the_protocol_cannot_carry(self):
        """What the relay would hang up on is refused before anything is sent."""
        keys, signature = values.KEYS, values.SIGNATURE
        for body in (
            Authenticate(keys, 2**64, signature),
            Authenticate(keys, -1, signature),
            Authenticate(keys, 1, b""),
            Authenticate(keys, 1, signature[:-1]),
            Authenticate(keys, 1, signature + b"s"),
            Register(b"n" * 33),
            Register(b"n" * 256),
            Register(b"abc", b""),
            Register(b"abc", b"t" * 15),
            Register(b"abc", b"t" * 17),
            Resolve(b"ab"),
            Resolve(b"n" * 33),
            Publish(values.BUNDLE, (values.ONE_TIME_KEY,) * 51),
            Subscribe(2**16, 1),
            Subscribe(1, 2**32),
            Subscribe(-1, 1),
            Acknowledge(()),
            Acknowledge((1,) * 1025),
            Acknowledge((2**64,)),
            Acknowledge((-1,)),
        ):
            self.assertRaises(LocalProtocolError, Request(1, body).encode)

    def test_version(self):
        """A request says that it is of version 3."""
        self.assertEqual(Request(1, Hello()).encode()[16], 3)

    def test_repr(self):
        """The repr of a request leaves out keys, tokens, signatures and what is sealed."""
        bodies = (
            *values.SMALLEST_REQUESTS,
            *values.LARGEST_REQUESTS,
            Register(b"abc", b"ssssttttssssttttss"),
        )
        for body in bodies:
            for secret in ("ssss", "tttt", "xxxx", "hhhh", "oooo", "ffff", "eeee", "cccc"):
                self.assertNotIn(secret, repr(Request(1, body)))


class MemoryTests(SynchronousTestCase):
    def test_nothing_is_left_of_a_frame(self):
        """When a frame was decoded the parser holds nothing of it."""
        parser = Parser(CODEC)
        for body in values.LARGEST_REQUESTS:
            frame = Request(1, body).encode()
            parser.receive_data(frame[:26])
            self.assertIs(parser.next_event(), NEED_DATA)
            parser.receive_data(frame[26:])
            self.assertEqual(parser.next_event(), Request(1, body))
            self.assertIs(parser.next_event(), NEED_DATA)
            self.assertEqual(parser.held, 0)

    def test_nothing_is_stored_of_what_is_refused(self):
        """A header that promises too much is answered before a byte of its payload is stored."""
        parser = Parser(CODEC)
        parser.receive_data(header(706, 2**31) + b"x" * 1000)
        self.assertRaises(RemoteProtocolError, parser.next_event)
        parser.receive_data(b"x" * 100_000)
        self.assertEqual(parser.held, 0)
