"""The libraries, and what we make of them, on vectors that others have published."""

from hashlib import shake_256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto.signatures import is_signed
from messageu.crypto.v3 import CryptoError, HpkeKey, _seals, seal

from ._people import ENVELOPE_ID, KEY_ID, account, said
from ._published import hpke_cases, published, raw, wycheproof

X_WING, X25519, HKDF_SHA256, CHACHA20_POLY1305 = 0x647A, 0x20, 1, 3


def all_opened(suite, key, vector):
    """Whether the first of a vector's messages opens: the API has no second one."""
    first = raw(vector["encryptions"][0])
    opened = openssl.hpke._decrypt_with_aad(
        suite, vector["enc"] + first["ct"], key, vector["info"], first["aad"]
    )
    return opened == first["pt"]


class PublishedTests(SynchronousTestCase):
    """Each primitive that is called."""

    def test_ed25519(self):
        """Wycheproof's signatures are judged as it says; of odd points it says little."""
        judged = {"valid": 0, "invalid": 0}
        for group, case in wycheproof("Signature/wycheproof/ed25519_test.json"):
            if case["result"] == "acceptable":
                continue
            key = bytes.fromhex(group["publicKey"]["pk"])
            expected = case["result"] == "valid"
            self.assertEqual(is_signed(key, case["sig"], case["msg"]), expected, case)
            judged[case["result"]] += 1
        self.assertGreater(min(judged.values()), 50)

    def test_ed25519_of_rfc_8032(self):
        """Its second test: one byte, signed."""
        key = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
        signature = bytes.fromhex(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        )
        self.assertTrue(is_signed(key, signature, b"\x72"))
        self.assertFalse(is_signed(key, signature, b"\x73"))

    def test_x25519(self):
        """Wycheproof's exchanges give what it says; where nothing comes out they are refused."""
        exchanged = refused = 0
        for _, case in wycheproof("Protocol/wycheproof/x25519_test.json"):
            private = X25519PrivateKey.from_private_bytes(case["private"])
            public = X25519PublicKey.from_public_bytes(case["public"])
            if case["shared"] == bytes(32):
                self.assertRaises(ValueError, private.exchange, public)
                refused += 1
            else:
                self.assertEqual(private.exchange(public), case["shared"])
                exchanged += 1
        self.assertGreater(exchanged, 400)
        self.assertGreater(refused, 5)

    def test_x25519_of_rfc_7748(self):
        """The exchange of its section 6.1."""
        bob = X25519PrivateKey.from_private_bytes(
            bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
        )
        alice = X25519PublicKey.from_public_bytes(
            bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
        )
        shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
        self.assertEqual(bob.exchange(alice).hex(), shared)

    def test_chacha20_poly1305(self):
        """Wycheproof's messages, RFC 8439's among them, open as it says, or not at all."""
        judged = {"valid": 0, "invalid": 0}
        for group, case in wycheproof("Cipher/wycheproof/chacha20_poly1305_test.json"):
            if group["ivSize"] != 96:
                continue
            cipher = ChaCha20Poly1305(case["key"])
            arguments = case["iv"], case["ct"] + case["tag"], case["aad"]
            if case["result"] == "valid":
                self.assertEqual(cipher.decrypt(*arguments), case["msg"])
            else:
                self.assertRaises(InvalidTag, cipher.decrypt, *arguments)
            judged[case["result"]] += 1
        self.assertGreater(min(judged.values()), 30)

    def test_hmac_sha256(self):
        """RFC 4231's first three test cases."""
        for key, text, code in (
            (
                b"\x0b" * 20,
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                b"\xaa" * 20,
                b"\xdd" * 50,
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
        ):
            hmac = HMAC(key, SHA256())
            hmac.update(text)
            self.assertEqual(hmac.finalize().hex(), code)

    def test_argon2id(self):
        """The example of RFC 9106, 5.3."""
        argon2id = Argon2id(
            salt=b"\x02" * 16,
            length=32,
            iterations=3,
            lanes=4,
            memory_cost=32,
            ad=b"\x04" * 12,
            secret=b"\x03" * 8,
        )
        self.assertEqual(
            argon2id.derive(b"\x01" * 32).hex(),
            "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659",
        )

    def test_ml_kem_keys(self):
        """Of Wycheproof's seeds come the public keys that it says."""
        count = 0
        for _, case in wycheproof("Protocol/wycheproof/mlkem_768_keygen_seed_test.json"):
            self.assertEqual(HpkeKey.restore(case["seed"] + bytes(32)).public[:1184], case["ek"])
            count += 1
        self.assertGreater(count, 50)

    def test_ml_kem(self):
        """Wycheproof's encapsulated keys give the secrets that it says."""
        judged = {"valid": 0, "invalid": 0}
        for _, case in wycheproof("Protocol/wycheproof/mlkem_768_test.json"):
            judged[case["result"]] += 1
            if case["result"] == "valid":
                key = MLKEM768PrivateKey.from_seed_bytes(case["seed"])
                self.assertEqual(key.decapsulate(case["c"]), case["K"])
            elif len(case["seed"]) != 64:
                self.assertRaises(CryptoError, HpkeKey.restore, case["seed"] + bytes(32))
        self.assertGreater(judged["valid"], 50)

    def test_ml_kem_keys_that_are_none(self):
        """Nothing is sealed for a key of Wycheproof's that no seed gives."""
        refused = 0
        sender, recipient = account("anna").keys, account("berta").keys.identity
        curve = HpkeKey.create().public[1184:]
        for _, case in wycheproof("Protocol/wycheproof/mlkem_768_encaps_test.json"):
            if case["result"] == "invalid":
                arguments = sender, said(), recipient, ENVELOPE_ID, KEY_ID, case["ek"] + curve
                self.assertRaises(CryptoError, seal, *arguments)
                refused += 1
        self.assertGreater(refused, 20)

    def test_x_wing_keys(self):
        """The hybrid draft's seeds, spread over both halves, give the public keys that it says."""
        vectors = published("PublicKey/Hybrid/test-vectors.json")["mlkem768_x25519"]
        self.assertGreater(len(vectors), 5)
        for vector in map(raw, vectors):
            key = HpkeKey.restore(shake_256(vector["seed"]).digest(96))
            self.assertEqual(key.public, vector["encapsulation_key"])

    def test_hpke(self):
        """What the draft of post-quantum HPKE sealed with this suite opens with our key."""
        path = "Protocol/wycheproof/HPKE-PQ-test-vectors.json"
        (vector,) = hpke_cases(path, X_WING, HKDF_SHA256, CHACHA20_POLY1305)
        key = HpkeKey.restore(shake_256(vector["skRm"]).digest(96))
        self.assertEqual(key.public, vector["pkRm"])
        self.assertTrue(all_opened(_seals._SUITE, key._key, vector))

    def test_hpke_of_rfc_9180(self):
        """With X25519 alone, the same key schedule and cipher are RFC 9180's."""
        path = "Protocol/wycheproof/HPKE-test-vectors.json"
        (vector,) = hpke_cases(path, X25519, HKDF_SHA256, CHACHA20_POLY1305)
        suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
        key = X25519PrivateKey.from_private_bytes(vector["skRm"])
        self.assertTrue(all_opened(suite, key, vector))
