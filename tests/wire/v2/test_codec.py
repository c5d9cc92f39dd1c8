"""What holds for every stream, however it is cut: the parser and both codecs together."""

import struct
from collections.abc import Callable

from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import Envelope
from messageu.testing.strategies import (
    CONTENT_LIMIT,
    Verdict,
    chunked,
    envelopes,
    joined,
    request_noise,
    request_streams,
    response_noise,
    response_streams,
)
from messageu.wire import NEED_DATA, Codec, Parser, RemoteProtocolError
from messageu.wire.v2 import Request, RequestCodec, ResponseCodec, SendMessage
from tests.wire._drive import answers_to, drain, outcomes


@frozen
class Direction:
    """A codec, and what may be stored of each code's payload, in bytes."""

    codec: Codec
    header: struct.Struct
    most_stored: dict[int, int]

    def bound(self, data: bytes, parser: Parser) -> int:
        """How much may wait when all events have been taken, judged by the bytes themselves."""
        consumed = parser.received - parser.buffered
        start = parser.frame_offset
        if consumed < start + self.header.size:
            return self.header.size - 1
        *_, code, size = self.header.unpack_from(data, start)
        if consumed == start + self.header.size + size:
            return self.header.size - 1
        return max(0, min(size, self.most_stored.get(code, 0)) - 1)


REQUESTS = Direction(
    RequestCodec(CONTENT_LIMIT),
    struct.Struct("<16sBHI"),
    {600: 415, 601: 0, 602: 16, 603: 21 + CONTENT_LIMIT, 604: 0},
)
RESPONSES = Direction(
    ResponseCodec(CONTENT_LIMIT),
    struct.Struct("<BHI"),
    {2100: 16, 2101: 271, 2102: 176, 2103: 20, 2104: max(25, CONTENT_LIMIT), 9000: 0},
)


def cut(streams: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[bytes, list[bytes]]]:
    """Bytes, and the same bytes in pieces."""
    return streams.flatmap(lambda data: st.tuples(st.just(data), chunked(data)))


def bytewise(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


request_bytes = request_noise()
response_bytes = response_noise()


class StreamTests(SynchronousTestCase):
    @given(request_streams())
    def test_requests(self, stream):
        """A stream of good, refused and fatal requests gives just what each of them deserves."""
        data, expected = joined(stream)
        self.assertEqual(outcomes(REQUESTS.codec, data), expected)

    @given(response_streams())
    def test_responses(self, stream):
        """A stream of good and fatal answers gives just what each of them deserves."""
        data, expected = joined(stream)
        self.assertEqual(outcomes(RESPONSES.codec, data), expected)

    @given(request_streams())
    def test_offsets(self, stream):
        """Each event and error names where its frame began."""
        starts, at = [], 0
        for sample in stream:
            starts.append(at)
            at += len(sample.frame)
        answers = answers_to(REQUESTS.codec, [joined(stream)[0]])
        self.assertEqual([answer.offset for answer in answers], starts)


class ChunkingTests(SynchronousTestCase):
    def assert_same(self, direction: Direction, data: bytes, chunks: list[bytes]) -> None:
        whole = answers_to(direction.codec, [data])
        self.assertEqual(b"".join(chunks), data)
        self.assertEqual(answers_to(direction.codec, chunks), whole)
        self.assertEqual(answers_to(direction.codec, bytewise(data)), whole)

    @given(cut(request_bytes))
    def test_any_requests(self, given):
        """Any split of any bytes gives the same requests, errors and offsets as the whole."""
        self.assert_same(REQUESTS, *given)

    @given(cut(response_bytes))
    def test_any_responses(self, given):
        """Any split of any bytes gives the same answers, errors and offsets as the whole."""
        self.assert_same(RESPONSES, *given)

    @given(cut(request_streams().map(lambda stream: joined(stream)[0])))
    def test_request_streams(self, given):
        """Any split of a stream of requests gives the same as the whole."""
        self.assert_same(REQUESTS, *given)

    @given(cut(response_streams().map(lambda stream: joined(stream)[0])))
    def test_response_streams(self, given):
        """Any split of a stream of answers gives the same as the whole."""
        self.assert_same(RESPONSES, *given)

    @given(cut(request_bytes))
    def test_late_draining(self, given):
        """It does not matter whether the events are taken after each piece or at the end."""
        data, chunks = given
        parser = Parser(REQUESTS.codec)
        for chunk in chunks:
            parser.receive_data(chunk)
        self.assertEqual(drain(parser), answers_to(REQUESTS.codec, [data]))


def as_envelope(event: object) -> object:
    """What a send says, without the version byte, which means nothing; anything else as it is."""
    match event:
        case Request(client_id, SendMessage(recipient, kind, content)):
            return Envelope(client_id, recipient, kind, content)
    return event


class RunTests(SynchronousTestCase):
    def envelopes_and_others(self, chunks: list[bytes], limit: int) -> list[object]:
        """All that a parser makes of these chunks whose runs are taken first."""
        parser = Parser(REQUESTS.codec)
        found: list[object] = []
        for chunk in chunks:
            parser.receive_data(chunk)
            while True:
                run = parser.next_run(limit)
                self.assertLessEqual(len(run), limit)
                if run:
                    found.extend(run)
                    continue
                try:
                    event = parser.next_event()
                except RemoteProtocolError as error:
                    found.append(Verdict.FATAL if error.fatal else Verdict.REFUSED)
                    if error.fatal:
                        self.assertEqual(parser.next_run(limit), ())
                        return found
                else:
                    if event is NEED_DATA:
                        break
                    found.append(as_envelope(event))
        return found

    def assert_same(self, data: bytes, chunks: list[bytes], limit: int) -> None:
        expected = [as_envelope(outcome) for outcome in outcomes(REQUESTS.codec, data)]
        self.assertEqual(self.envelopes_and_others(chunks, limit), expected)

    @given(cut(request_streams().map(lambda stream: joined(stream)[0])), st.integers(1, 4))
    def test_streams(self, given, limit):
        """Sends that are taken together are those that would have come one by one."""
        self.assert_same(*given, limit)

    @given(cut(request_bytes), st.integers(1, 4))
    def test_any_bytes(self, given, limit):
        """So they are among any bytes, however these are cut."""
        self.assert_same(*given, limit)

    @given(st.lists(envelopes(), min_size=1, max_size=5), st.binary(max_size=60))
    def test_all_at_once(self, sent, rest):
        """All complete sends come in one run, which is told by where its last frame began."""
        frames = [
            Request(each.sender, SendMessage(each.recipient, each.type, each.content)).encode()
            for each in sent
        ]
        parser = Parser(REQUESTS.codec)
        parser.receive_data(b"".join(frames) + bytes([0]) * len(rest))
        self.assertEqual(parser.next_run(9), sent)
        self.assertEqual(parser.frame_offset, sum(map(len, frames[:-1])))
        self.assertEqual(parser.buffered, len(rest))
        self.assertEqual(parser.received, sum(map(len, frames)) + len(rest))


class BoundsTests(SynchronousTestCase):
    def assert_bounded(self, direction: Direction, data: bytes, chunks: list[bytes]) -> None:
        parser = Parser(direction.codec)
        received = 0
        for chunk in chunks:
            parser.receive_data(chunk)
            answers = drain(parser)
            if answers and answers[-1].outcome is Verdict.FATAL:
                self.assert_failed(parser, answers[-1].reason)
                return
            received += len(chunk)
            self.assertEqual(parser.received, received)
            self.assertLessEqual(parser.buffered, direction.bound(data, parser))
            self.assertIs(parser.next_event(), NEED_DATA)

    def assert_failed(self, parser: Parser, reason: str) -> None:
        """After a fatal error it stays failed, and stores nothing more."""
        offset = parser.frame_offset
        for data in (b"", b"x" * 1000):
            parser.receive_data(data)
            self.assertEqual(parser.buffered, 0)
            self.assertEqual(parser.missing, 0)
            self.assertFalse(parser.mid_frame)
            error = self.assertRaises(RemoteProtocolError, parser.next_event)
            self.assertTrue(error.fatal)
            self.assertEqual(str(error), reason)
            self.assertEqual(parser.frame_offset, offset)

    @given(cut(request_bytes))
    def test_requests(self, given):
        """What waits is less than a header, or than what the code may have; never what is skipped."""
        self.assert_bounded(REQUESTS, *given)

    @given(cut(response_bytes))
    def test_responses(self, given):
        """What waits is less than a header, or than an item of the code; never what is skipped."""
        self.assert_bounded(RESPONSES, *given)

    @given(request_streams())
    def test_requests_bytewise(self, stream):
        """The same holds after every single byte of a stream of requests."""
        data, _ = joined(stream)
        self.assert_bounded(REQUESTS, data, bytewise(data))

    @given(response_streams())
    def test_responses_bytewise(self, stream):
        """The same holds after every single byte of a stream of answers."""
        data, _ = joined(stream)
        self.assert_bounded(RESPONSES, data, bytewise(data))


class MissingTests(SynchronousTestCase):
    def assert_honest(self, direction: Direction, data: bytes) -> None:
        """With one byte less than ``missing`` nothing comes; with all of them ``missing`` falls."""
        parser = Parser(direction.codec)
        rest = memoryview(data)
        while rest:
            promised = max(1, parser.missing)
            head, last, rest = rest[: promised - 1], rest[promised - 1 : promised], rest[promised:]
            parser.receive_data(bytes(head))
            self.assertEqual(drain(parser), [])
            parser.receive_data(bytes(last))
            answers = drain(parser)
            if answers and answers[-1].outcome is Verdict.FATAL:
                return

    @given(request_streams().map(lambda stream: joined(stream)[0]))
    def test_requests(self, data):
        """No request comes before what is missing has come."""
        self.assert_honest(REQUESTS, data)

    @given(response_streams().map(lambda stream: joined(stream)[0]))
    def test_responses(self, data):
        """No answer comes before what is missing has come."""
        self.assert_honest(RESPONSES, data)


class RefusalTextTests(SynchronousTestCase):
    def assert_ours(self, make: Callable[[], Codec], data: bytes) -> None:
        for answer in answers_to(make(), [data]):
            if answer.reason:
                self.assertIn(answer.reason, TEXTS)

    @given(request_bytes)
    def test_requests(self, data):
        """The text of an error is one of ours, and holds nothing that was sent."""
        self.assert_ours(lambda: REQUESTS.codec, data)

    @given(response_bytes)
    def test_responses(self, data):
        """The text of an error is one of ours, and holds nothing that was sent."""
        self.assert_ours(lambda: RESPONSES.codec, data)


TEXTS = {
    "a message above the limit",
    "a name has 1 to 254 characters",
    "a name is made of printable ASCII characters",
    "a payload above the limit",
    "a payload ends inside an item",
    "a size that the code cannot have",
    "an item is longer than its payload",
    "an unknown code",
    "the content size disagrees with the payload",
    "the name has no NUL",
}
