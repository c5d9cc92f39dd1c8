"""The simulation on PostgreSQL: one to three relays on a real server, which fails, too."""

import contextlib
from contextlib import closing
from functools import partial
from unittest import mock

import psycopg
from twisted.trial.unittest import SynchronousTestCase

from messageu.server._delivery import Delivery
from messageu.store.postgres import _statements as statements
from messageu.store.postgres._engine import CommitUnconfirmedError, PostgresEngine
from messageu.store.postgres._runner import PersistentRunner
from messageu.testing.postgres_faults import FaultyConnection
from tests.torture import scaled

from . import judge
from .clients import populate
from .database import Killed
from .judge import Doubter, Judge, digests_elsewhere
from .postgres import Postgres, lose
from .tables import AUDIT, tables
from .world import NOON, World

digest = partial(judge.digest, new_database=Postgres)


class SimulationTests(Judge):
    new_database = Postgres
    name = "simulation on PostgreSQL"

    def test_whatever_breaks(self):
        """Nothing acknowledged is lost or goes astray, whatever breaks, and whichever relay it was."""
        self.judge_part(scaled(24, 2_000))
        for what in (
            "commits lost",
            "ears lost",
            "hanging connections cut",
            "locks held by others",
        ):
            self.assertGreater(self.seen[what], 0, what)


class DeterminismTests(SynchronousTestCase):
    def test_same_again(self):
        """A seed says everything, also in a process that hashes strings in another way."""
        other = digest(1)
        mine = digest(0)
        self.assertEqual(digests_elsewhere(__name__, [0]), [mine])
        self.assertNotEqual(other, mine)


class DatabaseTests(SynchronousTestCase):
    """The database of a world."""

    def populated(self):
        world = World(0, Postgres)
        self.addCleanup(world.__exit__)
        populate(world)
        return world

    def rows(self, table):
        ((count,),) = tables().execute(f"SELECT count(*) FROM {table}")
        return count

    def test_renewed(self):
        """A world begins with nothing, whatever was in the one before; and it has its own time."""
        self.populated()
        before = self.rows("mailbox_client")
        world = World(1, Postgres)
        self.addCleanup(world.__exit__)
        self.assertEqual((before, self.rows("mailbox_client")), (3, 0))
        found = tables().execute(
            "SELECT to_timestamp(at) = to_timestamp(%s) FROM simulation_time", NOON
        )
        self.assertEqual(found, [(True,)])

    def test_dead_relays_do_nothing(self):
        """What is left of a relay that was killed executes no statement, and holds no connection."""
        world = self.populated()
        relay = world.relays[0]
        connections = world.database._plans[relay].connections
        self.assertTrue(any(not each.closed for each in connections))
        world.database.crash(relay)
        relay.die()
        error = self.assertRaises(
            Killed, world.database.execute, relay, None, "SELECT 1", self.fail
        )
        self.assertIs(error.relay, relay)
        self.assertEqual([each for each in connections if not each.closed], [])

    def test_rolled_back_before_it_is_lost(self):
        """Of a connection that is lost nobody has to wait for a lock."""
        world = self.populated()
        address = tables().address.parameters
        with closing(FaultyConnection.connect(**address, autocommit=True)) as connection:
            connection.execute("BEGIN")
            connection.execute("LOCK TABLE mailbox_rubbish")
            lose(connection)
            tables().execute("SET lock_timeout = 1; LOCK TABLE mailbox_rubbish; RESET lock_timeout")
            self.assertRaises(psycopg.OperationalError, connection.execute, "SELECT 1")
        self.assertEqual(world.database.audit(), [(what, 0) for what in AUDIT])


class BrokenTests(Doubter):
    """Relays that are broken, and how soon that is noticed."""

    new_database = Postgres
    name = "simulation on PostgreSQL"
    is_loud = True

    def test_commits_believed(self):
        """Mail is missed of which a relay took for granted that it was committed."""
        commit = PostgresEngine.commit

        def believe(engine, cursor):
            with contextlib.suppress(psycopg.Error, CommitUnconfirmedError):
                commit(engine, cursor)

        with mock.patch.object(PostgresEngine, "commit", believe):
            self.first_noticed("lost", first=12)

    def test_markers_ignored(self):
        """A relay that does not ask whether its last batch was committed stores mail twice."""
        take_lane = PersistentRunner._take_lane

        def take(runner, cursor):
            take_lane(runner, cursor)
            return -1

        with mock.patch.object(PersistentRunner, "_take_lane", take):
            self.first_noticed("ids", first=95)

    def test_miscounted(self):
        """Mailboxes that count what has gone no longer hold what they say."""
        clear = statements.clear_mailbox

        def miscount(*asked):
            _, _, left = clear(*asked)
            return 0, 0, left

        with mock.patch.object(statements, "clear_mailbox", miscount):
            self.first_noticed("held", first=1)

    def test_not_locked(self):
        """A relay that does not lock the mailbox it reads undoes what another does to it meanwhile."""

        def read(cursor, clients):
            cursor.execute(
                "SELECT client, last_sequence, settled, epoch, messages, content FROM mailbox"
                " WHERE client = ANY(%s) ORDER BY client",
                (clients,),
            )
            return cursor.fetchall()

        with mock.patch.object(statements, "lock_mailboxes", read):
            self.first_noticed("held", "ids", first=60)

    def test_never_released(self):
        """Leases that a relay never ends are seen."""
        with mock.patch.object(Delivery, "broken", lambda _: None):
            self.first_noticed("held: leases")
