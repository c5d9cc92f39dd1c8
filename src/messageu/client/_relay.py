"""Requests to one relay, over one connection at a time, whatever the relay does with connections.

Some relays keep a connection and others close it after each answer, without a word that says so.
A connection that has given an answer is tried again; when it then fails before anything of the
next answer could be read, a request that changes nothing is asked once more on a new connection.
A registration or a message could be carried out twice: those are never repeated, and go out on a
used connection only once the relay has been seen to keep them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn, TypeVar

from attrs import frozen
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from messageu.model import ClientId
from messageu.wire import v2

from ._errors import (
    AnswerBroken,
    AnswerNonsense,
    OutcomeUnknown,
    RelayRefused,
    RelaySilent,
    RelayUnreachable,
    TooManyRequests,
)
from ._protocol import Patience, RelayConnection, Take
from ._session import AnswerEvent

REQUESTS_LIMIT: Final = 1_000
"""Requests that may wait for their turn."""

FALLBACK_VERSION: Final = 1
"""The version byte that some relays insist on."""

_DOUBTS: Final[dict[type[v2.RequestBody], str]] = {
    v2.Register: "the name may or may not have been registered",
    v2.SendMessage: "the message may or may not have been stored",
}
"""Requests that are not repeated, and what is to be said when their answer fails to come."""

_REASONS: Final[tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...]] = (
    (error.ConnectionRefusedError, "nothing listens there"),
    ((error.TimeoutError, error.TCPTimedOutError, DeferredTimeout), "it does not react"),
    ((error.DNSLookupError, ValueError), "its name is not known"),
    (error.NoRouteError, "there is no way to it"),
)

CONNECTING_ERRORS: Final = (
    error.ConnectError,
    error.ConnectionClosed,
    error.DNSLookupError,
    DeferredTimeout,
    OSError,
    ValueError,  # a name that Twisted knows to be none
)
"""With what an endpoint fails when there is no connection to be had."""

Answer = TypeVar("Answer", bound=AnswerEvent)


@frozen
class Destination:
    """Where a relay is, and what a person calls the place."""

    name: str
    endpoint: IStreamClientEndpoint


class Relay:
    """A relay that can be asked.

    :param find: is called before each connection.
    :ivar version: the version byte that the relay is known to take; None: not known yet. Then a
        request that is refused is asked once more with version 1.
    """

    def __init__(
        self, clock: IReactorTime, find: Callable[[], Destination], patience: Patience
    ) -> None:
        self._clock = clock
        self._find = find
        self._patience = patience
        self._turn = DeferredLock()
        self._connection: RelayConnection | None = None
        self._keeps = False  # whether it has been seen to keep connections
        self._place = "the relay"
        self.version: int | None = None

    async def connect(self) -> None:
        """Have a connection.

        :raises ClientError: when there is none to be had.
        """
        self._check_queue()
        async with self._turn:
            if self._connection is None or not self._connection.usable:
                await self._open()

    async def ask(
        self,
        asker: ClientId,
        body: v2.RequestBody,
        answer: type[Answer],
        take: Take | None = None,
    ) -> Answer:
        """Ask, and wait for the answer, after all that has been asked before.

        :param answer: what the answer is.
        :param take: is given the items of the answer.
        :raises RelayRefused: for 9000.
        :raises RelayError: when there is no answer.
        """
        self._check_queue()
        async with self._turn:
            event = await self._ask_in_some_version(asker, body, take)
        if not isinstance(event, answer):  # pragma: no cover
            raise TypeError("the session has let another answer pass")
        return event

    async def close(self) -> None:
        """Close the connection in good order. A later request opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _check_queue(self) -> None:
        if len(self._turn.waiting) >= REQUESTS_LIMIT:
            raise TooManyRequests(f"more than {REQUESTS_LIMIT} requests wait for the relay")

    async def _ask_in_some_version(
        self, asker: ClientId, body: v2.RequestBody, take: Take | None
    ) -> AnswerEvent:
        if self.version is not None:
            return await self._ask_once(v2.Request(asker, body, self.version), take)
        try:
            event = await self._ask_once(v2.Request(asker, body), take)
        except RelayRefused:
            event = await self._ask_once(v2.Request(asker, body, FALLBACK_VERSION), take)
            self.version = FALLBACK_VERSION
        else:
            self.version = v2.VERSION
        return event

    async def _ask_once(self, request: v2.Request, take: Take | None) -> AnswerEvent:
        """Ask on the connection that there is, if it may be used for that, else on a new one."""
        doubt = _DOUBTS.get(type(request.body))
        used = self._connection
        if used is not None and used.usable and (doubt is None or self._keeps or not used.answered):
            try:
                event = await self._ask_on(used, request, take, doubt)
            except (AnswerBroken, RelaySilent, OutcomeUnknown) as failed:
                self._keeps = False
                if not isinstance(failed, AnswerBroken) or failed.begun:
                    raise
            else:
                self._keeps |= used.answered > 1
                return event
        return await self._ask_on(await self._open(), request, take, doubt)

    async def _ask_on(
        self, connection: RelayConnection, request: v2.Request, take: Take | None, doubt: str | None
    ) -> AnswerEvent:
        try:
            return await connection.ask(request, take)
        except (AnswerBroken, RelaySilent) as failed:
            text = f"{failed} ({self._place})"
            if doubt is not None:
                raise OutcomeUnknown(f"{text}; {doubt}") from None
            if isinstance(failed, RelaySilent):
                raise RelaySilent(text) from None
            hint = "; is it a MessageU relay?" if isinstance(failed, AnswerNonsense) else ""
            raise type(failed)(f"{text}{hint}", begun=failed.begun) from None

    async def _open(self) -> RelayConnection:
        await self._leave()
        destination = self._find()
        self._place = destination.name
        connection = RelayConnection(self._clock, self._patience)
        connecting: Deferred[RelayConnection] = connectProtocol(destination.endpoint, connection)
        connecting.addTimeout(self._patience.connect, self._clock, _time_out)
        try:
            self._connection = await connecting
        except error.ConnectingCancelledError:
            raise CancelledError from None
        except CONNECTING_ERRORS as failed:
            raise RelayUnreachable(
                f"the relay at {destination.name} cannot be reached: {unreachable_because(failed)}"
            ) from None
        return self._connection

    async def _leave(self) -> None:
        """Close a connection that works and may not be used."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.usable:
            await connection.close()


def _time_out(_: object, seconds: float) -> NoReturn:
    raise DeferredTimeout(seconds, "connecting")


def unreachable_because(failed: Exception) -> str:
    """Why one of :data:`CONNECTING_ERRORS` has happened, for a person."""
    for kind, reason in _REASONS:
        if isinstance(failed, kind):
            return reason
    return "no connection comes about"
