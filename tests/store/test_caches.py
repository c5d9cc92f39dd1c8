"""What the SQL store remembers between transactions."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from messageu.store._caches import LAST_SEEN_INTERVAL, ClientKeys, LastSeen, Sequences

ONE, TWO, THREE, FOUR = (bytes([number]) * 16 for number in range(1, 5))


class ClientKeysTests(SynchronousTestCase):
    def test_unused_goes(self):
        """Over the limit, a client that was not asked for since half of it came is forgotten."""
        keys = ClientKeys(limit=4)
        keys.update({ONE: 1, TWO: 2})
        keys.update({THREE: 3})
        self.assertEqual(keys.get(ONE), 1)
        keys.update({FOUR: 4})
        self.assertEqual([keys.get(each) for each in (ONE, TWO, THREE)], [1, None, 3])

    def test_never_more_than_the_limit(self):
        """However many are learned and asked for, no more than the limit are remembered."""
        keys = ClientKeys(limit=4)
        for number in range(100):
            keys.update({bytes([number]): number})
            keys.get(bytes([number // 2]))
        remembered = [number for number in range(100) if keys.get(bytes([number])) is not None]
        self.assertLessEqual(len(remembered), 4)
        self.assertIn(99, remembered)


class SequencesTests(SynchronousTestCase):
    def setUp(self):
        self.sequences = Sequences()

    def test_takes_what_was_reserved(self):
        """Sequences are given out in order, as long as there are enough that follow each other."""
        self.assertIsNone(self.sequences.take(1))
        self.sequences.add(5, 10)
        self.assertEqual([self.sequences.take(2), self.sequences.take(2)], [5, 7])
        self.assertIsNone(self.sequences.take(2))
        self.assertEqual(self.sequences.take(1), 9)
        self.assertIsNone(self.sequences.take(1))

    def test_forget(self):
        """What was reserved in vain is not given out."""
        self.sequences.add(5, 10)
        self.sequences.forget()
        self.assertIsNone(self.sequences.take(1))


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
