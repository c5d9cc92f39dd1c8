from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import NAME_SIZE_LIMIT, ListedClient
from messageu.testing import strategies
from messageu.testing.strategies import CONTENT_LIMIT, Sample, Verdict, chunked, joined
from messageu.wire import Codec
from messageu.wire.v2 import (
    REQUESTS,
    GeneralError,
    MessageType,
    RequestCodec,
    ResponseCode,
    ResponseCodec,
    ResponseEvent,
)
from tests.wire._drive import answers_to

SEARCH = settings(
    max_examples=2000,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class StrategyTestCase(SynchronousTestCase):
    def assert_finds(self, strategy, condition) -> None:
        """Fails with NoSuchExample when nothing that is generated meets the condition."""
        self.assertTrue(condition(find(strategy, condition, settings=SEARCH)))

    def assert_reasons(
        self, strategy: st.SearchStrategy[Sample], codec: Codec, reasons: list[str]
    ) -> None:
        for reason in reasons:
            self.assert_finds(
                strategy,
                lambda sample, reason=reason: any(
                    answer.reason == reason for answer in answers_to(codec, [sample.frame])
                ),
            )


class ValueTests(StrategyTestCase):
    def test_names(self):
        """The shortest and the longest name are generated, and every printable character."""
        for size in (1, NAME_SIZE_LIMIT):
            self.assert_finds(
                strategies.user_names(), lambda name, size=size: len(name.raw) == size
            )
        for byte in (0x20, 0x7E):
            self.assert_finds(strategies.user_names(), lambda name, byte=byte: byte in name.raw)

    def test_listed_names(self):
        """Listed names are generated that could not be registered, but none with a NUL."""
        listed = strategies.listed_clients()
        self.assert_finds(listed, lambda client: client.name == b"")
        self.assert_finds(listed, lambda client: b"\x1b" in client.name)
        self.assert_finds(listed, lambda client: any(byte > 0x7F for byte in client.name))

    def test_message_types(self):
        """Every type that clients know is generated, and others."""
        for kind in MessageType:
            self.assert_finds(strategies.message_types(), lambda found, kind=kind: found == kind)
        self.assert_finds(strategies.message_types(), lambda found: found > 4)

    @given(strategies.envelopes())
    def test_envelopes(self, envelope):
        """An envelope's content keeps to the limit."""
        self.assertLessEqual(len(envelope.content), CONTENT_LIMIT)


class RequestTests(StrategyTestCase):
    def test_every_code(self):
        """Every request that there is is generated, by itself and in a stream."""
        for code, body in REQUESTS.items():
            self.assert_finds(
                strategies.requests(), lambda request, code=code: request.body.code == code
            )
            self.assert_finds(
                strategies.request_streams(),
                lambda stream, body=body: any(
                    isinstance(outcome.body, body)
                    for outcome in joined(stream)[1]
                    if not isinstance(outcome, Verdict)
                ),
            )

    def test_refusals(self):
        """Every reason to refuse a request is generated."""
        self.assert_reasons(
            strategies.refused_requests(),
            RequestCodec(CONTENT_LIMIT),
            [
                "an unknown code",
                "the content size disagrees with the payload",
                "the name has no NUL",
                "a name has 1 to 254 characters",
                "a name is made of printable ASCII characters",
            ],
        )

    def test_fatal(self):
        """Every reason to trust nothing more is generated, and the largest size."""
        self.assert_reasons(
            strategies.fatal_requests(),
            RequestCodec(CONTENT_LIMIT),
            ["a payload above the limit", "a size that the code cannot have"],
        )
        self.assert_finds(
            strategies.fatal_requests(), lambda sample: sample.frame[19:23] == b"\xff" * 4
        )


class ResponseTests(StrategyTestCase):
    def test_every_code(self):
        """Every answer that there is is generated."""
        for code in ResponseCode:
            self.assert_finds(
                strategies.good_responses(),
                lambda sample, code=code: sample.frame[1:3] == code.to_bytes(2, "little"),
            )

    def test_tolerated(self):
        """What a foreign relay does otherwise is generated: versions, words, garbage, sizes."""

        def has_garbage(sample: Sample[ResponseEvent]) -> bool:
            first = sample.outcomes[0]
            return isinstance(first, ListedClient) and any(
                sample.frame[7 + 16 + len(first.name) : 7 + 271]
            )

        good = strategies.good_responses()
        self.assert_finds(good, lambda sample: sample.frame[0] not in (1, 2))
        self.assert_finds(
            good, lambda sample: sample.outcomes == (GeneralError(),) and len(sample.frame) > 7
        )
        self.assert_finds(good, has_garbage)
        self.assert_finds(good, lambda sample: Verdict.REFUSED in sample.outcomes)

    def test_fatal(self):
        """Every reason to trust nothing more is generated, after whole messages too."""
        self.assert_reasons(
            strategies.fatal_responses(),
            ResponseCodec(CONTENT_LIMIT),
            [
                "an unknown code",
                "a size that the code cannot have",
                "a payload ends inside an item",
                "an item is longer than its payload",
            ],
        )
        self.assert_finds(strategies.fatal_responses(), lambda sample: len(sample.outcomes) > 1)

    def test_foreign_object(self):
        """What is no answer of v2 has no events."""
        self.assertRaises(TypeError, strategies.response_events, object())


class ChunkedTests(StrategyTestCase):
    @given(st.data(), st.binary(max_size=200))
    def test_joins(self, data, stream):
        """The pieces are the whole again."""
        self.assertEqual(b"".join(data.draw(chunked(stream))), stream)

    def test_sizes(self):
        """A stream comes whole, byte by byte, unevenly, and with empty pieces."""
        stream = bytes(range(100))
        pieces = chunked(stream)
        self.assert_finds(pieces, lambda chunks: chunks == [stream])
        self.assert_finds(pieces, lambda chunks: len(chunks) == len(stream))
        self.assert_finds(pieces, lambda chunks: len({len(chunk) for chunk in chunks}) > 4)
        self.assert_finds(pieces, lambda chunks: b"" in chunks)


class JoinedTests(SynchronousTestCase):
    def test_joined(self):
        """The frames of a stream and their outcomes stay in order."""
        samples = [Sample(b"ab", (1, Verdict.REFUSED)), Sample(b"c", (2,))]
        self.assertEqual(joined(samples), (b"abc", [1, Verdict.REFUSED, 2]))
