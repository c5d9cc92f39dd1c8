"""Envelopes on their way into the store: what all connections send in one turn of the reactor is
one put, as with v2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from messageu.model.v3 import SealedEnvelope
from messageu.store import StoreError
from messageu.store.v3 import IAccountStore, PutOutcome

from .._intake import PUT_BYTES, PUT_MESSAGES

_log = Logger()

Told: TypeAlias = Callable[[SealedEnvelope, PutOutcome], None]


class Intake:
    """Puts envelopes into the store, in the order in which they are given.

    :param complain: is called with what went wrong when envelopes could not be stored: once for all
        that it hit, not for each of them.
    """

    def __init__(
        self, store: IAccountStore, clock: IReactorTime, complain: Callable[[Failure], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._complain = complain
        self._gathered: list[tuple[SealedEnvelope, Told]] = []
        self._senders: set[object] = set()
        self._bytes = 0
        self._scheduled = False

    def put(self, sender: object, envelope: SealedEnvelope, told: Told) -> None:
        """Store an envelope. ``told`` is called later, after the commit, with what became of it."""
        self._gathered.append((envelope, told))
        self._senders.add(sender)
        self._bytes += len(envelope.sealed)
        if len(self._gathered) >= PUT_MESSAGES or self._bytes >= PUT_BYTES:
            self._flush()
        elif not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._end_turn)

    def settle(self, sender: object) -> None:
        """This sender asks for something else: what he has sent goes to the store first."""
        if sender in self._senders:
            self._flush()

    def _end_turn(self) -> None:
        self._scheduled = False
        if self._gathered:
            self._flush()

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, []
        self._senders.clear()
        self._bytes = 0
        stored = maybeDeferred(self._store.put, [envelope for envelope, _ in gathered])
        stored.addCallbacks(
            self._tell, self._excuse, callbackArgs=(gathered,), errbackArgs=(gathered,)
        )

    def _tell(
        self, outcomes: Sequence[PutOutcome], gathered: Sequence[tuple[SealedEnvelope, Told]]
    ) -> None:
        for (envelope, told), outcome in zip(gathered, outcomes, strict=True):
            if isinstance(outcome, StoreError):
                self._complain(Failure(outcome))
            try:
                told(envelope, outcome)
            except Exception:  # noqa: BLE001 - whatever it is, the others get their answers
                _log.failure("a bug: an answer could not be given")

    def _excuse(self, failure: Failure, gathered: Sequence[tuple[SealedEnvelope, Told]]) -> None:
        self._complain(failure)
        error = failure.value
        outcome = error if isinstance(error, StoreError) else StoreError("a bug")
        for envelope, told in gathered:
            told(envelope, outcome)
