"""A whole load, with a relay in memory at the other end of every connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionRefusedError  # noqa: A004 - Twisted's
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from messageu.admin.load import LoadFailed, LoadUnreachable, Measured, Plan, Run
from messageu.admin.load._run import ANSWER_TIMEOUT
from messageu.testing.transport import Line
from tests.server.relay import MemoryRelay, _Address

PLAN = Plan("192.0.2.9", 1357, connections=2, mailboxes=3, seconds=2.0, warmup=0.0, rate=20.0)
STEP = 2**-6


class MemoryRun(Run):
    """A load whose connections are lines to a relay in memory."""

    def __init__(self, relay: MemoryRelay, plan: Plan = PLAN) -> None:
        self.told: list[str] = []
        self.lines: list[Line] = []
        self.relay = relay
        super().__init__(plan, relay.clock, relay.clock.seconds, self.told.append)

    def dial(self, protocol: Any) -> Deferred[Any]:
        self.lines.append(Line(protocol, self.relay.factory.buildProtocol(_Address("192.0.2.1"))))
        return succeed(protocol)


class RunTestCase(SynchronousTestCase):
    """Tests with a relay and a load that has begun."""

    def begin(self, plan: Plan = PLAN, **limits: float) -> None:
        self.relay = MemoryRelay(**limits)
        self.run_ = MemoryRun(self.relay, plan)
        self.going = Deferred.fromCoroutine(self.run_.go())

    def go_on(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let everything move for so long."""
        for _ in range(round(seconds / STEP)):
            if until() or self.going.called:
                return
            for line in list(self.run_.lines):
                line.run()
            self.relay.clock.advance(STEP)

    def driving(self) -> bool:
        """Whether it sends."""
        return self.run_._driver is not None and self.run_._driver.everything.stored > 3

    def measured(self) -> Measured:
        """What it has found."""
        return self.successResultOf(self.going)


class RunTests(RunTestCase):
    """From the first connection to the last."""

    def test_whole(self) -> None:
        """As many as were due are sent, stored and taken back, and every connection is closed."""
        self.begin()
        self.go_on(5)
        found = self.measured()
        self.assertTrue(found.clean, found.complaints)
        self.assertEqual((found.everything.stored, found.taken_back), (40, 40))
        self.assertEqual([line.client.closed for line in self.run_.lines], [True] * 4)
        self.assertIn("1 of 2 s: 20 sent", "\n".join(self.run_.told))
        self.assertEqual(found.as_json()["taken_back"], 40)

    def test_interrupted(self) -> None:
        """Interrupted, it sends nothing more, and takes back what was stored."""
        self.begin()
        self.go_on(2, self.driving)
        self.run_.interrupt()
        self.go_on(5)
        found = self.measured()
        self.assertTrue(found.interrupted)
        self.assertEqual(found.taken_back, found.everything.stored)
        self.assertLess(found.seconds, 1.0)

    def test_interrupted_twice(self) -> None:
        """Interrupted again, it leaves in the mailboxes what is there, and says so."""
        self.begin()
        self.go_on(2, self.driving)
        self.run_.interrupt()
        self.run_.interrupt()
        self.go_on(5)
        found = self.measured()
        self.assertFalse(found.clean)
        self.assertIn("not all taken back: interrupted", found.complaints[0])

    def test_interrupted_before(self) -> None:
        """Interrupted before anything is sent, it has failed."""
        self.begin()
        self.run_.interrupt()
        self.assertIn("interrupted", str(self.failureResultOf(self.going, LoadFailed).value))

    def test_refused(self) -> None:
        """Where not all may register, nothing is sent."""
        self.begin(registrations_a_minute=2)
        self.go_on(1)
        why = str(self.failureResultOf(self.going, LoadFailed).value)
        self.assertIn("more than 2 of 3", why)

    def test_silence(self) -> None:
        """A relay that does not answer is waited for, for a bounded time."""
        self.begin()
        self.relay.clock.advance(ANSWER_TIMEOUT)
        self.failureResultOf(self.going, LoadFailed)

    def test_closed(self) -> None:
        """A relay that closes the connection in the beginning is no relay to load."""
        self.begin()
        self.run_.lines[0].reset()
        why = str(self.failureResultOf(self.going, LoadFailed).value)
        self.assertIn("closed the connection", why)

    def test_nonsense(self) -> None:
        """Nor is one that answers what is no answer."""
        self.begin()
        self.run_.lines[0].client.protocol.dataReceived(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.failureResultOf(self.going, LoadFailed)

    def test_not_taken_back(self) -> None:
        """When the relay goes away before all was taken back, that is said, and the rest is told."""
        self.begin()
        self.go_on(5, lambda: len(self.run_.lines) == 4)
        self.run_.lines[3].reset()
        found = self.measured()
        self.assertFalse(found.clean)
        self.assertEqual(found.everything.stored, 40)
        self.assertIn("not all taken back", found.complaints[0])


class ConnectTests(SynchronousTestCase):
    """Reaching the relay."""

    def test_unreachable(self) -> None:
        """Who is not reached is said to be so, with the address."""
        reactor = MemoryReactorClock()
        going = Deferred.fromCoroutine(Run(PLAN, reactor, reactor.seconds, lambda _: None).go())
        reactor.advance(1)
        _, _, factory, _, _ = reactor.tcpClients[0]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError("no")))
        reactor.advance(1)
        error = self.failureResultOf(going, LoadUnreachable).value
        self.assertIn("192.0.2.9:1357 is not reached", str(error))
