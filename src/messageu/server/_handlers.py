"""The table of v2's requests: which rule each of them asks for, and what it has to wait for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeAlias, cast

from attrs import frozen
from twisted.internet.defer import Deferred

from messageu.model import Envelope
from messageu.wire import v2

from ._answers import Several, Stream
from ._postmaster import Postmaster

Answer: TypeAlias = v2.Response | Several | Stream


@frozen
class Handler:
    """How a request is answered.

    :ivar answer: asks the postmaster, given the requests and the address that they came from.
    :ivar together: it is given as many requests as have come one after another, and answers them
        all; otherwise it is given one.
    :ivar barrier: it begins when everything before it on its connection is answered, and what
        comes after it waits until its own answer has left. Its answer may be a stream.
    """

    answer: Callable[[Postmaster, Sequence[v2.Request], str], Deferred[Answer]]
    together: bool = False
    barrier: bool = False


def _one(
    function: Callable[[Postmaster, v2.Request, str], Coroutine[Deferred[Any], Any, Answer]],
) -> Callable[[Postmaster, Sequence[v2.Request], str], Deferred[Answer]]:
    def answer(
        postmaster: Postmaster, requests: Sequence[v2.Request], address: str
    ) -> Deferred[Answer]:
        (request,) = requests
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


def _send_messages(
    postmaster: Postmaster, requests: Sequence[v2.Request], _: str
) -> Deferred[Answer]:
    envelopes = []
    for request in requests:
        body = cast(v2.SendMessage, request.body)
        envelopes.append(Envelope(request.client_id, body.recipient, body.type, body.content))
    return postmaster.send(envelopes)


async def _fetch_messages(postmaster: Postmaster, request: v2.Request, _: str) -> Answer:
    return await postmaster.fetch(request.client_id)


HANDLERS: Final[dict[type[v2.RequestBody], Handler]] = {
    v2.Register: Handler(_one(_register)),
    v2.ListClients: Handler(_one(_list_clients), barrier=True),
    v2.GetPublicKey: Handler(_one(_get_public_key)),
    v2.SendMessage: Handler(_send_messages, together=True),
    v2.FetchMessages: Handler(_one(_fetch_messages), barrier=True),
}
"""One row for each request."""
