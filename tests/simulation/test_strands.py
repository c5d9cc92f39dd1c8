"""Threads that run only while somebody waits for them."""

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from .strands import End, Pause, Strand, StrandThread, pause


class StrandTests(SynchronousTestCase):
    def setUp(self):
        self.strand = Strand()
        self.seen = []

    def work(self):
        self.seen.append("begun")
        pause(2.0)
        self.seen.append("gone on")
        return "done"

    def test_pauses(self):
        """A call stands still where it pauses, until it is to go on."""
        self.addCleanup(self.strand.end)
        self.assertEqual(self.strand.begin(self.work), Pause(2.0))
        self.assertEqual(self.seen, ["begun"])
        self.assertEqual(self.strand.go_on(), End("done"))
        self.assertEqual(self.seen, ["begun", "gone on"])

    def test_raises(self):
        """What a call raises is raised where somebody asks for what it has returned."""
        self.addCleanup(self.strand.end)
        self.assertRaises(ZeroDivisionError, self.strand.begin(lambda: 1 // 0).get)
        self.assertEqual(self.strand.begin(lambda: 5).get(), 5)

    def test_ends_in_a_pause(self):
        """Whoever ends it in the midst of a call ends that, too."""
        raised = []

        def work():
            try:
                self.work()
            except KeyboardInterrupt as error:
                raised.append(error)

        self.strand.begin(work)
        error = KeyboardInterrupt()
        self.strand.end(error)
        self.assertEqual((self.seen, raised), (["begun"], [error]))
        self.assertFalse(self.strand._thread.is_alive())


class StrandThreadTests(SynchronousTestCase):
    def test_calls_keep_their_order(self):
        """While a call pauses the next one waits, and time goes by for all others."""
        clock, results = Clock(), []
        thread = StrandThread(clock, lambda: 0.0)
        self.addCleanup(thread.stop)

        def work(number):
            pause(1.0)
            return number

        for number in (1, 2):
            thread.callInThreadWithCallback(lambda *said: results.append(said), work, number)
        clock.advance(0)
        clock.pump([0.9, 0.0, 0.1, 0.0, 0.0])
        self.assertEqual(results, [(True, 1)])
        clock.pump([0.9, 0.1, 0.0, 0.0])
        self.assertEqual(results, [(True, 1), (True, 2)])

    def test_failures(self):
        """A call that fails is answered with its failure."""
        clock, results = Clock(), []
        thread = StrandThread(clock, lambda: 0.0)
        self.addCleanup(thread.stop)
        thread.callInThreadWithCallback(lambda *said: results.append(said), int, "x")
        clock.pump([0.0, 0.0])
        ((succeeded, failure),) = results
        self.assertEqual((succeeded, type(failure)), (False, Failure))
        failure.trap(ValueError)
