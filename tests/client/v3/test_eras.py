"""What a reset does to the prekeys that the relay has."""

from twisted.trial.unittest import SynchronousTestCase

from messageu.wire import v3

from .harness import Device, introduce, pair, settle


class EraTests(SynchronousTestCase):
    def setUp(self):
        self.clock, self.relay, self.alice, self.bob = pair()

    def settle(self, *others):
        settle(self.alice, self.bob, *others, clock=self.clock, seconds=4.0)

    def kept(self):
        """The account of bob at the relay."""
        return self.relay.store._accounts[self.bob.identity.account_id]

    def test_prekeys_of_a_state_that_is_lost(self):
        """Who writes for the first time after a reset is not given a one-time key that was lost."""
        self.settle()
        copy = self.bob.database.copy()
        self.kept().one_time_keys.clear()
        self.bob.end.answers.append(v3.Response(v3.PUSH, v3.PrekeysLow(0)))
        self.settle()
        lost = set(self.kept().one_time_keys)
        self.assertEqual(len(lost), 50)

        self.bob.database = copy
        self.bob.start()
        self.bob.go()
        self.bob.core.reset()
        self.settle()
        self.assertEqual(len(self.kept().one_time_keys), 50)
        self.assertFalse(lost & set(self.kept().one_time_keys))

        carol = Device(self.relay, "carol")
        introduce(carol)
        carol.core.add_contact(self.bob.identity, "bob")
        self.bob.core.add_contact(carol.identity, "carol")
        carol.core.send_text("bob", "for the first time")
        self.settle(carol)
        self.assertEqual(self.bob.received(), ["for the first time"])
        self.assertEqual(self.bob.core.profile.unopened, 0)
