"""v2's requests, measured: the same as without, and the metrics hear of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from messageu.model import NOBODY, Envelope, MessageId
from messageu.wire import v2

from ._answers import Encoded, Stream
from ._handlers import Answer, Asker, Handler
from ._intake import REFUSED, Reply
from ._metrics import IMetrics
from ._postmaster import Postmaster

Send: TypeAlias = Callable[[Sequence[Envelope], int, Reply], None]

STORED_SIZE: Final = len(v2.stored_frame(NOBODY, MessageId(0)))


def measured_handlers(
    handlers: Mapping[type[v2.RequestBody], Handler], metrics: IMetrics, clock: IReactorTime
) -> Mapping[type[v2.RequestBody], Handler]:
    """These, each of which tells how a request was answered."""
    return {
        body: evolve(
            handler,
            answer=_measured(handler.answer, body, metrics, clock),
            brief=handler.brief and _measured(handler.brief, body, metrics, clock, brief=True),
        )
        for body, handler in handlers.items()
    }


def _measured(
    ask: Asker,
    body: type[v2.RequestBody],
    metrics: IMetrics,
    clock: IReactorTime,
    *,
    brief: bool = False,
) -> Asker:
    code = str(int(body.code))

    def answer(postmaster: Postmaster, request: v2.Request, address: str) -> Deferred[Answer]:
        began = clock.seconds()

        def told(answer: Any) -> Any:
            # What was to be brief and is not is asked for again.
            if not (brief and isinstance(answer, Stream) and not answer.brief):
                metrics.answered("v2", code, _outcome(answer), clock.seconds() - began)
            return answer

        return ask(postmaster, request, address).addBoth(told)

    return answer


def _outcome(answer: Answer | Failure) -> str:
    if isinstance(answer, Failure):
        return "failed"
    refused = isinstance(answer, v2.GeneralError) or (
        isinstance(answer, Encoded) and answer.frame == REFUSED
    )
    return "refused" if refused else "answered"


def measured_send(send: Send, metrics: IMetrics, clock: IReactorTime) -> Send:
    """This, which tells how messages that came together were answered. Those that the store has
    failed to keep count as refused: they are answered with the same."""
    code = str(int(v2.SendMessage.code))

    def measured(envelopes: Sequence[Envelope], size: int, reply: Reply) -> None:
        began, count = clock.seconds(), len(envelopes)

        def told(frames: bytes) -> None:
            # Each is answered with a frame of one of two sizes.
            stored = (len(frames) - count * len(REFUSED)) // (STORED_SIZE - len(REFUSED))
            took = clock.seconds() - began
            for outcome, number in (("answered", stored), ("refused", count - stored)):
                if number:
                    metrics.answered("v2", code, outcome, took, number)
            reply(frames)

        send(envelopes, size, told)

    return measured
