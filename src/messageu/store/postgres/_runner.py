"""Doing batches on a server that may be lost meanwhile, each of them once.

A batch that fails because others were in the way, or because the connection is gone, is done again:
its operations do not know. When the connection is lost while the batch commits, nobody knows whether
it was done. So each lane has a row in which every batch writes its number, in its own transaction.
Whoever connects again locks that row, which waits until the server has done with the former
connection, and reads which batch was the last. It is written again, and committed: when that
has returned, what was committed before is where a commit has to be, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, frozen

from .._batches import BatchRunner, Outage, Outcome, nothing_done
from .._work import Operation
from ._connection import LaneConnection
from ._engine import Connection, Cursor, Fault, LaneForgottenError, PostgresEngine
from ._locks import take_locks
from ._statements import note_timeline
from ._work import PostgresWork

RETRY_FOR: Final = 15.0
"""Seconds from the beginning of the first batch in trouble, after which nothing is tried again, and
batches fail. The last attempt may take as long as a stuck one does; together that is less than the 30
seconds for which our clients wait for an answer."""

FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 1.0
"""Seconds between two attempts, of which each is twice the one before; and between those of batches
that fail."""

AGAIN_LIMIT: Final = 20
"""Attempts of one batch that is in the way of others, or they in its."""

COMMIT_MARK: Final = "UPDATE relay_lane SET batch = {} WHERE id = '{}'"


@frozen
class LaneName:
    """What one lane of one relay is called.

    :ivar id: 32 hexadecimal digits.
    :ivar relay: of its relay, in the same form.
    """

    id: str
    relay: str

    @property
    def application(self) -> str:
        """What the server calls its connections: by this the former one is found."""
        return f"messageu {self.id}"


@frozen
class _Unsure:
    """A batch that was committed, or was not."""

    number: int
    outcome: Outcome


@define
class Trouble:
    """How long it has been going badly.

    :ivar since: when that began, None when it goes well.
    :ivar failed_at: when it was tried last.
    """

    since: float | None = None
    failed_at: float = 0.0
    pause: float = FIRST_PAUSE

    def begin(self, began: float, now: float) -> None:
        """An attempt has failed, of a batch that has begun then."""
        if self.since is None:
            self.since = began
            self.pause = FIRST_PAUSE
        self.failed_at = now

    def is_hopeless(self, now: float) -> bool:
        """Whether a batch fails rather than to wait for an end of it."""
        return self.since is not None and now - self.since > RETRY_FOR

    def is_fresh(self, now: float) -> bool:
        """Whether it was tried a moment ago."""
        return now - self.failed_at < LONGEST_PAUSE

    def next_pause(self) -> float:
        """Seconds until the next attempt."""
        pause, self.pause = self.pause, min(LONGEST_PAUSE, self.pause * 2)
        return pause


class PersistentRunner(BatchRunner[PostgresWork]):
    """Does batches, each in a transaction of its own, again and again until it is known how it ended.

    :param seconds: a clock; only differences count.
    :param wait: waits so many seconds; answers whether it is no use to go on, as the store closes.
    :ivar busy_since: since when the server has been asked for something, None while it is not.
    """

    def __init__(
        self,
        engine: PostgresEngine,
        new_work: Callable[[Cursor], PostgresWork],
        name: LaneName,
        seconds: Callable[[], float],
        wait: Callable[[float], bool],
    ) -> None:
        super().__init__(engine, new_work)  # type: ignore[arg-type] # cursors of the DB-API differ
        self._postgres = engine
        self._name = name
        self._seconds = seconds
        self._wait = wait
        self._number = 0
        self._trouble = Trouble()
        self._unsure: _Unsure | None = None
        self._taken: Connection | None = None
        self.busy_since: float | None = None

    def run(  # type: ignore[override]
        self, connection: LaneConnection, batch: Sequence[Operation[PostgresWork]]
    ) -> Outcome:
        """Do a batch, which is not empty."""
        began = self._seconds()
        if self._trouble.is_hopeless(began) and self._trouble.is_fresh(began):
            return nothing_done(batch, "the server is still away")
        self._unsure = None
        failures = Counter[Fault]()
        while True:
            self.busy_since = self._seconds()
            try:
                outcome = self._run_once(connection, batch)
            except Outage as error:
                fault = self._judge(error, batch)
                failures[fault] += 1
                if fault is Fault.LOST:
                    connection.drop()
                self.busy_since = None
                if not self._goes_on(fault, failures[fault], began):
                    return nothing_done(batch, str(error))
            else:
                self._trouble.since = None
                return outcome
            finally:
                self.busy_since = None

    def _judge(self, error: Outage, batch: Sequence[Operation[PostgresWork]]) -> Fault:
        """What helps; and remember a batch of which nobody knows whether it was committed."""
        fault = self._postgres.judge(error.error)
        if fault is Fault.LOST and error.outcome is not None and _is_marked(batch):
            self._unsure = _Unsure(self._number, error.outcome)
        if fault is Fault.REFUSED and self._unsure is not None:
            # To say that nothing was done could be a lie: first it has to be known.
            return Fault.LOST
        return fault

    def _goes_on(self, fault: Fault, times: int, began: float) -> bool:
        """Whether to try once more, now that so many attempts have ended like this one."""
        now = self._seconds()
        if fault is not Fault.LOST:
            self._trouble.since = None  # somebody is there
        if fault is Fault.REFUSED:
            return False
        if fault is Fault.AGAIN:
            # Also while the store closes: this does not take long.
            self._wait(FIRST_PAUSE)
            return times <= AGAIN_LIMIT and now - began <= RETRY_FOR
        self._trouble.begin(began, now)
        if self._trouble.is_hopeless(now):
            return False
        is_closing = self._wait(self._trouble.next_pause())
        # A connection that was kept may have been dead for long.
        return times == 1 or not is_closing

    def _run_once(
        self, connection: LaneConnection, batch: Sequence[Operation[PostgresWork]]
    ) -> Outcome:
        cursor = self._open(connection)
        if cursor.connection is not self._taken or self._unsure is not None:
            last = self._take_lane(cursor)
            self._taken = cursor.connection
            # It may be another server now, which has lost some clients and given their keys to others.
            self._new_work(cursor).forget_keys()  # type: ignore[arg-type]
            unsure, self._unsure = self._unsure, None
            if unsure is not None and last == unsure.number:
                return Outcome(unsure.outcome.results, errors=unsure.outcome.errors)
        return self.attempt(cursor, batch)  # type: ignore[arg-type]

    def _open(self, connection: LaneConnection) -> Cursor:
        try:
            return connection.open().cursor()
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no connection
            raise Outage(self._postgres.describe(error), error) from None

    def _take_lane(self, cursor: Cursor) -> int:
        """End what the former connection may still do; the last batch that is committed for good."""
        try:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = %s AND pid <> pg_backend_pid()",
                (self._name.application,),
            )
            self._postgres.begin(cursor, True)
            cursor.execute(
                "INSERT INTO relay_lane (id, relay, batch) VALUES (%s, %s, 0)"
                " ON CONFLICT (id) DO UPDATE SET batch = relay_lane.batch RETURNING batch",
                (self._name.id, self._name.relay),
            )
            row = cursor.fetchone()
            note_timeline(cursor)
            self._postgres.commit(cursor)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing is known
            self._postgres.rollback(cursor)
            raise Outage(self._postgres.describe(error), error) from None
        assert row is not None  # noqa: S101 - RETURNING returns it
        return int(row[0])

    # What follows is done within an attempt.

    def _begin(self, cursor: Cursor, batch: Sequence[Operation[PostgresWork]]) -> None:  # type: ignore[override]
        if not _is_marked(batch):
            self._postgres.begin(cursor, True)
            return
        self._number += 1
        self._postgres.rollback(cursor)
        # One message to the server instead of two.
        cursor.execute(f"BEGIN; {COMMIT_MARK.format(self._number, self._name.id)}")
        cursor.nextset()
        if cursor.rowcount != 1:
            raise LaneForgottenError

    def _start(  # type: ignore[override]
        self, cursor: Cursor, batch: Sequence[Operation[PostgresWork]]
    ) -> PostgresWork:
        work = self._new_work(cursor)  # type: ignore[arg-type]
        take_locks(work, batch)
        return work

    def _run_singly(  # type: ignore[override]
        self,
        cursor: Cursor,
        batch: Sequence[Operation[PostgresWork]],
        works: list[PostgresWork],
    ) -> Outcome:
        # Locks outlive the savepoints that follow.
        self._start(cursor, batch)
        return super()._run_singly(cursor, batch, works)  # type: ignore[arg-type]


def _is_marked(batch: Sequence[Operation[PostgresWork]]) -> bool:
    return any(each.writes and not each.repeatable for each in batch)
