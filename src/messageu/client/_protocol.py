"""A session on a transport: a request becomes a Deferred, and silence an error."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Final, TypeAlias, cast

from attrs import frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from messageu.wire import NEED_DATA, v2

from ._errors import AnswerCut, RelayError, RelaySilent
from ._session import AnswerEvent, Done, ItemEvent, Session

Take: TypeAlias = Callable[[ItemEvent | AnswerEvent], Deferred[None] | None]
"""Is given the items of an answer one by one, and its end; the next comes when the Deferred of the
one before has fired. By failing it refuses the answer: then the connection is reset."""

_LINGER: Final = {wanted: struct.pack("ii", wanted, 0) for wanted in (True, False)}
"""What SO_LINGER is set to: a socket is closed with a reset, or in good order."""


@frozen
class Patience:
    """How long a client waits.

    :ivar connect: seconds until the relay has taken the connection.
    :ivar progress: seconds without a byte of an answer that is due.
    :ivar slowest_upload: bytes a second that a request is granted on its way, before its answer is
        due: a large file takes its time on a slow line.
    :ivar slowest_answer: bytes a second that an answer must have on the average, from ``progress``
        seconds after its first byte on: a byte now and then is no progress.
    :ivar answer: seconds for a whole answer, however fast it comes. The largest of our relay, of
        32 MiB, fits at 9.3 KiB a second. As above, time does not count while what has come is
        being taken.
    """

    connect: float = 10.0
    progress: float = 30.0
    slowest_upload: float = 16 * 1024
    slowest_answer: float = 1024
    answer: float = 3600.0


class RelayConnection(Protocol):
    """One connection to a relay. Requests wait for each other elsewhere (``_relay``)."""

    transport: ITCPTransport

    def __init__(self, clock: IReactorTime, patience: Patience) -> None:
        self._clock = clock
        self._patience = patience
        self._session = Session()
        self._answering: Deferred[AnswerEvent] | None = None
        self._take: Take | None = None
        self._done: AnswerEvent | None = None
        self._taking = False
        self._paused = False
        self._lost = False
        self._timer: IDelayedCall | None = None
        self._complaint = ""  # what is to be said when time is up
        self._arrived = 0  # bytes of the answer
        self._began = 0.0  # when its first byte came, put off by the pauses since
        self._paused_at = 0.0
        self._closing: Deferred[None] | None = None
        self.answered = 0  # answers after which it could be used again

    @property
    def usable(self) -> bool:
        """Whether the next request may be asked on this connection."""
        return self._session.usable and not self._lost

    def ask(self, request: v2.Request, take: Take | None = None) -> Deferred[AnswerEvent]:
        """Send a request in one write. Only while :attr:`usable`.

        The Deferred fails with a :class:`RelayError`, or with what ``take`` failed with; then the
        connection is aborted, and a relay that waits for a sign of life keeps its messages.
        Cancelling it aborts the connection, too.

        :raises LocalProtocolError: when the protocol cannot carry the request.
        """
        frame = self._session.ask(request)
        answering: Deferred[AnswerEvent] = Deferred(lambda _: self._give_up())
        self._answering = answering
        self._take = take
        self._reset_when_closed(take is not None)
        self._arrived = 0
        self._complaint = self._silent
        self._expect_within(self._patience.progress + len(frame) / self._patience.slowest_upload)
        self.transport.write(frame)
        return answering

    def abort(self) -> None:
        """Reset the connection: the relay must not take it for a good-bye."""
        self._session.retire()
        if not self._lost:
            self.transport.abortConnection()

    def close(self) -> Deferred[None]:
        """Close the connection in good order. The Deferred fires when it is gone."""
        closing: Deferred[None] = Deferred()
        self._closing = closing
        if self._lost:
            closing.callback(None)
        else:
            self._session.retire()
            self.transport.loseConnection()
            self._expect_within(self._patience.progress)
        return closing

    # What the transport tells.

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the relay."""
        self._session.receive_data(data)
        if self._answering is not None:
            if not self._arrived:
                self._began = self._clock.seconds()
            self._arrived += len(data)
            if not self._taking:
                self._expect_more()
            self._go_on()
        elif self._closing is None:
            self.abort()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """It is over. What has arrived before is still read."""
        self._lost = True
        self._stop_timer()
        self._session.end_input()
        self._go_on()
        if self._closing is not None and not self._closing.called:
            self._closing.callback(None)

    # The answer.

    def _go_on(self) -> None:
        while self._answering is not None and not self._taking:
            if self._done is not None:
                self._finish(self._done)
                return
            try:
                result = self._session.next_result()
            except RelayError as error:
                self._finish(Failure(error))
                return
            if result is NEED_DATA:
                if self._lost:  # and given up before
                    self._finish(Failure(AnswerCut("the connection was closed", begun=True)))
                return
            if isinstance(result, Done):
                self._done = result.event
            self._hand_over(result.event)

    def _hand_over(self, event: ItemEvent | AnswerEvent) -> None:
        if self._take is None:
            return
        self._taking = True
        maybeDeferred(self._take, event).addCallbacks(self._taken, self._not_taken)
        if self._taking:
            # Nothing more is read, so that no more than one item waits here.
            self._paused = True
            self._paused_at = self._clock.seconds()
            self._stop_timer()
            if not self._lost:
                cast(IPushProducer, self.transport).pauseProducing()

    def _taken(self, _: object) -> None:
        self._taking = False
        if self._paused:
            self._paused = False
            self._began += self._clock.seconds() - self._paused_at
            if not self._lost and self._answering is not None:
                cast(IPushProducer, self.transport).resumeProducing()
                self._expect_more()
            self._go_on()

    def _not_taken(self, failure: Failure) -> None:
        self._taking = self._paused = False
        self._session.retire()
        self._finish(failure)

    def _finish(self, outcome: AnswerEvent | Failure) -> None:
        self._stop_timer()
        answering, self._answering = self._answering, None
        self._take = self._done = None
        if self._session.usable:
            self.answered += 1
            self._reset_when_closed(False)
        else:
            self.abort()
        if answering is not None:
            answering.callback(outcome)

    def _give_up(self) -> None:
        self._stop_timer()
        self._answering = self._take = self._done = None
        self.abort()

    def _reset_when_closed(self, wanted: bool) -> None:
        """Have the kernel reset the connection when our process ends, however it ends.

        Otherwise it would say good-bye for a program that was killed before it had handed over
        what it had read, and the relay would take all of it for delivered.
        """
        get_handle = getattr(self.transport, "getHandle", None)
        handle = get_handle() if get_handle is not None and not self._lost else None
        if isinstance(handle, socket.socket):
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER[wanted])

    # Time.

    @property
    def _silent(self) -> str:
        return f"the relay has been silent for {self._patience.progress:g} seconds"

    def _expect_more(self) -> None:
        """Wait for the next byte of an answer that has begun, for as long as it is worth it."""
        patience = self._patience
        used = self._clock.seconds() - self._began
        slow = patience.progress + self._arrived / patience.slowest_answer - used
        left, self._complaint = min(
            (patience.progress, self._silent),
            (slow, f"the relay answers with less than {patience.slowest_answer:g} bytes a second"),
            (
                patience.answer - used,
                f"the relay's answer has no end after {patience.answer:g} seconds",
            ),
        )
        self._expect_within(max(0.0, left))

    def _expect_within(self, seconds: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.reset(seconds)
        else:
            self._timer = self._clock.callLater(seconds, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _time_out(self) -> None:
        self._timer = None
        self._session.retire()
        if self._answering is None:
            self.abort()
        else:
            self._finish(Failure(RelaySilent(self._complaint)))
