"""Group commit: what arrives while a transaction commits becomes the next one (ADR 3)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any, Final, Generic, TypeAlias

from attrs import define
from twisted.enterprise import adbapi
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from ._batches import Engine, Outcome, Runner
from ._complaints import Complaints
from ._interface import StoreError, StoreUnavailable
from ._work import Operation, W

PENDING_LIMIT: Final = 65_536
"""Operations that may wait for a transaction."""

BATCH_OPERATIONS: Final = 4_096
BATCH_BYTES: Final = 8 * 2**20
"""What one transaction takes at most; at least one operation, however large."""

CALLS: Final = 2
"""Calls of the pool at once: one that runs, and one that waits to be the next."""


ConnectionPool: TypeAlias = adbapi.ConnectionPool

Committed: TypeAlias = Callable[[int, float], object]
"""Is told how many operations were committed together, and how many seconds that took."""


def connection_pool(engine: Engine, reactor: object) -> ConnectionPool:
    """A pool of one connection in one thread, which is opened when it is first used."""
    return ConnectionPool(
        engine.module,
        cp_reactor=reactor,
        cp_min=1,
        cp_max=1,
        cp_openfun=engine.prepare,
        **engine.connect_arguments,
    )


@define(eq=False)  # not frozen: there is one for each operation, and that takes half as long
class _Submission:
    operation: Operation[Any]
    deferred: Deferred[Any]


_Finished: TypeAlias = tuple[Sequence[_Submission], Outcome]
_Measured: TypeAlias = tuple[_Finished, float]


class Transactor(Generic[W]):
    """Runs operations on the pool's one connection, as many in one transaction as have gathered.

    A transaction takes its operations when it begins. While one runs another call waits in the
    pool, so that the thread goes on at once, without asking the reactor's.

    :param runner: does a batch of them.
    :param seconds: a clock; only differences count.
    :param riders: operations that join a batch that writes anyway; asked by the pool's thread.
    :param committed: is told by the reactor's thread of each batch that was written; None: nothing is
        measured.
    """

    _log = Logger()

    def __init__(
        self,
        pool: ConnectionPool,
        runner: Runner,
        seconds: Callable[[], float],
        riders: Callable[[], Iterable[Operation[W]]] = tuple,
        committed: Committed | None = None,
    ) -> None:
        self._pool = pool
        self._runner = runner
        self._riders = riders
        self._seconds = seconds
        self._committed = committed
        self._pending: deque[_Submission] = deque()
        self._readers: deque[_Submission] = deque()
        self._has_read = False
        self._taking = Lock()
        self._calls = 0
        self._closed: Deferred[None] | None = None
        self._complaints = Complaints(seconds)

    def submit(self, operation: Operation[W]) -> Deferred[Any]:
        """Do something in one of the next transactions. Fires after its commit.

        Fails with :class:`StoreUnavailable` when nothing of its transaction was done, and with
        another :class:`StoreError` when only this operation could not be done.
        """
        if self._closed is not None:
            return fail(StoreUnavailable("the store is closed"))
        waiting = self._readers if operation.commutes else self._pending
        if len(waiting) >= PENDING_LIMIT and not operation.essential:
            return fail(StoreUnavailable("the store is overloaded"))
        deferred: Deferred[Any] = Deferred()
        waiting.append(_Submission(operation, deferred))
        self._call()
        return deferred

    def close(self) -> Deferred[None]:
        """Take nothing more. Fires when everything that was submitted is finished."""
        self._closed = Deferred()
        self._fire_if_closed()
        return self._closed

    def _call(self) -> None:
        if (self._pending or self._readers) and self._calls < CALLS:
            self._calls += 1
            if self._committed is None:
                done = self._pool.runWithConnection(self._run)
            else:
                done = self._pool.runWithConnection(self._run_measured)
                done.addCallback(self._tell, self._committed)
            done.addCallbacks(self._finish, self._fail)

    def _fail(self, failure: Failure) -> None:
        """The pool could not open the database."""
        batch = self._take_batch()
        error = failure.value
        assert isinstance(error, Exception)  # noqa: S101 - a thread's failure is nothing else
        self._finish((batch, self._runner.fail(batch, error)))

    def _finish(self, finished: _Finished) -> None:
        batch, outcome = finished
        for name, error in outcome.errors:
            self._complaints.complain(name, error)
        self._calls -= 1
        self._call()
        for each, result in zip(batch, outcome.results, strict=True):
            if isinstance(result, StoreError):
                each.deferred.errback(result)
            else:
                each.deferred.callback(result)
        self._fire_if_closed()

    def _tell(self, measured: _Measured, committed: Committed) -> _Finished:
        """Nobody but the reactor's thread adds up what the threads have measured."""
        (batch, outcome), seconds = measured
        if outcome.works and any(each.operation.writes for each in batch):
            committed(sum(each.operation.count for each in batch), seconds)
        return batch, outcome

    def _fire_if_closed(self) -> None:
        idle = not (self._calls or self._pending or self._readers)
        if self._closed is not None and idle and not self._closed.called:
            self._complaints.say_rest()
            self._closed.callback(None)

    def _take_batch(self) -> Sequence[_Submission]:
        batch: list[_Submission] = []
        places, room = BATCH_OPERATIONS, BATCH_BYTES
        with self._taking:
            self._has_read = bool(self._readers) and not (self._pending and self._has_read)
            if self._has_read:
                return [self._readers.popleft()]
            while self._pending:
                operation = self._pending[0].operation
                places -= operation.count
                room -= operation.size
                if batch and (places < 0 or room < 0 or operation.alone):
                    break
                batch.append(self._pending.popleft())
                if operation.alone:
                    break
        return batch

    # What follows runs in the pool's thread.

    def _run_measured(self, connection: Any) -> _Measured:
        began = self._seconds()
        return self._run(connection), max(0.0, self._seconds() - began)

    def _run(self, connection: Any) -> _Finished:
        """Do what waits now, and then what its end brings with it."""
        batch = self._take_batch()
        if any(each.operation.writes for each in batch):
            batch = [*batch, *map(_rider, self._riders())]
        operations = [each.operation for each in batch]
        outcome = self._runner.run(connection, operations) if batch else Outcome(())
        for work in outcome.works:
            with self._log.failureHandler("after a commit"):
                work.committed()
        for operation, result in zip(operations, outcome.results, strict=True):
            if isinstance(result, StoreError):
                with self._log.failureHandler("after a failed operation"):
                    operation.give_up()
        return batch, outcome


def _rider(operation: Operation[Any]) -> _Submission:
    """Nobody waits for it, and a failure is logged already."""
    submission = _Submission(operation, Deferred())
    submission.deferred.addErrback(lambda _: None)
    return submission
