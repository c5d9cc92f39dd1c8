"""The table of v2's requests: which rule each of them asks for, and what it has to wait for.

Sends that come together do not come here: they go to the postmaster as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias, cast

from attrs import frozen
from twisted.internet.defer import Deferred

from messageu.model import Envelope
from messageu.wire import v2

from ._answers import Encoded, Stream
from ._postmaster import Postmaster

Answer: TypeAlias = v2.Response | Encoded | Stream
Asker: TypeAlias = Callable[[Postmaster, v2.Request, str], Deferred[Answer]]


@frozen
class Handler:
    """How a request is answered.

    :ivar answer: asks the postmaster, given the request and the address that it came from.
    :ivar brief: it is a barrier: it begins when everything before it on its connection is answered,
        and what comes after it waits until its own answer has left, which may be a stream. This
        asks for an answer that may be shorter, while there is no place for a long one.
    :ivar alone: nothing that comes after it on its connection is looked at before it is answered:
        it costs much, and nobody needs many of them.
    """

    answer: Asker
    brief: Asker | None = None
    alone: bool = False

    @property
    def barrier(self) -> bool:
        """Whether it is one."""
        return self.brief is not None


def _asked(
    function: Callable[[Postmaster, v2.Request, str], Coroutine[Deferred[Any], Any, Answer]],
) -> Asker:
    def answer(postmaster: Postmaster, request: v2.Request, address: str) -> Deferred[Answer]:
        return Deferred.fromCoroutine(function(postmaster, request, address))

    return answer


async def _register(postmaster: Postmaster, request: v2.Request, address: str) -> Answer:
    body = cast(v2.Register, request.body)
    return await postmaster.register(body.name, body.public_key, address)


async def _list_clients(postmaster: Postmaster, request: v2.Request, _: str) -> Answer:
    return await postmaster.list_clients(request.client_id)


async def _get_public_key(postmaster: Postmaster, request: v2.Request, _: str) -> Answer:
    body = cast(v2.GetPublicKey, request.body)
    return await postmaster.public_key(request.client_id, body.client_id)


def _send_message(postmaster: Postmaster, request: v2.Request, _: str) -> Deferred[Answer]:
    body = cast(v2.SendMessage, request.body)
    envelope = Envelope(request.client_id, body.recipient, body.type, body.content)
    answered: Deferred[Answer] = Deferred()
    postmaster.send((envelope,), len(body.content), lambda frame: answered.callback(Encoded(frame)))
    return answered


async def _fetch_messages(postmaster: Postmaster, request: v2.Request, _: str) -> Answer:
    return await postmaster.fetch(request.client_id)


async def _fetch_some(postmaster: Postmaster, request: v2.Request, _: str) -> Answer:
    return await postmaster.fetch(request.client_id, brief=True)


HANDLERS: Final[dict[type[v2.RequestBody], Handler]] = {
    v2.Register: Handler(_asked(_register), alone=True),
    v2.ListClients: Handler(_asked(_list_clients), brief=_asked(_list_clients)),
    v2.GetPublicKey: Handler(_asked(_get_public_key)),
    v2.SendMessage: Handler(_send_message),
    v2.FetchMessages: Handler(_asked(_fetch_messages), brief=_asked(_fetch_some)),
}
"""One row for each request."""
