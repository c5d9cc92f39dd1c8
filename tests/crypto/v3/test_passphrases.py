from unittest import mock

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto.v3 import DEFAULT_COST, Cost, CryptoError, _passphrases, derive_key

SALT = bytes(range(16))
CHEAP = Cost(memory=64, passes=2, lanes=3)


class PassphraseTests(SynchronousTestCase):
    """A key from a passphrase."""

    @settings(max_examples=20)
    @given(
        st.text(st.characters(codec="utf-8", max_codepoint=0x7F)),
        st.binary(min_size=16, max_size=40),
    )
    def test_argon2id(self, passphrase, salt):
        """It is Argon2id of the text's UTF-8, with this cost and no other."""
        again = Argon2id(salt=salt, length=32, iterations=2, lanes=3, memory_cost=64)
        self.assertEqual(derive_key(passphrase, salt, CHEAP), again.derive(passphrase.encode()))

    def test_everything_counts(self):
        """Another passphrase, salt or cost gives another key."""
        keys = {
            derive_key("secret", SALT, CHEAP),
            derive_key("Secret", SALT, CHEAP),
            derive_key("secret ", SALT, CHEAP),
            derive_key("secret", SALT[::-1], CHEAP),
            derive_key("secret", SALT, Cost(memory=65, passes=2, lanes=3)),
            derive_key("secret", SALT, Cost(memory=64, passes=3, lanes=3)),
            derive_key("secret", SALT, Cost(memory=64, passes=2, lanes=2)),
        }
        self.assertEqual({len(key) for key in keys}, {32})
        self.assertEqual(len(keys), 7)

    def test_keyboards(self):
        """An umlaut is one, whether a keyboard sends one character or two."""
        composed, decomposed = "f\u00fcnf", "fu\u0308nf"
        self.assertNotEqual(composed, decomposed)
        self.assertEqual(derive_key(composed, SALT, CHEAP), derive_key(decomposed, SALT, CHEAP))

    def test_default(self):
        """Without a word it costs what RFC 9106 recommends where memory is scarce."""
        self.assertEqual(DEFAULT_COST, Cost(memory=65_536, passes=3, lanes=4))
        self.assertEqual(len(derive_key("secret", SALT, DEFAULT_COST)), 32)

    def test_refused(self):
        """A short salt, what is no text, and costs that nobody can pay are refused."""
        self.assertRaises(CryptoError, derive_key, "secret", bytes(15), CHEAP)
        self.assertRaises(CryptoError, derive_key, "\ud800", SALT, CHEAP)
        for cost in ((7, 1, 1), (31, 1, 4), (64, 0, 1), (64, 1, 0), (64, 65, 1), (640, 1, 17)):
            self.assertRaises(CryptoError, Cost, *cost)
        self.assertRaises(CryptoError, Cost, 2**22 + 1, 1, 1)

    def test_too_little_memory(self):
        """A machine without the memory says so."""
        poor = mock.Mock(**{"return_value.derive.side_effect": MemoryError})
        with mock.patch.object(_passphrases, "Argon2id", poor):
            self.assertRaises(CryptoError, derive_key, "secret", SALT, CHEAP)
