"""The life of one connection, as a machine: who may still speak, and what comes next.

::

    open ──end_input──▶ half closed ──answered──▶ closing        open ──leave──▶ closing
     │                    │ │   └─answered unproven──▶ draining ──drained──▶ closing
     │                    │ └─condemn, stop──▶ finishing ──answered──▶ closing
     │ condemn, stop      │                        ▲ end_input
     └────────────────────┼─▶ condemned ───────────┘
                          │       └─answered──▶ discarding ──end_input──▶ closing
                          ▼ abort, lose: from any of them
                        closed

Whoever may still be sending is not closed at once after an answer: a reset would overtake it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final, Protocol

from attrs import define
from automat import TypeMachineBuilder


class Action(Enum):
    """What is to be done to the transport."""

    SHUT_DOWN_OUTPUT = auto()
    LOSE_CONNECTION = auto()
    ABORT_CONNECTION = auto()


@define
class Plan:
    """What the last transition wants done, when it is over: it may lead to the next one."""

    action: Action | None = None


class Lifecycle(Protocol):
    """What can happen to a connection."""

    def end_input(self) -> None:
        """The peer has shut down its sending half."""

    def condemn(self) -> None:
        """Nothing more of what the peer sends can be trusted."""

    def stop(self) -> None:
        """The relay stops, while there is something to answer or to read."""

    def leave(self) -> None:
        """The relay stops, or the connection has been idle for too long: nothing is on its way."""

    def answer_all(self) -> None:
        """Every request that was taken is answered."""

    def answer_all_unproven(self) -> None:
        """The same, and there is mail among the answers whose arrival is not proven."""

    def drain(self) -> None:
        """The peer's kernel has everything, or it is too late for that."""

    def abort(self) -> None:
        """A deadline or a limit: away with it."""

    def lose(self) -> None:
        """The transport is gone."""

    def state(self) -> str:
        """The name of the state."""


TAKES_REQUESTS: Final = frozenset({"open", "half closed"})
"""States in which requests are decoded."""


def _shut_down_output(_: Lifecycle, plan: Plan) -> None:
    plan.action = Action.SHUT_DOWN_OUTPUT


def _lose_connection(_: Lifecycle, plan: Plan) -> None:
    plan.action = Action.LOSE_CONNECTION


def _abort_connection(_: Lifecycle, plan: Plan) -> None:
    plan.action = Action.ABORT_CONNECTION


def _build() -> Callable[[Plan], Lifecycle]:
    builder = TypeMachineBuilder(Lifecycle, Plan)
    open_ = builder.state("open")
    half_closed = builder.state("half closed")
    condemned = builder.state("condemned")
    finishing = builder.state("finishing")
    discarding = builder.state("discarding")
    draining = builder.state("draining")
    closing = builder.state("closing")
    closed = builder.state("closed")
    states = (open_, half_closed, condemned, finishing, discarding, draining, closing, closed)

    quiet = {
        (open_, Lifecycle.end_input): half_closed,
        (open_, Lifecycle.condemn): condemned,
        (open_, Lifecycle.stop): condemned,
        (half_closed, Lifecycle.condemn): finishing,
        (half_closed, Lifecycle.stop): finishing,
        (condemned, Lifecycle.end_input): finishing,
    }
    loud = {
        (open_, Lifecycle.leave): (closing, _lose_connection),
        (half_closed, Lifecycle.leave): (closing, _lose_connection),
        (half_closed, Lifecycle.answer_all): (closing, _lose_connection),
        (half_closed, Lifecycle.answer_all_unproven): (draining, _shut_down_output),
        (condemned, Lifecycle.answer_all): (discarding, _shut_down_output),
        (condemned, Lifecycle.answer_all_unproven): (discarding, _shut_down_output),
        (finishing, Lifecycle.answer_all): (closing, _lose_connection),
        (finishing, Lifecycle.answer_all_unproven): (closing, _lose_connection),
        (discarding, Lifecycle.end_input): (closing, _lose_connection),
        (draining, Lifecycle.drain): (closing, _lose_connection),
    }
    happenings = (
        Lifecycle.end_input,
        Lifecycle.condemn,
        Lifecycle.stop,
        Lifecycle.leave,
        Lifecycle.answer_all,
        Lifecycle.answer_all_unproven,
        Lifecycle.drain,
    )
    for state in states:
        for happening in happenings:
            if (state, happening) in quiet:
                state.upon(happening).to(quiet[state, happening]).returns(None)
            elif (state, happening) in loud:
                target, action = loud[state, happening]
                state.upon(happening).to(target)(action)
            else:
                state.upon(happening).loop().returns(None)
        if state is closed:
            state.upon(Lifecycle.abort).loop().returns(None)
        else:
            state.upon(Lifecycle.abort).to(closed)(_abort_connection)
        state.upon(Lifecycle.lose).to(closed).returns(None)
        state.upon(Lifecycle.state).loop().returns(state.name)
    return builder.build()


new_lifecycle: Final = _build()
"""A connection that has just been accepted."""
