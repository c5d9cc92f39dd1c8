from twisted.trial.unittest import SynchronousTestCase

from benchmarks import v3_crypto
from messageu.crypto.v3 import CryptoError, Kind


class WorkTests(SynchronousTestCase):
    """That what is measured is the work, and all of it."""

    def test_messages(self):
        """What is sent is received, in both directions, and once."""
        pair = v3_crypto._Pair()
        for sender in (0, 1, 1, 0):
            sent = pair.send(sender)
            message = pair.receive(*sent, reader=1 - sender)
            self.assertEqual((message.kind, len(message.body)), (Kind.TEXT, v3_crypto._TEXT_SIZE))
            self.assertRaises(CryptoError, pair.receive, *sent, reader=1 - sender)

    def test_each_work(self):
        """Each says how long it took and how much was done."""
        for title, work, _ in v3_crypto._works():
            taken, done = work()
            self.assertGreater(min(taken, done), 0, title)
