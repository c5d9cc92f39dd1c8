"""One connection of v2: bytes in, answers out in the order of the requests, nothing without bound.

The rules are elsewhere: what a request means (``_postmaster``), who may still speak
(``_lifecycle``), when mail has arrived (``_delivery``), how much may be held (``_limits``). Here
they are tied to a transport.

Backpressure: while too much has been written that the kernel has not taken, while too many
requests wait for the store, and while there is a barrier, no request is decoded; and when
something is stored that may not be decoded yet, nothing more is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, fail
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, INegotiated
from twisted.internet.protocol import Protocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

from messageu.store import StoreError
from messageu.wire import NEED_DATA, LocalProtocolError, Parser, RemoteProtocolError, v2

from ._answers import AnswerBroken, Stream
from ._delivery import Delivery
from ._exchange import Exchange, IRelayTransport
from ._handlers import HANDLERS, Answer, Handler
from ._lifecycle import TAKES_REQUESTS, Action, Plan, new_lifecycle
from ._outlet import Outlet
from ._probe import BlindProbe, SocketProbe
from ._row import AnswerRow, Place

_log = Logger()

_GENERAL_ERROR: Final = v2.GeneralError().encode()

DRAIN_POLL: Final = 0.02
"""Seconds between two looks at what the peer's kernel has not acknowledged."""


@implementer(IHalfCloseableProtocol)
class RelayProtocol(Protocol):
    """Serves one client of v2.

    :param gone: is called when the connection has ended.
    :ivar address: where it comes from.
    """

    transport: IRelayTransport

    def __init__(
        self, exchange: Exchange, address: str, gone: Callable[[RelayProtocol], None]
    ) -> None:
        now = exchange.clock.seconds()
        self._exchange = exchange
        self._settings = exchange.limits.settings
        self.address = address
        self._gone = gone
        self._probe: SocketProbe | BlindProbe = BlindProbe()
        self._plan = Plan()
        self._lifecycle = new_lifecycle(self._plan)
        self._state = self._lifecycle.state()
        self._takes_requests = True
        self._state_since = now
        # Input.
        self._parser = Parser(exchange.codec)
        self._decoding = False
        self._input_ended = False
        self._reading = True
        self._frame_since: float | None = None
        self._holds_input = False
        self._heard_at = now
        self._discarded = 0
        # Requests: those that are taken together, and those that are to be answered, with the
        # barrier among them: it waits until it is the first, then for a turn
        # among the streams of the relay, then for its answer, then until that has left.
        self._run: list[v2.Request] = []
        self._run_handler: Handler | None = None
        self._row = AnswerRow()
        self._barrier: _Barrier | None = None
        self._turn: Deferred[DeferredSemaphore] | None = None
        self._delivery: Delivery | None = None
        self._horizon = 0
        self._next_look: IDelayedCall | None = None

    # What the transport tells.

    def connectionMade(self) -> None:
        """The connection is there; it is the client that speaks first."""
        self._probe = self._exchange.probe_of(self.transport)
        self._outlet = Outlet(
            self.transport,
            self._probe.handle,
            self._exchange.clock,
            self,
        )

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._takes_requests:
            self._parser.receive_data(data)
            self._go_on()
        else:
            self._discarded += len(data)
            if self._discarded > self._settings.discarded_bytes:
                self._hit("discarded_bytes")
                self.abort()

    def readConnectionLost(self) -> None:
        """The client has shut down its sending half. It still gets its answers."""
        self._input_ended = True
        if self._delivery is not None:
            self._delivery.input_ended(self._probe.unacknowledged())
        self._change(self._lifecycle.end_input)
        self._go_on()

    def writeConnectionLost(self) -> None:
        """Our own half is shut down, as we wanted."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        """It is over. The reason is not believed: it says the same after our own close."""
        self._change(self._lifecycle.lose)
        self._parser.close()
        if self._delivery is not None:
            self._delivery.broken()
        if self._next_look is not None:
            self._next_look.cancel()
        self._barrier = None
        self._leave_turn()
        self._outlet.lose()
        self._account()
        self._exchange.limits.hold_output(self, 0)
        self._gone(self)

    # What the outlet tells.

    def output_moved(self, unsent: int) -> None:
        """So many bytes of answers have not left."""
        self._exchange.limits.hold_output(self, unsent)

    def output_left(self) -> None:
        """There is room for more answers."""
        if self._parser.buffered or self._state != "open":
            self._go_on()

    def last_piece_leaves(self) -> None:
        """What the client has sent by now is no reply to this answer."""
        # A quick client's reply is there before we hear that the answer has left. So what counts
        # is what was there before the last piece went; that the client had not sent a request
        # blindly is shown by its acknowledgement, which such a request cannot carry.
        self._horizon = self._parser.received + (self._probe.unread() or 0)

    # What the relay tells.

    def stop(self) -> None:
        """Answer what was taken, take no more, and close."""
        idle = not (self._row.waiting or self._outlet.watched or self._parser.mid_frame)
        self._change(self._lifecycle.leave if idle else self._lifecycle.stop)
        self._go_on()

    def evict(self) -> None:
        """Give up the frame that is not complete: answer it with 9000, and close."""
        if self._takes_requests:
            self._condemn()
            self._go_on()

    def abort(self) -> None:
        """Give up the connection at once."""
        self._change(self._lifecycle.abort)

    def check_deadlines(self, now: float) -> None:
        """Close or abort what takes too long. The factory calls this at regular times."""
        for deadline in _DEADLINES:
            if deadline.is_over(self, now, getattr(self._settings, deadline.name)):
                self._hit(deadline.name)
                deadline.consequence(self)
                return

    # Requests.

    @property
    def _may_decode(self) -> bool:
        return (
            self._takes_requests
            and self._barrier is None
            and self._row.waiting + len(self._run) < self._settings.read_ahead
            and self._outlet.unsent <= self._settings.connection_output
        )

    def _go_on(self) -> None:
        """Take every request that may be taken, then see what that has led to."""
        if self._decoding:  # an answer was there at once; the loop below goes on by itself
            return
        self._decoding = True
        while self._may_decode and self._take_next():
            pass
        self._end_run()
        self._decoding = False
        self._account()
        if self._parser.buffered or not self._reading:
            self._steer_reading()
        if self._state != "open":
            self._see_whether_done()

    def _see_whether_done(self) -> None:
        if self._row.waiting or (self._state == "half closed" and not self._may_decode):
            return
        if self._delivery is not None and self._delivery.state == "draining":
            self._change(self._lifecycle.answer_all_unproven)
        else:
            self._change(self._lifecycle.answer_all)

    def _take_next(self) -> bool:
        try:
            request = self._parser.next_event()
        except RemoteProtocolError as error:
            self._refuse(error)
            return True
        if request is NEED_DATA:
            return False
        self._hear()
        self._take(request)
        return True

    def _hear(self) -> None:
        self._frame_since = None
        self._heard_at = self._exchange.clock.seconds()
        if self._delivery is not None and self._delivery.state == "flushed":
            self._delivery.heard(self._parser.frame_offset, self._probe.unacknowledged())

    def _refuse(self, error: RemoteProtocolError) -> None:
        self._note(f"sent a frame that is refused: {error}")
        if error.fatal:
            self._condemn()
        else:
            self._hear()
            self._end_run()
            self._fill(self._row.add(0), _GENERAL_ERROR)

    def _condemn(self) -> None:
        self._parser.close()
        self._frame_since = None
        self._change(self._lifecycle.condemn)
        self._end_run()
        self._fill(self._row.add(0), _GENERAL_ERROR)

    def _take(self, request: v2.Request) -> None:
        handler = HANDLERS[type(request.body)]
        if handler.together:
            if handler is not self._run_handler:
                self._end_run()
                self._run_handler = handler
            self._run.append(request)
            return
        self._end_run()
        place = self._row.add(0)
        if handler.barrier:
            self._barrier = _Barrier(place, handler, request)
            self._take_turn()
        else:
            self._begin_answer(handler, (request,), place)

    def _end_run(self) -> None:
        """Have the requests answered that are taken together."""
        if self._run and self._run_handler is not None:
            run, self._run = self._run, []
            place = self._row.add(sum([_size_of(request) for request in run]), len(run))
            self._begin_answer(self._run_handler, run, place)

    def _take_turn(self) -> None:
        barrier = self._barrier
        if barrier is None or self._turn is not None or self._row.first is not barrier.place:
            return
        self._turn = self._exchange.streams.acquire()
        self._turn.addCallbacks(
            lambda _: self._begin_answer(barrier.handler, (barrier.request,), barrier.place),
            _ignore_cancellation,
        )

    def _begin_answer(self, handler: Handler, requests: Sequence[v2.Request], place: Place) -> None:
        try:
            answer = handler.answer(self._exchange.postmaster, requests, self.address)
        except Exception:  # noqa: BLE001 - as those of its Deferred
            answer = fail()
        answer.addCallbacks(self._give, self._excuse, callbackArgs=(place,), errbackArgs=(place,))

    def _leave_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None and turn.called:
            self._exchange.streams.release()
        elif turn is not None:
            turn.cancel()

    # Answers.

    def _give(self, answer: Answer, place: Place) -> None:
        if not isinstance(answer, Stream):
            self._fill(place, answer.encode())
        elif self._state == "closed":
            _give_up(answer.delivery)
        else:
            self._give_stream(answer, place)

    def _excuse(self, failure: Failure, place: Place) -> None:
        if failure.check(StoreError, LocalProtocolError):
            reason = str(failure.value)
            self._exchange.notices.note("a request gets 9000", reason, LogLevel.warn)
        else:
            _log.failure("a bug: a request is answered with 9000", failure)
        self._fill(place, _GENERAL_ERROR * place.count)

    def _give_stream(self, stream: Stream, place: Place) -> None:
        if stream.delivery is not None:
            # What an earlier answer brought is in this one again, unless it was settled.
            _give_up(self._delivery)
            self._delivery = stream.delivery
            if self._input_ended:
                stream.delivery.input_ended(self._probe.unacknowledged())
        sent = self._outlet.stream(stream)
        sent.addCallback(lambda _: self._end_stream(stream, place))
        sent.addErrback(self._break_off)

    def _end_stream(self, stream: Stream, place: Place) -> None:
        if stream.delivery is not None:
            if self._probe.unread() is None:  # nor is there an acknowledgement to be seen
                self.last_piece_leaves()
            stream.delivery.flushed(self._horizon)
        self._fill(place, b"")

    def _break_off(self, failure: Failure) -> None:
        if failure.check(StoreError, AnswerBroken):
            _log.warn("an answer is broken off: {reason}", reason=str(failure.value))
        else:
            _log.failure("a bug: an answer is broken off", failure)
        self.abort()

    def _fill(self, place: Place, answer: bytes) -> None:
        if self._barrier is not None and self._barrier.place is place:
            self._barrier = None
            self._leave_turn()
        ready = self._row.fill(place, answer)
        if ready and self._state not in ("closing", "closed"):
            self._outlet.write(ready, more=self._row.waiting > 0)
        self._take_turn()
        if self._parser.buffered or self._state != "open":
            self._go_on()
        elif self._holds_input:
            self._account()

    # The budget.

    def _account(self) -> None:
        incomplete = self._parser.mid_frame
        if not incomplete or not self._may_decode:
            self._frame_since = None
        elif self._frame_since is None:
            self._frame_since = self._exchange.clock.seconds()
        held = self._parser.buffered + self._row.held
        if held > self._settings.unreserved or self._holds_input:
            self._holds_input = held > self._settings.unreserved
            self._exchange.limits.hold_input(self, held, incomplete=incomplete)

    def _steer_reading(self) -> None:
        wanted = self._state != "open" or self._may_decode or not self._parser.buffered
        if wanted == self._reading or self._input_ended or self._state == "closed":
            return
        self._reading = wanted
        if wanted:
            self.transport.resumeProducing()
        else:
            self.transport.pauseProducing()

    def _hit(self, limit: str) -> None:
        self._exchange.limits.hits[limit] += 1
        self._note(f"has met a limit: {limit}")

    def _note(self, what: str) -> None:
        self._exchange.notices.note(self._exchange.peer_name(self.address), what)

    # The end.

    def _change(self, happening: Callable[[], None]) -> None:
        happening()
        state = self._lifecycle.state()
        if state != self._state:
            self._state = state
            self._takes_requests = state in TAKES_REQUESTS
            self._state_since = self._exchange.clock.seconds()
            self._steer_reading()
        action, self._plan.action = self._plan.action, None
        if action is not None:
            _ACTIONS[action](self)

    def _shut_down_output(self) -> None:
        self._outlet.close()
        if INegotiated.providedBy(self.transport):  # TLS knows no half-closed connection
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()
        if self._state == "draining":
            self._next_look = self._exchange.clock.callLater(DRAIN_POLL, self._look_at_drain)

    def _look_at_drain(self) -> None:
        self._next_look = None
        if self._state != "draining" or self._delivery is None:
            return
        self._delivery.drained(
            unacknowledged=self._probe.unacknowledged(), failed=self._probe.failed()
        )
        if self._delivery.state == "draining":
            self._next_look = self._exchange.clock.callLater(DRAIN_POLL, self._look_at_drain)
        else:
            self._change(self._lifecycle.drain)

    def _lose_connection(self) -> None:
        self._outlet.close()
        self.transport.loseConnection()

    def _abort_connection(self) -> None:
        self._outlet.lose()
        self.transport.abortConnection()


_ACTIONS: Final = {
    Action.SHUT_DOWN_OUTPUT: RelayProtocol._shut_down_output,
    Action.LOSE_CONNECTION: RelayProtocol._lose_connection,
    Action.ABORT_CONNECTION: RelayProtocol._abort_connection,
}


@frozen
class _Deadline:
    """``name`` in :class:`~._limits.LimitSettings`, when it is over, and what then happens."""

    name: str
    is_over: Callable[[RelayProtocol, float, float], bool]
    consequence: Callable[[RelayProtocol], None]


_DEADLINES: Final = (
    _Deadline(
        "discard_deadline",
        lambda it, now, limit: it._state == "discarding" and now - it._state_since > limit,
        RelayProtocol.abort,
    ),
    _Deadline(
        "drain_deadline",
        lambda it, now, limit: it._state == "draining" and now - it._state_since > limit,
        RelayProtocol.abort,
    ),
    _Deadline(
        "progress_deadline",
        lambda it, now, limit: (
            (it._outlet.unsent > 0 and now - it._outlet.moved_at > limit)
            or (it._state == "closing" and now - it._state_since > limit)
        ),
        RelayProtocol.abort,
    ),
    _Deadline(
        "frame_deadline",
        lambda it, now, limit: it._frame_since is not None and now - it._frame_since > limit,
        RelayProtocol.evict,
    ),
    _Deadline(
        "idle_deadline",
        lambda it, now, limit: (
            it._state == "open"
            and not (it._row.waiting or it._outlet.watched or it._frame_since is not None)
            and now - max(it._heard_at, it._outlet.moved_at) > limit
        ),
        RelayProtocol.stop,
    ),
)


@frozen
class _Barrier:
    """A request that is answered when all before it are, and holds up all behind it."""

    place: Place
    handler: Handler
    request: v2.Request


def _size_of(request: v2.Request) -> int:
    return len(request.body.content) if isinstance(request.body, v2.SendMessage) else 0


def _ignore_cancellation(failure: Failure) -> None:
    failure.trap(CancelledError)


def _give_up(delivery: Delivery | None) -> None:
    if delivery is not None:
        delivery.broken()
