"""A session on a transport, with a clock."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from messageu.client._errors import AnswerCut, AnswerNonsense, RelayRefused, RelaySilent
from messageu.client._protocol import Patience, RelayConnection
from messageu.client._session import ItemEvent
from messageu.model import NOBODY, ClientId, MessageId
from messageu.testing.transport import Line, Recorder
from messageu.wire import v2

ME = ClientId(b"m" * 16)
MESSAGES = tuple(v2.WaitingMessage(ME, MessageId(number), 3, bytes(number)) for number in (1, 2, 3))
FETCH = v2.Request(ME, v2.FetchMessages())
SEND = v2.Request(ME, v2.SendMessage(ME, 3, bytes(32 * 1024)))
WAITING = v2.WaitingMessages(MESSAGES).encode()
LARGE = v2.waiting_messages_header(2**32 - 1) + v2.waiting_message_head(ME.raw, 1, 3, 2**31)
STORED = v2.Stored(NOBODY, MessageId(1))


class RelayConnectionTests(SynchronousTestCase):
    """The relay is a recorder, and the test writes its answers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.connection = RelayConnection(self.clock, Patience(progress=30, slowest_upload=1024))
        self.relay = Recorder()
        self.line = Line(self.connection, self.relay)
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def says(self, data: bytes) -> None:
        """The relay sends this."""
        self.line.server.write(data)
        self.line.run()

    def hangs_up(self) -> None:
        """The relay closes."""
        self.line.server.loseConnection()
        self.line.run()

    def was_reset(self) -> bool:
        """Whether our side has reset the connection."""
        self.line.run()
        return self.line.client.closed and self.relay.lost is not None

    def reason(self, answering: Deferred[object]) -> str:
        """Why the relay was given up."""
        return str(self.failureResultOf(answering, RelaySilent).value)

    def test_request_and_answer(self) -> None:
        """A request is written, its answer fires the Deferred, and another can be asked."""
        for count in (1, 2):
            answering = self.connection.ask(SEND)
            self.assertFalse(self.connection.usable)
            self.line.run()
            self.assertEqual(bytes(self.relay.received), SEND.encode() * count)
            self.says(STORED.encode())
            self.assertEqual(self.successResultOf(answering), STORED)
            self.assertTrue(self.connection.usable)
            self.assertEqual(self.connection.answered, count)

    def test_items_are_taken_in_turn(self) -> None:
        """Items and the end are handed over in their order."""
        taken: list[object] = []
        answering = self.connection.ask(FETCH, taken.append)
        self.says(WAITING)
        self.assertEqual(taken, [*MESSAGES, v2.EndOfMessages()])
        self.assertEqual(self.successResultOf(answering), v2.EndOfMessages())

    def test_items_without_taker_are_dropped(self) -> None:
        """Without anybody to take them, items are passed over."""
        answering = self.connection.ask(FETCH)
        self.says(WAITING)
        self.assertEqual(self.successResultOf(answering), v2.EndOfMessages())

    def test_slow_taker_pauses(self) -> None:
        """While an item is being taken nothing is read, and time does not count."""
        turns: list[Deferred[None]] = []

        def take(_: ItemEvent) -> Deferred[None]:
            turns.append(Deferred())
            return turns[-1]

        answering = self.connection.ask(FETCH, take)
        self.says(WAITING[:40])
        self.says(WAITING[40:])
        self.assertEqual(len(turns), 1)
        self.assertEqual(self.line.client.unread(), len(WAITING) - 40)
        self.clock.advance(1000)
        for number in (1, 2, 3):
            turns[-1].callback(None)
            self.line.run()
            self.assertEqual(len(turns), number + 1)
        self.assertNoResult(answering)
        turns[-1].callback(None)
        self.assertEqual(self.successResultOf(answering), v2.EndOfMessages())

    def test_relay_closes_under_slow_taker(self) -> None:
        """What arrived before the connection was lost is taken, and then it is an error."""
        turns: list[Deferred[None]] = []

        def take(_: ItemEvent) -> Deferred[None]:
            turns.append(Deferred())
            return turns[-1]

        answering = self.connection.ask(FETCH, take)
        self.says(WAITING[:-1])
        self.line.reset()
        for number in (1, 2):
            self.assertEqual(len(turns), number)
            turns[-1].callback(None)
        self.failureResultOf(answering, AnswerCut)

    def test_taker_that_fails_resets(self) -> None:
        """An item or an end that is refused fails the request, and resets the connection."""
        for refused in (MESSAGES[1], v2.EndOfMessages()):
            self.setUp()

            def take(item: object, refused: object = refused) -> None:
                if item == refused:
                    raise ZeroDivisionError

            answering = self.connection.ask(FETCH, take)
            self.says(WAITING)
            self.failureResultOf(answering, ZeroDivisionError)
            self.assertTrue(self.was_reset())
            self.assertFalse(self.connection.usable)

    def test_refusal_keeps_the_connection(self) -> None:
        """After 9000 the connection is used again."""
        answering = self.connection.ask(SEND)
        self.says(v2.GeneralError().encode())
        self.failureResultOf(answering, RelayRefused)
        self.assertTrue(self.connection.usable)

    def test_nonsense_resets(self) -> None:
        """An answer that makes no sense fails the request, and resets the connection."""
        answering = self.connection.ask(SEND)
        self.says(b"SSH-2.0-OpenSSH_9.6\r\n")
        self.failureResultOf(answering, AnswerNonsense)
        self.assertTrue(self.was_reset())

    def test_trailing_bytes_reset(self) -> None:
        """The answer before trailing bytes counts; the connection is not used again."""
        answering = self.connection.ask(SEND)
        self.says(STORED.encode() + b"...")
        self.assertEqual(self.successResultOf(answering), STORED)
        self.assertTrue(self.was_reset())

    def test_unasked_bytes_reset(self) -> None:
        """A relay that speaks while nothing was asked is left."""
        self.says(b"220 mail.example ESMTP\r\n")
        self.assertTrue(self.was_reset())
        self.assertFalse(self.connection.usable)

    def test_relay_closes_between_requests(self) -> None:
        """A connection that was closed is not usable."""
        self.hangs_up()
        self.assertFalse(self.connection.usable)

    def test_relay_closes_instead_of_answering(self) -> None:
        """A close before the answer is an error at once."""
        answering = self.connection.ask(SEND)
        self.hangs_up()
        self.failureResultOf(answering, AnswerCut)

    def test_silence_is_an_error(self) -> None:
        """Without a byte of the answer, in the time granted to send and to answer, it fails."""
        answering = self.connection.ask(SEND)
        upload = len(SEND.encode()) / 1024
        self.clock.advance(30 + upload - 1)
        self.assertNoResult(answering)
        self.clock.advance(1)
        self.failureResultOf(answering, RelaySilent)
        self.assertTrue(self.was_reset())

    def test_progress_is_no_silence(self) -> None:
        """Each piece of an answer gives it new time; then silence fails it."""
        answering = self.connection.ask(FETCH)
        self.says(LARGE[:7])
        for _ in range(5):
            self.says(bytes(64 * 1024))
            self.clock.advance(29)
            self.assertNoResult(answering)
        self.clock.advance(1)
        self.assertIn("silent for 30 seconds", self.reason(answering))

    def test_drip(self) -> None:
        """A byte now and then is no progress: the answer is given up, and the connection reset."""
        answering = self.connection.ask(FETCH)
        self.says(LARGE[:1])
        self.clock.advance(29)
        self.assertNoResult(answering)
        self.says(LARGE[1:2])
        self.clock.advance(2)
        self.assertIn("less than 1024 bytes a second", self.reason(answering))
        self.assertTrue(self.was_reset())

    def test_slow_line(self) -> None:
        """An answer of 32 MiB has the time that it needs at 16 KiB a second."""
        taken: list[object] = []
        size = 32 * 2**20 - 25
        item = v2.waiting_message_head(ME.raw, 1, 3, size)
        answering = self.connection.ask(FETCH, taken.append)
        self.says(v2.waiting_messages_header(len(item) + size) + item)
        for _ in range(32 * 16):
            self.clock.advance(4)
            self.assertNoResult(answering)
            self.says(bytes(64 * 1024))
        self.assertEqual(self.successResultOf(answering), v2.EndOfMessages())

    def test_answer_without_end(self) -> None:
        """An answer that is still coming after an hour is given up, however fast it comes."""
        answering = self.connection.ask(FETCH)
        self.says(LARGE)
        for _ in range(3599 // 10):
            self.says(bytes(64 * 1024))
            self.clock.advance(10)
            self.assertNoResult(answering)
        self.says(bytes(64 * 1024))
        self.clock.advance(10)
        self.assertIn("no end after 3600 seconds", self.reason(answering))

    def test_pauses_do_not_count(self) -> None:
        """What an item takes after it has come is no fault of the relay's."""
        turn: Deferred[None] = Deferred()
        answering = self.connection.ask(FETCH, lambda _: turn)
        self.says(WAITING[:40])
        self.clock.advance(10_000)
        turn.callback(None)
        self.clock.advance(29)
        self.assertNoResult(answering)
        self.says(WAITING[40:])
        self.assertEqual(self.successResultOf(answering), v2.EndOfMessages())

    def test_next_answer_has_its_own_time(self) -> None:
        """What one answer took is not taken from the next."""
        for _ in range(3):
            answering = self.connection.ask(FETCH)
            for position in range(len(WAITING)):
                self.says(WAITING[position : position + 1])
                self.clock.advance(0.25)
            self.assertEqual(self.successResultOf(answering), v2.EndOfMessages())

    def test_cancelling_resets(self) -> None:
        """A request that is cancelled takes its connection with it."""
        answering = self.connection.ask(SEND)
        answering.cancel()
        self.failureResultOf(answering, CancelledError)
        self.assertTrue(self.was_reset())

    def test_cancelling_under_slow_taker(self) -> None:
        """When an item is taken that nobody waits for any more, nothing happens."""
        turn: Deferred[None] = Deferred()
        answering = self.connection.ask(FETCH, lambda _: turn)
        self.says(WAITING[:40])
        answering.cancel()
        self.failureResultOf(answering, CancelledError)
        turn.callback(None)
        self.assertTrue(self.was_reset())

    def test_close(self) -> None:
        """Closing is in good order, and fires when the connection is gone."""
        closing = self.connection.close()
        self.line.run()
        self.successResultOf(closing)
        self.assertIs(self.relay.lost.type, ConnectionDone)
        self.successResultOf(self.connection.close())

    def test_close_with_request_outstanding(self) -> None:
        """Closing under a request fails it."""
        answering = self.connection.ask(SEND)
        closing = self.connection.close()
        self.says(b"late")
        self.failureResultOf(answering, AnswerCut)
        self.successResultOf(closing)

    def test_close_that_hangs(self) -> None:
        """A connection that does not go is reset after a while."""
        self.line.client.write(bytes(300 * 1024))
        self.line.client.held = True
        closing = self.connection.close()
        self.line.run()
        self.assertNoResult(closing)
        self.clock.advance(30)
        self.line.run()
        self.successResultOf(closing)
