"""Sessions, and what is missing of a conversation."""

from attrs import evolve

from messageu.client.v3 import _events as events
from messageu.model.v3 import Delivery, EnvelopeId
from messageu.wire import v3

from .harness import (
    PairTestCase,
)

DAY = 86_400.0
HOUR = 3_600.0


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
