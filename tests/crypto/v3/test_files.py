import hmac

from Cryptodome.Cipher import ChaCha20_Poly1305
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto.v3 import CryptoError, open_piece, piece_envelope_id, seal_piece
from messageu.model import v3

KEY = bytes(range(32))
PIECE = bytes(range(256)) * (v3.PIECE_SIZE // 256)
SEALED = seal_piece(KEY, 3, False, PIECE)

indexes = st.integers(0, 2**32 - 1)


class PieceTests(SynchronousTestCase):
    """The pieces of a file."""

    @given(indexes, st.booleans())
    def test_round_trip(self, index, last):
        """A piece opens as what it was sealed as, and as nothing else."""
        sealed = seal_piece(KEY, index, last, PIECE)
        self.assertEqual(len(sealed), v3.SEALED_PIECE_SIZE)
        self.assertEqual(open_piece(KEY, index, last, sealed), PIECE)
        for wrong in ((KEY, index, not last), (KEY, index ^ 1, last), (KEY[::-1], index, last)):
            self.assertRaises(CryptoError, open_piece, *wrong, sealed)

    @given(indexes, st.booleans())
    def test_bytes(self, index, last):
        """It is what the document says, by another library: counter and end are in the nonce."""
        nonce = bytes(7) + index.to_bytes(4, "big") + (b"\x01" if last else b"\0")
        cipher = ChaCha20_Poly1305.new(key=KEY, nonce=nonce)
        self.assertEqual(
            seal_piece(KEY, index, last, PIECE), b"".join(cipher.encrypt_and_digest(PIECE))
        )

    @given(st.integers(0, len(SEALED) * 8 - 1))
    def test_flipped_bit(self, bit):
        """With any bit flipped it does not open."""
        changed = bytearray(SEALED)
        changed[bit // 8] ^= 1 << bit % 8
        self.assertRaises(CryptoError, open_piece, KEY, 3, False, bytes(changed))

    def test_sizes(self):
        """Pieces and keys of another size are neither sealed nor opened."""
        self.assertEqual(open_piece(KEY, 3, False, SEALED), PIECE)
        for piece in (b"", PIECE[:-1], PIECE + b"\0"):
            self.assertRaises(CryptoError, seal_piece, KEY, 0, True, piece)
        for sealed in (b"", SEALED[:-1], SEALED + b"\0"):
            self.assertRaises(CryptoError, open_piece, KEY, 3, False, sealed)
        for key in (b"", KEY[:-1], KEY + b"\0"):
            self.assertRaises(CryptoError, seal_piece, key, 0, True, PIECE)
            self.assertRaises(CryptoError, open_piece, key, 3, False, SEALED)
            self.assertRaises(CryptoError, piece_envelope_id, key, 0)

    def test_indexes(self):
        """There is no piece before the first, nor one that a u32 cannot count."""
        for index in (-1, 2**32):
            self.assertRaises(CryptoError, seal_piece, KEY, index, True, PIECE)
            self.assertRaises(CryptoError, open_piece, KEY, index, True, SEALED)
            self.assertRaises(CryptoError, piece_envelope_id, KEY, index)

    @given(st.binary(min_size=32, max_size=32), indexes)
    def test_envelope_ids(self, key, index):
        """Its envelope's id is what the document says, by another library."""
        code = hmac.digest(key, b"messageu/3 piece\0" + index.to_bytes(4, "little"), "sha256")
        self.assertEqual(piece_envelope_id(key, index).raw, code[:16])
