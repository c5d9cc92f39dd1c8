"""What the SQL store remembers between transactions."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from messageu.store._caches import LAST_SEEN_INTERVAL, ClientKeys, LastSeen

ONE, TWO, THREE = (bytes([number]) * 16 for number in range(1, 4))


class ClientKeysTests(SynchronousTestCase):
    def test_longest_unused_goes(self):
        """Over the limit, the client that was not asked for longest is forgotten."""
        keys = ClientKeys(limit=2)
        keys.update({ONE: 1, TWO: 2})
        self.assertEqual(keys.get(ONE), 1)
        keys.update({THREE: 3})
        self.assertEqual([keys.get(each) for each in (ONE, TWO, THREE)], [1, None, 3])

    def test_learned_again(self):
        """A client that is learned again counts once, and as used."""
        keys = ClientKeys(limit=2)
        keys.update({ONE: 1, TWO: 2})
        keys.update({ONE: 1})
        keys.update({THREE: 3})
        self.assertEqual([keys.get(each) for each in (ONE, TWO, THREE)], [1, None, 3])


class LastSeenTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.seen = LastSeen(self.clock.seconds, limit=4)

    def test_due_after_an_interval(self):
        """What was gathered is written once an interval, if there is anything."""
        self.clock.advance(LAST_SEEN_INTERVAL)
        self.assertFalse(self.seen.is_due())
        self.seen.gather({1: 10.0})
        self.assertTrue(self.seen.is_due())
        self.seen.written({1: 10.0})
        self.seen.gather({1: 11.0})
        self.assertFalse(self.seen.is_due())
        self.clock.advance(LAST_SEEN_INTERVAL)
        self.assertTrue(self.seen.is_due())

    def test_due_when_half_full(self):
        """When there is much to write it does not wait for the interval."""
        self.seen.gather({1: 10.0})
        self.assertFalse(self.seen.is_due())
        self.seen.gather({2: 10.0})
        self.assertTrue(self.seen.is_due())

    def test_limit(self):
        """When it is full it takes nobody new, until it was written."""
        self.seen.gather(dict.fromkeys(range(1, 6), 10.0))
        self.seen.gather({1: 11.0})
        self.assertEqual(self.seen.gathered, {1: 11.0, 2: 10.0, 3: 10.0, 4: 10.0})

    def test_newer_is_kept(self):
        """What was seen while the last was written is still to be written."""
        self.seen.gather({1: 11.0, 2: 10.0})
        self.seen.written({1: 10.0, 2: 10.0, 3: 10.0})
        self.assertEqual(self.seen.gathered, {1: 11.0})
