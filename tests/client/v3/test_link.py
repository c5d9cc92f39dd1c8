"""One connection: how it begins, what is asked on it, and why it ends."""

from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3 import _events as events
from messageu.client.v3 import _inbox as inbox
from messageu.client.v3._core import Core
from messageu.client.v3._errors import (
    NameInvalid,
    NameTaken,
    StaleState,
    StateInvalid,
)
from messageu.client.v3._values import Status
from messageu.model.v3 import GENERATION_BITS, Reason
from messageu.wire import v3

from .harness import (
    BINDING,
    Clock,
    Database,
    Device,
    PairTestCase,
    Relay,
)

DAY = 86_400.0
HOUR = 3_600.0


class RegistrationTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.relay = Relay(self.clock)

    def test_registers_and_publishes(self):
        """A name is registered, a bundle and 50 one-time keys are published, mail is asked for."""
        device = Device(self.relay, "alice")
        device.core.register("Alice")
        device.go()
        self.assertEqual(device.told(events.Registered), [events.Registered("alice")])
        self.assertEqual(device.told(events.PrekeysPublished), [events.PrekeysPublished(50)])
        self.assertIn(device.identity.account_id, self.relay.subscribers)
        self.assertTrue(device.core.profile.registered)

    def test_name_taken(self):
        """Whose name is taken hears of it and can take another."""
        for name in ("alice", "alice", "eve"):
            device = Device(self.relay, name)
            device.core.register(name)
            device.go()
        self.assertEqual(device.core.profile.name, "eve")
        other = Device(self.relay, "other")
        other.core.register("a.lice")
        other.go()
        (refused,) = other.told(events.Refused)
        self.assertEqual((refused.what, refused.reason), ("register", Reason.NAME_TAKEN))
        other.core.register("other")
        other.go()
        self.assertEqual(other.core.profile.name, "other")

    def test_names_that_cannot_be(self):
        """What can be nobody's name is refused here, and a second name, too."""
        device = Device(self.relay, "alice")
        self.assertRaises(NameInvalid, device.core.register, "a b")
        self.assertRaises(NameInvalid, device.core.resolve, "ü")
        device.core.register("alice")
        device.go()
        self.assertRaises(NameTaken, device.core.register, "bob")

    def test_busy_relay_is_asked_again(self):
        """What a busy relay has refused is asked again after the time it names."""
        device = Device(self.relay, "alice")
        self.relay.refusals[v3.Register] = [v3.Error(Reason.BUSY, 20)]
        device.core.register("alice")
        device.go()
        self.assertEqual(device.told(events.Registered), [])
        self.assertEqual(device.core.next_tick(), self.clock.time + 20)
        self.clock.time += 20
        device.go()
        self.assertEqual(device.told(events.Registered), [events.Registered("alice")])

    def test_greeting_refused(self):
        """A relay that is too busy for a greeting is left, and asked after its time."""
        device = Device(self.relay, "alice")
        self.relay.refusals[v3.Hello] = [v3.Error(Reason.BUSY, 9)]
        device.dial()
        device.write()
        device.core.receive(device.end.answers.popleft())
        self.assertEqual(device.core.verdict.retry_after, 9)
        self.assertTrue(device.core.verdict.reconnect)
        self.assertEqual(device.core.requests(), ())

    def test_not_believed(self):
        """Whom the relay does not believe does not come back by himself."""
        device = Device(self.relay, "alice")
        device.dial()
        device.core.connected(b"x" * len(BINDING))
        device.write()
        device.core.receive(device.end.answers.popleft())
        device.write()
        device.core.receive(device.end.answers.popleft())
        self.assertFalse(device.core.verdict.reconnect)
        (refused,) = device.core.events()
        self.assertEqual(refused.reason, Reason.AUTH_FAILED)

    def test_deletes_account(self):
        """An account is deleted, and the user hears of it."""
        device = Device(self.relay, "alice")
        device.core.register("alice")
        device.go()
        device.core.delete_account()
        device.go()
        self.assertEqual(device.told(events.AccountDeleted), [events.AccountDeleted()])
        self.assertFalse(device.core.profile.registered)

    def test_database_of_others(self):
        """A database that holds no profile, or one of another version, is refused."""
        self.assertRaises(StateInvalid, Core, Database())
        database = Device(self.relay, "alice").database
        database.execute("PRAGMA user_version = 99")
        self.assertRaises(StateInvalid, Core, database)


class GenerationTests(PairTestCase):
    def test_grows_with_each_connection(self):
        """Each connection that the relay has let in has a higher generation; one that it has not
        answered does not use one up."""
        before, _ = self.generation()
        unseen = set()
        for _ in range(3):
            self.alice.dial()
            unseen.add(self.generation())
        self.assertEqual({counter for counter, _ in unseen}, {before + 1})
        self.assertEqual(len(unseen), 3)
        shown = set()
        for _ in range(3):
            self.alice.dial()
            self.alice.write()  # hello
            self.alice.read()
            self.alice.write()  # the proof, whose answer is lost
            shown.add(self.generation())
        self.assertEqual(len(shown), 1)
        self.alice.go()
        self.alice.dial()
        after, _ = self.generation()
        self.assertEqual(after, before + 2)
        self.assertEqual(self.alice.told(events.StateIsStale), [])

    def generation(self):
        """Alice's: what counts, and what is random."""
        ((generation,),) = self.alice.database.execute("SELECT generation FROM profile").fetchall()
        return divmod(generation, 1 << GENERATION_BITS)

    def test_copy_between_dials(self):
        """A copy that was made when a connection could not be made is refused, if the original has
        connected since, once."""
        self.met()
        self.bob.dial()
        copy = self.bob.database.copy()
        self.bob.go()
        self.bob.database = copy
        self.bob.start()
        self.bob.go()
        self.assertTrue(self.bob.core.profile.stale)

    def test_copy_does_not_overtake(self):
        """However often the answers to a copy are lost, it is refused when one comes."""
        self.restore()
        for _ in range(50):
            self.bob.dial()
            self.bob.write()
            self.bob.read()
            self.bob.write()
        self.bob.go()
        self.assertTrue(self.bob.core.profile.stale)

    def restore(self):
        """Bob goes on with a copy, behind which the original has connected and written."""
        self.met()
        copy = self.bob.database.copy()
        self.bob.hang_up()
        self.bob.go()
        self.say(self.bob, "alice", "after the copy")
        self.settle()
        self.bob.database = copy
        self.bob.start()

    def test_copy_is_noticed(self):
        """A copy learns that it is one before it sends anything, and does not connect again."""
        self.restore()
        self.say(self.bob, "alice", "from the copy")
        self.relay.seen.clear()
        self.bob.go()
        self.assertEqual(self.bob.told(events.StateIsStale), [events.StateIsStale()])
        self.assertEqual({type(body) for body in self.relay.seen}, {v3.Hello, v3.Authenticate})
        self.assertTrue(self.bob.core.profile.stale)
        self.assertRaises(StaleState, self.bob.core.begin)

    def test_reset_goes_on(self):
        """After a reset both write to each other again, and nothing is shown twice."""
        self.restore()
        self.say(self.alice, "bob", "to the original or the copy")
        self.say(self.bob, "alice", "from the copy")
        self.bob.go()
        self.bob.core.reset()
        self.settle()
        self.say(self.alice, "bob", "more")
        self.say(self.bob, "alice", "more, too")
        self.settle()
        self.assertEqual(
            self.alice.received(), ["hello too", "after the copy", "from the copy", "more, too"]
        )
        self.assertEqual(self.bob.received(), ["hello", "to the original or the copy", "more"])
        self.assertEqual(set(self.bob.statuses().values()), {Status.DELIVERED})
        self.assertEqual(set(self.alice.statuses().values()), {Status.DELIVERED})

    def test_both_reset_at_once(self):
        """Renewals that cross do not part the two."""
        self.met()
        for device in (self.alice, self.bob):
            device.hang_up()
            device.core.reset()
        for number in range(3):
            self.say(self.alice, "bob", f"a{number}")
            self.say(self.bob, "alice", f"b{number}")
        for device in (self.alice, self.bob):
            device.dial()
        for _ in range(30):
            # Both send before either hears.
            self.alice.write()
            self.bob.write()
            self.alice.read()
            self.bob.read()
        self.settle()
        self.assertEqual(self.bob.received()[1:], ["a0", "a1", "a2"])
        self.assertEqual(self.alice.received()[1:], ["b0", "b1", "b2"])
        self.assertEqual(set(self.alice.statuses().values()), {Status.DELIVERED})
        self.assertEqual(set(self.bob.statuses().values()), {Status.DELIVERED})

    def test_renewals_within_the_hour(self):
        """Of two renewals within an hour the second is honoured when it is over."""
        self.met()
        for _ in range(2):
            self.bob.core.reset()
            self.settle()
        due = "SELECT honour_due FROM contacts"
        self.assertEqual(self.alice.database.execute(due).fetchone(), (1,))
        self.alice.hang_up()
        self.assertGreater(self.alice.core.next_tick(), self.clock.time + HOUR - 60)
        self.later(inbox.RENEWAL_PAUSE)
        self.assertEqual(self.alice.database.execute(due).fetchone(), (0,))
        self.say(self.alice, "bob", "still here")
        self.settle()
        self.assertEqual(self.bob.received(), ["hello", "still here"])


class ConnectionTests(PairTestCase):
    def test_displaced(self):
        """A client whose mail goes elsewhere does not come back by itself."""
        other = self.relay.connect()
        other.account = self.alice.identity.account_id
        other._subscribe(v3.Subscribe(10, 1000))
        self.alice.core.receive(self.alice.end.answers.popleft())
        self.assertFalse(self.alice.core.verdict.reconnect)
        self.assertEqual(self.alice.core.events(), [events.Displaced()])

    def test_going_away(self):
        """A relay that goes says when to come back."""
        self.alice.core.receive(v3.Response(v3.PUSH, v3.GoingAway(12)))
        self.assertEqual(self.alice.core.verdict.retry_after, 12)

    def test_nonsense(self):
        """An answer to nothing, or of another kind than was asked for, ends the connection."""
        self.alice.core.receive(v3.Response(9, v3.Pong()))
        self.assertTrue(self.alice.core.verdict.reconnect)
        self.alice.hang_up()
        self.alice.dial()
        (hello,) = self.alice.core.requests()
        self.alice.core.receive(v3.Response(hello.correlation, v3.Pong()))
        self.assertTrue(self.alice.core.verdict.reconnect)

    def test_pings(self):
        """A silent connection is pinged; a relay that does not answer is left."""
        self.assertLessEqual(self.alice.core.next_tick(), self.clock.time + 200)
        self.clock.time = self.alice.core.next_tick()
        self.alice.core.tick()
        (ping,) = self.alice.core.requests()
        self.assertEqual(ping.body, v3.Ping())
        self.clock.time = self.alice.core.next_tick()
        self.alice.core.tick()
        self.assertTrue(self.alice.core.verdict.reconnect)

    def test_many_deliveries_are_acknowledged_together(self):
        """What comes while an acknowledgement is on its way goes with the next."""
        self.met()
        self.bob.hang_up()
        for number in range(30):
            self.say(self.alice, "bob", f"{number}")
        self.alice.go()
        self.relay.seen.clear()
        self.settle()
        acknowledged = [body for body in self.relay.seen if isinstance(body, v3.Acknowledge)]
        self.assertLess(len(acknowledged), 15)
        self.assertEqual(len(self.bob.received()), 31)
        arrivals = self.bob.database.execute("SELECT COUNT(*) FROM arrivals").fetchone()
        self.assertEqual(arrivals, (0,))

    def test_receipts_are_batched(self):
        """Receipts wait for others a moment, and 64 at once do not wait."""
        self.met()
        self.relay.seen.clear()
        for number in range(10):
            self.say(self.alice, "bob", f"{number}")
        self.settle()
        receipts = [
            body
            for body in self.relay.seen
            if isinstance(body, v3.Send)
            and body.envelope.recipient == self.alice.identity.account_id
        ]
        self.assertEqual(len(receipts), 1)


class RefusalTests(PairTestCase):
    """What each kind of request does when it is refused."""

    def refuse(self, kind, reason, retry_after=0):
        self.relay.refusals[kind] = [v3.Error(reason, retry_after)]

    def test_subscription(self):
        """A subscription that a busy relay refuses is asked for again; a window that it does not
        take is told."""
        for reason, told in ((Reason.BUSY, 0), (Reason.BAD_WINDOW, 1)):
            self.alice.hang_up()
            self.refuse(v3.Subscribe, reason, 5)
            self.alice.go()
            self.assertEqual(len(self.alice.told(events.Refused)), told)
            self.assertNotIn(self.alice.identity.account_id, self.relay.subscribers)
            self.assertEqual(self.alice.core.next_tick(), self.clock.time + 5)
            self.clock.time += 5
            self.alice.go()
            self.assertIn(self.alice.identity.account_id, self.relay.subscribers)

    def test_acknowledgement(self):
        """What could not be acknowledged is acknowledged later."""
        self.met()
        self.refuse(v3.Acknowledge, Reason.BUSY, 5)
        self.say(self.alice, "bob", "again")
        self.alice.go()
        self.bob.go()
        account = self.bob.identity.account_id
        self.assertEqual(len(self.relay.store._accounts[account].mail), 1)
        self.settle(8)
        self.assertEqual(len(self.relay.store._accounts[account].mail), 0)
        self.assertEqual(self.bob.received(), ["hello", "again"])

    def test_acknowledgement_without_subscription(self):
        """Who is not subscribed any more is connected elsewhere, and stops."""
        self.met()
        self.refuse(v3.Acknowledge, Reason.NOT_SUBSCRIBED)
        self.say(self.alice, "bob", "x")
        self.alice.go()
        self.bob.write()
        self.bob.read()
        self.bob.write()
        self.bob.core.receive(self.bob.end.answers.popleft())
        self.assertFalse(self.bob.core.verdict.reconnect)

    def test_deletion(self):
        """An account that the relay does not delete now stays, and the user hears of it."""
        self.refuse(v3.DeleteAccount, Reason.INTERNAL)
        self.alice.core.delete_account()
        self.alice.go()
        (refused,) = self.alice.told(events.Refused)
        self.assertEqual((refused.what, refused.reason), ("delete", Reason.INTERNAL))
        self.assertTrue(self.alice.core.profile.registered)

    def test_account_that_is_gone(self):
        """When the relay has no account for us any more, the user hears of it, and may register."""
        self.relay.connect()
        self.relay.store.delete_account(self.alice.identity.account_id)
        self.alice.hang_up()
        self.alice.go()
        (refused,) = self.alice.told(events.Refused)
        self.assertEqual((refused.what, refused.reason), ("account", Reason.NOT_REGISTERED))
        self.assertFalse(self.alice.core.profile.registered)
        self.alice.core.register("alice-again")
        self.alice.go()
        self.assertTrue(self.alice.core.profile.registered)

    def test_claim(self):
        """A claim that is refused for a while is made again."""
        self.refuse(v3.Claim, Reason.RATE_LIMITED, 30)
        self.say(self.alice, "bob", "hello")
        self.alice.go()
        self.assertEqual(self.alice.core.next_tick(), self.clock.time + 30)
        self.clock.time += 30
        self.settle()
        self.assertEqual(self.bob.received(), ["hello"])

    def test_our_fault(self):
        """A relay that finds a request malformed is left alone for a minute."""
        self.say(self.alice, "bob", "hello")
        self.refuse(v3.Claim, Reason.MALFORMED)
        self.alice.write()
        self.alice.core.receive(self.alice.end.answers.popleft())
        self.assertEqual(self.alice.core.verdict.retry_after, 60)

    def test_old_relay(self):
        """A ping that a relay does not know shows that it is there."""
        self.clock.time = self.alice.core.next_tick()
        self.alice.core.tick()
        self.refuse(v3.Ping, Reason.UNKNOWN_REQUEST)
        self.alice.go()
        self.clock.time += 31
        self.alice.core.tick()
        self.assertIsNone(self.alice.core.verdict)
