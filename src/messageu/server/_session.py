"""What a connection of v2 does once its client has spoken: bytes in, answers out in the order of
the requests, nothing without bound.

The rules are elsewhere: what a request means (``_postmaster``), who may still speak
(``_lifecycle``), when mail has arrived (``_delivery``), how much may be held (``_limits``). Here
they are tied to a transport.

Backpressure: while too much has been written that the kernel has not taken, while too many
requests wait for the store, and while there is a barrier, no request is decoded; and when
something is stored that may not be decoded yet, nothing more is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, fail
from twisted.internet.interfaces import IDelayedCall, INegotiated
from twisted.python.failure import Failure

from messageu.model import Envelope
from messageu.wire import NEED_DATA, Parser, RemoteProtocolError, v2

from ._answers import Stream
from ._delivery import Delivery
from ._exchange import Exchange, IRelayTransport
from ._handlers import Answer, Asker, Handler
from ._intake import REFUSED
from ._lifecycle import TAKES_REQUESTS, Action, Plan, new_lifecycle
from ._outlet import Outlet
from ._probe import BlindProbe, SocketProbe
from ._row import AnswerRow, Place

DRAIN_POLL: Final = 0.02
"""Seconds between two looks at what the peer's kernel has not acknowledged."""


class Session:
    """Serves one client of v2. The connection tells it what happens; it acts on the transport.

    :param rested: is called when everything is answered that was asked.
    :ivar address: where the client comes from.
    :ivar heard_at: when the client last asked for something, in seconds.
    """

    __slots__ = (
        "__weakref__",
        "_barrier",
        "_decoding",
        "_delivery",
        "_discarded",
        "_exchange",
        "_frame_since",
        "_holds_input",
        "_horizon",
        "_input_ended",
        "_last_call",
        "_lifecycle",
        "_next_look",
        "_outlet",
        "_parser",
        "_plan",
        "_probe",
        "_reading",
        "_rested",
        "_row",
        "_searching",
        "_settings",
        "_state",
        "_state_since",
        "_takes_requests",
        "_transport",
        "_turn",
        "address",
        "heard_at",
    )

    def __init__(
        self,
        exchange: Exchange,
        address: str,
        transport: IRelayTransport,
        rested: Callable[[], None],
    ) -> None:
        now = exchange.clock.seconds()
        self._exchange = exchange
        self._settings = exchange.limits.settings
        self.address = address
        self._transport = transport
        self._rested = rested
        self._probe: SocketProbe | BlindProbe = exchange.probe_of(transport)
        self._outlet = Outlet(transport, self._probe.handle, exchange.clock, self)
        self._plan = Plan()
        self._lifecycle = new_lifecycle(self._plan)
        self._state = self._lifecycle.state()
        self._takes_requests = True
        self._state_since = now
        # Input.
        self._parser = Parser(exchange.codec)
        self._decoding = False
        self._input_ended = False
        self._last_call: int | None = None  # bytes of input, after which no request is taken
        self._reading = True
        self._frame_since: float | None = None
        self._holds_input = False
        self.heard_at = now
        self._discarded = 0
        # Requests that are to be answered, with the barrier among them: it waits until it is the
        # first, then for a turn among the streams of the relay, then for its answer, then until
        # that has left.
        self._row = AnswerRow(exchange.limits)
        self._barrier: _Barrier | None = None
        self._turn: Deferred[DeferredSemaphore] | None = None
        self._delivery: Delivery | None = None
        self._searching = False
        self._horizon = 0
        self._next_look: IDelayedCall | None = None

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to do, and nothing to remember."""
        return (
            self._state == "open"
            and self._reading
            and self._last_call is None
            and not (self._row.waiting or self._parser.mid_frame or self._outlet.busy)
            and (self._delivery is None or self._delivery.ended)
        )

    # What the connection tells.

    def receive(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._takes_requests:
            self._parser.receive_data(data)
            self._go_on()
        else:
            self._discarded += len(data)
            if self._discarded > self._settings.discarded_bytes:
                self._hit("discarded_bytes")
                self.abort()

    def end_input(self) -> None:
        """The client has shut down its sending half. It still gets its answers."""
        self._input_ended = True
        if self._delivery is not None:
            self._delivery.input_ended(self._probe.unacknowledged())
        self._change(self._lifecycle.end_input)
        self._go_on()

    def lose(self) -> None:
        """The transport is gone."""
        self._change(self._lifecycle.lose)
        self._parser.close()
        if self._delivery is not None:
            self._delivery.broken()
        if self._next_look is not None:
            self._next_look.cancel()
        if self._barrier is not None:  # nobody will answer it
            self._row.fill(self._barrier.place, b"")
            self._barrier = None
        self._leave_turn()
        self._outlet.lose()
        self._account()
        self._exchange.limits.hold_output(self, 0)

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
        """Answer what has arrived, take no more, and close."""
        self._last_call = self._parser.received + (self._probe.unread() or 0)
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
        """Close or abort what takes too long."""
        for deadline in _DEADLINES:
            if deadline.is_over(self, now, getattr(self._settings, deadline.name)):
                self._hit(deadline.name)
                deadline.consequence(self)
                return

    # Requests.

    @property
    def _room(self) -> int:
        """How many requests may be decoded now."""
        if (
            not self._takes_requests
            or self._barrier is not None
            or self._outlet.unsent > self._settings.connection_output
        ):
            return 0
        waiting = self._row.waiting
        room = self._settings.read_ahead - waiting
        left = self._settings.requests - self._exchange.limits.requests
        # Whoever has none in progress may have one: nothing would wake him.
        return room if room < left else left if waiting else max(1, left)

    def _go_on(self) -> None:
        """Take every request that may be taken, then see what that has led to."""
        if self._decoding:  # an answer was there at once; the loop below goes on by itself
            return
        self._decoding = True
        while (room := self._room) > 0 and self._take_next(room):
            pass
        self._decoding = False
        if self._last_call is not None:
            self._leave_after(self._last_call, all_taken=room > 0)
        if room <= 0:
            self._parser.trim()
        self._account()
        if self._parser.buffered or not self._reading:
            self._steer_reading()
        if self._state != "open":
            self._see_whether_done()

    def _leave_after(self, last_call: int, *, all_taken: bool) -> None:
        received = self._parser.received
        if received - self._parser.buffered < last_call and not (
            all_taken and received >= last_call
        ):
            return
        self._last_call = None
        idle = not (self._row.waiting or self._outlet.watched or self._parser.mid_frame)
        self._change(self._lifecycle.leave if idle else self._lifecycle.stop)

    def _see_whether_done(self) -> None:
        if self._row.waiting or (self._state == "half closed" and self._room <= 0):
            return
        if self._delivery is not None and self._delivery.state == "draining":
            self._change(self._lifecycle.answer_all_unproven)
        else:
            self._change(self._lifecycle.answer_all)

    def _take_next(self, room: int) -> bool:
        sends = self._parser.next_run(room)
        if sends:
            self._hear()
            self._take_sends(sends)
            return True
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
        self.heard_at = self._exchange.clock.seconds()
        if self._delivery is not None and self._delivery.state == "flushed":
            self._delivery.heard(self._parser.frame_offset, self._probe.unacknowledged())

    def _refuse(self, error: RemoteProtocolError) -> None:
        self._note(f"sent a frame that is refused: {error}")
        self._exchange.metrics.refused_frame("v2")
        if error.fatal:
            self._condemn()
        else:
            self._hear()
            self._fill(self._row.add(0), REFUSED)

    def _condemn(self) -> None:
        self._parser.close()
        self._frame_since = None
        self._change(self._lifecycle.condemn)
        self._fill(self._row.add(0), REFUSED)

    def _take_sends(self, envelopes: Sequence[Envelope]) -> None:
        size = sum([len(envelope.content) for envelope in envelopes])
        place = self._row.add(size, len(envelopes))
        self._exchange.send(envelopes, size, partial(self._fill, place))

    def _take(self, request: v2.Request) -> None:
        handler = self._exchange.handlers[type(request.body)]
        weight = self._settings.read_ahead if handler.alone else 1
        place = self._row.add(_size_of(request), weight)
        if handler.barrier:
            self._barrier = _Barrier(place, handler, request)
            self._take_turn()
        else:
            self._expect(self._ask(handler.answer, request), place)

    def _take_turn(self) -> None:
        barrier = self._barrier
        if barrier is None or self._turn is not None or self._row.first is not barrier.place:
            return
        exchange, brief = self._exchange, barrier.handler.brief
        if exchange.streams.tokens or brief is None or not exchange.briefs.tokens:
            self._wait_for_turn(barrier)
        elif not self._searching:
            # Those who read large answers slowly, or not at all, do not keep the others waiting.
            exchange.briefs.acquire()
            self._search(brief, barrier, exchange.briefs.release)

    def _wait_for_turn(self, barrier: _Barrier) -> None:
        self._turn = self._exchange.streams.acquire()
        if not self._turn.called:
            self._hit("streams")
        self._turn.addCallbacks(
            lambda _: self._search(barrier.handler.answer, barrier, self._keep_turn),
            _ignore_cancellation,
        )

    def _search(self, ask: Asker, barrier: _Barrier, then: Callable[[], None]) -> None:
        """Let the store look for the answer to a barrier. Its place is kept until it has, even when
        the connection is gone: or whoever asks and goes, again and again, would leave work in the
        store without end."""
        self._searching = True

        def end(result: object) -> object:
            self._searching = False
            then()
            return result

        answer = self._ask(ask, barrier.request)
        answer.addBoth(end)
        self._expect(answer, barrier.place)

    def _keep_turn(self) -> None:
        if self._state == "closed":
            self._leave_turn()

    def _ask(self, ask: Asker, request: v2.Request) -> Deferred[Answer]:
        try:
            return ask(self._exchange.postmaster, request, self.address)
        except Exception:  # noqa: BLE001 - as those of its Deferred
            return fail()

    def _expect(self, answer: Deferred[Answer], place: Place) -> None:
        answer.addCallbacks(self._give, self._excuse, callbackArgs=(place,), errbackArgs=(place,))

    def _leave_turn(self) -> None:
        if self._searching:
            return
        turn, self._turn = self._turn, None
        streams = self._exchange.streams
        if turn is None:
            return
        if not turn.called:
            turn.cancel()
        elif streams.waiting:
            # When many go at once, those that wait are given up before one of them has the place:
            # he would lease mail for nobody.
            self._exchange.clock.callLater(0, streams.release)
        else:
            streams.release()

    # Answers.

    def _give(self, answer: Answer, place: Place) -> None:
        if not isinstance(answer, Stream):
            self._fill(place, answer.encode())
        elif self._state == "closed":
            _give_up(answer.delivery)
        elif self._turn is None and not answer.brief and self._barrier is not None:
            _give_up(answer.delivery)
            self._wait_for_turn(self._barrier)
        else:
            self._give_stream(answer, place)

    def _excuse(self, failure: Failure, place: Place) -> None:
        self._exchange.notices.note_failure(failure)
        self._fill(place, REFUSED)

    def _give_stream(self, stream: Stream, place: Place) -> None:
        if stream.delivery is not None:
            # What an earlier answer brought is in this one again, unless it was settled.
            _give_up(self._delivery)
            self._delivery = stream.delivery
            stream.ended = partial(self._exchange.limits.keep_leased, self, 0)
            self._exchange.limits.keep_leased(self, stream.messages)
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
        self._exchange.notices.note_failure(failure, "an answer is broken off")
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
        if not self._row.waiting:
            self._rested()

    # The budget.

    def _account(self) -> None:
        incomplete = self._parser.mid_frame
        if not incomplete or self._room <= 0:
            self._frame_since = None
        elif self._frame_since is None:
            self._frame_since = self._exchange.clock.seconds()
        held = self._parser.held + self._row.held
        if held > self._settings.unreserved or self._holds_input:
            self._holds_input = held > self._settings.unreserved
            self._exchange.limits.hold_input(self, held, incomplete=incomplete)

    def _steer_reading(self) -> None:
        wanted = self._state != "open" or self._room > 0 or not self._parser.buffered
        if wanted == self._reading or self._input_ended or self._state == "closed":
            return
        self._reading = wanted
        if wanted:
            self._transport.resumeProducing()
        else:
            self._transport.pauseProducing()

    def _hit(self, limit: str) -> None:
        self._exchange.limits.hit(limit, self.address)

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
            if state == "closed":
                self._leave_turn()
        action, self._plan.action = self._plan.action, None
        if action is not None:
            _ACTIONS[action](self)

    def _shut_down_output(self) -> None:
        self._outlet.close()
        if INegotiated.providedBy(self._transport):  # TLS knows no half-closed connection
            self._transport.loseConnection()
        else:
            self._transport.loseWriteConnection()
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
        self._transport.loseConnection()

    def _abort_connection(self) -> None:
        self._outlet.lose()
        self._transport.abortConnection()


_ACTIONS: Final = {
    Action.SHUT_DOWN_OUTPUT: Session._shut_down_output,
    Action.LOSE_CONNECTION: Session._lose_connection,
    Action.ABORT_CONNECTION: Session._abort_connection,
}


@frozen
class _Deadline:
    """``name`` in :class:`~._limits.LimitSettings`, when it is over, and what then happens."""

    name: str
    is_over: Callable[[Session, float, float], bool]
    consequence: Callable[[Session], None]


_DEADLINES: Final = (
    _Deadline(
        "discard_deadline",
        lambda it, now, limit: it._state == "discarding" and now - it._state_since > limit,
        Session.abort,
    ),
    _Deadline(
        "drain_deadline",
        lambda it, now, limit: it._state == "draining" and now - it._state_since > limit,
        Session.abort,
    ),
    _Deadline(
        "progress_deadline",
        lambda it, now, limit: (
            (it._outlet.unsent > 0 and now - it._outlet.moved_at > limit)
            or (it._state == "closing" and now - it._state_since > limit)
        ),
        Session.abort,
    ),
    _Deadline(
        "frame_deadline",
        lambda it, now, limit: it._frame_since is not None and now - it._frame_since > limit,
        Session.evict,
    ),
    _Deadline(
        "idle_deadline",
        lambda it, now, limit: (
            it._state == "open"
            and not (it._row.waiting or it._outlet.watched or it._frame_since is not None)
            and now - max(it.heard_at, it._outlet.moved_at) > limit
        ),
        Session.stop,
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
