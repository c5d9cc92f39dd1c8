from math import floor, log2

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto.v3 import padded_size, padme, piece_count
from messageu.model import v3

sizes = st.integers(0, 10_000) | st.integers(0, 2**49)


class PaddingTests(SynchronousTestCase):
    """Sizes that tell little."""

    def test_formula(self):
        """It is the formula of the document."""
        for size in (*range(2, 5000), 2**20, 2**20 + 1, 10**9, 10**12):
            exponent = floor(log2(size))
            unit = 2 ** (exponent - (floor(log2(exponent)) + 1))
            self.assertEqual(padme(size), -(-size // unit) * unit if unit > 1 else size, size)

    @given(sizes)
    def test_never_less(self, size):
        """It is never less, at most an eighth more, and does not grow again."""
        self.assertLessEqual(size, padme(size))
        self.assertLessEqual((padme(size) - size) * 8, size)
        self.assertEqual(padme(padme(size)), padme(size))

    @given(sizes, sizes)
    def test_order(self, one, other):
        """Of two sizes the larger is not padded to less."""
        self.assertEqual(padme(max(one, other)), max(padme(one), padme(other)))

    def test_few(self):
        """Sizes of up to a million bytes are rounded to some hundreds of others."""
        self.assertLess(len({padme(size) for size in range(600, 10**6)}), 400)

    @given(sizes)
    def test_pieces(self, size):
        """A file fills whole pieces, at least one, with less than a piece to spare."""
        self.assertEqual(padded_size(size), piece_count(size) * v3.PIECE_SIZE)
        spare = padded_size(size) - padme(size)
        self.assertTrue(0 <= spare < v3.PIECE_SIZE or (spare == v3.PIECE_SIZE and size == 0))

    def test_examples(self):
        """An empty file has a piece, as one of a single piece has; one more byte needs another."""
        piece = v3.PIECE_SIZE
        self.assertEqual([piece_count(size) for size in (0, 1, piece, piece + 1)], [1, 1, 1, 2])
        self.assertEqual(piece_count(10**9), 3_840)
        self.assertLess(piece_count(2**49), 2**32)
