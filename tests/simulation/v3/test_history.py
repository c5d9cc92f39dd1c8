"""The rules themselves: each is broken by a history made for it, and by no other rule's."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from .history import (
    Accepted,
    Copied,
    Delivered,
    Left,
    LongWait,
    Missing,
    Reset,
    Restored,
    Shown,
    Spoilt,
    Stranger,
    Undelivered,
    Unknown,
    Unopened,
    Withheld,
    Wrote,
    violations,
)

ONE, TWO = Accepted("anna", "bern", "one"), Accepted("anna", "bern", "two")
GOT_ONE, GOT_TWO = Shown("bern", "anna", "one"), Shown("bern", "anna", "two")
TOLD_ONE, TOLD_TWO = Delivered("anna", "one"), Delivered("anna", "two")
COPY, BACK = Copied("anna", 1), Restored("anna", 1)


class RulesTests(SynchronousTestCase):
    """Good histories and bad ones."""

    def assert_broken(self, rule, *events):
        """Exactly one line is said about a history, and it is this rule's."""
        (line,) = violations(list(events))
        self.assertTrue(line.startswith(f"{rule}: "), line)

    def assert_good(self, *events):
        self.assertEqual(violations(list(events)), [])

    def test_good(self):
        """Nothing is said where all comes, in order, and is receipted."""
        self.assert_good(ONE, TWO, GOT_ONE, GOT_TWO, TOLD_TWO, TOLD_ONE, Wrote("anna", "Send"))

    def test_lost(self):
        """What was accepted comes, or is reported."""
        self.assertIn("lost", violations([ONE])[0])
        self.assert_good(LongWait(9.0), ONE, Undelivered("anna", "one", "EXPIRED"))

    def test_forgotten(self):
        """Who goes on with a copy need not know of what he said after it."""
        self.assert_good(COPY, ONE, BACK, Reset("anna"))
        self.assert_broken("restored", COPY, BACK, Wrote("anna", "Send"))

    def test_twice(self):
        """Nothing is shown twice, but to him who has forgotten it with the state it was in."""
        self.assert_broken("twice", ONE, GOT_ONE, GOT_ONE, TOLD_ONE)
        self.assert_good(
            Copied("bern", 1),
            ONE,
            GOT_ONE,
            Restored("bern", 1),
            Reset("bern"),
            GOT_ONE,
            TOLD_ONE,
        )
        self.assert_broken(
            "twice",
            ONE,
            GOT_ONE,
            Copied("bern", 1),
            Restored("bern", 1),
            Reset("bern"),
            GOT_ONE,
            TOLD_ONE,
        )

    def test_made_up(self):
        """What is shown was said so, by this one to that one."""
        self.assert_broken("made up", GOT_ONE)
        self.assert_broken("made up", ONE, GOT_ONE, TOLD_ONE, Shown("bern", "cid", "one2"))

    def test_order(self):
        """What comes before what was said earlier comes with the news that something is missing."""
        self.assert_broken("order", ONE, TWO, GOT_TWO, GOT_ONE, TOLD_ONE, TOLD_TWO)
        missing = Missing("bern", "anna", 1)
        self.assert_good(ONE, TWO, missing, GOT_TWO, GOT_ONE, TOLD_ONE, TOLD_TWO)
        self.assert_broken(
            "order", ONE, TWO, missing, Missing("bern", "anna", 0), GOT_TWO, GOT_ONE,
            TOLD_ONE, TOLD_TWO,
        )  # fmt: skip

    def test_receipts(self):
        """Nobody is told that something has come before it has."""
        self.assert_broken("receipts", ONE, TOLD_ONE, GOT_ONE)

    def test_left(self):
        """Nothing waits for ever."""
        self.assert_broken("left", ONE, GOT_ONE)
        self.assert_broken("left", Left("the relay", "connections"))

    def test_needless(self):
        """Nothing is given up without a reason."""
        given_up = Undelivered("anna", "one", "EXPIRED")
        self.assert_broken("needless", ONE, given_up)
        self.assert_good(ONE, Undelivered("anna", "one", "NO_ACCOUNT"))
        self.assert_good(COPY, BACK, Reset("anna"), ONE, given_up)
        self.assert_broken("needless", Unopened("anna", 1))

    def test_strangers(self):
        """Of a stranger so much is kept, and the rest may be lost to him."""
        texts = [Accepted("anna", "bern", str(number)) for number in range(21)]
        shown = [Shown("bern", "anna", each.text) for each in texts[:20]]
        told = [Delivered("anna", each.text) for each in texts[:20]]
        events = [*texts, *shown, *told, Undelivered("anna", "20", "EXPIRED")]
        self.assert_broken("needless", *events)
        self.assert_good(Stranger("bern", "anna"), *events)

    def test_files(self):
        """A file comes whenever all of it is there: texts need not wait for it. Otherwise it is as
        a text, but for who is a stranger, what was spoilt, and what a relay has reordered."""
        file = evolve(ONE, is_file=True)
        self.assert_good(file, TWO, GOT_TWO, TOLD_TWO, GOT_ONE, TOLD_ONE)
        self.assertIn("lost", violations([file])[0])
        self.assert_broken("receipts", file, TOLD_ONE, GOT_ONE)
        self.assert_broken("twice", file, GOT_ONE, GOT_ONE, TOLD_ONE)
        expired, gone = (Undelivered("anna", "one", why) for why in ("EXPIRED", "FILE_GONE"))
        for given_up, excuse in (
            (expired, Unknown("bern", "anna")),
            (expired, Withheld("bern")),
            (gone, Spoilt("anna", "one")),
        ):
            self.assert_broken("needless", file, given_up)
            self.assert_good(excuse, file, given_up)
            self.assert_broken("needless", excuse, ONE, given_up)
        self.assert_broken("needless", Spoilt("anna", "one"), file, expired)
