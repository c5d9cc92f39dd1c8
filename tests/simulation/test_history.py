"""The rules themselves: each is broken by a history made for it, and by no other rule's."""

from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.history import (
    Acknowledged,
    Answered,
    Held,
    InDoubt,
    Joined,
    Nonsense,
    Probed,
    Received,
    Refused,
    Sent,
    violations,
)

ONE = Sent(1, "anna", "bern", b"one", talk=1)
TWO = Sent(2, "anna", "bern", b"two", talk=1)
THREE = Sent(3, "anna", "bern", b"three", talk=2)
GOT_ONE = Received("bern", "anna", 11, b"one")
GOT_TWO = Received("bern", "anna", 12, b"two")
GOT_THREE = Received("bern", "anna", 13, b"three")


class RulesTests(SynchronousTestCase):
    """Good histories and bad ones."""

    def assert_broken(self, rule, *events):
        """Exactly one line is said about a history, and it is this rule's."""
        (line,) = violations(list(events))
        self.assertTrue(line.startswith(f"{rule}: "), line)

    def test_good(self):
        """Nothing is said about a history in which everything comes, some of it twice."""
        events = [
            Joined("anna"),
            ONE,
            TWO,
            Acknowledged(1, 11),
            Acknowledged(2, 12),
            THREE,
            GOT_ONE,
            GOT_ONE,
            GOT_TWO,
            GOT_ONE,
            Refused(3),
            Probed("anna"),
            Answered("anna"),
            Held("leases", 0),
        ]
        self.assertEqual(violations(events), [])

    def test_lost(self):
        """What was acknowledged has to come, to the one for whom it is."""
        self.assert_broken("lost", ONE, Acknowledged(1, 11))
        self.assertEqual(
            [
                line.split(":")[0]
                for line in violations(
                    [ONE, Acknowledged(1, 11), Received("cid", "anna", 11, b"one")]
                )
            ],
            ["lost", "astray"],
        )

    def test_not_acknowledged(self):
        """What was not acknowledged may be lost, and may come."""
        self.assertEqual(violations([ONE]), [])
        self.assertEqual(violations([ONE, GOT_ONE]), [])

    def test_made_up(self):
        """What comes was sent, whole, and by its sender."""
        self.assert_broken("made up", GOT_ONE)
        self.assert_broken("made up", ONE, Received("bern", "anna", 11, b"on"))
        self.assert_broken("made up", ONE, Received("bern", "cid", 11, b"one"))

    def test_astray(self):
        """Nobody gets what is for somebody else."""
        self.assert_broken("astray", ONE, Received("cid", "anna", 11, b"one"))

    def test_refused(self):
        """What was refused does not come, unless it was in doubt: then it may."""
        self.assert_broken("kept", ONE, Refused(1), GOT_ONE)
        self.assert_broken("kept", ONE, InDoubt((b"two",)), Refused(1), GOT_ONE)
        self.assertEqual(violations([ONE, InDoubt((b"one",)), Refused(1), GOT_ONE]), [])

    def test_order_on_a_connection(self):
        """What was sent on one connection comes in order, acknowledged or not."""
        self.assert_broken("order", ONE, TWO, GOT_TWO, GOT_ONE)
        self.assertEqual(violations([ONE, TWO, GOT_TWO]), [])

    def test_order_across_connections(self):
        """What was acknowledged comes before what was sent after that; without that, there is no
        order."""
        self.assert_broken("order", ONE, Acknowledged(1, 11), THREE, GOT_THREE, GOT_ONE)
        self.assertEqual(violations([ONE, THREE, Acknowledged(1, 11), GOT_THREE, GOT_ONE]), [])

    def test_order_of_repetitions(self):
        """What comes again may come in any order."""
        self.assertEqual(violations([ONE, TWO, GOT_ONE, GOT_TWO, GOT_TWO, GOT_ONE]), [])

    def test_ids(self):
        """An id names one message in a mailbox, always, and is the one that its sender was told."""
        self.assert_broken("ids", ONE, TWO, GOT_ONE, Received("bern", "anna", 11, b"two"))
        self.assert_broken("ids", ONE, GOT_ONE, Received("bern", "anna", 12, b"one"))
        self.assert_broken("ids", ONE, Acknowledged(1, 12), GOT_ONE)
        self.assert_broken("ids", Acknowledged(1, 12))

    def test_answers(self):
        """Whoever has registered is served in the end, and answers make sense."""
        self.assert_broken("answers", Joined("anna"))
        self.assert_broken("answers", Probed("anna"))
        self.assert_broken("answers", Nonsense("anna", "nothing"))

    def test_held(self):
        """Nothing is held for those who have gone."""
        self.assert_broken("held", Held("leases", 1))
