import struct

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import NOBODY, PublicKey, UserName
from messageu.testing.strategies import CONTENT_LIMIT, Verdict, requests
from messageu.wire import LocalProtocolError
from messageu.wire.v2 import (
    DEFAULT_CONTENT_LIMIT,
    REQUESTS,
    FetchMessages,
    Register,
    Request,
    RequestCode,
    RequestCodec,
    SendMessage,
)
from tests.vectors import wild_peers
from tests.wire._drive import answers_to, outcomes

from . import _golden as golden
from ._golden import ALICE, BOB

CODEC = RequestCodec(CONTENT_LIMIT)
FETCH = Request(ALICE, FetchMessages())


def frame(code: int, payload: bytes = b"", *, size: int | None = None, version: int = 2) -> bytes:
    """Alice's request of this code; ``size`` is what the header says when it lies."""
    announced = len(payload) if size is None else size
    return struct.pack("<16sBHI", ALICE.raw, version, code, announced) + payload


def registration(name_field: bytes) -> bytes:
    """A 600 with a name field of exactly these 255 bytes."""
    assert len(name_field) == 255
    return frame(600, name_field + golden.KEY.raw)


def send(content: bytes, *, size: int | None = None) -> bytes:
    """A 603 to Bob; ``size`` is what the payload says when it lies."""
    claimed = len(content) if size is None else size
    return frame(603, struct.pack("<16sBI", BOB.raw, 3, claimed) + content)


class GoldenTests(SynchronousTestCase):
    def test_encode(self):
        """Each request becomes the bytes that were written out by hand."""
        for label, (request, text) in golden.REQUESTS.items():
            self.assertEqual(request.encode().hex(), text.replace(" ", ""), label)

    def test_decode(self):
        """The bytes that were written out by hand become each request."""
        for label, (request, text) in golden.REQUESTS.items():
            self.assertEqual(outcomes(CODEC, bytes.fromhex(text)), [request], label)

    def test_every_code(self):
        """There is a row for each code, and a golden frame."""
        self.assertEqual(set(REQUESTS), set(RequestCode))
        self.assertEqual({int(label[:3]) for label in golden.REQUESTS}, set(RequestCode))


class WildClientTests(SynchronousTestCase):
    def test_frames(self):
        """Each frame of the wild clients decodes, and encodes to the same bytes."""
        count = 0
        for peer in wild_peers():
            for sent in peer.requests:
                [request] = outcomes(RequestCodec(), sent.frame)
                self.assertEqual(request.body.code, sent.code)
                self.assertEqual(request.encode(), sent.frame)
                count += 1
        self.assertEqual(count, 44)

    def test_connections(self):
        """Each connection of the wild clients decodes as one stream, at once and byte by byte."""
        for peer in wild_peers():
            for frames in peer.connections().values():
                stream = b"".join(frames)
                whole = answers_to(RequestCodec(), [stream])
                self.assertEqual([answer.outcome.encode() for answer in whole], frames)
                self.assertEqual(
                    answers_to(RequestCodec(), (bytes([byte]) for byte in stream)), whole
                )

    def test_versions(self):
        """They are of versions 1 and 2, which the request keeps."""
        versions = {
            peer.label: {outcomes(RequestCodec(), sent.frame)[0].version for sent in peer.requests}
            for peer in wild_peers()
        }
        self.assertEqual(versions, {"peer-a": {1}, "peer-b": {2}, "peer-c": {2}})


class RoundTripTests(SynchronousTestCase):
    @given(requests())
    def test_round_trip(self, request):
        """Every request that can be encoded decodes to itself."""
        self.assertEqual(outcomes(CODEC, request.encode()), [request])


class NameTests(SynchronousTestCase):
    def test_cut_at_the_first_nul(self):
        """What follows the name's first NUL is discarded: names that differ there are one."""
        for rest in (b"\0", b"\0bob\0", b"\0\xff\x01"):
            [request] = outcomes(CODEC, registration((b"alice" + rest).ljust(255, b"\xee")))
            self.assertEqual(request.body.name, UserName(b"alice"))

    def test_longest(self):
        """A name of 254 bytes fits, its NUL at the very end."""
        [request] = outcomes(CODEC, registration(b"a" * 254 + b"\0"))
        self.assertEqual(len(request.body.name.raw), 254)

    def test_refused(self):
        """A name that is empty, endless, or holds what it may not is refused, and reading goes on."""
        for name_field in (
            b"a" * 255,
            bytes(255),
            b"\0alice".ljust(255, b"\0"),
            b"ali\nce".ljust(255, b"\0"),
            b"\x1b[2Jalice".ljust(255, b"\0"),
            b"alice\x7f".ljust(255, b"\0"),
            "alicé".encode().ljust(255, b"\0"),
            b"\xff".ljust(255, b"\0"),
        ):
            self.assertEqual(
                outcomes(CODEC, registration(name_field) + FETCH.encode()),
                [Verdict.REFUSED, FETCH],
            )

    def test_reason(self):
        """The error says why a name was refused, and does not repeat it."""
        [answer] = answers_to(CODEC, [registration(b"secret\x1b".ljust(255, b"\0"))])
        self.assertEqual(answer.reason, "a name is made of printable ASCII characters")
        [answer] = answers_to(CODEC, [registration(b"s" * 255)])
        self.assertEqual(answer.reason, "the name has no NUL")

    def test_any_key_and_client_id(self):
        """A public key that is no DER, and garbage in the client id, are carried as they are."""
        key = PublicKey(b"\xff" * 160)
        request = Request(ALICE, Register(UserName(b"alice"), key))
        self.assertEqual(outcomes(CODEC, request.encode()), [request])


class ContentSizeTests(SynchronousTestCase):
    def test_disagreeing(self):
        """A content size that disagrees with the payload is refused, and reading goes on."""
        for size in (0, 5, 7, 64, 2**32 - 1):
            self.assertEqual(
                outcomes(CODEC, send(b"sealed", size=size) + FETCH.encode()),
                [Verdict.REFUSED, FETCH],
            )

    def test_limit(self):
        """Content of just the limit is carried; one byte more is fatal, whatever the limit."""
        for limit in (0, 1, CONTENT_LIMIT, 394, 395, 1000):
            codec = RequestCodec(limit)
            [request] = outcomes(codec, send(bytes(limit)))
            self.assertEqual(len(request.body.content), limit)
            self.assertEqual(outcomes(codec, send(bytes(limit + 1))), [Verdict.FATAL])

    def test_limit_of_the_other_codes(self):
        """A small limit of content leaves room for a registration."""
        self.assertEqual(RequestCodec(0).payload_limit, 415)
        text = golden.REQUESTS["600"][1]
        self.assertEqual(len(outcomes(RequestCodec(0), bytes.fromhex(text))), 1)

    def test_default_limit(self):
        """By default a file of 16 MiB fits, with its padding."""
        self.assertEqual(RequestCodec().content_limit, DEFAULT_CONTENT_LIMIT)
        self.assertEqual(RequestCodec().payload_limit, 21 + 16 * 1024 * 1024 + 16)


class HeaderTests(SynchronousTestCase):
    def test_any_version(self):
        """Any version byte will do."""
        for version in range(256):
            [request] = outcomes(CODEC, frame(604, version=version))
            self.assertEqual(request.version, version)

    def test_any_type(self):
        """Any type byte is carried, known to clients or not."""
        for kind in range(256):
            request = Request(ALICE, SendMessage(BOB, kind, b"x"))
            self.assertEqual(outcomes(CODEC, request.encode()), [request])

    def test_unknown_codes(self):
        """An unknown code is refused as soon as its header is there; the next frame is read."""
        for code in (0, 599, 605, 2100, 9000, 0x5802, 0xFFFF):
            for payload in (b"", b"x", bytes(CODEC.payload_limit)):
                stream = frame(code, payload) + FETCH.encode()
                self.assertEqual(outcomes(CODEC, stream), [Verdict.REFUSED, FETCH])
                self.assertEqual(outcomes(CODEC, frame(code, size=len(payload))), [Verdict.REFUSED])

    def test_fixed_sizes(self):
        """A code of fixed size with another size is fatal, before its payload is there."""
        sizes = {600: 415, 601: 0, 602: 16, 604: 0}
        for code, right in sizes.items():
            for size in {0, 1, right - 1, right + 1, 414, 416} - {right, -1}:
                self.assertEqual(outcomes(CODEC, frame(code, size=size)), [Verdict.FATAL])

    def test_too_short_to_send(self):
        """A 603 without room for its own fields is fatal."""
        for size in (0, 1, 20):
            self.assertEqual(outcomes(CODEC, frame(603, size=size)), [Verdict.FATAL])

    def test_above_the_limit(self):
        """A size above the limit is refused at the header, for known and unknown codes."""
        for code in (*RequestCode, 605, 9000):
            for size in (CODEC.payload_limit + 1, 2**31, 2**32 - 1):
                self.assertEqual(outcomes(CODEC, frame(code, size=size)), [Verdict.FATAL])


class EncodeTests(SynchronousTestCase):
    def test_default_version(self):
        """A request is of version 2 unless it is told otherwise."""
        self.assertEqual(FETCH.encode()[16], 2)

    def test_what_cannot_be_carried(self):
        """A type or a version that is no byte is refused before anything is sent."""
        for request in (
            Request(ALICE, SendMessage(BOB, 256, b"")),
            Request(ALICE, SendMessage(BOB, -1, b"")),
            Request(NOBODY, FetchMessages(), version=256),
            Request(NOBODY, FetchMessages(), version=-1),
        ):
            self.assertRaises(LocalProtocolError, request.encode)

    def test_repr(self):
        """The repr of a send leaves the content out."""
        self.assertNotIn("sealed", repr(Request(ALICE, SendMessage(BOB, 3, b"sealed"))))
