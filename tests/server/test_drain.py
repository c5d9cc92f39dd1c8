"""The time between the wish to stop and the end of listening."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from threading import current_thread, main_thread

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from messageu.server import heed_signals
from messageu.server._drain import STOP_SIGNALS, Drain


class DrainTests(SynchronousTestCase):
    """Waiting."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.impatient: list[Callable[[], object]] = []

    def drain(self, seconds: float) -> Drain:
        """A time of so many seconds, with an operator who can be impatient."""
        return Drain(seconds, self.clock, self.impatient.append)

    def test_over(self) -> None:
        """It is over after its seconds, and not before."""
        ended = self.drain(5).begin()
        self.clock.advance(4.9)
        self.assertNoResult(ended)
        self.clock.advance(0.1)
        self.successResultOf(ended)

    def test_none(self) -> None:
        """With 0 it is over at once, and nobody is asked for his patience."""
        self.successResultOf(self.drain(0).begin())
        self.assertEqual(self.impatient, [])

    def test_impatience(self) -> None:
        """Impatience ends it, however often it is shown, and later it does nothing."""
        ended = self.drain(5).begin()
        for _ in range(3):
            self.impatient[0]()
            self.successResultOf(ended)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_late(self) -> None:
        """When it is over, impatience does nothing."""
        ended = self.drain(5).begin()
        self.clock.advance(5)
        self.impatient[0]()
        self.successResultOf(ended)


class SignalTests(SynchronousTestCase):
    """What impatience is, in a process."""

    def test_signals(self) -> None:
        """Each signal to stop is told, in the reactor's own time."""
        for number in STOP_SIGNALS:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        later: list[Callable[[], object]] = []
        told: list[str] = []

        class Reactor:
            def callFromThread(self, call: Callable[[], object]) -> None:
                later.append(call)

        heed_signals(Reactor())(lambda: told.append("now"))
        self.assertIs(current_thread(), main_thread())
        for number in STOP_SIGNALS:
            os.kill(os.getpid(), number)
        self.assertEqual((len(later), told), (2, []))
        for call in later:
            call()
        self.assertEqual(told, ["now", "now"])
