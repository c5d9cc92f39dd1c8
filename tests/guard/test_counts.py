"""No request costs more than was recorded, with a margin; see :mod:`tests.guard.counts`."""

from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from messageu.store import SqliteEngine, SqliteStore
from messageu.wire import Parser
from tests.guard.counts import LIMITS, complaint


class CountTests(SynchronousTestCase):
    def check(self, name):
        self.assertIsNone(complaint(name, LIMITS[name].count()))

    def test_send_alone(self):
        """A send that is alone makes no more calls than it did."""
        self.check("send alone")

    def test_send_pipelined(self):
        """A send among others of its connection makes no more calls than it did."""
        self.check("send pipelined")

    def test_send_leaves_nothing(self):
        """A send that was acknowledged leaves nothing in memory."""
        self.check("send leaves")

    def test_idle_connection(self):
        """A connection that has said nothing holds no more memory than it did."""
        self.check("idle connection")

    def test_connection(self):
        """A connection that comes and goes makes no more calls than it did."""
        self.check("connection")

    def test_brief_connection(self):
        """A connection that comes, sends and goes makes no more calls than it did."""
        self.check("brief connection")

    def test_look_at_deadlines(self):
        """An idle connection makes no more calls than it did whenever deadlines are looked at."""
        self.check("look at deadlines")

    def test_sql_of_pipelined_sends(self):
        """Sends that come together on a connection share their SQL statements."""
        self.check("pipelined SQL")

    def test_sql_of_a_crowd(self):
        """Sends that come together on many connections share their SQL statements."""
        self.check("crowd SQL")

    def test_commits_of_a_crowd(self):
        """Sends that come together on many connections share one commit."""
        self.check("crowd commits")

    def test_fetch(self):
        """A message that is fetched and deleted makes no more calls than it did."""
        self.check("fetch")

    def test_sql_of_a_fetch(self):
        """A message that is fetched and deleted takes no more SQL statements than it did."""
        self.check("fetch SQL")

    def test_commits_of_a_fetch(self):
        """The messages of a fetch share their commits."""
        self.check("fetch commits")

    def test_receiving(self):
        """A frame of twice the size that comes in pieces is copied twice as much, and no more."""
        self.check("receiving")

    def test_all_are_checked(self):
        """Each count of the table has a test here."""
        with mock.patch.object(CountTests, "check") as check:
            for name in dir(self):
                if name.startswith("test_") and name != "test_all_are_checked":
                    getattr(self, name)()
        self.assertEqual({call.args[0] for call in check.call_args_list}, set(LIMITS))


class TrippingTests(SynchronousTestCase):
    """The guard trips when waste is added on purpose."""

    def assert_trips(self, name):
        text = complaint(name, LIMITS[name].count())
        self.assertIsNotNone(text, f"{name} lets it pass")
        self.assertIn("python -m tests.guard.counts", text)

    def waste(self, waste):
        """Have each call of the store's ``put`` do something that nobody needs."""
        put = SqliteStore.put

        def wasteful(store, envelopes):
            waste(store, envelopes)
            return put(store, envelopes)

        self.patch(SqliteStore, "put", wasteful)

    def test_calls(self):
        """A handler that calls a function for each byte of each message trips the calls."""

        def look_at(byte):
            return byte

        self.waste(lambda _, envelopes: [list(map(look_at, e.content)) for e in envelopes])
        for name in ("send alone", "send pipelined"):
            self.assert_trips(name)

    def test_memory(self):
        """A handler that keeps what it has seen trips the memory of a send."""
        kept = []
        self.waste(lambda _, envelopes: kept.extend(envelopes))
        self.assert_trips("send leaves")

    def test_statements(self):
        """A lookup for each message trips the statements of sends that come together."""

        def look_up(store, envelopes):
            for envelope in envelopes:
                store.public_key(envelope.sender, envelope.recipient)

        self.waste(look_up)
        for name in ("pipelined SQL", "crowd SQL"):
            self.assert_trips(name)

    def test_commits(self):
        """A store that commits once more each time trips the commits."""
        commit = SqliteEngine.commit

        def wasteful(engine, cursor):
            commit(engine, cursor)
            engine.begin(cursor, True)
            commit(engine, cursor)

        self.patch(SqliteEngine, "commit", wasteful)
        self.assert_trips("crowd commits")

    def test_copies(self):
        """A parser that copies all that it has with each piece trips the copies."""
        receive_data = Parser.receive_data

        def wasteful(parser, data):
            bytes(parser.buffered)
            receive_data(parser, data)

        self.patch(Parser, "receive_data", wasteful)
        self.assert_trips("receiving")
