"""The rules of the core, one by one."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3 import _account as account
from messageu.client.v3 import _events as events
from messageu.client.v3 import _inbox as inbox
from messageu.client.v3 import _outbox as outbox
from messageu.client.v3._core import Core
from messageu.client.v3._errors import (
    ContactExists,
    ContactInvalid,
    ContactUnknown,
    FilesUnavailable,
    IdentityHasChanged,
    NameInvalid,
    NameTaken,
    NotAccepted,
    NotVerified,
    OtherRelay,
    StaleState,
    StateFailed,
    StateInvalid,
    TextInvalid,
)
from messageu.client.v3._values import Status, Trust, Why
from messageu.model.v3 import Delivery, EnvelopeId, Identity, Reason
from messageu.wire import v3

from .harness import (
    BINDING,
    MAIL_LIFE,
    RELAY,
    Clock,
    Database,
    Device,
    Relay,
    pair,
    settle,
)

DAY = 86_400.0
HOUR = 3_600.0


class PairTestCase(SynchronousTestCase):
    def setUp(self):
        self.clock, self.relay, self.alice, self.bob = pair()

    def settle(self, seconds=4.0):
        settle(self.alice, self.bob, clock=self.clock, seconds=seconds)

    def later(self, seconds):
        """Time passes while nobody is connected."""
        for device in (self.alice, self.bob):
            device.hang_up()
        self.clock.time += seconds
        for device in (self.alice, self.bob):
            device.core.tick()
            device.events.extend(device.core.events())

    def say(self, one, to, text):
        return one.core.send_text(to, text)

    def met(self):
        """They have heard of each other."""
        self.say(self.alice, "bob", "hello")
        self.say(self.bob, "alice", "hello too")
        self.settle()
        return self

    def sessions(self, device):
        query = "SELECT id FROM sessions ORDER BY epoch DESC, id"
        return [session_id for (session_id,) in device.database.execute(query).fetchall()]


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
        """Each connection that the relay sees has a higher generation; one that failed before
        does not use one up."""
        generation = "SELECT generation FROM profile"
        (before,) = self.alice.database.execute(generation).fetchone()
        self.alice.dial()
        self.alice.dial()
        self.alice.dial()
        (unseen,) = self.alice.database.execute(generation).fetchone()
        self.alice.go()
        self.alice.dial()
        (after,) = self.alice.database.execute(generation).fetchone()
        self.assertEqual((unseen, after), (before + 1, before + 2))

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


class SessionTests(PairTestCase):
    def test_first_messages_cross(self):
        """When both begin a session at once, both keep both, and send on the lower one."""
        for device in (self.alice, self.bob):
            device.hang_up()
        self.say(self.alice, "bob", "a")
        self.say(self.bob, "alice", "b")
        for device in (self.alice, self.bob):
            device.dial()
        for _ in range(5):
            self.alice.write()
            self.bob.write()
            self.alice.read()
            self.bob.read()
        self.settle()
        self.assertEqual(self.sessions(self.alice), self.sessions(self.bob))
        self.assertEqual(len(self.sessions(self.alice)), 2)
        self.assertEqual((self.alice.received(), self.bob.received()), (["b"], ["a"]))

    def test_replay_of_a_first_message(self):
        """A first message whose session is gone does not open again, though its fallback key would
        do it; it is counted."""
        self.relay.store._accounts[self.bob.identity.account_id].one_time_keys.clear()
        self.say(self.alice, "bob", "hello")
        self.settle()
        (sent,) = [body for body in self.relay.seen if isinstance(body, v3.Send)][:1]
        self.bob.database.execute("DELETE FROM sessions")
        self.bob.database.execute("DELETE FROM messages")
        self.replay(sent)
        self.assertEqual(self.bob.received(), [])
        self.assertEqual(self.bob.core.profile.unopened, 1)
        # Without the memory of sessions it would have been shown again.
        self.bob.database.execute("DELETE FROM seen_sessions")
        self.replay(sent)
        self.assertEqual(self.bob.received(), ["hello"])

    def replay(self, sent):
        delivery = v3.Deliver(
            evolve(
                self.a_delivery(),
                envelope_id=sent.envelope.envelope_id,
                hpke_key_id=sent.envelope.hpke_key_id,
                sealed=sent.envelope.sealed,
            )
        )
        self.bob.database.execute("DELETE FROM arrivals")
        self.bob.core.receive(v3.Response(v3.PUSH, delivery))

    def a_delivery(self):
        return Delivery(10**6, EnvelopeId(bytes(16)), 1, b"nothing")

    def test_garbage(self):
        """What does not open is counted, acknowledged, and changes nothing else."""
        self.met()
        self.bob.core.receive(v3.Response(v3.PUSH, v3.Deliver(self.a_delivery())))
        self.assertEqual(self.bob.core.events(), [events.Unopened(1)])
        self.assertIn(v3.Acknowledge((10**6,)), [r.body for r in self.bob.core.requests()])

    def test_sixth_session(self):
        """Of more than five sessions the one that was not used for the longest time goes."""
        self.met()
        for number in range(8):
            self.alice.core.reset()
            self.say(self.alice, "bob", f"{number}")
            self.settle()
        self.assertLessEqual(len(self.sessions(self.bob)), 5)
        self.assertEqual(self.bob.received()[1:], [f"{number}" for number in range(8)])


class OutboxTests(PairTestCase):
    def test_repeats_the_same_bytes(self):
        """What was not answered is sent again as it was."""
        self.met()
        self.say(self.alice, "bob", "again")
        self.relay.seen.clear()
        for _ in range(3):
            self.alice.write()
            self.alice.hang_up()
            self.alice.dial()
            while not self.alice.core.admitted:
                self.alice.step()
        self.settle()
        sent = {body for body in self.relay.seen if isinstance(body, v3.Send)}
        texts = [body for body in sent if body.envelope.recipient == self.bob.identity.account_id]
        self.assertEqual(len(texts), 1)
        self.assertEqual(self.bob.received(), ["hello", "again"])

    def test_retryable_refusals(self):
        """A contact whose mailbox is full is left alone for a while, then tried again."""
        self.met()
        for reason in (Reason.MAILBOX_FULL, Reason.BUSY, Reason.INTERNAL, Reason.RATE_LIMITED):
            self.relay.refusals[v3.Send] = [v3.Error(reason, 30)]
            self.say(self.alice, "bob", reason.name)
            self.say(self.alice, "bob", f"behind {reason.name}")
            self.alice.go()
            self.assertEqual(self.alice.core.next_tick(), self.clock.time + 30)
            self.assertEqual(self.alice.statuses()[reason.name], Status.SEALED)
            self.clock.time += 30
            self.settle()
            self.assertEqual(self.bob.received()[-2:], [reason.name, f"behind {reason.name}"])

    def test_final_refusals(self):
        """What a relay will never take ends, and what is behind it goes on."""
        self.met()
        for reason, why in (
            (Reason.CONFLICT, Why.REFUSED),
            (Reason.TOO_LARGE, Why.TOO_LARGE),
            (Reason.NOT_FOUND, Why.NO_ACCOUNT),
        ):
            self.relay.refusals[v3.Send] = [v3.Error(reason)]
            message_id = self.say(self.alice, "bob", reason.name)
            self.say(self.alice, "bob", f"behind {reason.name}")
            self.settle()
            self.assertIn(
                events.MessageUndelivered(message_id, why),
                self.alice.told(events.MessageUndelivered),
            )
            self.assertEqual(self.bob.received()[-1], f"behind {reason.name}")
        self.assertEqual(self.bob.core.contact("alice").missing, 3)

    def test_gives_up_after_a_week(self):
        """An envelope that was tried for a week is given up."""
        self.met()
        self.relay.refusals[v3.Send] = [v3.Error(Reason.MAILBOX_FULL, 8 * 86_400)]
        message_id = self.say(self.alice, "bob", "never")
        self.alice.go()
        self.later(account.OUTBOX_LIFE)
        self.assertEqual(
            self.alice.told(events.MessageUndelivered),
            [events.MessageUndelivered(message_id, Why.GAVE_UP)],
        )

    def test_expires_without_receipt(self):
        """What was not receipted while its mail lived was not delivered; the next message renews
        the session."""
        self.met()
        before = self.sessions(self.alice)
        self.bob.hang_up()
        message_id = self.say(self.alice, "bob", "lost")
        self.alice.go()
        self.later(MAIL_LIFE + outbox.MAIL_SLACK)
        self.assertEqual(
            self.alice.told(events.MessageUndelivered),
            [events.MessageUndelivered(message_id, Why.EXPIRED)],
        )
        self.bob.core.tick()
        self.bob.go()
        self.clock.time += 200
        self.bob.core.tick()
        self.bob.go()
        self.settle(10)
        self.assertNotEqual(self.sessions(self.alice), before)
        self.assertEqual(self.sessions(self.alice)[0], self.sessions(self.bob)[0])

    def test_full_disk_keeps_nothing(self):
        """What cannot be committed was not done, and is said to whoever asked."""
        self.met()
        execute = self.alice.database.execute

        def full(sql, parameters=()):
            if sql == "COMMIT":
                execute("THIS IS NO SQL")
            return execute(sql, parameters)

        self.alice.database.execute = full
        self.assertRaises(StateFailed, self.say, self.alice, "bob", "not kept")
        self.assertIsNone(self.alice.core.verdict)
        self.say(self.bob, "alice", "to a full disk")
        self.bob.go()
        self.alice.write()
        self.assertRaises(StateFailed, self.alice.read)
        self.assertTrue(self.alice.core.verdict.reconnect)
        del self.alice.database.execute
        self.alice.hang_up()
        self.settle()
        self.assertEqual(self.alice.received(), ["hello too", "to a full disk"])
        self.assertEqual(self.alice.core.profile.unopened, 0)

    def test_withdraws(self):
        """What waits can be withdrawn; what is on its way cannot."""
        self.alice.hang_up()
        message_id = self.say(self.alice, "bob", "no")
        self.assertTrue(self.alice.core.withdraw(message_id))
        self.assertFalse(self.alice.core.withdraw(message_id))
        self.settle()
        self.assertEqual(self.bob.received(), [])

    def test_texts_that_cannot_be(self):
        """A text has 1 to 65,536 bytes of UTF-8, and the longest arrives."""
        for text in ("", "x" * 65_537, "é" * 32_769, "\ud800"):
            self.assertRaises(TextInvalid, self.say, self.alice, "bob", text)
        self.say(self.alice, "bob", "é" * 32_768)
        self.settle()
        self.assertEqual(self.bob.received(), ["é" * 32_768])

    def test_no_files(self):
        """A client without a place for files says so."""
        self.assertRaises(FilesUnavailable, self.alice.core.send_file, "bob", None)


class ClaimTests(PairTestCase):
    def refused(self, **changes):
        """What becomes of a claim whose answer is changed so."""
        claimed = self.relay.connect()._claim(v3.Claim(self.bob.identity.account_id))
        self.relay.refusals[v3.Claim] = [evolve(claimed, **changes)]
        self.say(self.alice, "bob", "hello")
        self.alice.go()
        (refused,) = self.alice.told(events.Refused)
        self.assertEqual((refused.what, refused.contact), ("claim", self.bob.identity))
        self.assertEqual(self.sessions(self.alice), [])
        self.clock.time += 10
        self.settle()
        self.assertEqual(self.bob.received(), ["hello"])

    def bundle(self):
        return self.relay.store._accounts[self.bob.identity.account_id].bundle

    def test_keys_of_somebody_else(self):
        """Keys that do not hash to the contact's identity are refused, and asked for again."""
        self.refused(keys=self.alice.core.profile.keys)

    def test_bundle_without_signature(self):
        """A bundle that its owner has not signed is refused."""
        self.refused(bundle=evolve(self.bundle(), not_after=self.bundle().not_after + 1))

    def test_one_time_key_without_signature(self):
        """A one-time key that its owner has not signed is refused."""
        key = self.relay.connect()._claim(v3.Claim(self.bob.identity.account_id)).one_time_key
        self.refused(one_time_key=evolve(key, key_id=key.key_id + 1))

    def test_bundle_from_before(self):
        """A bundle below one that was seen is refused."""
        self.alice.database.execute(
            "UPDATE contacts SET bundle_sequence = ?", (self.bundle().sequence + 1,)
        )
        self.say(self.alice, "bob", "hello")
        self.alice.go()
        (refused,) = self.alice.told(events.Refused)
        self.assertEqual((refused.what, refused.reason), ("claim", None))

    def test_bundle_whose_time_is_over(self):
        """A bundle that has expired is refused: what is sealed to it might never be opened."""
        self.later(15 * DAY)
        self.say(self.alice, "bob", "hello")
        self.alice.go()
        (refused,) = self.alice.told(events.Refused)
        self.assertEqual((refused.what, refused.reason), ("claim", None))

    def test_no_account(self):
        """What waits for somebody without an account is not delivered."""
        self.alice.core.add_contact(Identity(bytes(32)), "nobody")
        message_id = self.say(self.alice, "nobody", "hello?")
        self.alice.go()
        self.assertEqual(
            self.alice.told(events.MessageUndelivered),
            [events.MessageUndelivered(message_id, Why.NO_ACCOUNT)],
        )


class PrekeyTests(PairTestCase):
    def one_time_keys(self, device):
        return len(self.relay.store._accounts[device.identity.account_id].one_time_keys)

    def test_one_time_keys_are_made_again(self):
        """When the relay has few one-time keys left, the client publishes more, up to 50."""
        keys = self.relay.store._accounts[self.bob.identity.account_id].one_time_keys
        for key_id in list(keys)[:45]:
            del keys[key_id]
        self.bob.end.answers.append(v3.Response(v3.PUSH, v3.PrekeysLow(5)))
        self.settle()
        self.assertEqual(self.one_time_keys(self.bob), 50)

    def test_bundle_is_rotated(self):
        """Half-way through its life a bundle is replaced, after mail that waits was read."""
        sequence = "SELECT bundle_sequence, rotations FROM profile"
        (before, rotations) = self.bob.database.execute(sequence).fetchone()
        self.later(7 * DAY)
        self.bob.go()
        self.assertEqual(self.bob.database.execute(sequence).fetchone(), (before, rotations))
        self.clock.time += 200
        self.bob.core.tick()
        self.bob.go()
        self.assertEqual(
            self.bob.database.execute(sequence).fetchone(), (before + 1, rotations + 1)
        )
        self.assertEqual(
            self.relay.store._accounts[self.bob.identity.account_id].bundle.sequence, before + 1
        )

    def test_hpke_keys_are_forgotten(self):
        """A private HPKE key stays for as long as mail to it may come, and not longer."""
        keys = "SELECT COUNT(*) FROM hpke_keys"
        self.later(13 * DAY + 7 * DAY + MAIL_LIFE - DAY)
        self.assertEqual(self.bob.database.execute(keys).fetchone(), (1,))
        self.later(2 * DAY)
        self.assertEqual(self.bob.database.execute(keys).fetchone(), (0,))

    def test_stale_bundle(self):
        """When the relay knows a later bundle, one that is higher for certain is published."""
        self.bob.database.execute("UPDATE profile SET publishing = 1, bundle_sequence = 0")
        self.relay.refusals[v3.Publish] = [v3.Error(Reason.STALE_BUNDLE)]
        self.bob.go()
        bundle = self.relay.store._accounts[self.bob.identity.account_id].bundle
        self.assertGreater(bundle.sequence, self.clock.time)

    def test_too_many(self):
        """One-time keys that the relay does not take are not offered again, the bundle is."""
        self.bob.database.execute("UPDATE profile SET publishing = 1")
        self.relay.refusals[v3.Publish] = [v3.Error(Reason.TOO_MANY)]
        self.bob.go()
        self.clock.time += 20
        self.bob.go()
        published = [body for body in self.relay.seen if isinstance(body, v3.Publish)]
        self.assertEqual(published[-1].one_time_keys, ())
        self.assertEqual(
            self.bob.database.execute("SELECT publishing FROM profile").fetchone(), (0,)
        )


class RequestTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.relay = Relay(self.clock)
        self.alice, self.bob = (Device(self.relay, name) for name in ("alice", "bob"))
        for device in (self.alice, self.bob):
            device.core.register(device.name)
            device.go()
        self.alice.core.add_contact(self.bob.identity, "bob")

    def settle(self, seconds=4.0):
        settle(self.alice, self.bob, clock=self.clock, seconds=seconds)

    def ask(self, count=1):
        for number in range(count):
            self.alice.core.send_text("bob", f"{number}")
        self.settle()
        return self.bob.core.message_requests()[0]

    def test_stranger_asks(self):
        """A stranger's text is a request, without a receipt until it is accepted."""
        request = self.ask()
        self.assertEqual(self.bob.told(events.RequestReceived)[0].contact, self.alice.identity)
        self.assertEqual(self.alice.statuses(), {"0": Status.STORED})
        self.assertRaises(NotAccepted, self.bob.core.send_text, request.identity, "no")
        self.bob.core.accept(request.identity, "alice")
        self.settle()
        self.assertEqual(self.alice.statuses(), {"0": Status.DELIVERED})
        self.assertEqual(self.bob.core.message_requests(), [])

    def test_requests_are_capped(self):
        """Of one who asks only so many texts are kept; the others are missing."""
        request = self.ask(inbox.REQUEST_MESSAGES_LIMIT + 5)
        self.assertEqual(len(self.bob.received()), inbox.REQUEST_MESSAGES_LIMIT)
        self.bob.core.accept(request.identity, "alice")
        self.alice.core.send_text("bob", "at last")
        self.settle()
        self.assertEqual(self.bob.received()[-1], "at last")
        self.assertEqual(self.bob.core.contact("alice").missing, 5)

    def test_blocked(self):
        """What a blocked sender writes is dropped and not receipted; unblocked, he is heard."""
        request = self.ask()
        self.bob.core.block(request.identity)
        self.alice.core.send_text("bob", "dropped")
        self.settle()
        self.bob.core.accept(request.identity, "alice")
        self.alice.core.send_text("bob", "heard")
        self.settle()
        self.assertEqual(self.bob.received(), ["0", "heard"])
        self.assertEqual(self.bob.core.contact("alice").missing, 0)
        self.assertEqual(self.alice.statuses()["dropped"], Status.STORED)

    def test_removed(self):
        """Who was removed asks anew when he writes again, on the session that is there."""
        request = self.ask()
        self.bob.core.accept(request.identity, "alice")
        self.settle()
        self.bob.core.remove("alice")
        self.assertRaises(ContactUnknown, self.bob.core.contact, "alice")
        self.assertEqual(self.bob.received(), [])
        self.alice.core.send_text("bob", "once more")
        self.settle()
        self.assertEqual(self.bob.received(), ["once more"])
        self.assertEqual(len(self.bob.core.message_requests()), 1)
        self.assertEqual(self.bob.core.profile.unopened, 0)


class ContactTests(PairTestCase):
    def test_contacts_that_cannot_be(self):
        """Ourselves, a label twice, a contact twice and another relay's are refused."""
        add = self.alice.core.add_contact
        self.assertRaises(ContactInvalid, add, self.alice.identity, "me")
        self.assertRaises(ContactInvalid, add, Identity(bytes(32)), " ")
        self.assertRaises(ContactInvalid, add, Identity(bytes(32)), "\ud800")
        self.assertRaises(ContactExists, add, Identity(bytes(32)), "bob")
        self.assertRaises(ContactExists, add, self.bob.identity, "robert")
        self.assertRaises(OtherRelay, add, Identity(bytes(32)), "x", relay="messageu://other:1#p")
        add(Identity(bytes(32)), "x", relay=RELAY)
        self.assertEqual([contact.label for contact in self.alice.core.contacts()], ["bob", "x"])

    def test_only_verified(self):
        """When only verified contacts are written to, the others are not; what waits stays."""
        self.alice.hang_up()
        self.say(self.alice, "bob", "waits")
        self.alice.core.set_trust(Trust.MANUAL)
        self.assertRaises(NotVerified, self.say, self.alice, "bob", "no")
        self.settle()
        self.assertEqual(self.bob.received(), [])
        self.alice.core.verify("bob")
        self.settle()
        self.assertEqual(self.bob.received(), ["waits"])

    def test_safety_number(self):
        """Both see the same 60 digits."""
        number = self.alice.core.safety_number("bob")
        self.assertEqual(number, self.bob.core.safety_number("alice"))
        self.assertEqual(len(number), 60)

    def resolved(self):
        """Bob's name is another's by now."""
        self.alice.core.resolve("bob")
        self.alice.go()
        self.assertEqual(
            self.alice.told(events.Resolved),
            [events.Resolved("bob", self.bob.core.profile.keys)],
        )
        self.alice.core.remove("bob")
        self.alice.core.add_contact(self.bob.identity, "bob", name="bob")
        eve = Device(self.relay, "eve")
        keys = eve.core.profile.keys
        self.relay.refusals[v3.Resolve] = [v3.Resolved(keys)]
        self.alice.core.resolve("bob")
        self.alice.go()
        return keys.identity

    def test_identity_has_changed(self):
        """When a name leads to somebody else, nothing is sent until the user decides."""
        eve = self.resolved()
        self.assertEqual(
            self.alice.told(events.IdentityChanged),
            [events.IdentityChanged(self.bob.identity, eve)],
        )
        self.assertRaises(IdentityHasChanged, self.say, self.alice, "bob", "who is it?")
        self.alice.core.decide("bob", replace=False)
        self.say(self.alice, "bob", "still you")
        self.settle()
        self.assertEqual(self.bob.received(), ["still you"])

    def test_identity_is_replaced(self):
        """The new owner of a name can take the contact's place."""
        eve = self.resolved()
        contact = self.alice.core.decide("bob", replace=True)
        self.assertEqual((contact.identity, contact.name, contact.verified), (eve, "bob", False))
        self.assertRaises(ContactUnknown, self.alice.core.contact, self.bob.identity)

    def test_nobody_has_that_name(self):
        """A name that nobody has is told with the answer."""
        self.alice.core.resolve("nobody-here")
        self.alice.go()
        (refused,) = self.alice.told(events.Refused)
        self.assertEqual(
            (refused.what, refused.name, refused.reason),
            ("resolve", "nobody-here", Reason.NOT_FOUND),
        )


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


class GapTests(PairTestCase):
    def test_gap_is_told_and_closed(self):
        """A number that was skipped is missing until it comes."""
        self.met()
        unsent = self.relay.store.put
        held = []

        def hold(envelopes):
            if len(held) < 1 and envelopes[0].recipient == self.bob.identity.account_id:
                held.extend(envelopes)
                from twisted.internet.defer import succeed

                from messageu.store.v3 import Stored

                return succeed([Stored(10**9)])
            return unsent(envelopes)

        self.relay.store.put = hold
        self.say(self.alice, "bob", "held back")
        self.say(self.alice, "bob", "behind it")
        self.settle()
        self.assertEqual(self.bob.received(), ["hello", "behind it"])
        self.assertEqual(self.bob.told(events.MessagesMissing)[-1].count, 1)
        unsent(held)
        self.relay.push(self.bob.identity.account_id)
        self.settle()
        self.assertEqual(self.bob.received(), ["hello", "behind it", "held back"])
        self.assertEqual(self.bob.told(events.MessagesMissing)[-1].count, 0)
