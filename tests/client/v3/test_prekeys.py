"""Prekeys: others' that are claimed, and ours that are published."""

from attrs import evolve

from messageu.client.v3 import _events as events
from messageu.client.v3._values import Why
from messageu.model.v3 import Identity, Reason
from messageu.wire import v3

from .harness import (
    MAIL_LIFE,
    PairTestCase,
)

DAY = 86_400.0
HOUR = 3_600.0


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
