"""Mail on its way into the store: what all connections send in one turn of the reactor is one put.

A Deferred and an operation for each message would cost more than the message does, and whoever
sends waits for the same commit anyway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final, TypeAlias

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from messageu.model import Envelope, MessageId, Refusal
from messageu.store import IMailboxStore, PutOutcome, StoreError
from messageu.wire import v2

PUT_MESSAGES: Final = 64
PUT_BYTES: Final = 2**20
"""What one put has at most, unless it has only one connection's: at these it is not waited for
more."""

_log = Logger()

Reply: TypeAlias = Callable[[bytes], None]

REFUSED: Final = v2.GeneralError().encode()


class Intake:
    """Puts messages into the store, and tells each sender's connection what it is answered.

    Messages are stored in the order in which they were given.

    :param complain: is called with what went wrong when messages could not be stored: once for all
        that it hit, not for each of them.
    :param hits: counts messages that met a full mailbox.
    """

    def __init__(
        self,
        store: IMailboxStore,
        clock: IReactorTime,
        complain: Callable[[Failure], None],
        hits: Counter[str],
    ) -> None:
        self._store = store
        self._clock = clock
        self._complain = complain
        self._hits = hits
        self._gathered: list[tuple[Sequence[Envelope], Reply]] = []
        self._messages = 0
        self._bytes = 0
        self._scheduled = False

    def put(self, envelopes: Sequence[Envelope], size: int, reply: Reply) -> None:
        """Store messages, ``size`` bytes of content together.

        ``reply`` is called later with the frames that answer them, which is after the commit.
        """
        self._gathered.append((envelopes, reply))
        self._messages += len(envelopes)
        self._bytes += size
        if self._messages >= PUT_MESSAGES or self._bytes >= PUT_BYTES:
            self._flush()
        elif not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._end_turn)

    def _end_turn(self) -> None:
        self._scheduled = False
        if self._gathered:
            self._flush()

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, []
        self._messages = self._bytes = 0
        if len(gathered) == 1:
            envelopes = gathered[0][0]
        else:
            envelopes = list(chain.from_iterable([each for each, _ in gathered]))
        stored = maybeDeferred(self._store.put, envelopes)
        stored.addCallbacks(
            self._answer, self._excuse, callbackArgs=(gathered,), errbackArgs=(gathered,)
        )

    def _answer(
        self, outcomes: Sequence[PutOutcome], gathered: Sequence[tuple[Sequence[Envelope], Reply]]
    ) -> None:
        following = iter(outcomes)
        for envelopes, reply in gathered:
            self._reply(reply, b"".join(map(self._frame, envelopes, following)))

    def _frame(self, envelope: Envelope, outcome: PutOutcome) -> bytes:
        if isinstance(outcome, MessageId):
            return v2.stored_frame(envelope.recipient, outcome)
        if isinstance(outcome, StoreError):
            self._complain(Failure(outcome))
        elif outcome is Refusal.MAILBOX_FULL:
            self._hits["mailbox_full"] += 1
        return REFUSED

    def _excuse(
        self, failure: Failure, gathered: Sequence[tuple[Sequence[Envelope], Reply]]
    ) -> None:
        self._complain(failure)
        for envelopes, reply in gathered:
            self._reply(reply, REFUSED * len(envelopes))

    def _reply(self, reply: Reply, frames: bytes) -> None:
        try:
            reply(frames)
        except Exception:  # noqa: BLE001 - whatever it is, the others get their answers
            _log.failure("a bug: an answer could not be given")
