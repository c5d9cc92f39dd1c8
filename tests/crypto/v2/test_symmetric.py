from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto.v2 import KEY_SIZE, CryptoError, SymmetricKey

KEY = SymmetricKey(bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"))

# NIST SP 800-38A, F.2.1, has an IV of 00 01 .. 0f. With an IV of zeros the same ciphertext comes
# of the same plaintext whose first block has been XORed with that IV.
NIST_PLAINTEXT = bytes.fromhex(
    "6bc0bce12a459991e134741a7f9e1925"
    "ae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52ef"
    "f69f2445df4f9b17ad2b417be66c3710"
)
NIST_CIPHERTEXT = bytes.fromhex(
    "7649abac8119b246cee98e9b12e9197d"
    "5086cb9b507219ee95db113a917678b2"
    "73bed6b8e3c1743b7116e69e22229516"
    "3ff1caa1681fac09120eca307586e1a7"
)

keys = st.binary(min_size=KEY_SIZE, max_size=KEY_SIZE).map(SymmetricKey)


class KnownAnswerTests(SynchronousTestCase):
    def test_nist_cbc(self):
        """Four whole blocks give NIST's ciphertext, and one block of padding behind it."""
        sealed = KEY.seal(NIST_PLAINTEXT)
        self.assertEqual(sealed[:64], NIST_CIPHERTEXT)
        self.assertEqual(sealed[64:].hex(), "8cb82807230e1321d3fae00d18cc2012")
        self.assertEqual(KEY.open(sealed), NIST_PLAINTEXT)

    def test_fips_197(self):
        """The block of FIPS-197, appendix C.1, gives its ciphertext: the first IV is zero."""
        key = SymmetricKey(bytes(range(16)))
        sealed = key.seal(bytes.fromhex("00112233445566778899aabbccddeeff"))
        self.assertEqual(
            sealed.hex(), "69c4e0d86a7b0430d8cdb78070b4c55a9e978e6d16b086570ef794ef97984232"
        )

    def test_padding(self):
        """One byte of padding, and sixteen, are what OpenSSL makes of them."""
        vectors = {
            b"fifteen bytes..": "e9aeb3436aadf8d5d4b7aa7a4bb0dd56",
            b"": "a254be88e037ddd9d79fb6411c3f9df8",
        }
        for plaintext, sealed in vectors.items():
            self.assertEqual(KEY.seal(plaintext).hex(), sealed)
            self.assertEqual(KEY.open(bytes.fromhex(sealed)), plaintext)


class SymmetricKeyTests(SynchronousTestCase):
    @given(keys, st.binary(max_size=100))
    def test_round_trip(self, key, plaintext):
        """What was sealed opens again, and has grown to the next multiple of 16."""
        sealed = key.seal(plaintext)
        self.assertEqual(len(sealed), len(plaintext) // 16 * 16 + 16)
        self.assertEqual(key.open(sealed), plaintext)

    @given(keys, st.binary(max_size=100) | st.binary(min_size=32, max_size=32))
    def test_any_bytes(self, key, sealed):
        """Any bytes either open to something that seals to them, or raise CryptoError."""
        try:
            plaintext = key.open(sealed)
        except CryptoError:
            return
        self.assertEqual(key.seal(plaintext), sealed)

    def test_one_text_for_every_failure(self):
        """Nothing, half a block and each sort of bad padding fail alike, without a cause."""
        cipher_of_zeros = KEY.seal(bytes(32))[:32]  # ends in a padding of 0
        padding_too_long = KEY.seal(bytes(15) + b"\x11")[:16]
        padding_uneven = KEY.seal(bytes(14) + b"\x01\x02")[:16]
        for sealed in (
            b"",
            bytes(15),
            bytes(17),
            cipher_of_zeros,
            padding_too_long,
            padding_uneven,
        ):
            error = self.assertRaises(CryptoError, KEY.open, sealed)
            self.assertEqual(str(error), "the message does not open with this key")
            self.assertIsNone(error.__cause__)
            self.assertTrue(error.__suppress_context__)

    def test_wrong_key(self):
        """A text that another key sealed does not open."""
        sealed = KEY.seal(b"hello")
        self.assertRaises(CryptoError, SymmetricKey(bytes(16)).open, sealed)

    def test_size(self):
        """A key has 16 bytes; the error for another size does not show it."""
        for raw in (b"", b"x" * 15, b"x" * 17, b"x" * 32):
            error = self.assertRaises(CryptoError, SymmetricKey, raw)
            self.assertNotIn("xx", str(error))

    def test_generate(self):
        """Two new keys differ."""
        first, second = SymmetricKey.generate(), SymmetricKey.generate()
        self.assertEqual(len(first.raw), KEY_SIZE)
        self.assertNotEqual(first, second)

    def test_equality(self):
        """Keys of the same bytes are equal."""
        self.assertEqual(KEY, SymmetricKey(KEY.raw))

    def test_repr(self):
        """The repr shows nothing of the key."""
        self.assertEqual(repr(KEY), "SymmetricKey()")
