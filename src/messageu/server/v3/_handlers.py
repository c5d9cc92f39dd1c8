"""The table of v3's requests: which rule each asks for, and who may ask."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from messageu.model.v3 import Reason
from messageu.wire import v3

from ._postmaster import Postmaster, Reply, Visitor, excuse
from ._session import Standing

Complain: TypeAlias = Callable[[Failure], None]
Asker: TypeAlias = Callable[[Postmaster, Visitor, Any, Reply, Complain], None]
Body = TypeVar("Body")

SEQUENCE_HELD: Final = 40
"""Bytes of memory that a sequence takes which is to be acknowledged."""

SEQUENCES_A_REQUEST: Final = 16
"""Sequences that are as much work for the store as another request."""


@frozen
class Load:
    """What a request takes until it is answered.

    :ivar size: bytes that are held for it, if there can be many.
    :ivar requests: as how many requests it counts on its connection.
    """

    size: int = 0
    requests: int = 1


LITTLE: Final = Load()


@frozen
class Handler:
    """How a request is answered.

    :ivar ask: asks the postmaster, who is given what is to be called with the answer.
    :ivar who: who may ask.
    :ivar barrier: what comes after it on its connection is not looked at before it is answered:
        who speaks may be another then.
    :ivar load: what it takes until then.
    """

    ask: Asker
    who: Standing
    barrier: bool = False
    load: Callable[[Any], Load] = lambda _body: LITTLE


def _asked(
    rule: Callable[[Postmaster, Visitor, Body], Coroutine[Deferred[Any], Any, v3.ResponseBody]],
) -> Asker:
    def ask(
        postmaster: Postmaster, visitor: Visitor, body: Body, reply: Reply, complain: Complain
    ) -> None:
        postmaster.intake.settle(visitor)
        answered = Deferred.fromCoroutine(rule(postmaster, visitor, body))
        answered.addErrback(_excuse, complain)
        answered.addCallback(reply)

    return ask


def _excuse(failure: Failure, complain: Complain) -> v3.ResponseBody:
    complain(failure)
    return excuse(failure.value)


def _send(
    postmaster: Postmaster, visitor: Visitor, body: v3.Send, reply: Reply, _: Complain
) -> None:
    postmaster.send(visitor, body, reply)


def _refuse(
    _: Postmaster, _visitor: Visitor, _body: v3.UnknownRequest, reply: Reply, _complain: Complain
) -> None:
    reply(v3.Error(Reason.UNKNOWN_REQUEST))


def _load_of_send(body: v3.Send) -> Load:
    return Load(len(body.envelope.sealed))


def _load_of_publish(body: v3.Publish) -> Load:
    return Load(v3.Publish.max_size or 0)


def _load_of_acknowledge(body: v3.Acknowledge) -> Load:
    count = len(body.sequences)
    return Load(SEQUENCE_HELD * count, max(1, count // SEQUENCES_A_REQUEST))


_ANYBODY: Final = Standing.ANYBODY
_REGISTERED: Final = Standing.REGISTERED

HANDLERS: Final[dict[type[v3.RequestBody | v3.UnknownRequest], Handler]] = {
    v3.Hello: Handler(_asked(Postmaster.greet), _ANYBODY),
    v3.Authenticate: Handler(_asked(Postmaster.authenticate), _ANYBODY, barrier=True),
    v3.Register: Handler(_asked(Postmaster.register), Standing.AUTHENTICATED, barrier=True),
    v3.Resolve: Handler(_asked(Postmaster.resolve), _REGISTERED),
    v3.Publish: Handler(_asked(Postmaster.publish), _REGISTERED, load=_load_of_publish),
    v3.Claim: Handler(_asked(Postmaster.claim), _REGISTERED),
    v3.Send: Handler(_send, _REGISTERED, load=_load_of_send),
    v3.Subscribe: Handler(_asked(Postmaster.subscribe), _REGISTERED, barrier=True),
    v3.Acknowledge: Handler(_asked(Postmaster.acknowledge), _REGISTERED, load=_load_of_acknowledge),
    v3.DeleteAccount: Handler(_asked(Postmaster.delete_account), _REGISTERED, barrier=True),
    v3.Ping: Handler(_asked(Postmaster.pong), _ANYBODY),
    v3.UnknownRequest: Handler(_refuse, _ANYBODY),
}
"""One row for each request."""
