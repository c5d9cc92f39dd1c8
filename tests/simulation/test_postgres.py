"""The simulation on PostgreSQL: one to three relays on a real server, which fails, too."""

import contextlib
from functools import partial
from unittest import mock

import psycopg
from twisted.trial.unittest import SynchronousTestCase

from messageu.server._delivery import Delivery
from messageu.store.postgres import _statements as statements
from messageu.store.postgres._engine import CommitUnconfirmedError, PostgresEngine
from messageu.store.postgres._runner import PersistentRunner
from tests.torture import scaled

from . import judge
from .judge import Doubter, Judge, digests_elsewhere
from .postgres import Postgres

digest = partial(judge.digest, new_database=Postgres)


class SimulationTests(Judge):
    new_database = Postgres
    name = "simulation on PostgreSQL"

    def test_whatever_breaks(self):
        """Nothing acknowledged is lost or goes astray, whatever breaks, and whichever relay it was."""
        self.judge_part(scaled(30, 2_000))
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
