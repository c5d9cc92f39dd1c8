"""A commit that does not reach the standby that it was to reach is none, until it has."""

from __future__ import annotations

import atexit
import threading
from functools import cache
from typing import Any

import psycopg
from attrs import define
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from messageu.model import Envelope, MessageId, UserName
from messageu.store import StoreError, StoreUnavailable
from messageu.store.postgres._connection import STUCK_AFTER
from messageu.store.postgres._runner import RETRY_FOR
from messageu.testing.postgres import NoServerError, PostgresServer, Schema
from messageu.testing.postgres_faults import Execute, Fault, FaultyConnection
from tests.store.contract import key

from .fixtures import FaultyFixture

STANDBY = "synchronous_standby_names"


@cache
def own_server() -> PostgresServer:
    """A server whose settings are this module's."""
    try:
        server = PostgresServer.made("fsync=off", "full_page_writes=off")
    except NoServerError as error:
        raise SkipTest(str(error)) from None
    atexit.register(server.remove)
    return server


@define
class StandbyFixture(FaultyFixture):
    """A store that may have to wait for a standby."""

    def want(self, standby: str) -> None:
        """From now on commits wait for a standby of this name; for none if it is empty."""
        self.sql(f"ALTER SYSTEM SET {STANDBY} = '{standby}'")
        self.sql("SELECT pg_reload_conf()")
        while True:
            with psycopg.connect(self.schema.address) as connection:
                if connection.execute(f"SHOW {STANDBY}").fetchone() == (standby,):
                    break
        # Whether commits wait is the checkpointer's to say, which hears of it later than backends;
        # before it makes a checkpoint it has heard of all that they have.
        self.sql("CHECKPOINT")


class Commits(dict[int, Fault]):
    """What becomes of each COMMIT, and of what comes after the last of these.

    :param faults: one after the other.
    """

    def __init__(self, statements: list[str], *faults: Fault) -> None:
        super().__init__()
        self._statements = statements
        self._faults = faults

    def get(self, place: int, _: Any = None) -> Fault | None:
        if self._statements[place] != "COMMIT":
            return None
        before = self._statements[:place].count("COMMIT")
        return self._faults[min(before, len(self._faults) - 1)]


def go_on(_: FaultyConnection, execute: Execute) -> Any:
    """Nothing happens to it."""
    return execute()


class StandbyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.fixture = StandbyFixture(schema=Schema(own_server().address))
        self.addCleanup(self.fixture.dispose)
        self.addCleanup(self.fixture.want, "")
        self.alice = self.done(self.fixture.store.register(UserName(b"Alice"), key()))
        self.put(b"first")
        self.fixture.pauses.clear()

    def done(self, deferred: Any) -> Any:
        return self.fixture.result(deferred)

    def put(self, content: bytes, *faults: Fault) -> Any:
        """What comes of storing this, when these things happen to commits."""
        plan = self.fixture.plan
        plan.tell({})
        if faults:
            plan.faults = Commits(plan.statements, *faults)
        put = self.fixture.store.put([Envelope(self.alice, self.alice, 3, content)])
        try:
            return self.done(put)
        except StoreError as error:
            return error
        finally:
            plan.faults = {}

    def rows(self) -> list[bytes]:
        rows = self.fixture.sql("SELECT content FROM mailbox_message ORDER BY sequence")
        return [content for (content,) in rows]

    def until_it_waits(self, process: int) -> None:
        """For the standby."""
        activity = "SELECT wait_event, state FROM pg_stat_activity WHERE pid = %s"
        with psycopg.connect(self.fixture.schema.address, autocommit=True) as connection:
            waits_for = state = ""
            while waits_for != "SyncRep":
                self.assertNotEqual("idle", state, "it was committed, and did not wait")
                waits_for, state = connection.execute(activity, (process,)).fetchone() or (
                    "",
                    "idle",
                )

    def commit(self, connection: FaultyConnection) -> None:
        """Say so, and let the server wait for the standby."""
        connection.pgconn.send_query(b"COMMIT")
        while connection.pgconn.flush():
            pass
        self.until_it_waits(connection.info.backend_pid)

    def stuck(self, connection: FaultyConnection, _: Execute) -> Any:
        """It waits until that is too long for the relay."""
        self.commit(connection)
        self.fixture.clock.advance(STUCK_AFTER + 2)
        return self.hear(connection)

    def lost(self, connection: FaultyConnection, _: Execute) -> Any:
        """It waits, and the connection is lost."""
        self.commit(connection)
        connection.cut()
        return self.hear(connection)

    def hear(self, connection: FaultyConnection) -> Any:
        """That the connection is gone."""
        connection.pgconn.consume_input()
        raise AssertionError("it is not gone")

    def cancelled(self, connection: FaultyConnection, execute: Execute) -> Any:
        """The operator ends its wait: to the server that is a commit, with a warning."""
        process = connection.info.backend_pid

        def cancel() -> None:
            self.until_it_waits(process)
            self.fixture.sql("SELECT pg_cancel_backend(%s)", process)

        operator = threading.Thread(target=cancel)
        operator.start()
        try:
            return execute()
        finally:
            operator.join()

    def reached(self, _: FaultyConnection, execute: Execute) -> Any:
        """The standby comes back."""
        self.fixture.want("")
        return execute()

    def test_lost(self) -> None:
        """Nobody is told that a message is stored before the standby has it, whatever has ended the
        wait for it; and it is stored once."""
        ways = (self.lost, self.cancelled, self.stuck)
        for number, way in enumerate(ways, 2):
            with self.subTest(way=way):
                self.fixture.want("nobody")
                stored = self.put(b"%d" % number, way, self.reached)
                self.assertEqual(stored, [MessageId(number)])
                self.assertEqual(len(self.rows()), number)

    def test_lost_again(self) -> None:
        """Also when the relay, which asks what has become of it, has to wait as well."""
        self.fixture.want("nobody")
        stored = self.put(b"second", self.lost, self.lost, self.cancelled, self.reached)
        self.assertEqual(stored, [MessageId(2)])
        self.assertEqual(self.rows(), [b"first", b"second"])

    def test_stays_away(self) -> None:
        """If the standby stays away whoever sends is told within a bounded time that it may not be
        stored, and when it is back all goes on."""
        self.fixture.want("nobody")
        began = self.fixture.clock.seconds()
        self.assertIsInstance(self.put(b"second", self.stuck), StoreUnavailable)
        waited = self.fixture.clock.seconds() - began
        self.assertTrue(RETRY_FOR < waited < RETRY_FOR + 2 * STUCK_AFTER, waited)
        self.fixture.want("")
        self.fixture.clock.advance(RETRY_FOR)
        self.assertEqual(self.put(b"third", go_on), [MessageId(3)])

    def test_background(self) -> None:
        """What nobody waits for does not wait for it either."""
        self.fixture.want("nobody")
        self.assertEqual(self.done(self.fixture.store.expire(0)), 0)
        self.assertEqual(self.fixture.pauses, [])
