from hashlib import sha1

from Cryptodome.Util.asn1 import DerNull, DerObjectId, DerSequence
from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto.v2 import (
    EXPONENT,
    PRIVATE_KEY_SIZE_LIMIT,
    WRAPPED_KEY_SIZE,
    CryptoError,
    PrivateKey,
    SymmetricKey,
    wrap,
)
from messageu.model import PUBLIC_KEY_SIZE, PublicKey
from messageu.testing.strategies import public_keys

from ._keys import RSA_OID, numbers, pkcs8, spki, wild_ders, wild_key

KEY = SymmetricKey(bytes(range(16)))

# OpenSSL's RSAES-OAEP (SHA-1, MGF1-SHA-1, no label) of KEY for the first of the wild keys.
SEALED_BY_OPENSSL = bytes.fromhex(
    "37e6c0e16d826c2dce701e04decbf92952950797cb631ca1b95a0a85762e4a71"
    "2ed081134ab88346915bb459dca569a50624b58aa2172755054688930263d7fa"
    "255b292d867df25d7b1388e90adfd68aa7d246ade03adc3edb8a36c7662ce709"
    "aec937fb8bbb4e973c934aa34139ac10b5fae7a775e1639097f58003e01d41b1"
)

MERSENNE_PRIMES = (2**521 - 1, 2**607 - 1)
"""Their product has 1128 bits, and 13 has no divisor in common with what counts."""


def mgf1(seed: bytes, size: int) -> bytes:
    rounds = range(-(-size // 20))
    return b"".join(sha1(seed + count.to_bytes(4)).digest() for count in rounds)[:size]


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def textbook_seal(modulus: int, exponent: int, message: bytes, seed: bytes = b"s" * 20) -> bytes:
    """RSAES-OAEP-ENCRYPT of RFC 8017, 7.1.1, written out a second time."""
    block = sha1(b"").digest() + bytes(128 - len(message) - 42) + b"\x01" + message
    masked_block = xor(block, mgf1(seed, 107))
    masked_seed = xor(seed, mgf1(masked_block, 20))
    encoded = int.from_bytes(b"\0" + masked_seed + masked_block)
    return pow(encoded, exponent, modulus).to_bytes(128)


def textbook_open(modulus: int, d: int, sealed: bytes) -> bytes:
    """RSAES-OAEP-DECRYPT of RFC 8017, 7.1.2, written out a second time."""
    encoded = pow(int.from_bytes(sealed), d, modulus).to_bytes(128)
    masked_seed, masked_block = encoded[1:21], encoded[21:]
    block = xor(masked_block, mgf1(xor(masked_seed, mgf1(masked_block, 20)), 107))
    assert (encoded[0], block[:20]) == (0, sha1(b"").digest())
    filling, one, message = block[20:].partition(b"\x01")
    assert (filling.strip(b"\0"), one) == (b"", b"\x01")
    return message


@st.composite
def damaged(draw, originals: tuple[bytes, ...], *, keep_size: bool = False) -> bytes:
    """A valid DER with some bytes overwritten, taken out or put in."""
    der = bytearray(draw(st.sampled_from(originals)))
    # Tags and lengths stand at the beginnings, where damage does most.
    places = st.integers(0, 60) | st.integers(0, len(der) - 1)
    for place in draw(st.lists(places, min_size=1, max_size=4)):
        der[place] = draw(st.integers(0, 255))
    if not keep_size:
        start = draw(st.integers(0, len(der)))
        end = draw(st.integers(start, min(start + 20, len(der))))
        der[start:end] = draw(st.binary(max_size=20))
    return bytes(der)


@st.composite
def odd_numbers(draw) -> list[int]:
    """The nine numbers of a key, some of which have been replaced by others that fit badly."""
    key = numbers(draw(st.sampled_from(wild_ders())))
    others = st.sampled_from([-1, 0, 1, 2, 3, 4, 16, 17, 65537, 2**1023, 2**1024 - 1, *key])
    for place in draw(st.lists(st.integers(0, 8), min_size=1, max_size=6)):
        value = draw(others)
        key[place] = -value if draw(st.booleans()) else value
    return key


class GenerateTests(SynchronousTestCase):
    def test_generate(self):
        """A new key has RSA-1024, e = 17, and a public half of exactly 160 bytes."""
        key = PrivateKey.generate()
        self.assertEqual(len(key.public_key.raw), PUBLIC_KEY_SIZE)
        version, modulus, exponent, *_ = numbers(key.to_der())
        self.assertEqual((version, modulus.bit_length(), exponent), (0, 1024, EXPONENT))
        self.assertEqual(key.public_key.raw, spki(modulus, exponent))
        self.assertEqual(PrivateKey.from_der(key.to_der()), key)
        self.assertEqual(key.unwrap(wrap(key.public_key, KEY)), KEY)
        self.assertNotEqual(PrivateKey.generate(), key)


class PrivateKeyTests(SynchronousTestCase):
    def test_der(self):
        """A key's DER is that which it was read from."""
        for index, der in enumerate(wild_ders()):
            self.assertEqual(wild_key(index).to_der(), der)

    def test_equality(self):
        """Two keys are equal when their public halves are."""
        self.assertEqual(wild_key(), PrivateKey.from_der(wild_ders()[0]))
        self.assertEqual(hash(wild_key()), hash(PrivateKey.from_der(wild_ders()[0])))
        self.assertNotEqual(wild_key(0), wild_key(1))

    def test_primes_in_either_order(self):
        """It does not matter which prime comes first, nor modulo what d was computed."""
        version, modulus, exponent, d, p, q, *rest = numbers(wild_ders()[0])
        of_phi = pow(exponent, -1, (p - 1) * (q - 1))
        for secret in (d, of_phi):
            key = PrivateKey.from_der(pkcs8([version, modulus, exponent, secret, q, p, *rest]))
            self.assertEqual(key.unwrap(SEALED_BY_OPENSSL), KEY)

    def test_another_size_of_modulus(self):
        """A sound key of another size than RSA-1024 is refused."""
        p, q = MERSENNE_PRIMES
        d = pow(13, -1, (p - 1) * (q - 1))
        rest = [d % (p - 1), d % (q - 1), pow(q, -1, p)]
        self.assert_refused(pkcs8([0, p * q, 13, d, p, q, *rest]))

    def test_exponent_that_v2_cannot_publish(self):
        """A sound key whose public half would not fit into 160 bytes is refused."""
        _, modulus, _, _, p, q, *rest = numbers(wild_ders()[0])
        d = pow(65537, -1, (p - 1) * (q - 1))
        self.assert_refused(pkcs8([0, modulus, 65537, d, p, q, *rest]))

    def test_another_algorithm(self):
        """A key that says to be of something else than RSA is refused."""
        other = DerSequence([DerObjectId("1.2.840.10040.4.1"), DerNull()])
        self.assert_refused(pkcs8(numbers(wild_ders()[0]), algorithm=other))

    def test_versions(self):
        """A PKCS#8 or a PKCS#1 of unknown version is refused."""
        key = numbers(wild_ders()[0])
        self.assert_refused(pkcs8(key, version=2))
        self.assert_refused(pkcs8([1, *key[1:]]))

    def test_primes_that_are_none(self):
        """Factors of which one is 1, or negative, are refused."""
        version, modulus, exponent, d, p, q, *rest = numbers(wild_ders()[0])
        for factors in ((1, modulus), (modulus, 1), (-p, -q), (p, p), (0, q), (p, 0)):
            self.assert_refused(pkcs8([version, modulus, exponent, d, *factors, *rest]))

    def test_other_forms(self):
        """PEM, a bare PKCS#1 key, a public key and trailing bytes are refused."""
        der = wild_ders()[0]
        pem = b"-----BEGIN PRIVATE KEY-----\nMIICdQIBADANBgkq\n-----END PRIVATE KEY-----\n"
        pkcs1 = DerSequence(numbers(der)).encode()
        for other in (b"", pem, pkcs1, wild_key().public_key.raw, der + b"\0", der[:-1]):
            self.assert_refused(other)

    def test_numbers_that_are_none(self):
        """Numbers that are not written as DER writes them, or are no numbers, are refused."""
        _, *key = numbers(wild_ders()[0])
        for version in (b"\x02\x00", b"\x02\x02\x00\x00", b"\x04\x01\x00"):
            self.assert_refused(pkcs8([version, *key]))
        self.assert_refused(pkcs8([0, b"\x04\x01\x00", *key[1:]]))
        self.assert_refused(pkcs8([0, *key, 0]))

    def test_lengths_that_are_none(self):
        """A length of no bytes, in which the library stumbles, is refused."""
        for der in (b"\x30\x80", pkcs8([0]).replace(b"\x02\x01\x00", b"\x02\x80\x00")):
            self.assert_refused(der)

    def test_size_limit(self):
        """What is far too long for a key is not even looked at."""
        error = self.assertRaises(
            CryptoError, PrivateKey.from_der, bytes(PRIVATE_KEY_SIZE_LIMIT + 1)
        )
        self.assertEqual(str(error), "the private key is too long")

    @given(st.binary(max_size=200) | damaged(wild_ders()) | odd_numbers().map(pkcs8))
    def test_any_bytes(self, der):
        """Any bytes give a key that works, or raise CryptoError."""
        try:
            key = PrivateKey.from_der(der)
        except CryptoError as error:
            self.assertTrue(error.__suppress_context__)
            return
        self.assertEqual(key.unwrap(wrap(key.public_key, KEY)), KEY)

    def test_repr(self):
        """The repr shows nothing of the key."""
        self.assertEqual(repr(wild_key()), "PrivateKey()")
        self.assertEqual(str(wild_key()), "PrivateKey()")

    def assert_refused(self, der):
        error = self.assertRaises(CryptoError, PrivateKey.from_der, der)
        self.assertIsNone(error.__cause__)
        self.assertTrue(error.__suppress_context__)


class WrapTests(SynchronousTestCase):
    @given(st.binary(min_size=16, max_size=16).map(SymmetricKey))
    def test_round_trip(self, key):
        """A wrapped key has 128 bytes, and unwraps with the private key alone."""
        sealed = wrap(wild_key(0).public_key, key)
        self.assertEqual(len(sealed), WRAPPED_KEY_SIZE)
        self.assertEqual(wild_key(0).unwrap(sealed), key)
        self.assertRaises(CryptoError, wild_key(1).unwrap, sealed)

    def test_textbook(self):
        """A wrapped key opens with OAEP as RFC 8017 writes it."""
        _, modulus, _, d, *_ = numbers(wild_ders()[0])
        sealed = wrap(wild_key().public_key, KEY)
        self.assertEqual(textbook_open(modulus, d, sealed), KEY.raw)

    def test_randomized(self):
        """The same key is never wrapped alike twice."""
        self.assertNotEqual(wrap(wild_key().public_key, KEY), wrap(wild_key().public_key, KEY))

    def test_other_exponents(self):
        """A peer's exponent need not be 17."""
        _, modulus, *_ = numbers(wild_ders()[0])
        for exponent in (3, 5, 127):
            sealed = wrap(PublicKey(spki(modulus, exponent)), KEY)
            self.assertEqual(len(sealed), WRAPPED_KEY_SIZE)

    def test_numbers_that_are_no_key(self):
        """An exponent that is even or no exponent, a modulus that is even or small: refused."""
        _, modulus, *_ = numbers(wild_ders()[0])
        wrong = [(modulus, exponent) for exponent in (-17, -1, 0, 1, 2, 16, 126)]
        wrong += [(modulus - 1, 17), (modulus >> 8 | 1, 257), (-modulus, 17)]
        for numbers_of_no_key in wrong:
            self.assert_refused(spki(*numbers_of_no_key))

    def test_modulus_divided_by_the_exponent(self):
        """A modulus that the exponent divides is refused."""
        modulus = 17 * (2**1023 // 17 + 2)
        modulus += 17 * (1 - modulus % 2)
        self.assert_refused(spki(modulus, 17))

    def test_other_forms(self):
        """160 bytes of a key in another form, or of another algorithm, are refused."""
        _, modulus, *_ = numbers(wild_ders()[0])
        bare = DerSequence([modulus, 2**176 + 1]).encode()
        without_null = DerSequence([DerObjectId(RSA_OID)])
        of_pss = DerSequence([DerObjectId("1.2.840.113549.1.1.10"), DerNull()])
        for der in (
            bare,
            spki(modulus, 65537, algorithm=without_null),
            spki(modulus, 17, algorithm=of_pss),
            spki(modulus, 17, algorithm=without_null) + b"\0\0",
            b"ssh-rsa ".ljust(PUBLIC_KEY_SIZE, b"A"),
            b"-----BEGIN PUBLIC KEY-----\n".ljust(PUBLIC_KEY_SIZE, b"A"),
            bytes(PUBLIC_KEY_SIZE),
        ):
            self.assert_refused(der)

    @given(public_keys() | damaged((wild_key().public_key.raw,), keep_size=True).map(PublicKey))
    def test_any_bytes(self, public_key):
        """Any 160 bytes give 128 sealed ones, or raise CryptoError."""
        try:
            sealed = wrap(public_key, KEY)
        except CryptoError:
            return
        self.assertEqual(len(sealed), WRAPPED_KEY_SIZE)

    def assert_refused(self, der):
        error = self.assertRaises(CryptoError, wrap, PublicKey(der), KEY)
        self.assertIsNone(error.__cause__)
        self.assertTrue(error.__suppress_context__)


class UnwrapTests(SynchronousTestCase):
    def test_known_answer(self):
        """What OpenSSL sealed opens."""
        self.assertEqual(wild_key().unwrap(SEALED_BY_OPENSSL), KEY)

    def test_textbook(self):
        """What OAEP as RFC 8017 writes it sealed opens."""
        _, modulus, exponent, *_ = numbers(wild_ders()[0])
        self.assertEqual(wild_key().unwrap(textbook_seal(modulus, exponent, KEY.raw)), KEY)

    def test_one_text_for_every_failure(self):
        """Wrong sizes, a number above the modulus, bad padding and keys that are none fail alike."""
        _, modulus, exponent, *_ = numbers(wild_ders()[0])
        for sealed in (
            b"",
            SEALED_BY_OPENSSL[:-1],
            SEALED_BY_OPENSSL + b"\0",
            b"\xff" * WRAPPED_KEY_SIZE,
            bytes(WRAPPED_KEY_SIZE),
            SEALED_BY_OPENSSL[:-1] + b"\0",
            textbook_seal(modulus, exponent, b""),
            textbook_seal(modulus, exponent, bytes(15)),
            textbook_seal(modulus, exponent, bytes(32)),
        ):
            error = self.assertRaises(CryptoError, wild_key().unwrap, sealed)
            self.assertEqual(str(error), "the symmetric key does not open with this private key")
            self.assertIsNone(error.__cause__)
            self.assertTrue(error.__suppress_context__)

    @given(st.binary(max_size=130) | st.binary(min_size=128, max_size=128))
    def test_any_bytes(self, sealed):
        """Any bytes that were not sealed for this key raise CryptoError."""
        assume(sealed != SEALED_BY_OPENSSL)
        self.assertRaises(CryptoError, wild_key().unwrap, sealed)
