"""What holds for every stream, however it is cut: the parser and both codecs together."""

import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import Envelope
from messageu.testing.strategies import (
    CONTENT_LIMIT,
    Verdict,
    envelopes,
    joined,
    request_noise,
    request_streams,
    response_noise,
    response_streams,
)
from messageu.wire import NEED_DATA, Parser, RemoteProtocolError
from messageu.wire.v2 import Request, RequestCodec, ResponseCodec, SendMessage
from tests.wire._drive import answers_to, outcomes
from tests.wire._streams import Direction, StreamCase, bytewise, cut

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


class ChunkingTests(StreamCase):
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
        self.assert_same_late(REQUESTS, *given)


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


class BoundsTests(StreamCase):
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


class MissingTests(StreamCase):
    @given(request_streams().map(lambda stream: joined(stream)[0]))
    def test_requests(self, data):
        """No request comes before what is missing has come."""
        self.assert_honest(REQUESTS, data)

    @given(response_streams().map(lambda stream: joined(stream)[0]))
    def test_responses(self, data):
        """No answer comes before what is missing has come."""
        self.assert_honest(RESPONSES, data)


class RefusalTextTests(StreamCase):
    @given(request_bytes)
    def test_requests(self, data):
        """The text of an error is one of ours, and holds nothing that was sent."""
        self.assert_ours(REQUESTS, data, TEXTS)

    @given(response_bytes)
    def test_responses(self, data):
        """The text of an error is one of ours, and holds nothing that was sent."""
        self.assert_ours(RESPONSES, data, TEXTS)


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
