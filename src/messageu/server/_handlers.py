"""The table of v2's requests: which rule each of them asks for, and what it has to wait for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias, cast

from attrs import frozen

from messageu.model import Envelope
from messageu.wire import v2

from ._answers import Stream
from ._postmaster import Postmaster


@frozen
class Call:
    """A request, and the address that it came from."""

    request: v2.Request
    address: str


Answering: TypeAlias = Coroutine[Any, Any, v2.Response | Stream]


@frozen
class Handler:
    """How a request is answered.

    :ivar barrier: it begins when everything before it on its connection is answered, and what
        comes after it waits until its own answer has left. Its answer may be a stream.
    """

    answer: Callable[[Postmaster, Call], Answering]
    barrier: bool = False


def _register(postmaster: Postmaster, call: Call) -> Answering:
    body = cast(v2.Register, call.request.body)
    return postmaster.register(body.name, body.public_key, call.address)


def _list_clients(postmaster: Postmaster, call: Call) -> Answering:
    return postmaster.list_clients(call.request.client_id)


def _get_public_key(postmaster: Postmaster, call: Call) -> Answering:
    body = cast(v2.GetPublicKey, call.request.body)
    return postmaster.public_key(call.request.client_id, body.client_id)


def _send_message(postmaster: Postmaster, call: Call) -> Answering:
    body = cast(v2.SendMessage, call.request.body)
    return postmaster.send(
        Envelope(call.request.client_id, body.recipient, body.type, body.content)
    )


def _fetch_messages(postmaster: Postmaster, call: Call) -> Answering:
    return postmaster.fetch(call.request.client_id)


HANDLERS: Final[dict[type[v2.RequestBody], Handler]] = {
    v2.Register: Handler(_register),
    v2.ListClients: Handler(_list_clients, barrier=True),
    v2.GetPublicKey: Handler(_get_public_key),
    v2.SendMessage: Handler(_send_message),
    v2.FetchMessages: Handler(_fetch_messages, barrier=True),
}
"""One row for each request."""
