from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto.signatures import is_bundle_signed, is_one_time_key_signed, is_signed
from messageu.crypto.v3 import Account
from messageu.model import InvalidValue, v3

from .v3._people import account, hpke_key


def bundle(owner):
    return owner.make_bundle(3, 1_800_000_000, 7, hpke_key("berta").public)


class SignatureTests(SynchronousTestCase):
    """What a relay checks, and whoever claims."""

    def test_text(self):
        """What an account signed is signed by it, and by nobody else; nothing else is."""
        anna, berta = account("anna"), account("berta")
        signature = anna.sign(b"text")
        self.assertEqual(len(signature), v3.SIGNATURE_SIZE)
        self.assertTrue(is_signed(anna.keys.ed25519, signature, b"text"))
        self.assertFalse(is_signed(anna.keys.ed25519, signature, b"texts"))
        self.assertFalse(is_signed(berta.keys.ed25519, signature, b"text"))

    @given(st.binary(max_size=40), st.binary(max_size=70))
    def test_anything(self, key, signature):
        """What is neither key nor signature has not signed."""
        self.assertFalse(is_signed(key, signature, b"text"))
        self.assertFalse(is_signed(account("anna").keys.ed25519, signature, b"text"))

    def test_bundle(self):
        """A bundle is signed by its owner, also after a journey, and by nobody else."""
        berta = account("berta")
        signed = v3.Bundle.decode(bundle(berta).encode())
        self.assertTrue(is_bundle_signed(berta.keys, signed))
        self.assertFalse(is_bundle_signed(account("anna").keys, signed))

    @given(st.integers(0, v3.BUNDLE_SIZE * 8 - 1))
    def test_bundle_that_was_changed(self, bit):
        """A bundle with any bit flipped is not signed, or is none."""
        raw = bytearray(bundle(account("berta")).encode())
        raw[bit // 8] ^= 1 << bit % 8
        try:
            changed = v3.Bundle.decode(bytes(raw))
        except InvalidValue:
            return
        self.assertFalse(is_bundle_signed(account("berta").keys, changed))

    def test_bundle_under_another_identity(self):
        """Who signs a bundle that names somebody else has signed none."""
        anna, berta = account("anna"), account("berta")
        named = evolve(bundle(anna), identity=berta.keys.identity)
        forged = evolve(named, signature=anna.sign(named.signed_text))
        self.assertTrue(is_signed(anna.keys.ed25519, forged.signature, forged.signed_text))
        self.assertFalse(is_bundle_signed(anna.keys, forged))
        self.assertFalse(is_bundle_signed(berta.keys, forged))

    def test_half_of_an_identity(self):
        """Prekeys of an identity are not those of another with the same Ed25519 key."""
        anna, berta = account("anna"), account("berta")
        mixed = v3.IdentityKeys(anna.keys.ed25519, berta.keys.curve25519)
        anna.make_one_time_keys(1)
        (key,) = anna.unpublished_one_time_keys()
        self.assertTrue(is_one_time_key_signed(anna.keys, key))
        self.assertFalse(is_one_time_key_signed(mixed, key))
        self.assertFalse(is_bundle_signed(mixed, bundle(anna)))

    @given(st.integers(0, v3.ONE_TIME_KEY_SIZE * 8 - 1))
    def test_one_time_key_that_was_changed(self, bit):
        """A one-time key with any bit flipped is not signed."""
        berta = account("berta")
        berta.make_one_time_keys(1)
        (key,) = berta.unpublished_one_time_keys()
        raw = bytearray(key.encode())
        raw[bit // 8] ^= 1 << bit % 8
        self.assertTrue(is_one_time_key_signed(berta.keys, key))
        self.assertFalse(is_one_time_key_signed(berta.keys, v3.OneTimeKey.decode(bytes(raw))))

    def test_signature_for_something_else(self):
        """A signature under one label does not stand for one under another."""
        berta = account("berta")
        signed = bundle(berta)
        self.assertFalse(
            is_one_time_key_signed(
                berta.keys,
                v3.OneTimeKey(signed.fallback_key_id, signed.fallback_key, signed.signature),
            )
        )
        keys = Account.create().keys
        self.assertFalse(is_bundle_signed(keys, evolve(signed, identity=keys.identity)))
