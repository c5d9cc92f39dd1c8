"""What holds for every stream of v3, however it is cut."""

import struct

from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

from messageu.testing.strategies import CONTENT_LIMIT, Verdict, joined
from messageu.testing.strategies_v3 import (
    mutated,
    request_noise,
    request_streams,
    response_noise,
    response_streams,
)
from messageu.wire.v3 import REQUESTS as BODIES
from messageu.wire.v3 import RESPONSES as ANSWERS
from messageu.wire.v3 import Request, RequestCodec, Response, ResponseCodec, UnknownRequest
from tests.wire._drive import answers_to, outcomes
from tests.wire._streams import Direction, StreamCase, bytewise, cut


def most_stored(table) -> dict[int, int]:
    """The largest payload of each code."""
    return {
        code: 4 + (body.min_size + CONTENT_LIMIT if body.max_size is None else body.max_size)
        for code, body in table.items()
    }


REQUESTS = Direction(
    RequestCodec(CONTENT_LIMIT), struct.Struct("<16sBHI"), most_stored(BODIES), 65_536
)
RESPONSES = Direction(ResponseCodec(CONTENT_LIMIT), struct.Struct("<BHI"), most_stored(ANSWERS))

request_bytes = request_noise()
response_bytes = response_noise()
request_data = request_streams().map(lambda stream: joined(stream)[0])
response_data = response_streams().map(lambda stream: joined(stream)[0])
damaged_requests = request_data.flatmap(mutated)
damaged_responses = response_data.flatmap(mutated)

few = settings(max_examples=15)


class StreamTests(SynchronousTestCase):
    @given(request_streams())
    def test_requests(self, stream):
        """A stream of good and fatal requests gives just what each of them deserves."""
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
    @few
    @given(cut(request_bytes))
    def test_any_requests(self, given):
        """Any split of any bytes gives the same requests, errors and offsets as the whole."""
        self.assert_same(REQUESTS, *given)

    @few
    @given(cut(response_bytes))
    def test_any_responses(self, given):
        """Any split of any bytes gives the same answers, errors and offsets as the whole."""
        self.assert_same(RESPONSES, *given)

    @few
    @given(cut(request_data))
    def test_request_streams(self, given):
        """Any split of a stream of requests gives the same as the whole."""
        self.assert_same(REQUESTS, *given)

    @few
    @given(cut(response_data))
    def test_response_streams(self, given):
        """Any split of a stream of answers gives the same as the whole."""
        self.assert_same(RESPONSES, *given)

    @given(cut(request_bytes))
    def test_late_draining(self, given):
        """It does not matter whether the events are taken after each piece or at the end."""
        self.assert_same_late(REQUESTS, *given)


class DamageTests(SynchronousTestCase):
    """Frames of which some bytes are others: events and RemoteProtocolErrors, nothing else."""

    @given(damaged_requests)
    def test_requests(self, data):
        """A damaged stream of requests gives requests and our errors; what is read can be sent."""
        for outcome in outcomes(REQUESTS.codec, data):
            if outcome is Verdict.FATAL:
                continue
            self.assertIsInstance(outcome, Request)
            if not isinstance(outcome.body, UnknownRequest):
                self.assertEqual(outcomes(REQUESTS.codec, outcome.encode()), [outcome])

    @given(damaged_responses)
    def test_responses(self, data):
        """A damaged stream of answers gives answers and our errors; what is read can be sent."""
        for outcome in outcomes(RESPONSES.codec, data):
            if outcome is Verdict.FATAL:
                continue
            self.assertIsInstance(outcome, Response)
            self.assertEqual(outcomes(RESPONSES.codec, outcome.encode()), [outcome])


class BoundsTests(StreamCase):
    @given(cut(request_bytes))
    def test_requests(self, given):
        """What waits is less than a header, or than what the code may have."""
        self.assert_bounded(REQUESTS, *given)

    @given(cut(response_bytes))
    def test_responses(self, given):
        """What waits is less than a header, or than what the code may have."""
        self.assert_bounded(RESPONSES, *given)

    @few
    @given(request_data)
    def test_requests_bytewise(self, data):
        """The same holds after every single byte of a stream of requests."""
        self.assert_bounded(REQUESTS, data, bytewise(data))

    @few
    @given(response_data)
    def test_responses_bytewise(self, data):
        """The same holds after every single byte of a stream of answers."""
        self.assert_bounded(RESPONSES, data, bytewise(data))


class MissingTests(StreamCase):
    @given(request_data)
    def test_requests(self, data):
        """No request comes before what is missing has come."""
        self.assert_honest(REQUESTS, data)

    @given(response_data)
    def test_responses(self, data):
        """No answer comes before what is missing has come."""
        self.assert_honest(RESPONSES, data)


class ErrorTextTests(StreamCase):
    @given(request_bytes | damaged_requests)
    def test_requests(self, data):
        """The text of an error is one of ours, and holds nothing that was sent."""
        self.assert_ours(REQUESTS, data, TEXTS)

    @given(response_bytes | damaged_responses)
    def test_responses(self, data):
        """The text of an error is one of ours, and holds nothing that was sent."""
        self.assert_ours(RESPONSES, data, TEXTS)


TEXTS = {
    "a client id in the header",
    "a correlation that the code cannot have",
    "a payload that contradicts itself",
    "a request without a correlation",
    "a size that no code can have",
    "a size that the code cannot have",
    "an unknown code",
}
