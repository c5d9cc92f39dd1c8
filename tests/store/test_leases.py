"""Which messages are pinned, and which can be deleted."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from messageu.store._leases import LeaseLedger

SEQUENCES = st.sets(st.integers(1, 6), min_size=1)
NUMBERS = st.integers(1, 12)


class LedgerMachine(RuleBasedStateMachine):
    """A ledger beside what is obvious: which lease holds what, what was ended, what is deleted."""

    def __init__(self):
        super().__init__()
        self.ledger = LeaseLedger()
        self.given = 0
        self.leases = {}
        self.unwanted = set()
        self.deleted = set()

    def pinned(self):
        return set().union(*self.leases.values())

    def accept(self, deletable):
        """See to it that only what nobody holds and nobody wants is deleted, and only once."""
        gone = set(deletable)
        assert len(gone) == len(deletable)
        assert not gone & self.pinned()
        assert not gone & self.deleted
        assert gone <= self.unwanted
        self.deleted |= gone

    @rule(sequences=SEQUENCES)
    def grant(self, sequences):
        listed = {each for each in sequences - self.deleted if not self.ledger.is_doomed(each)}
        number = self.ledger.grant(sorted(listed))
        assert number > self.given
        self.given = number
        self.leases[number] = listed

    @rule(number=NUMBERS, limit=st.integers(1, 4))
    def settle(self, number, limit):
        held = sorted(self.leases.pop(number, set()))
        self.unwanted |= set(held)
        deletable, more = self.ledger.settle(number, limit)
        assert more == (len(held) > limit)
        if more:
            self.leases[number] = set(held[limit:])
        self.accept(deletable)

    @rule(number=NUMBERS)
    def release(self, number):
        self.leases.pop(number, None)
        self.accept(self.ledger.release(number))

    @rule()
    def release_all(self):
        self.leases.clear()
        self.accept(self.ledger.release_all())

    @rule(sequences=SEQUENCES)
    def expire(self, sequences):
        old = sequences - self.deleted
        deletable, count = self.ledger.expire(sorted(old))
        assert count == len(old - self.unwanted)
        self.unwanted |= old
        self.accept(deletable)

    @rule(number=NUMBERS, sequences=SEQUENCES, keep=st.booleans())
    def try_in_vain(self, number, sequences, keep):
        """What is rolled back has not happened, also when more of it was rolled back before."""
        if keep:
            self.ledger.commit()
        mark = self.ledger.mark()
        self.ledger.grant(sorted(sequences))
        self.given += 1
        self.ledger.settle(number, 2)
        inner = self.ledger.mark()
        self.ledger.expire(sorted(sequences))
        self.ledger.release_all()
        if keep:
            self.ledger.rollback(inner)
        self.ledger.rollback(mark)

    @invariant()
    def only_what_is_unwanted_and_pinned_is_doomed(self):
        doomed = {each for each in range(1, 7) if self.ledger.is_doomed(each)}
        assert doomed == self.unwanted & self.pinned()

    @invariant()
    def what_nobody_holds_is_gone_when_it_is_unwanted(self):
        assert self.unwanted - self.pinned() == self.deleted


class LeaseLedgerTests(SynchronousTestCase):
    def test_any_order(self):
        """Nothing is deleted while it is pinned or wanted, and all that is settled goes."""
        run_state_machine_as_test(LedgerMachine, settings=settings(max_examples=200))

    def test_forgets(self):
        """What has ended leaves nothing behind."""
        ledger = LeaseLedger()
        for _ in range(3):
            number = ledger.grant([1, 2])
            self.assertEqual(ledger.settle(number, 1), ([1], True))
            self.assertEqual(ledger.settle(number, 1), ([2], False))
            ledger.grant([])
        ledger.commit()
        self.assertEqual(
            (ledger._leases, dict(ledger._pins), ledger._doomed, ledger._settling, ledger._undo),
            ({}, {}, set(), set(), []),
        )
