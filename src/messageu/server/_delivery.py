"""When mail counts as delivered, and may be deleted (docs/adr/0002): a pure state machine.

v2's fetch has no acknowledgement, so that the relay judges by what it can see. It errs to one
side only: what may not have arrived waits again.

::

    streaming ───flushed──▶ flushed ───proven──▶ settled
        │ input ended          │ input ended, nothing proven
        ▼                      ▼
    last answer ─flushed─▶ draining ──proven──▶ settled       any of the four ──broken──▶ returned
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import frozen
from automat import TypeMachineBuilder


@frozen
class _Outcomes:
    settle: Callable[[], None]
    give_back: Callable[[], None]


class _Inputs(Protocol):
    """What can happen to an answer on its way."""

    def flush(self) -> None: ...  # the kernel has taken all of it
    def prove(self) -> None: ...  # there is proof that it has arrived
    def end_input(self) -> None: ...  # the client sends no more, which alone proves nothing
    def break_off(self) -> None: ...  # a reset, an abort, a deadline or a shutdown
    def state(self) -> str: ...  # the name of the state


def _settle(_: _Inputs, outcomes: _Outcomes) -> None:
    outcomes.settle()


def _give_back(_: _Inputs, outcomes: _Outcomes) -> None:
    outcomes.give_back()


def _build_machine() -> Callable[[_Outcomes], _Inputs]:
    builder = TypeMachineBuilder(_Inputs, _Outcomes)
    streaming = builder.state("streaming")
    last_answer = builder.state("last answer")
    flushed = builder.state("flushed")
    draining = builder.state("draining")
    settled = builder.state("settled")
    returned = builder.state("returned")

    streaming.upon(_Inputs.flush).to(flushed).returns(None)
    streaming.upon(_Inputs.end_input).to(last_answer).returns(None)
    last_answer.upon(_Inputs.flush).to(draining).returns(None)
    flushed.upon(_Inputs.end_input).to(draining).returns(None)
    for state in (flushed, draining):
        state.upon(_Inputs.prove).to(settled)(_settle)
    for state in (streaming, last_answer, flushed, draining):
        state.upon(_Inputs.break_off).to(returned)(_give_back)

    # What has not left cannot have arrived, and what has ended stays as it ended.
    for state, ignored in (
        (streaming, [_Inputs.prove]),
        (last_answer, [_Inputs.prove, _Inputs.end_input]),
        (flushed, [_Inputs.flush]),
        (draining, [_Inputs.flush, _Inputs.end_input]),
        (settled, [_Inputs.flush, _Inputs.prove, _Inputs.end_input, _Inputs.break_off]),
        (returned, [_Inputs.flush, _Inputs.prove, _Inputs.end_input, _Inputs.break_off]),
    ):
        for happening in ignored:
            state.upon(happening).loop().returns(None)
        state.upon(_Inputs.state).loop().returns(state.name)
    return builder.build()


_machine = _build_machine()


_ENDS = frozenset({"settled", "returned"})


class Delivery:
    """One answer to a fetch: feed it with what the transport shows, in bytes of the connection.

    Exactly one of ``settle`` and ``give_back`` is called, once: the messages have arrived and may
    be deleted, or they wait again. Where the kernel cannot be asked, what it would say is None.
    """

    __slots__ = ("_horizon", "_machine")

    def __init__(self, *, settle: Callable[[], None], give_back: Callable[[], None]) -> None:
        self._machine = _machine(_Outcomes(settle, give_back))
        self._horizon = 0

    @property
    def state(self) -> str:
        """Streaming, last answer, flushed, draining, settled or returned."""
        return self._machine.state()

    @property
    def ended(self) -> bool:
        """Whether it is settled or returned."""
        return self.state in _ENDS

    def flushed(self, horizon: int) -> None:
        """The kernel has the whole answer.

        :param horizon: bytes that the client is known to have sent before the last piece of the
            answer went. A request that begins before it cannot be a reply.
        """
        self._horizon = horizon
        self._machine.flush()

    def heard(self, offset: int, unacknowledged: int | None) -> None:
        """A request came that began at ``offset`` in what the client has sent.

        It proves the arrival if none of its bytes was there before the last piece of the answer
        went, and the client's kernel has acknowledged the whole answer.
        """
        if offset >= self._horizon and unacknowledged in (0, None):
            self._machine.prove()

    def input_ended(self, unacknowledged: int | None) -> None:
        """The client has shut down its sending half: proof, if its kernel has the whole answer."""
        if unacknowledged == 0:
            self._machine.prove()
        self._machine.end_input()

    def drained(self, *, unacknowledged: int | None, failed: bool) -> None:
        """After our own half was shut down: how much the client's kernel has not acknowledged."""
        if failed or unacknowledged is None:
            self._machine.break_off()
        elif unacknowledged == 0 and self.state == "draining":
            self._machine.prove()

    def broken(self) -> None:
        """The connection was reset, aborted, timed out or shut down."""
        self._machine.break_off()
