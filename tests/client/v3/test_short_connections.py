"""Somebody whose connections are never long."""

from twisted.trial.unittest import SynchronousTestCase

from messageu.model.v3 import BUNDLE_LIFE

from .harness import pair


class ShortConnectionTests(SynchronousTestCase):
    def test_prekeys_that_are_over(self):
        """Who connects for a moment only, and long after the last time, can be written to then."""
        clock, _, alice, bob = pair()
        bob.hang_up()
        clock.time += BUNDLE_LIFE
        bob.go()
        bob.hang_up()
        alice.core.send_text("bob", "are you there?")
        alice.hang_up()
        alice.go()
        bob.go()
        self.assertEqual(bob.received(), ["are you there?"])

    def test_mail_from_before(self):
        """What was sealed to the prekeys whose time is over, and waits, still opens."""
        clock, _, alice, bob = pair()
        bob.hang_up()
        alice.core.send_text("bob", "before")
        alice.go()
        clock.time += BUNDLE_LIFE
        bob.go()
        self.assertEqual(bob.received(), ["before"])
