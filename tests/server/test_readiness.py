"""Whether a relay is ready, and how often its store is asked for that."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from messageu.server._readiness import ANSWER_KEPT, STORE_DEADLINE, Condition, Readiness
from messageu.store import StoreUnavailable


class ReadinessTests(SynchronousTestCase):
    """A relay that serves, with a store that answers when the test says so."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.questions: list[Deferred[None]] = []
        self.readiness = Readiness(self.question, self.clock)
        self.readiness.serve()

    def question(self) -> Deferred[None]:
        """The store is asked."""
        self.questions.append(Deferred())
        return self.questions[-1]

    def now(self) -> Condition:
        """What is answered at once."""
        return self.successResultOf(self.readiness.ask())

    def test_ready(self) -> None:
        """It is ready when the store has committed something, and not before it has."""
        answer = self.readiness.ask()
        self.assertNoResult(answer)
        self.questions[0].callback(None)
        self.assertIs(self.successResultOf(answer), Condition.READY)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_question(self) -> None:
        """However many ask, the store is asked once, and its answer holds for a while."""
        answers = [self.readiness.ask() for _ in range(20)]
        self.questions[0].callback(None)
        self.assertEqual({self.successResultOf(answer) for answer in answers}, {Condition.READY})
        self.clock.advance(ANSWER_KEPT * 0.9)
        self.assertIs(self.now(), Condition.READY)
        self.assertEqual(len(self.questions), 1)
        self.clock.advance(ANSWER_KEPT * 0.2)
        self.assertNoResult(self.readiness.ask())
        self.assertEqual(len(self.questions), 2)

    def test_failing(self) -> None:
        """A store that cannot commit makes it unready, until it can again."""
        for number, (result, condition) in enumerate(
            [(StoreUnavailable("full"), Condition.STORE_FAILING), (None, Condition.READY)] * 2
        ):
            answer = self.readiness.ask()
            if result is None:
                self.questions[number].callback(None)
            else:
                self.questions[number].errback(result)
            self.assertIs(self.successResultOf(answer), condition)
            self.assertIs(self.now(), condition)
            self.clock.advance(ANSWER_KEPT)

    def test_slow(self) -> None:
        """A store that does not answer in time makes it unready. It is not asked again before it
        has answered, and that answer is late."""
        answer = self.readiness.ask()
        self.clock.advance(STORE_DEADLINE * 0.9)
        self.assertNoResult(answer)
        self.clock.advance(STORE_DEADLINE * 0.2)
        self.assertIs(self.successResultOf(answer), Condition.STORE_SLOW)
        for _ in range(100):
            self.clock.advance(1)
            self.assertIs(self.now(), Condition.STORE_SLOW)
        self.assertEqual(len(self.questions), 1)
        self.questions[0].callback(None)
        self.assertIs(self.now(), Condition.STORE_SLOW)
        self.clock.advance(ANSWER_KEPT)
        answer = self.readiness.ask()
        self.questions[1].callback(None)
        self.assertIs(self.successResultOf(answer), Condition.READY)

    def test_bug(self) -> None:
        """Any other failure counts as one of the store, and is logged."""
        answer = self.readiness.ask()
        self.questions[0].errback(ZeroDivisionError())
        self.assertIs(self.successResultOf(answer), Condition.STORE_FAILING)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_at_once(self) -> None:
        """A store that answers at once is fine, and one that fails so is not."""
        for result, condition in (
            (succeed(None), Condition.READY),
            (fail(StoreUnavailable("closed")), Condition.STORE_FAILING),
        ):
            readiness = Readiness(lambda result=result: result, self.clock)
            readiness.serve()
            self.assertIs(self.successResultOf(readiness.ask()), condition)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_starting(self) -> None:
        """Before it serves it is not ready, and the store is not asked."""
        readiness = Readiness(self.question, self.clock)
        self.assertIs(self.successResultOf(readiness.ask()), Condition.STARTING)
        self.assertEqual(self.questions, [])

    def test_draining(self) -> None:
        """When it drains it is not ready, at once, whatever the store says, and leaves no timer."""
        answer = self.readiness.ask()
        self.readiness.drain()
        self.assertIs(self.successResultOf(answer), Condition.DRAINING)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.questions[0].callback(None)
        self.clock.advance(ANSWER_KEPT)
        self.assertIs(self.now(), Condition.DRAINING)
        self.assertEqual(len(self.questions), 1)
