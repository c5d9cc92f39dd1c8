"""Connections that measure: requests out in rows, answers back in their order."""

from __future__ import annotations

from collections import deque
from typing import Protocol as Typed

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from messageu.wire import NEED_DATA, Parser, RemoteProtocolError, v2


class AnswerMakesNoSense(Exception):
    """What came is no answer to what was asked."""


class ConnectionGone(Exception):
    """The connection has ended before the answer."""


class _Conversation(Protocol):
    """Cuts what comes into events of v2."""

    transport: ITCPTransport

    def __init__(self) -> None:
        self._parser: Parser[v2.ResponseEvent] = Parser(v2.ResponseCodec())

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the relay."""
        self._parser.receive_data(data)
        try:
            while (event := self._parser.next_event()) is not NEED_DATA:
                self.heard(event)
        except (RemoteProtocolError, AnswerMakesNoSense) as error:
            self._parser.close()
            self.transport.abortConnection()
            self.broken(str(error))
            return
        self.caught_up()

    def heard(self, event: v2.ResponseEvent) -> None:
        """One of them."""
        raise NotImplementedError

    def caught_up(self) -> None:
        """All that has arrived is heard."""

    def broken(self, why: str) -> None:
        """What came makes no sense; the connection is given up."""
        raise NotImplementedError


class Errand(_Conversation):
    """One request at a time: registering, and taking back."""

    def __init__(self) -> None:
        super().__init__()
        self._answer: Deferred[tuple[v2.ResponseEvent, int]] | None = None
        self._items = 0

    def ask(self, frame: bytes) -> Deferred[tuple[v2.ResponseEvent, int]]:
        """Fires with the answer, and with how many items came before its end.

        It fails with :class:`ConnectionGone` or :class:`AnswerMakesNoSense`; cancelling it aborts the
        connection.
        """
        self._answer, self._items = Deferred(lambda _: self.transport.abortConnection()), 0
        self.transport.write(frame)
        return self._answer

    def heard(self, event: v2.ResponseEvent) -> None:
        if isinstance(event, v2.WaitingMessage):
            self._items += 1
            return
        answer, self._answer = self._answer, None
        if answer is None:
            raise AnswerMakesNoSense("an answer that nobody asked for")
        answer.callback((event, self._items))

    def broken(self, why: str) -> None:
        self._fail(AnswerMakesNoSense(why))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        self._fail(ConnectionGone("the relay has closed the connection"))

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.called:
            answer.errback(error)


class Listener(Typed):
    """Who is told what connections hear."""

    def answered(
        self, connection: LoadConnection, due: float, mailbox: int, event: v2.ResponseEvent
    ) -> None:
        """The oldest request has its answer.

        :raises AnswerMakesNoSense: when it is none.
        """

    def free(self, connection: LoadConnection) -> None:
        """All answers that have come are told; there is room for more requests."""

    def lost(self, connection: LoadConnection, why: str) -> None:
        """It has ended, with this many requests in :attr:`LoadConnection.waiting`."""


@define
class _Asked:
    """A request without an answer: when it was due, and to whom it sends."""

    due: float
    mailbox: int


class LoadConnection(_Conversation):
    """Sends, and tells how long each answer took.

    :ivar number: of this connection.
    :ivar issued: requests that it has sent.
    :ivar waiting: those without an answer, of which the load has a limit.
    :ivar idle: whether it waits for something to be due.
    """

    def __init__(self, listener: Listener, number: int) -> None:
        super().__init__()
        self._listener = listener
        self._over = False
        self.number = number
        self.issued = 0
        self.waiting: deque[_Asked] = deque()
        self.idle = False

    def send(self, frame: bytes, due: float, mailbox: int) -> None:
        """Send a request."""
        self.waiting.append(_Asked(due, mailbox))
        self.issued += 1
        self.transport.write(frame)

    def heard(self, event: v2.ResponseEvent) -> None:
        if not self.waiting:
            raise AnswerMakesNoSense("an answer that nobody asked for")
        asked = self.waiting[0]
        self._listener.answered(self, asked.due, asked.mailbox, event)
        self.waiting.popleft()

    def caught_up(self) -> None:
        if not self._over:
            self._listener.free(self)

    def broken(self, why: str) -> None:
        self._end(why)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        self._end("the relay has closed a connection")

    def leave(self) -> None:
        """Close it, and tell nobody."""
        self._over = True
        self.transport.loseConnection()

    def _end(self, why: str) -> None:
        if not self._over:
            self._over = True
            self._listener.lost(self, why)
