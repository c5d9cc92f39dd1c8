"""Group commit, with operations made for the tests on a database with one table."""

import sqlite3
import tempfile
from pathlib import Path
from typing import ClassVar
from unittest import mock

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from messageu.store import StoreError, StoreUnavailable, _transactor
from messageu.store._batches import BatchRunner
from messageu.store._complaints import COMPLAINT_INTERVAL, KINDS_LIMIT, Complaints
from messageu.store._engine import SqliteEngine
from messageu.store._transactor import Transactor
from messageu.store._work import Operation
from messageu.testing.store import sqlite_error
from messageu.testing.threadpool import threadless_pool
from tests.store.contract import result_of

SECRET = "not for the log"


@define
class Attempt:
    """Work that tells what became of it."""

    cursor: sqlite3.Cursor
    events: list

    def committed(self):
        self.events.append("committed")

    def rolled_back(self):
        self.events.append("rolled back")


@frozen
class Add(Operation):
    name: ClassVar[str] = "add"
    writes: ClassVar[bool] = True

    text: str
    size: int = 0
    given_up: list = field(factory=list)

    @classmethod
    def run_group(cls, work, group):
        work.events.append([each.text for each in group])
        work.cursor.executemany("INSERT INTO text VALUES (?)", [(each.text,) for each in group])
        return [f"added {each.text}" for each in group]

    def give_up(self):
        self.given_up.append(self.text)


@frozen
class Look(Operation):
    name: ClassVar[str] = "look"

    def run(self, work):
        rows = work.cursor.execute("SELECT text FROM text ORDER BY rowid")
        return [text for (text,) in rows]


@frozen
class Fail(Operation):
    """An operation that adds something, and then meets an error."""

    name: ClassVar[str] = "fail"
    writes: ClassVar[bool] = True

    error: Exception

    def run(self, work):
        work.cursor.execute("INSERT INTO text VALUES ('half done')")
        raise self.error


@frozen
class Answer(Operation):
    """An operation whose result is an error."""

    name: ClassVar[str] = "answer"

    def run(self, work):
        return StoreError("no")


@frozen
class Essential(Add):
    essential: ClassVar[bool] = True


@frozen
class Alone(Add):
    alone: ClassVar[bool] = True


class RecordingEngine(SqliteEngine):
    """SQLite that records its transactions, and fails to commit them when told to."""

    commit_error = None

    def __init__(self, path, events):
        super().__init__(path)
        self.events = events

    def begin(self, cursor, writes):
        super().begin(cursor, writes)
        self.events.append("begin write" if writes else "begin read")

    def commit(self, cursor):
        if self.commit_error is not None:
            raise self.commit_error
        super().commit(cursor)
        self.events.append("commit")


class TransactorTests(SynchronousTestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name, "texts.db")
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE text (text TEXT UNIQUE)")
        connection.close()
        self.events = []
        self.clock = Clock()
        self.engine = RecordingEngine(path, self.events)
        self.pool = threadless_pool(self.engine, self.clock)
        self.addCleanup(self.pool.close)
        self.riders = []
        runner = BatchRunner(self.engine, self.work)
        self.transactor = Transactor(self.pool, runner, self.clock.seconds, lambda: self.riders)

    def work(self, cursor):
        return Attempt(cursor, self.events)

    def submit(self, *operations):
        return [self.transactor.submit(operation) for operation in operations]

    def run_all(self, *operations):
        """What becomes of operations that are submitted while nothing runs."""
        deferreds = self.submit(*operations)
        self.clock.advance(0)
        return [self.outcome(each) for each in deferreds]

    def outcome(self, deferred):
        try:
            return result_of(deferred)
        except StoreError as error:
            return type(error)

    def texts(self):
        return self.run_all(Look())[0]

    def logged(self):
        """The log events that this test has caused from now on."""
        events = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        return events

    def test_what_waits_is_one_transaction(self):
        """What waits when a transaction begins is done in it, in groups, in order."""
        self.assertEqual(
            self.run_all(Add("0"), Add("1"), Look(), Add("2")),
            ["added 0", "added 1", ["0", "1"], "added 2"],
        )
        self.assertEqual(self.events, ["begin write", ["0", "1"], ["2"], "commit", "committed"])

    def test_alone(self):
        """An operation that shares no transaction has one of its own, in its place."""
        deferreds = self.submit(Add("0"), Alone("1"), Alone("2"), Add("3"), Add("4"))
        for _ in range(4):
            self.clock.advance(0)
        self.assertEqual(
            [self.outcome(each) for each in deferreds], [f"added {number}" for number in range(5)]
        )
        groups = [event for event in self.events if isinstance(event, list)]
        self.assertEqual(groups, [["0"], ["1"], ["2"], ["3", "4"]])
        self.assertEqual(self.events.count("commit"), 4)

    def test_what_gathers_is_the_next_transaction(self):
        """What is submitted while a transaction runs becomes the next one."""
        later = []
        commit = self.engine.commit

        def commit_late(cursor):
            if not later:
                later.extend(self.submit(Add("1"), Add("2"), Add("3")))
            commit(cursor)

        with mock.patch.object(self.engine, "commit", commit_late):
            self.assertEqual(self.run_all(Add("0")), ["added 0"])
            self.clock.advance(0)
        self.assertEqual([result_of(each) for each in later], ["added 1", "added 2", "added 3"])
        self.assertEqual(
            self.events,
            [
                *("begin write", ["0"], "commit", "committed"),
                *("begin write", ["1", "2", "3"], "commit", "committed"),
            ],
        )

    def test_measured(self):
        """Whoever wants to know hears of each batch that was written how many operations it had and
        how long it took, before its results; of what was only read, or has failed, nothing."""
        told = []
        runner = BatchRunner(self.engine, self.work)
        self.transactor = Transactor(
            self.pool, runner, self.clock.seconds, committed=lambda *each: told.append(each)
        )
        commit = self.engine.commit

        def commit_slowly(cursor):
            self.clock.rightNow += 0.5
            commit(cursor)

        with mock.patch.object(self.engine, "commit", commit_slowly):
            for deferred in self.submit(Add("0"), Look(), Add("1")):
                deferred.addCallback(lambda _: self.assertEqual(told, [(3, 0.5)]))
            self.clock.advance(0)
        self.assertEqual(self.texts(), ["0", "1"])
        self.engine.commit_error = sqlite3.OperationalError("disk I/O error")
        self.assertEqual(self.run_all(Add("2")), [StoreUnavailable])
        self.assertEqual(told, [(3, 0.5)])

    def test_fires_after_the_commit(self):
        """Results come after the commit, in the order of the operations."""
        for text in "012":
            self.transactor.submit(Add(text)).addCallback(self.events.append)
        self.assertEqual(self.events, [])
        self.clock.advance(0)
        self.assertEqual(self.events[-5:], ["commit", "committed", "added 0", "added 1", "added 2"])

    def test_next_waits_in_the_pool(self):
        """While a transaction runs the next one waits where its thread finds it, and no more."""
        self.submit(*(Add(text) for text in "01234"))
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)

    def test_nothing_is_left_for_the_next(self):
        """A call of the pool for which nothing is left touches nothing."""
        self.run_all(Add("0"), Add("1"))
        self.assertEqual(self.events.count("begin write"), 1)

    def test_reads_write_nothing(self):
        """A transaction of only reads takes no lock."""
        self.run_all(Look())
        self.assertEqual(self.events, ["begin read", "commit", "committed"])

    def test_riders(self):
        """Riders join what writes, and nothing else; that one fails is nobody's concern."""
        self.riders = [Add("rider"), Answer()]
        self.run_all(Look())
        self.assertEqual(self.run_all(Add("0")), ["added 0"])
        self.assertEqual(self.texts(), ["0", "rider"])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_limit_of_operations(self):
        """One transaction takes so many operations and no more."""
        with mock.patch.object(_transactor, "BATCH_OPERATIONS", 2):
            self.run_all(*(Add(text) for text in "01234"))
        groups = [event for event in self.events if isinstance(event, list)]
        self.assertEqual(groups, [["0", "1"], ["2", "3"], ["4"]])

    def test_limit_of_bytes(self):
        """One transaction takes so many bytes and no more, but at least one operation."""
        with mock.patch.object(_transactor, "BATCH_BYTES", 10):
            self.run_all(Add("1", 11), Add("2", 6), Add("3", 4), Add("4", 5), Add("5", 6))
        groups = [event for event in self.events if isinstance(event, list)]
        self.assertEqual(groups, [["1"], ["2", "3"], ["4"], ["5"]])

    def test_overload(self):
        """Over the limit of what may wait, only the essential is taken."""
        with mock.patch.object(_transactor, "PENDING_LIMIT", 2):
            results = self.run_all(Add("1"), Add("2"), Add("3"), Essential("4"))
        self.assertEqual(results, ["added 1", "added 2", StoreUnavailable, "added 4"])

    def test_only_the_guilty_fails(self):
        """After an unexpected error the others are done all the same, in one transaction."""
        self.run_all(Add("0"))
        self.events.clear()
        guilty = Add("0")
        results = self.run_all(
            Look(), Add("1"), guilty, Add("2"), Fail(TypeError(SECRET)), Add("3")
        )
        self.assertEqual(results, [["0"], "added 1", StoreError, "added 2", StoreError, "added 3"])
        self.assertEqual(self.texts(), ["0", "1", "2", "3"])
        self.assertEqual(guilty.given_up, ["0"])
        self.assertEqual(self.events.count("begin write"), 2)

    def test_log_of_an_error(self):
        """The log says which operation failed and with what kind of error, not with what text."""
        self.run_all(Add("0"))
        events = self.logged()
        self.run_all(Add("0"), Fail(TypeError(SECRET)))
        self.assertEqual(
            [(event["name"], event["error"]) for event in events if "error" in event],
            [("add", "IntegrityError SQLITE_CONSTRAINT_UNIQUE"), ("fail", "TypeError")],
        )
        self.assertNotIn(SECRET, repr(events))

    def test_log_of_many_errors(self):
        """A disk that stays full has a line a minute, which says how often it was met; what was not
        said is said at the end."""
        events = self.logged()

        def times():
            said = [event["times"] for event in events if "times" in event]
            events.clear()
            return said

        def fill(batches):
            for _ in range(batches):
                self.run_all(Fail(sqlite_error("SQLITE_FULL")))

        fill(50)
        self.assertEqual(times(), [1])
        self.clock.advance(COMPLAINT_INTERVAL - 1)
        fill(50)
        self.assertEqual(times(), [])
        self.clock.advance(1)
        fill(10)
        self.assertEqual(times(), [100])
        self.run_all(Fail(sqlite_error("SQLITE_IOERR")))
        self.assertEqual(times(), [1])
        self.successResultOf(self.transactor.close())
        self.assertEqual(times(), [9])

    def test_log_of_kinds_of_errors(self):
        """Only so many kinds of errors are remembered; what was not said of one is said when it is
        forgotten."""
        complaints = Complaints(self.clock.seconds)
        events = self.logged()
        for number in range(KINDS_LIMIT + 1):
            complaints.complain(f"operation {number}", "KeyError")
            complaints.complain(f"operation {number}", "KeyError")
        said = [event["name"] for event in events]
        self.assertEqual(len(said), KINDS_LIMIT + 2)
        self.assertEqual(said[-2:], [f"operation {KINDS_LIMIT}", "operation 0"])

    def test_error_of_the_guilty_hides_its_cause(self):
        """Nothing that an operation carried can be found in what its Deferred fails with."""
        (deferred,) = self.submit(Fail(TypeError(SECRET)))
        self.clock.advance(0)
        failure = self.failureResultOf(deferred, StoreError)
        self.assertIsNone(failure.value.__cause__)
        self.assertIsNone(failure.value.__context__)
        self.assertNotIn(SECRET, failure.getTraceback(detail="verbose"))

    def test_error_as_a_result(self):
        """An operation may fail by its result, without a second attempt."""
        self.assertEqual(self.run_all(Look(), Answer(), Look()), [[], StoreError, []])
        self.assertEqual(self.events.count("begin read"), 1)

    def test_outage(self):
        """When the disk is at fault everything in the transaction fails, without replay."""
        for name in ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_READONLY_DBMOVED"):
            with self.subTest(name=name):
                added = Add(name)
                results = self.run_all(added, Fail(sqlite_error(name)), Look())
                self.assertEqual(results, [StoreUnavailable] * 3)
                self.assertEqual(added.given_up, [name])
                self.assertEqual(self.texts(), [])
                self.assertEqual(self.events.count("begin write"), 1)
                self.events.clear()

    def test_outage_during_the_replay(self):
        """When the disk fails while the innocent are sorted out, everything fails."""

        class Late(Fail):
            """The disk fails when it runs a second time."""

            def run(self, work):
                work.cursor.execute("INSERT INTO text VALUES ('half done')")
                raise TypeError if work.events.count("rolled back") == 0 else self.error

        results = self.run_all(Look(), Add("0"), Late(sqlite_error("SQLITE_IOERR")), Add("1"))
        self.assertEqual(results[1:], [StoreUnavailable] * 3)
        self.assertEqual(self.texts(), [])

    def test_failed_commit(self):
        """When the COMMIT fails nothing was done, whatever the reason, and nothing is replayed."""
        for error in (sqlite_error("SQLITE_IOERR"), sqlite_error("SQLITE_ERROR"), TypeError()):
            with self.subTest(error=error):
                self.engine.commit_error = error
                self.events.clear()
                self.assertEqual(self.run_all(Add("0")), [StoreUnavailable])
                self.assertEqual(self.events, ["begin write", ["0"], "rolled back"])
                self.engine.commit_error = None
                self.assertEqual(self.texts(), [])

    def test_after_an_outage(self):
        """The next transaction is tried as if nothing had been."""
        self.run_all(Add("0"), Fail(sqlite_error("SQLITE_FULL")))
        self.assertEqual(self.run_all(Add("1")), ["added 1"])
        self.assertEqual(self.texts(), ["1"])

    def test_no_connection(self):
        """When the database cannot be opened everything fails, and is tried again."""
        with mock.patch.object(self.pool, "connect", side_effect=sqlite_error("SQLITE_CANTOPEN")):
            self.assertEqual(self.run_all(Add("0"), Add("1")), [StoreUnavailable] * 2)
        self.assertEqual(self.run_all(Add("2")), ["added 2"])

    def test_transaction_left_open(self):
        """A transaction that could not be ended does not stop the next one."""
        with mock.patch.object(SqliteEngine, "rollback", side_effect=sqlite_error("SQLITE_IOERR")):
            self.assertEqual(self.run_all(Fail(TypeError())), [StoreUnavailable])
        self.assertEqual(self.run_all(Add("1")), ["added 1"])
        self.assertEqual(self.texts(), ["1"])

    def test_raising_callback(self):
        """Who gets a result and raises harms nobody else."""
        first, second, third = self.submit(Look(), Add("0"), Add("1"))
        first.addCallback(lambda _: 1 / 0)
        second.addCallback(lambda _: 1 / 0)
        self.clock.advance(0)
        self.failureResultOf(first, ZeroDivisionError)
        self.failureResultOf(second, ZeroDivisionError)
        self.assertEqual(result_of(third), "added 1")

    def test_raising_hooks(self):
        """A mistake in what follows a transaction is logged, and loses no result."""

        class Clumsy(Add):
            def give_up(self):
                raise ZeroDivisionError

        with mock.patch.object(Attempt, "committed", side_effect=KeyError):
            self.assertEqual(self.run_all(Add("0")), ["added 0"])
        self.assertEqual(self.run_all(Clumsy("0"), Add("1")), [StoreError, "added 1"])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_cancelled(self):
        """Cancelling undoes nothing."""
        first, second = self.submit(Add("0"), Add("1"))
        for deferred in (first, second):
            deferred.addErrback(lambda _: None)
            deferred.cancel()
        self.assertEqual(self.texts(), ["0", "1"])

    def test_close(self):
        """Closing finishes what was submitted, and takes nothing more."""
        first, second = self.submit(Add("0"), Add("1"))
        closed = self.transactor.close()
        (late,) = self.submit(Essential("2"))
        self.failureResultOf(late, StoreUnavailable)
        second.addCallback(lambda _: self.assertNoResult(closed))
        self.clock.advance(0)
        self.assertIsNone(self.successResultOf(closed))
        self.assertEqual([result_of(first), result_of(second)], ["added 0", None])

    def test_close_while_idle(self):
        """When nothing is under way closing takes no time."""
        self.assertIsInstance(closed := self.transactor.close(), Deferred)
        self.assertIsNone(self.successResultOf(closed))

    def test_submitted_by_a_callback(self):
        """What a result's receiver submits is done as well."""
        (first,) = self.submit(Add("0"))
        first.addCallback(lambda _: self.transactor.submit(Add("1")))
        self.clock.advance(0)
        self.assertEqual(result_of(first), "added 1")

    def test_operation_must_say_what_it_does(self):
        """An operation without work is a mistake of the program, not of the store."""
        self.assertRaises(NotImplementedError, Operation().run, None)
        self.assertIsNone(Operation().give_up())
