"""What a connection of v3 does once its handshake is over: bytes in, answers and pushes out,
nothing without bound.

Backpressure: while requests wait for the store, or answers for the client, no more are decoded; and
when something is stored that may not be decoded yet, nothing more is read. While the transport takes
nothing, nothing is pushed.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import Final

from attrs import frozen
from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.python.failure import Failure

from messageu.model.v3 import Delivery, Reason
from messageu.wire import NEED_DATA, Parser, RemoteProtocolError, v3

from ._exchange import Exchange
from ._handlers import Load
from ._output import ITlsTransport, Output
from ._session import Session, Standing
from ._subscriptions import Subscription

SLICE: Final = 64
"""Requests that are taken at once. Then others have their turn."""

SLICE_WORK: Final = 0.002
"""Seconds of work that so many are taken for, at the least."""

RETURN_SECONDS: Final = 5
"""When clients are told to come back to a relay that stops."""


class IRelayTransport(ITlsTransport, ITCPTransport, IPushProducer):
    """What a connection needs of its transport."""


class _Life(Enum):
    """Whether requests are taken; or what was taken is answered, and then it ends; or it has."""

    OPEN = auto()
    FINISHING = auto()
    CLOSED = auto()


class Connection:
    """Serves one client of v3. The protocol tells it what happens; it acts on the transport.

    :ivar session: who speaks.
    :ivar subscription: what is pushed, if he has subscribed.
    :ivar address: where he comes from.
    """

    __slots__ = (
        "__weakref__",
        "_barred",
        "_behind",
        "_correlations",
        "_decoding",
        "_discarded",
        "_exchange",
        "_frame_since",
        "_heard_at",
        "_held",
        "_holds_input",
        "_life",
        "_life_since",
        "_output",
        "_parser",
        "_reading",
        "_requests",
        "_settings",
        "_transport",
        "address",
        "session",
        "subscription",
    )

    def __init__(
        self, exchange: Exchange, address: str, transport: IRelayTransport, channel_binding: bytes
    ) -> None:
        now = exchange.clock.seconds()
        self._exchange = exchange
        self._settings = exchange.limits.settings
        self._transport = transport
        self.address = address
        self.session = Session(channel_binding)
        self.subscription: Subscription | None = None
        self._parser = Parser(exchange.codec)
        self._life = _Life.OPEN
        self._life_since = now
        # Requests that are not answered yet, as how many they count, and how much they hold.
        self._correlations: dict[int, Load] = {}
        self._requests = 0
        self._held = 0
        self._barred = False
        self._behind = False
        self._decoding = False
        self._reading = True
        self._holds_input = False
        self._frame_since: float | None = None
        self._heard_at = now
        self._discarded = 0
        self._output = Output(transport, exchange.clock, self._output_moved)

    # What the protocol tells.

    def receive(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._life is _Life.OPEN:
            self._parser.receive_data(data)
            self._go_on()
        else:
            self._discarded += len(data)
            if self._discarded > self._settings.discarded_bytes:
                self._hit("discarded_bytes")
                self.abort()

    def lose(self) -> None:
        """The transport is gone. What was taken is carried out, and nobody hears of it."""
        self._set_life(_Life.CLOSED)
        self._parser.close()
        self._output.stopProducing()
        limits = self._exchange.limits
        limits.hold_output(self, 0)
        limits.hold_input(self, 0, incomplete=False)
        self._exchange.postmaster.leave(self)
        self._exchange.postmaster.feeder.go_on()

    # What the relay tells.

    def stop(self) -> None:
        """Answer what was taken, take no more, and close."""
        if self._life is _Life.OPEN:
            self._push(v3.GoingAway(RETURN_SECONDS))
            self._finish()

    def evict(self) -> None:
        """Give up the frame that is not complete."""
        self._give_up("was given up in the middle of a request")

    def abort(self) -> None:
        """Give up the connection at once."""
        if self._life is not _Life.CLOSED:
            self._set_life(_Life.CLOSED)
            self._output.end()
            self._transport.abortConnection()

    def check_deadlines(self, now: float) -> None:
        """Close or abort what takes too long."""
        for deadline in _DEADLINES:
            if deadline.is_over(self, now, getattr(self._settings, deadline.name)):
                self._hit(deadline.name)
                deadline.consequence(self)
                return

    # What the turns tell.

    def wake(self) -> None:
        """It is its turn to have requests taken."""
        self._behind = False
        if self._life is _Life.OPEN:
            self._go_on()

    # What the rules tell.

    @property
    def ready(self) -> bool:
        """Whether mail can be pushed now."""
        return self._life is _Life.OPEN and not self._output.paused

    def deliver(self, delivery: Delivery) -> None:
        """Push mail."""
        self._exchange.postmaster.counts["pushed"] += 1
        self._push(v3.Deliver(delivery))

    def displace(self) -> None:
        """Another connection has the subscription now."""
        self._push(v3.Displaced())

    def prekeys_low(self, left: int) -> None:
        """The account has few one-time keys left."""
        self._push(v3.PrekeysLow(left))

    # Requests.

    @property
    def _room(self) -> bool:
        """Whether one more request may be decoded now."""
        waiting = self._requests
        return (
            self._life is _Life.OPEN
            and not self._barred
            and not self._behind
            and waiting < self._settings.read_ahead
            and self._output.waiting <= self._settings.connection_output
            # Whoever has none in progress may have one: nothing would wake him.
            and (not waiting or self._exchange.limits.requests < self._settings.requests)
        )

    def _go_on(self) -> None:
        """Take every request that may be taken."""
        if self._decoding:  # an answer was there at once; the loop below goes on by itself
            return
        self._decoding = True
        began, left = self._exchange.clock.seconds(), SLICE
        while (room := self._room) and self._take_next():
            left -= 1
            if not left:
                self._behind = True
                work = self._exchange.clock.seconds() - began
                self._exchange.turns.wait(self, max(work, SLICE_WORK))
        self._decoding = False
        if not room:
            self._parser.trim()
        self._account()
        self._steer_reading()

    def _take_next(self) -> bool:
        try:
            request = self._parser.next_event()
        except RemoteProtocolError as error:
            self._give_up(f"sent a frame that is refused: {error}")
            return False
        if request is NEED_DATA:
            return False
        self._frame_since = None
        self._heard_at = self._exchange.clock.seconds()
        if request.correlation in self._correlations:
            self._give_up("sent a frame that is refused: a correlation that is in use")
            return False
        self._take(request)
        return True

    def _take(self, request: v3.Request) -> None:
        handler = self._exchange.handlers[type(request.body)]
        missing = self.session.missing(handler.who)
        if missing is not None:
            self._write(request.correlation, v3.Error(missing))
            return
        load = handler.load(request.body)
        self._correlations[request.correlation] = load
        self._requests += load.requests
        self._held += load.size
        self._exchange.limits.requests += 1
        self._barred = handler.barrier
        handler.ask(
            self._exchange.postmaster,
            self,
            request.body,
            partial(self._answer, request.correlation),
            self._complain,
        )

    def _complain(self, failure: Failure) -> None:
        self._exchange.notices.note_failure(failure, "a request of v3 is refused")

    def _answer(self, correlation: int, body: v3.ResponseBody) -> None:
        load = self._correlations.pop(correlation)
        self._requests -= load.requests
        self._held -= load.size
        self._exchange.limits.requests -= 1
        # While one waits behind which nothing is looked at, it is the last that was taken.
        self._barred = self._barred and bool(self._correlations)
        if self._life is _Life.CLOSED:
            return
        self._write(correlation, body)
        if self._life is _Life.FINISHING:
            self._end_if_done()
        elif self._parser.buffered:
            self._go_on()
        elif self._holds_input:
            self._account()

    def _push(self, body: v3.ResponseBody) -> None:
        if self._life is _Life.OPEN:
            self._output.write(v3.push(body))

    def _write(self, correlation: int, body: v3.ResponseBody) -> None:
        self._output.write(v3.Response(correlation, body).encode())

    def _output_moved(self) -> None:
        self._exchange.limits.hold_output(self, self._output.waiting)
        self._exchange.postmaster.feeder.go_on()
        if self._output.paused or self._life is _Life.CLOSED:
            return
        if self._life is _Life.FINISHING:
            self._end_if_done()
            return
        if self._parser.buffered:
            self._go_on()
        if self.subscription is not None:
            self._exchange.postmaster.feeder.feed(self.subscription)

    # The budget.

    def _account(self) -> None:
        incomplete = self._parser.mid_frame
        if not incomplete or not self._room:
            self._frame_since = None
        elif self._frame_since is None:
            self._frame_since = self._exchange.clock.seconds()
        held = self._parser.held + self._held
        if held > self._settings.unreserved or self._holds_input:
            self._holds_input = held > self._settings.unreserved
            self._exchange.limits.hold_input(self, held, incomplete=incomplete)

    def _steer_reading(self) -> None:
        wanted = self._life is not _Life.OPEN or self._room or not self._parser.buffered
        if wanted == self._reading or self._life is _Life.CLOSED:
            return
        self._reading = wanted
        if wanted:
            self._transport.resumeProducing()
        else:
            self._transport.pauseProducing()

    def _hit(self, limit: str) -> None:
        self._exchange.limits.hit(limit, self.address)

    # The end.

    def _give_up(self, why: str) -> None:
        if self._life is not _Life.OPEN:
            return
        self._exchange.notices.note(self._exchange.peer_name(self.address), why)
        self._exchange.metrics.refused_frame("v3")
        self._write(v3.PUSH, v3.Error(Reason.MALFORMED))
        self._finish()

    def _finish(self) -> None:
        self._set_life(_Life.FINISHING)
        self._parser.close()
        self._frame_since = None
        # Whoever goes is not pushed mail any more, and displaces nobody.
        if self.subscription is not None:
            self._exchange.postmaster.end(self.subscription)
        self._account()
        self._steer_reading()
        self._end_if_done()

    def _end_if_done(self) -> None:
        if not self._correlations and not self._output.waiting:
            # TLS says goodbye, and waits for the peer's; a deadline is over both.
            self._output.flush()
            self._output.end()
            self._transport.loseConnection()

    def _set_life(self, life: _Life) -> None:
        self._life = life
        self._life_since = self._exchange.clock.seconds()


@frozen
class _Deadline:
    """``name`` in :class:`~.._settings.LimitSettings`, when it is over, and what then happens."""

    name: str
    is_over: Callable[[Connection, float, float], bool]
    consequence: Callable[[Connection], None]


_DEADLINES: Final = (
    _Deadline(
        "discard_deadline",
        lambda it, now, limit: (
            it._life is _Life.FINISHING
            and not (it._correlations or it._output.waiting)
            and now - it._life_since > limit
        ),
        Connection.abort,
    ),
    _Deadline(
        "progress_deadline",
        lambda it, now, limit: it._output.paused and now - it._output.moved_at > limit,
        Connection.abort,
    ),
    _Deadline(
        "frame_deadline",
        lambda it, now, limit: it._frame_since is not None and now - it._frame_since > limit,
        Connection.evict,
    ),
    _Deadline(
        "authentication_deadline",
        lambda it, now, limit: (
            it._life is _Life.OPEN
            and it.session.missing(Standing.AUTHENTICATED) is not None
            and now - it._life_since > limit
        ),
        Connection.stop,
    ),
    _Deadline(
        "idle_deadline",
        lambda it, now, limit: (
            it._life is _Life.OPEN
            and not (it._correlations or it._output.waiting or it._frame_since is not None)
            and now - it._heard_at > limit
        ),
        Connection.stop,
    ),
)
