import sys
from importlib import util
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto.v2 import KEY_SIZE, CryptoError, SymmetricKey, _cbc, _symmetric
from messageu.crypto.v2._cbc import BLOCK_SIZE, INSTALLED

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


whole_blocks = st.integers(0, 70).flatmap(
    lambda count: st.binary(min_size=count * BLOCK_SIZE, max_size=count * BLOCK_SIZE)
)


def with_each_library():
    """Go through the libraries that are installed, each in turn the one that is used."""
    for cbc in INSTALLED:
        with mock.patch.object(_symmetric, "_CBC", cbc):
            yield cbc.library


class LibraryTests(SynchronousTestCase):
    """The libraries that can do the same."""

    def test_fastest_of_those_installed(self):
        """The extra is used if it is installed, and else what is always there."""
        extra = ["cryptography"] if util.find_spec("cryptography") else []
        self.assertEqual([cbc.library for cbc in INSTALLED], [*extra, "Cryptodome"])

    def test_without_the_extra(self):
        """Where the extra is missing, the other library does the work."""
        spec = util.spec_from_file_location("cbc_without_the_extra", _cbc.__file__)
        module = util.module_from_spec(spec)
        missing = {"cryptography.hazmat.primitives.ciphers": None}
        with mock.patch.dict(sys.modules, missing):
            spec.loader.exec_module(module)
        self.assertEqual([cbc.library for cbc in module.INSTALLED], ["Cryptodome"])
        (cbc,) = module.INSTALLED
        self.assertEqual(cbc.decrypt(KEY.raw, cbc.encrypt(KEY.raw, bytes(32))), bytes(32))

    @given(keys, whole_blocks)
    def test_same_bytes(self, key, blocks):
        """Each makes the same of the same bytes, in both directions."""
        encrypted = {cbc.encrypt(key.raw, blocks) for cbc in INSTALLED}
        self.assertEqual(len(encrypted), 1)
        decrypted = {cbc.decrypt(key.raw, blocks) for cbc in INSTALLED}
        self.assertEqual(len(decrypted), 1)
        (sealed,) = encrypted
        for cbc in INSTALLED:
            self.assertEqual(cbc.decrypt(key.raw, sealed), blocks)

    def test_large(self):
        """A file of some megabytes is the same by each of them."""
        content = bytes(range(256)) * (3 * 2**12) + b"the rest"
        sealed = {KEY.seal(content) for _ in with_each_library()}
        self.assertEqual(len(sealed), 1)
        for _ in with_each_library():
            self.assertEqual({KEY.open(each) for each in sealed}, {content})

    def test_parts_of_blocks(self):
        """Each refuses a part of a block with the same sort of error."""
        for cbc in INSTALLED:
            for size in (1, 15, 17):
                self.assertRaises(ValueError, cbc.encrypt, KEY.raw, bytes(size))
                self.assertRaises(ValueError, cbc.decrypt, KEY.raw, bytes(size))


class KnownAnswerTests(SynchronousTestCase):
    def test_nist_cbc(self):
        """Four whole blocks give NIST's ciphertext, and one block of padding behind it."""
        for library in with_each_library():
            sealed = KEY.seal(NIST_PLAINTEXT)
            self.assertEqual(sealed[:64], NIST_CIPHERTEXT, library)
            self.assertEqual(sealed[64:].hex(), "8cb82807230e1321d3fae00d18cc2012", library)
            self.assertEqual(KEY.open(sealed), NIST_PLAINTEXT, library)

    def test_fips_197(self):
        """The block of FIPS-197, appendix C.1, gives its ciphertext: the first IV is zero."""
        key = SymmetricKey(bytes(range(16)))
        expected = "69c4e0d86a7b0430d8cdb78070b4c55a9e978e6d16b086570ef794ef97984232"
        for library in with_each_library():
            sealed = key.seal(bytes.fromhex("00112233445566778899aabbccddeeff"))
            self.assertEqual(sealed.hex(), expected, library)

    def test_padding(self):
        """One byte of padding, and sixteen, are what OpenSSL makes of them."""
        vectors = {
            b"fifteen bytes..": "e9aeb3436aadf8d5d4b7aa7a4bb0dd56",
            b"": "a254be88e037ddd9d79fb6411c3f9df8",
        }
        for library in with_each_library():
            for plaintext, sealed in vectors.items():
                self.assertEqual(KEY.seal(plaintext).hex(), sealed, library)
                self.assertEqual(KEY.open(bytes.fromhex(sealed)), plaintext, library)


class SymmetricKeyTests(SynchronousTestCase):
    @given(keys, st.binary(max_size=100))
    def test_round_trip(self, key, plaintext):
        """What was sealed opens again, and has grown to the next multiple of 16."""
        for _ in with_each_library():
            sealed = key.seal(plaintext)
            self.assertEqual(len(sealed), len(plaintext) // 16 * 16 + 16)
            self.assertEqual(key.open(sealed), plaintext)

    @given(keys, st.binary(max_size=100) | st.binary(min_size=32, max_size=32))
    def test_any_bytes(self, key, sealed):
        """Any bytes either open to something that seals to them, or raise CryptoError."""
        for _ in with_each_library():
            try:
                plaintext = key.open(sealed)
            except CryptoError:
                continue
            self.assertEqual(key.seal(plaintext), sealed)

    def test_one_text_for_every_failure(self):
        """Nothing, half a block and each sort of bad padding fail alike, without a cause."""
        cipher_of_zeros = KEY.seal(bytes(32))[:32]  # ends in a padding of 0
        padding_too_long = KEY.seal(bytes(15) + b"\x11")[:16]
        padding_uneven = KEY.seal(bytes(14) + b"\x01\x02")[:16]
        broken = (
            b"",
            bytes(15),
            bytes(17),
            cipher_of_zeros,
            padding_too_long,
            padding_uneven,
        )
        for _ in with_each_library():
            for sealed in broken:
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
