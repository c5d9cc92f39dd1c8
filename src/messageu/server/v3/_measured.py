"""v3's requests, measured: the same as without, and the metrics hear of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from attrs import evolve
from twisted.internet.interfaces import IReactorTime

from messageu.model.v3 import Reason
from messageu.wire import v3

from .._metrics import IMetrics
from ._handlers import Asker, Complain, Handler
from ._postmaster import Postmaster, Reply, Visitor

_OUTCOMES: Final[Mapping[int, str]] = {reason: reason.name.lower() for reason in Reason}

Handlers: TypeAlias = Mapping[type[v3.RequestBody | v3.UnknownRequest], Handler]


def measured_handlers(handlers: Handlers, metrics: IMetrics, clock: IReactorTime) -> Handlers:
    """These, each of which tells how a request was answered."""
    return {
        body: evolve(handler, ask=_measured(handler.ask, _code_of(body), metrics, clock))
        for body, handler in handlers.items()
    }


def _code_of(body: Any) -> str:
    # Whoever asks for what does not exist does not choose a label.
    return "unknown" if body is v3.UnknownRequest else str(int(body.code))


def _measured(ask: Asker, code: str, metrics: IMetrics, clock: IReactorTime) -> Asker:
    def measured(
        postmaster: Postmaster, visitor: Visitor, body: Any, reply: Reply, complain: Complain
    ) -> None:
        began = clock.seconds()

        def told(answer: v3.ResponseBody) -> None:
            outcome = _OUTCOMES[answer.reason] if isinstance(answer, v3.Error) else "answered"
            metrics.answered("v3", code, outcome, clock.seconds() - began)
            reply(answer)

        ask(postmaster, visitor, body, told, complain)

    return measured
