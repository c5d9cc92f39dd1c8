from hashlib import sha512
from itertools import accumulate, repeat

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto.v3 import safety_number
from messageu.model import v3

identities = st.binary(min_size=32, max_size=32).map(v3.Identity)


def half(identity):
    """The document's words, written out a second time."""
    first = sha512(b"messageu/3 safety number\0" + identity.raw).digest()
    *_, last = accumulate(
        repeat(identity.raw, 5199), lambda a, b: sha512(a + b).digest(), initial=first
    )
    numbers = (int(last[at : at + 5].hex(), 16) for at in (0, 5, 10, 15, 20, 25))
    return "".join(str(number)[-5:].rjust(5, "0") for number in numbers)


class SafetyNumberTests(SynchronousTestCase):
    """What two people compare."""

    @settings(max_examples=10)
    @given(identities, identities)
    def test_both_sides(self, one, other):
        """It is the document's, 60 digits, and the same whoever computes it."""
        number = safety_number(one, other)
        self.assertEqual(number, "".join(sorted([half(one), half(other)])))
        self.assertEqual(safety_number(other, one), number)
        self.assertRegex(number, r"\A[0-9]{60}\Z")

    def test_example(self):
        """Identities of zeros and of ones have this number, for whoever writes another client."""
        number = safety_number(v3.Identity(bytes(32)), v3.Identity(b"\xff" * 32))
        self.assertEqual(number, "339350430891026308249974892202573473451081610508391570313624")

    @settings(max_examples=10)
    @given(identities, identities, st.integers(0, 255))
    def test_every_bit_counts(self, one, other, bit):
        """One bit of an identity changes its half and not the other."""
        raw = bytearray(other.raw)
        raw[bit // 8] ^= 1 << bit % 8
        changed = safety_number(one, v3.Identity(bytes(raw)))
        self.assertNotEqual(changed, safety_number(one, other))
        self.assertIn(half(one), (changed[:30], changed[30:]))
