"""One connection at a time, and when the next one is tried."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from messageu.client import ClientError
from messageu.client.v3._reconnect import Backoff, Reconnector


class FakeConnection:
    """Remembers that it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class ReconnectorCase(SynchronousTestCase):
    """A reconnector whose connections are the test's."""

    spread = 1.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.dialled: list[float] = []
        self.attempts: list[Deferred[FakeConnection]] = []
        self.told: list[tuple[str, float | None]] = []
        self.refuses: ClientError | None = None
        self.reconnector = Reconnector(
            self.clock, self.dial, self.offline, Backoff(spread=lambda: self.spread)
        )

    def dial(self) -> Deferred[FakeConnection]:
        """Somebody tries to connect."""
        if self.refuses is not None:
            raise self.refuses
        self.dialled.append(self.clock.seconds())
        self.attempts.append(Deferred())
        return self.attempts[-1]

    def offline(self, why: ClientError, delay: float | None) -> None:
        """There is no connection."""
        self.told.append((str(why), delay))

    def fail(self, why: str = "nothing listens there") -> None:  # type: ignore[override]
        """The last attempt fails."""
        self.attempts[-1].errback(ClientError(why))

    def connect(self) -> FakeConnection:
        """The last attempt succeeds."""
        connection = FakeConnection()
        self.attempts[-1].callback(connection)
        return connection

    def lose(self, retry_after: float | None = None) -> None:
        """The connection is lost."""
        self.reconnector.lose(ClientError("lost"), retry_after)

    def wait(self, seconds: float) -> None:
        """Let time pass in steps."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)


class ScheduleTests(ReconnectorCase):
    """When it is tried again."""

    def test_doubles(self) -> None:
        """After each failure it takes twice as long, up to a minute."""
        self.reconnector.start()
        for _ in range(9):
            self.fail()
            self.clock.advance(self.told[-1][1])
        self.assertEqual([delay for _, delay in self.told], [1, 2, 4, 8, 16, 32, 60, 60, 60])
        self.assertEqual(self.dialled, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243])

    def test_spread(self) -> None:
        """Of a wait at most one half is left out, so that not all clients come at once."""
        backoff = Backoff(spread=lambda: 0.0)
        self.assertEqual([backoff.delay(n) for n in (1, 2, 3, 1000)], [0.5, 1, 2, 30])
        delays = {Backoff().delay(4) for _ in range(50)}
        self.assertGreater(len(delays), 40)
        self.assertTrue(all(4 <= delay <= 8 for delay in delays))

    def test_retry_after(self) -> None:
        """What the relay wants is respected, with something on top, and is no shorter wait."""
        self.reconnector.start()
        self.connect()
        self.lose(retry_after=100)
        self.assertEqual(self.told, [("lost", 125)])
        self.clock.advance(125)
        self.connect()
        self.lose(retry_after=0.1)
        self.assertEqual(self.told[-1], ("lost", 2))
        self.clock.advance(2)
        self.fail()
        self.assertEqual(self.told[-1][1], 4)

    def test_connections_that_do_not_last(self) -> None:
        """A connection that is lost at once counts as a failure, one that has lasted does not."""
        self.reconnector.start()
        for _ in range(3):
            self.connect()
            self.reconnector.settle()
            self.lose()
            self.clock.advance(self.told[-1][1])
        self.connect()
        self.clock.advance(1000)  # and was of no use
        self.lose()
        self.clock.advance(self.told[-1][1])
        self.connect()
        self.reconnector.settle()
        self.clock.advance(10)
        self.lose()
        self.assertEqual([delay for _, delay in self.told], [1, 2, 4, 8, 1])

    def test_start_while_waiting(self) -> None:
        """Whoever wants it at once need not wait; the wait is forgotten."""
        self.reconnector.start()
        self.fail()
        self.reconnector.start()
        self.assertEqual(self.dialled, [0, 0])
        self.clock.advance(100)
        self.assertEqual(self.dialled, [0, 0])

    def test_start_twice(self) -> None:
        """There is one connection at a time."""
        self.reconnector.start()
        self.reconnector.start()
        self.connect()
        self.reconnector.start()
        self.assertEqual(len(self.dialled), 1)


class StayAwayTests(ReconnectorCase):
    """When it is not tried again."""

    def test_give_up(self) -> None:
        """A connection that is given up is closed, and nobody comes back before he is told to."""
        self.reconnector.start()
        connection = self.connect()
        self.reconnector.give_up(ClientError("displaced"))
        self.assertTrue(connection.closed)
        self.lose()
        self.clock.advance(100_000)
        self.assertEqual((len(self.dialled), self.told), (1, [("displaced", None)]))
        self.reconnector.start()
        self.assertEqual(len(self.dialled), 2)

    def test_give_up_while_waiting(self) -> None:
        """It may be given up while there is no connection."""
        self.reconnector.start()
        self.fail()
        self.reconnector.give_up(ClientError("reset me"))
        self.clock.advance(100_000)
        self.assertEqual((len(self.dialled), self.told[-1]), (1, ("reset me", None)))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_give_up_while_dialling(self) -> None:
        """It may be given up while it is dialled; a connection that comes too late is closed."""
        self.reconnector.start()
        self.reconnector.give_up(ClientError("reset me"))
        self.clock.advance(100_000)
        self.assertEqual(len(self.dialled), 1)
        self.assertEqual(self.told[-1][1], None)

    def test_refusal(self) -> None:
        """When it is not wanted to be dialled at all, it stays away."""
        self.refuses = ClientError("this is a copy")
        self.reconnector.start()
        self.assertEqual(self.told, [("this is a copy", None)])
        self.refuses = None
        self.reconnector.start()
        self.assertEqual(self.dialled, [0])


class CloseTests(ReconnectorCase):
    """The end."""

    def test_never_started(self) -> None:
        """What has not begun is closed at once."""
        self.assertIsNone(self.successResultOf(self.reconnector.close()))
        self.reconnector.start()
        self.assertEqual(self.dialled, [])

    def test_while_waiting(self) -> None:
        """While it is waited it is closed at once, and nothing is left on the clock."""
        self.reconnector.start()
        self.fail()
        self.assertIsNone(self.successResultOf(self.reconnector.close()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_while_dialling(self) -> None:
        """The attempt is cancelled."""
        self.reconnector.start()
        self.assertIsNone(self.successResultOf(self.reconnector.close()))
        self.assertEqual(self.told, [])

    def test_while_connected(self) -> None:
        """The connection is closed, and it is over when that is gone; for all who wait."""
        self.reconnector.start()
        connection = self.connect()
        closing = [self.reconnector.close(), self.reconnector.close()]
        self.assertTrue(connection.closed)
        self.assertNoResult(closing[0])
        self.lose()
        for waiting in (*closing, self.reconnector.close()):
            self.assertIsNone(self.successResultOf(waiting))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_connection_that_comes_too_late(self) -> None:
        """An attempt that cannot be cancelled any more gives a connection that is closed."""
        late: list[FakeConnection] = []

        def cancel(attempt: Deferred[FakeConnection]) -> None:
            late.append(FakeConnection())
            attempt.callback(late[0])

        self.attempts.append(Deferred(cancel))
        self.patch(self.reconnector, "_dial", lambda: self.attempts[-1])
        self.reconnector.start()
        closing = self.reconnector.close()
        self.assertTrue(late[0].closed)
        self.assertNoResult(closing)
        self.lose()
        self.assertIsNone(self.successResultOf(closing))

    def test_bug(self) -> None:
        """An error of ours while connecting is logged, and is tried again."""
        self.reconnector.start()
        self.attempts[-1].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.dialled), 2)
