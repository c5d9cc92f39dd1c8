"""What is not in the index yet."""

from twisted.trial.unittest import SynchronousTestCase

from messageu.store._arrivals import Arrivals


class ArrivalsTests(SynchronousTestCase):
    def setUp(self):
        self.arrivals = Arrivals()
        self.arrivals.load([(1, 7, 10), (2, 8, 20), (5, 7, 30)])

    def test_in_order(self):
        """Each client's messages are known in order of arrival, from any of them on."""
        self.arrivals.add([(6, 7, 40)])
        self.assertEqual(self.arrivals.of(7, 0), [1, 5, 6])
        self.assertEqual(self.arrivals.of(7, 2), [5, 6])
        self.assertEqual(self.arrivals.of(8, 0), [2])
        self.assertEqual(self.arrivals.of(9, 0), [])
        self.assertEqual(len(self.arrivals), 4)

    def test_discard(self):
        """What is gone is not known any more; others do not matter."""
        self.arrivals.discard([2, 3, 5])
        self.assertEqual([self.arrivals.of(7, 0), self.arrivals.of(8, 0)], [[1], []])
        self.assertEqual(len(self.arrivals), 1)

    def test_clear(self):
        """What has come into the index is forgotten, and more may come."""
        self.arrivals.clear()
        self.assertEqual((len(self.arrivals), self.arrivals.of(7, 0)), (0, []))
        self.arrivals.add([(9, 7, 1)])
        self.assertEqual(self.arrivals.of(7, 0), [9])

    def test_unknown(self):
        """What is not here can only be in the index."""
        self.assertEqual(self.arrivals.unknown([1, 3, 5, 9]), [3, 9])

    def test_usage(self):
        """What each client's messages add up to follows what comes and goes."""
        self.assertEqual(
            [self.arrivals.usage(key) for key in (7, 8, 9)], [(2, 40), (1, 20), (0, 0)]
        )
        self.arrivals.add([(6, 7, 5)])
        self.arrivals.discard([1, 2])
        self.assertEqual([self.arrivals.usage(key) for key in (7, 8, 9)], [(2, 35), (0, 0), (0, 0)])
        self.arrivals.clear()
        self.assertEqual(self.arrivals.usage(7), (0, 0))

    def test_load(self):
        """To load is to begin anew."""
        self.assertFalse(Arrivals().loaded)
        self.assertTrue(self.arrivals.loaded)
        self.arrivals.load([(4, 4, 4)])
        self.assertEqual([self.arrivals.of(7, 0), self.arrivals.of(4, 0)], [[], [4]])
