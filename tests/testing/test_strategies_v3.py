from messageu.testing import strategies_v3 as strategies
from messageu.testing.strategies import CONTENT_LIMIT
from messageu.wire.v3 import (
    REQUESTS,
    RESPONSES,
    RequestCodec,
    ResponseCodec,
    UnknownRequest,
)

from .test_strategies import StrategyTestCase


class BodyTestCase(StrategyTestCase):
    def assert_finds_all(self, strategy, wanted) -> None:
        """Fails with NoSuchExample when a kind of body is never generated: one search for all."""
        found = set()

        def was_the_last(sample):
            found.add(type(sample.outcomes[0].body))
            return found >= wanted

        self.assert_finds(strategy, was_the_last)


class RequestTests(BodyTestCase):
    def test_every_code(self):
        """Every request that there is is generated, and one that there is not."""
        self.assert_finds_all(strategies.good_requests(), {*REQUESTS.values(), UnknownRequest})

    def test_fatal(self):
        """Every reason to trust nothing more is generated."""
        self.assert_reasons(
            strategies.fatal_requests(),
            RequestCodec(CONTENT_LIMIT),
            [
                "a client id in the header",
                "a payload that contradicts itself",
                "a request without a correlation",
                "a size that no code can have",
                "a size that the code cannot have",
            ],
        )

    def test_contradictions(self):
        """Each of the payloads that can contradict themselves does so."""
        for code in (702, 704, 708):
            self.assert_finds(
                strategies.contradictory_requests(), lambda found, code=code: found[0] == code
            )


class ResponseTests(BodyTestCase):
    def test_every_code(self):
        """Every answer and push that there is is generated, and an unknown reason."""
        self.assert_finds_all(strategies.good_responses(), set(RESPONSES.values()))
        self.assert_finds(strategies.errors(), lambda error: type(error.reason) is int)

    def test_fatal(self):
        """Every reason to trust nothing more is generated."""
        self.assert_reasons(
            strategies.fatal_responses(),
            ResponseCodec(CONTENT_LIMIT),
            [
                "a correlation that the code cannot have",
                "a payload that contradicts itself",
                "a size that the code cannot have",
                "an unknown code",
            ],
        )


class ValueTests(StrategyTestCase):
    def test_handles(self):
        """The shortest and the longest name are generated, and names that look like others."""
        for size in (3, 32):
            self.assert_finds(strategies.handles(), lambda found, size=size: len(found.raw) == size)
        self.assert_finds(strategies.handles(), lambda found: found.skeleton != found.text)
