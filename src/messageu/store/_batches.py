"""Doing a batch of operations in one transaction, and finding out who is to blame when it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol

from attrs import frozen

from ._interface import StoreError, StoreUnavailable
from ._work import Operation, W, Work

if TYPE_CHECKING:
    # The DB-API has no types of its own.
    from sqlite3 import Connection, Cursor

UNAVAILABLE: Final = "the store cannot be written now"


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


@frozen
class Outcome:
    """What became of a batch: a result or an exception for each operation."""

    results: Sequence[object]
    works: Sequence[Work] = ()
    errors: Sequence[tuple[str, str]] = ()


class Runner(Protocol):
    """Does batches of operations, in the thread of the connection."""

    def run(self, connection: Any, batch: Sequence[Operation[Any]]) -> Outcome:
        """Do them in one transaction, or what commutes without one."""
        ...  # pragma: no cover

    def fail(self, batch: Sequence[object], error: Exception) -> Outcome:
        """The database could not even be opened."""
        ...  # pragma: no cover


class Outage(Exception):
    """Nothing was done, and no single operation is to blame. The text says what kind of error it was.

    :ivar error: what the engine has raised. Its text may quote what was to be stored.
    :ivar outcome: what it would have come to, if everything was all right until it should have
        reached the disk.
    """

    def __init__(self, text: str, error: Exception, outcome: Outcome | None = None) -> None:
        super().__init__(text)
        self.error = error
        self.outcome = outcome


def nothing_done(batch: Sequence[object], text: str) -> Outcome:
    """What a batch comes to that failed as a whole; the text says why, for the log."""
    unavailable = StoreUnavailable(UNAVAILABLE)
    return Outcome([unavailable] * len(batch), errors=[("transaction", text)])


class BatchRunner(Generic[W]):
    """Does operations in one transaction; after an unexpected error, each one by itself.

    :param new_work: makes what the operations of one attempt work on.
    """

    def __init__(self, engine: Engine, new_work: Callable[[Cursor], W]) -> None:
        self._engine = engine
        self._new_work = new_work

    def run(self, connection: Connection, batch: Sequence[Operation[W]]) -> Outcome:
        """Do a batch, which is not empty."""
        try:
            return self.attempt(connection.cursor(), batch)
        except Outage as error:
            return nothing_done(batch, str(error))

    def fail(self, batch: Sequence[object], error: Exception) -> Outcome:
        """The database could not even be opened."""
        return nothing_done(batch, self._engine.describe(error))

    def attempt(self, cursor: Cursor, batch: Sequence[Operation[W]]) -> Outcome:
        """Do a batch, which is not empty, once.

        :raises Outage: when nothing was done.
        """
        if batch[0].commutes:
            return self._read(cursor, batch[0])
        try:
            return self._attempt(cursor, batch, self._run_groups)
        except Exception as error:  # noqa: BLE001 - whatever it is, it has an owner
            if self._is_outage(error):
                raise self._outage(error) from None
        try:
            return self._attempt(cursor, batch, self._run_singly)
        except Exception as error:  # noqa: BLE001
            raise self._outage(error) from None

    def _read(self, cursor: Cursor, operation: Operation[W]) -> Outcome:
        """One that commutes, without a transaction of its own: that need not begin and end."""
        try:
            self._engine.rollback(cursor)
            work = self._new_work(cursor)
            return Outcome([operation.run(work)], [work])
        except Exception as error:  # noqa: BLE001 - whatever it is, it has an owner
            if self._is_outage(error):
                raise self._outage(error) from None
            return Outcome(
                [_failed(operation)], errors=[(operation.name, self._engine.describe(error))]
            )

    def _attempt(
        self, cursor: Cursor, batch: Sequence[Operation[W]], run: Callable[..., Outcome]
    ) -> Outcome:
        works: list[W] = []
        try:
            self._begin(cursor, batch)
            outcome = run(cursor, batch, works)
            self._commit(cursor, outcome)
        except BaseException:
            for work in reversed(works):
                work.rolled_back()
            self._engine.rollback(cursor)
            raise
        return outcome

    def _begin(self, cursor: Cursor, batch: Sequence[Operation[W]]) -> None:
        self._engine.begin(cursor, any(operation.writes for operation in batch))

    def _start(self, cursor: Cursor, _: Sequence[Operation[W]]) -> W:
        """What a batch works on, when all may still go well."""
        return self._new_work(cursor)

    def _run_groups(self, cursor: Cursor, batch: Sequence[Operation[W]], works: list[W]) -> Outcome:
        """The common way: equal neighbours run together."""
        works.append(self._start(cursor, batch))
        results: list[object] = []
        for _, members in groupby(batch, type):
            group = tuple(members)
            results.extend(group[0].run_group(works[0], group))
        return Outcome(results, works)

    def _run_singly(self, cursor: Cursor, batch: Sequence[Operation[W]], works: list[W]) -> Outcome:
        """After an unexpected error: each on its own, so that only the guilty ones fail."""
        results: list[object] = []
        errors: list[tuple[str, str]] = []
        for operation in batch:
            parts = [self._run_alone(cursor, part, works, errors) for part in operation.parts()]
            results.append(operation.join(parts))
        return Outcome(results, works, errors)

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

    def _commit(self, cursor: Cursor, outcome: Outcome) -> None:
        try:
            self._engine.commit(cursor)
        except Exception as error:  # noqa: BLE001
            raise Outage(self._engine.describe(error), error, outcome) from None

    def _is_outage(self, error: Exception) -> bool:
        return isinstance(error, Outage) or self._engine.is_outage(error)

    def _outage(self, error: Exception) -> Outage:
        return error if isinstance(error, Outage) else Outage(self._engine.describe(error), error)


def _failed(operation: Operation[Any]) -> StoreError:
    # Without the cause: its text may hold what the operation carried.
    return StoreError(f"the operation {operation.name} failed")
