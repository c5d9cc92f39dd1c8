"""Two clients and a relay: what is sent arrives, once, and everybody hears of it."""

from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3 import _events as events
from messageu.client.v3._values import Status

from .harness import pair, settle


class ConversationTests(SynchronousTestCase):
    def test_text(self):
        """A text arrives, is receipted, and its sender hears of both."""
        clock, _, alice, bob = pair()
        message_id = alice.core.send_text("bob", "hello")
        settle(alice, bob, clock=clock, seconds=4)
        self.assertEqual(bob.received(), ["hello"])
        self.assertEqual(alice.told(events.MessageStored), [events.MessageStored(message_id)])
        self.assertEqual(alice.told(events.MessageDelivered), [events.MessageDelivered(message_id)])
        self.assertEqual(alice.statuses(), {"hello": Status.DELIVERED})

    def test_conversation(self):
        """Texts of both arrive in the order in which each has sent them."""
        clock, _, alice, bob = pair()
        for number in range(10):
            alice.core.send_text("bob", f"a{number}")
            bob.core.send_text("alice", f"b{number}")
        settle(alice, bob, clock=clock, seconds=10)
        self.assertEqual(bob.received(), [f"a{number}" for number in range(10)])
        self.assertEqual(alice.received(), [f"b{number}" for number in range(10)])
        self.assertEqual(set(alice.statuses().values()), {Status.DELIVERED})
        self.assertEqual(alice.core.profile.unopened + bob.core.profile.unopened, 0)
