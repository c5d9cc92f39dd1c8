import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.model.v3 import Reason, Registration
from messageu.testing.strategies import Verdict
from messageu.testing.strategies_v3 import responses
from messageu.wire import LocalProtocolError
from messageu.wire.v3 import (
    DELIVER_FRAME_OVERHEAD,
    PUSH,
    RESPONSES,
    Authenticated,
    Error,
    GoingAway,
    Pong,
    PrekeysLow,
    Published,
    Response,
    ResponseCode,
    ResponseCodec,
    Welcome,
    push,
)
from messageu.wire.v3 import PUSHES as PUSH_CODES
from tests.wire._drive import answers_to, outcomes

from . import _values as values

SEALED_LIMIT = 64
CODEC = ResponseCodec(SEALED_LIMIT)

BOUNDS = {
    2700: (78, 78),
    2701: (7, 7),
    2702: (4, 4),
    2703: (68, 68),
    2704: (6, 6),
    2705: (1445, 1549),
    2706: (20, 20),
    2707: (4, 4),
    2708: (4, 4),
    2709: (4, 4),
    2710: (4, 4),
    2720: (32, 32 + SEALED_LIMIT),
    2721: (4, 4),
    2722: (6, 6),
    2723: (8, 8),
    9001: (10, 10),
}
"""The least and the most bytes of each payload, as the document has them."""


def header(code: int, size: int, *, version: int = 3) -> bytes:
    return struct.pack("<BHI", version, code, size)


def framed(code: int, payload: bytes, *, correlation: int = 1) -> bytes:
    return header(code, 4 + len(payload)) + correlation.to_bytes(4, "little") + payload


class RoundTripTests(SynchronousTestCase):
    @given(responses())
    def test_round_trip(self, response):
        """Every answer and push that can be encoded decodes to itself."""
        self.assertEqual(outcomes(CODEC, response.encode()), [response])

    def test_every_code(self):
        """There is a row for each code, and bounds for each row."""
        self.assertEqual(set(RESPONSES), set(ResponseCode))
        self.assertEqual(set(BOUNDS), set(ResponseCode))
        self.assertEqual(PUSH_CODES, {2720, 2721, 2722, 2723})


class SizeTests(SynchronousTestCase):
    def test_smallest_and_largest(self):
        """The smallest and the largest frame of each code have the sizes of the document."""
        for body in (*values.SMALLEST_ANSWERS, *values.PUSHES):
            correlation = PUSH if body in values.PUSHES else 1
            least, most = BOUNDS[body.code]
            for each, size in ((body, least), (values.LARGEST_OF_THEM.get(body.code, body), most)):
                response = Response(correlation, each)
                self.assertEqual(len(response.encode()) - 7, size, body.code)
                self.assertEqual(outcomes(CODEC, response.encode()), [response])

    def test_judged_by_the_header(self):
        """A size that a code cannot have is fatal before its payload is there, any other is not."""
        for code, (least, most) in BOUNDS.items():
            for size in {0, least - 1, most + 1, 2**32 - 1}:
                self.assertEqual(outcomes(CODEC, header(code, size)), [Verdict.FATAL], (code, size))
            for size in {least, most}:
                self.assertEqual(outcomes(CODEC, header(code, size)), [], (code, size))

    def test_deliver_frame_overhead(self):
        """The bytes of a frame around what is sealed are those of one that seals nothing."""
        self.assertEqual(len(push(values.PUSHES[0])), DELIVER_FRAME_OVERHEAD)

    def test_unknown_codes(self):
        """An unknown code is fatal: nothing of ours asks for it."""
        for code in (0, 700, 2100, 2699, 2711, 2719, 2724, 9000, 9002, 0xFFFF):
            self.assertEqual(outcomes(CODEC, header(code, 4)), [Verdict.FATAL])

    def test_any_version(self):
        """Any version byte will do."""
        for version in range(256):
            data = header(2710, 4, version=version) + b"\1\0\0\0"
            self.assertEqual(outcomes(CODEC, data), [Response(1, Pong())])


class CorrelationTests(SynchronousTestCase):
    def test_answers(self):
        """An answer without a correlation is fatal, and cannot be sent; an error may have none."""
        for body in values.SMALLEST_ANSWERS:
            frame = framed(body.code, body.encode(), correlation=0)
            if isinstance(body, Error):
                self.assertEqual(outcomes(CODEC, frame), [Response(PUSH, body)])
                self.assertEqual(Response(PUSH, body).encode(), frame)
            else:
                [answer] = answers_to(CODEC, [frame])
                self.assertEqual(answer.reason, "a correlation that the code cannot have")
                self.assertRaises(LocalProtocolError, Response(PUSH, body).encode)
                self.assertRaises(LocalProtocolError, push, body)

    def test_pushes(self):
        """A push with a correlation is fatal, and cannot be sent."""
        for body in values.PUSHES:
            for correlation in (1, 2**32 - 1):
                frame = framed(body.code, body.encode(), correlation=correlation)
                self.assertEqual(outcomes(CODEC, frame), [Verdict.FATAL])
                self.assertRaises(LocalProtocolError, Response(correlation, body).encode)
            self.assertEqual(outcomes(CODEC, push(body)), [Response(PUSH, body)])


class ContradictionTests(SynchronousTestCase):
    def test_registered(self):
        """Whether an account is registered is 0 or 1."""
        for number in range(256):
            expected = Response(1, Authenticated(number == 1, 3))
            self.assertEqual(
                outcomes(CODEC, framed(2701, bytes((number, 3, 0)))),
                [expected if number < 2 else Verdict.FATAL],
            )

    def test_registration(self):
        """A mode of registration that is not known is fatal."""
        welcome = Welcome(bytes(32), 0, values.TERMS).encode()
        for number in range(256):
            [outcome] = outcomes(
                CODEC, framed(2700, welcome[:-2] + bytes((number,)) + welcome[-1:])
            )
            if number < 3:
                self.assertEqual(outcome.body.terms.registration, Registration(number))
            else:
                self.assertIs(outcome, Verdict.FATAL)

    def test_reserved_of_a_welcome(self):
        """What is reserved in a welcome is not looked at: a later relay may mean something."""
        welcome = Welcome(bytes(32), 0, values.TERMS)
        [outcome] = outcomes(CODEC, framed(2700, welcome.encode()[:-1] + b"\xff"))
        self.assertEqual(outcome.body, welcome)

    def test_claimed(self):
        """The count of one-time keys is 0 or 1, and that of the keys that follow."""
        without = RESPONSES[2705](values.KEYS, values.BUNDLE, None).encode()[:-1]
        key = values.ONE_TIME_KEY.encode()
        for count in range(256):
            for there in (0, 1):
                frame = framed(2705, without + bytes((count,)) + key * there)
                self.assertEqual(outcomes(CODEC, frame) == [Verdict.FATAL], count != there)


class ErrorTests(SynchronousTestCase):
    def test_numbers(self):
        """The reasons have the numbers of the document, from 1 on without a gap."""
        self.assertEqual([*Reason], [*range(1, 25)])

    @given(st.integers(0, 2**16 - 1))
    def test_unknown(self, number):
        """A reason that is not known stands for itself, and is no fault."""
        [outcome] = outcomes(CODEC, framed(9001, struct.pack("<HI", number, 7)))
        self.assertEqual(outcome.body, Error(number, 7))
        self.assertEqual(isinstance(outcome.body.reason, Reason), number in {*Reason})


class EncodeTests(SynchronousTestCase):
    def test_what_the_protocol_cannot_carry(self):
        """What the client would hang up on is refused before anything is sent."""
        for body in (
            Welcome(b"", 0, values.TERMS),
            Welcome(b"n" * 31, 0, values.TERMS),
            Welcome(b"n" * 33, 0, values.TERMS),
            Welcome(bytes(32), 2**64, values.TERMS),
            Authenticated(registered=True, one_time_keys=2**16),
            Published(-1),
            Error(2**16),
            Error(Reason.BUSY, 2**32),
        ):
            self.assertRaises(LocalProtocolError, Response(1, body).encode)
        for body in (PrekeysLow(2**16), GoingAway(2**32), GoingAway(-1)):
            self.assertRaises(LocalProtocolError, push, body)
        self.assertRaises(LocalProtocolError, Response(2**32, Pong()).encode)

    def test_version(self):
        """An answer says that it is of version 3."""
        self.assertEqual(Response(1, Pong()).encode()[0], 3)

    def test_repr(self):
        """The repr of an answer leaves out nonces, keys, signatures and what is sealed."""
        for body in (
            *values.SMALLEST_ANSWERS,
            *values.PUSHES,
            *values.LARGEST_OF_THEM.values(),
        ):
            for secret in ("nnnn", "ssss", "xxxx", "hhhh", "oooo", "ffff", "eeee", "cccc"):
                self.assertNotIn(secret, repr(Response(1, body)))
