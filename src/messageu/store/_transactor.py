"""Group commit: what arrives while a transaction commits becomes the next one (ADR 3)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Protocol, TypeAlias, TypeVar

from attrs import define, frozen
from twisted.enterprise import adbapi
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from ._complaints import Complaints
from ._interface import StoreError, StoreUnavailable

if TYPE_CHECKING:
    # The DB-API has no types of its own.
    from sqlite3 import Connection, Cursor

PENDING_LIMIT: Final = 65_536
"""Operations that may wait for a transaction."""

BATCH_OPERATIONS: Final = 4_096
BATCH_BYTES: Final = 8 * 2**20
"""What one transaction takes at most; at least one operation, however large."""


CALLS: Final = 2
"""Calls of the pool at once: one that runs, and one that waits to be the next."""


ConnectionPool: TypeAlias = adbapi.ConnectionPool


class Work(Protocol):
    """What operations work on during one transaction, and what they learn in it."""

    def committed(self) -> None:
        """Keep what was learned. Called by the thread that ran the operations, before others."""

    def rolled_back(self) -> None:
        """Forget what was learned. Called by the same thread."""


W = TypeVar("W", bound=Work)


class Operation(Generic[W]):
    """One thing to do in a transaction, with what it needs to know.

    :cvar name: how logs call it.
    :cvar writes: whether it may change the database.
    :cvar essential: taken even when too many operations wait.
    :cvar commutes: whether it only reads, what no other operation changes: it is done by itself
        between two transactions, so that it takes turns with what waits for a commit.
    """

    name: ClassVar[str]
    writes: ClassVar[bool] = False
    essential: ClassVar[bool] = False
    commutes: ClassVar[bool] = False

    @property
    def count(self) -> int:
        """How many things it does: at least one."""
        return 1

    @property
    def size(self) -> int:
        """The bytes of content that it carries or reads."""
        return 0

    def run(self, work: W) -> object:
        """Do it. A result that is an exception becomes a failure, without undoing anything."""
        raise NotImplementedError

    @classmethod
    def run_group(cls, work: W, group: Sequence[Any]) -> Sequence[object]:
        """Do consecutive operations of this class; as many results, in the same order."""
        return [operation.run(work) for operation in group]

    def parts(self) -> Sequence[Operation[W]]:
        """The same as operations that can fail one without the other."""
        return (self,)

    def join(self, results: Sequence[object]) -> object:
        """The result, made of those of its parts."""
        (result,) = results
        return result

    def give_up(self) -> None:
        """It failed for good, and was undone. Called like :meth:`Work.committed`."""


class Engine(Protocol):
    """How one kind of database is connected to, works in transactions, and fails."""

    module: str
    connect_arguments: dict[str, Any]

    def prepare(self, connection: Connection) -> None: ...
    def begin(self, cursor: Cursor, writes: bool) -> None: ...
    def commit(self, cursor: Cursor) -> None: ...
    def rollback(self, cursor: Cursor) -> None: ...
    def savepoint(self, cursor: Cursor) -> None: ...
    def release_savepoint(self, cursor: Cursor) -> None: ...
    def rollback_to_savepoint(self, cursor: Cursor) -> None: ...
    def is_outage(self, error: Exception) -> bool: ...
    def describe(self, error: Exception) -> str: ...


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


@frozen
class _Outcome:
    """What became of a batch: a result or an exception for each operation."""

    results: Sequence[object]
    works: Sequence[Work] = ()
    errors: Sequence[tuple[str, str]] = ()


class _CommitFailed(Exception):
    """The transaction was all right until it should have reached the disk."""


class Transactor(Generic[W]):
    """Runs operations on the pool's one connection, as many in one transaction as have gathered.

    A transaction takes its operations when it begins. While one runs another call waits in the
    pool, so that the thread goes on at once, without asking the reactor's.

    :param new_work: makes what the operations of one attempt work on.
    :param seconds: a clock; only differences count.
    :param riders: operations that join a batch that writes anyway; asked by the pool's thread.
    """

    _log = Logger()

    def __init__(
        self,
        pool: ConnectionPool,
        engine: Engine,
        new_work: Callable[[Cursor], W],
        seconds: Callable[[], float],
        riders: Callable[[], Iterable[Operation[W]]] = tuple,
    ) -> None:
        self._pool = pool
        self._engine = engine
        self._new_work = new_work
        self._riders = riders
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
            done = self._pool.runWithConnection(self._run)
            done.addCallbacks(self._finish, self._fail)

    def _fail(self, failure: Failure) -> None:
        """The pool could not open the database."""
        batch = self._take_batch()
        error = failure.value
        assert isinstance(error, Exception)  # noqa: S101 - a thread's failure is nothing else
        self._finish((batch, self._outage(batch, error)))

    def _finish(self, finished: tuple[Sequence[_Submission], _Outcome]) -> None:
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
                if batch and (places < 0 or room < 0):
                    break
                batch.append(self._pending.popleft())
        return batch

    # What follows runs in the pool's thread.

    def _run(self, connection: Connection) -> tuple[Sequence[_Submission], _Outcome]:
        """Do what waits now, and then what its end brings with it."""
        batch = self._take_batch()
        if any(each.operation.writes for each in batch):
            batch = [*batch, *map(_rider, self._riders())]
        operations = [each.operation for each in batch]
        outcome = self._run_batch(connection.cursor(), operations) if batch else _Outcome(())
        for work in outcome.works:
            with self._log.failureHandler("after a commit"):
                work.committed()
        for operation, result in zip(operations, outcome.results, strict=True):
            if isinstance(result, StoreError):
                with self._log.failureHandler("after a failed operation"):
                    operation.give_up()
        return batch, outcome

    def _run_batch(self, cursor: Cursor, batch: Sequence[Operation[W]]) -> _Outcome:
        if batch[0].commutes:
            return self._read(cursor, batch[0])
        try:
            return self._attempt(cursor, batch, self._run_groups)
        except Exception as error:  # noqa: BLE001 - whatever it is, it has an owner
            if self._is_outage(error):
                return self._outage(batch, error)
        try:
            return self._attempt(cursor, batch, self._run_singly)
        except Exception as error:  # noqa: BLE001
            return self._outage(batch, error)

    def _read(self, cursor: Cursor, operation: Operation[W]) -> _Outcome:
        """One that commutes, without a transaction of its own: that need not begin and end."""
        try:
            self._engine.rollback(cursor)
            work = self._new_work(cursor)
            return _Outcome([operation.run(work)], [work])
        except Exception as error:  # noqa: BLE001 - whatever it is, it has an owner
            if self._is_outage(error):
                return self._outage([operation], error)
            return _Outcome(
                [_failed(operation)], errors=[(operation.name, self._engine.describe(error))]
            )

    def _attempt(
        self, cursor: Cursor, batch: Sequence[Operation[W]], run: Callable[..., _Outcome]
    ) -> _Outcome:
        works: list[W] = []
        try:
            self._engine.begin(cursor, any(operation.writes for operation in batch))
            outcome = run(cursor, batch, works)
            self._commit(cursor)
        except BaseException:
            for work in reversed(works):
                work.rolled_back()
            self._engine.rollback(cursor)
            raise
        return outcome

    def _run_groups(
        self, cursor: Cursor, batch: Sequence[Operation[W]], works: list[W]
    ) -> _Outcome:
        """The common way: equal neighbours run together."""
        works.append(self._new_work(cursor))
        results: list[object] = []
        for _, members in groupby(batch, type):
            group = tuple(members)
            results.extend(group[0].run_group(works[0], group))
        return _Outcome(results, works)

    def _run_singly(
        self, cursor: Cursor, batch: Sequence[Operation[W]], works: list[W]
    ) -> _Outcome:
        """After an unexpected error: each on its own, so that only the guilty ones fail."""
        results: list[object] = []
        errors: list[tuple[str, str]] = []
        for operation in batch:
            parts = [self._run_alone(cursor, part, works, errors) for part in operation.parts()]
            results.append(operation.join(parts))
        return _Outcome(results, works, errors)

    def _run_alone(
        self, cursor: Cursor, part: Operation[W], works: list[W], errors: list[tuple[str, str]]
    ) -> object:
        self._engine.savepoint(cursor)
        work = self._new_work(cursor)
        try:
            (result,) = part.run_group(work, (part,))
        except Exception as error:
            work.rolled_back()
            if self._is_outage(error):
                raise
            self._engine.rollback_to_savepoint(cursor)
            result = _failed(part)
            errors.append((part.name, self._engine.describe(error)))
        else:
            works.append(work)
        self._engine.release_savepoint(cursor)
        return result

    def _commit(self, cursor: Cursor) -> None:
        try:
            self._engine.commit(cursor)
        except Exception as error:  # noqa: BLE001
            raise _CommitFailed(self._engine.describe(error)) from None

    def _is_outage(self, error: Exception) -> bool:
        return isinstance(error, _CommitFailed) or self._engine.is_outage(error)

    def _outage(self, batch: Sequence[object], error: Exception) -> _Outcome:
        text = str(error) if isinstance(error, _CommitFailed) else self._engine.describe(error)
        unavailable = StoreUnavailable("the store cannot be written now")
        return _Outcome([unavailable] * len(batch), errors=[("transaction", text)])


def _failed(operation: Operation[Any]) -> StoreError:
    # Without the cause: its text may hold what the operation carried.
    return StoreError(f"the operation {operation.name} failed")


def _rider(operation: Operation[Any]) -> _Submission:
    """Nobody waits for it, and a failure is logged already."""
    submission = _Submission(operation, Deferred())
    submission.deferred.addErrback(lambda _: None)
    return submission
