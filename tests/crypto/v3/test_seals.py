import hmac
from hashlib import sha3_256

from Cryptodome.Cipher import ChaCha20_Poly1305
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto.v3 import Ciphertext, CryptoError, HpkeKey, _seals, padme, seal, unseal
from messageu.model import v3

from ._people import (
    ENVELOPE_ID,
    KEY_ID,
    OTHER_ENVELOPE_ID,
    SMALL_ORDER,
    account,
    damaged,
    hpke_key,
    said,
)

SENDER = account("anna").keys
RECIPIENT = account("berta").keys.identity
KEY = hpke_key("berta")


def sealed_for_berta(ciphertext):
    return seal(SENDER, ciphertext, RECIPIENT, ENVELOPE_ID, KEY_ID, KEY.public)


SEALED = sealed_for_berta(said())


def extract(suite, salt, label, secret):
    """LabeledExtract of RFC 9180."""
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + secret, "sha256")


def expand(suite, secret, label, info, size):
    """LabeledExpand of RFC 9180, for at most 32 bytes."""
    text = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info + b"\x01"
    return hmac.digest(secret, text, "sha256")[:size]


def opened_by_hand(sealed, raw_key, info):
    """What docs/protocol/v3.md says, written out a second time: X-Wing, RFC 9180, RFC 8439."""
    kem_key = MLKEM768PrivateKey.from_seed_bytes(raw_key[:64])
    curve_key = X25519PrivateKey.from_private_bytes(raw_key[64:])
    kem_text, curve_text = sealed[:1088], sealed[1088:1120]
    shared = sha3_256(
        kem_key.decapsulate(kem_text)
        + curve_key.exchange(X25519PublicKey.from_public_bytes(curve_text))
        + curve_text
        + curve_key.public_key().public_bytes_raw()
        + b"\\.//^\\"
    ).digest()
    suite = b"HPKE" + bytes.fromhex("647a 0001 0003")
    context = (
        b"\0" + extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", info)
    )
    secret = extract(suite, shared, b"secret", b"")
    key = expand(suite, secret, b"key", context, 32)
    nonce = expand(suite, secret, b"base_nonce", context, 12)
    cipher = ChaCha20_Poly1305.new(key=key, nonce=nonce)
    return cipher.decrypt_and_verify(sealed[1120:-16], sealed[-16:])


class SealTests(SynchronousTestCase):
    """The seal around a ciphertext."""

    @given(st.sampled_from((0, 1)), st.binary(max_size=2000))
    def test_round_trip(self, kind, raw):
        """What was sealed comes out, with the sender that it names."""
        ciphertext = Ciphertext(kind, raw)
        unsealed = unseal(sealed_for_berta(ciphertext), KEY, RECIPIENT, ENVELOPE_ID, KEY_ID)
        self.assertEqual((unsealed.sender, unsealed.ciphertext), (SENDER, ciphertext))

    @given(st.sampled_from((0, 1)), st.integers(0, 70_000))
    def test_bytes(self, kind, size):
        """It is what the document says, taken apart here by another way."""
        raw = b"\xa5" * size
        info = b"messageu/3 seal\0" + RECIPIENT.raw + ENVELOPE_ID.raw + bytes((KEY_ID, 0, 0, 0))
        sealed = sealed_for_berta(Ciphertext(kind, raw))
        content = opened_by_hand(sealed, KEY.raw, info)
        head = b"\x01" + SENDER.ed25519 + SENDER.curve25519
        expected = head + bytes((kind,)) + size.to_bytes(4, "little") + raw
        self.assertEqual(content.rstrip(b"\0"), expected.rstrip(b"\0"))
        self.assertEqual(len(content), max(512, padme(len(expected))))
        self.assertEqual(len(sealed), len(content) + v3.HPKE_OVERHEAD)

    def test_short_ones_look_alike(self):
        """A greeting is as long as the first message of a session that greets."""
        for size in (0, 1, 200, 512 - 70):
            self.assertEqual(len(sealed_for_berta(Ciphertext(0, bytes(size)))), len(SEALED))
        self.assertGreater(len(sealed_for_berta(Ciphertext(0, bytes(443)))), len(SEALED))

    def test_never_the_same(self):
        """The same is sealed as something else each time."""
        self.assertEqual(len({sealed_for_berta(said())[-600:] for _ in range(4)}), 4)

    def refuses(
        self, sealed=SEALED, key=KEY, recipient=RECIPIENT, envelope_id=ENVELOPE_ID, key_id=KEY_ID
    ):
        self.assertRaises(CryptoError, unseal, sealed, key, recipient, envelope_id, key_id)

    @given(st.integers(0, len(SEALED) * 8 - 1))
    def test_flipped_bit(self, bit):
        """With any bit flipped it does not open."""
        changed = bytearray(SEALED)
        changed[bit // 8] ^= 1 << bit % 8
        self.refuses(bytes(changed))

    @given(st.integers(0, len(SEALED) - 1), st.binary(min_size=1, max_size=9))
    def test_cut_or_longer(self, size, more):
        """What is shorter or longer does not open."""
        self.refuses(SEALED[:size])
        self.refuses(SEALED + more)

    def test_point_that_gives_nothing(self):
        """A hostile key where the sender's ephemeral one should be opens nothing."""
        for point in SMALL_ORDER:
            self.refuses(SEALED[:1088] + point + SEALED[1120:])

    @given(st.binary(max_size=2500) | damaged([SEALED]))
    def test_anything(self, sealed):
        """Whatever comes is refused by the one error."""
        if sealed != SEALED:
            self.refuses(sealed)

    def test_for_somebody_else(self):
        """Another recipient, envelope, key or key's id does not open it."""
        self.refuses(recipient=SENDER.identity)
        self.refuses(envelope_id=OTHER_ENVELOPE_ID)
        self.refuses(key=hpke_key("anna"))
        for key_id in (0, KEY_ID + 1, 2**31 + KEY_ID, 2**32 - 1):
            self.refuses(key_id=key_id)

    def test_id_that_is_no_u32(self):
        """Ids that do not fit seal nothing and open nothing."""
        for key_id in (-1, 2**32):
            self.refuses(key_id=key_id)
            arguments = SENDER, said(), RECIPIENT, ENVELOPE_ID, key_id, KEY.public
            self.assertRaises(CryptoError, seal, *arguments)

    def test_keys_that_are_none(self):
        """Nothing is sealed for a key that is too short, too long or gives no secret."""
        keys = [KEY.public[:-1], KEY.public + b"\0", b"", b"\xff" * 1216]
        keys += [KEY.public[:1184] + point for point in SMALL_ORDER]
        for public in keys:
            arguments = SENDER, said(), RECIPIENT, ENVELOPE_ID, KEY_ID, public
            self.assertRaises(CryptoError, seal, *arguments)

    def test_too_long(self):
        """A ciphertext that no relay takes is not sealed."""
        longest = Ciphertext(1, bytes(_seals.CIPHERTEXT_LIMIT))
        opened = unseal(sealed_for_berta(longest), KEY, RECIPIENT, ENVELOPE_ID, KEY_ID)
        self.assertEqual(opened.ciphertext, longest)
        self.assertRaises(CryptoError, sealed_for_berta, Ciphertext(1, longest.raw + b"\0"))


class ContentTests(SynchronousTestCase):
    """What is in a seal, which anybody can have made."""

    def content(self, head=b"\x01", kind=b"\x01", size=3, raw=b"raw", filled=512):
        keys = SENDER.ed25519 + SENDER.curve25519
        return (head + keys + kind + size.to_bytes(4, "little") + raw).ljust(filled, b"\0")

    def refuses(self, content):
        self.assertRaises(CryptoError, _seals.read_content, content)

    def test_right(self):
        """What the document describes is read."""
        self.assertEqual(_seals.read_content(self.content()).ciphertext, Ciphertext(1, b"raw"))

    def test_wrong(self):
        """Another version, type, size or filling is refused."""
        self.refuses(self.content(head=b"\x02"))
        self.refuses(self.content(kind=b"\x02"))
        for size in (2, 443, 2**32 - 1):
            self.refuses(self.content(size=size))
        for filled in (0, 511, 513, 1024):
            self.refuses(self.content(filled=filled))
        self.refuses(self.content()[:-1] + b"\x01")
        self.refuses(self.content(size=4, raw=b"raw\0more"))

    @given(st.binary(max_size=600) | damaged([b"\x01" + bytes(511), b"\x01" + bytes(64) + b"\x01"]))
    def test_anything(self, content):
        """Whatever was sealed is read as it was written, or refused."""
        try:
            unsealed = _seals.read_content(content)
        except CryptoError:
            return
        self.assertEqual(_seals._content(unsealed.sender, unsealed.ciphertext), content)


class HpkeKeyTests(SynchronousTestCase):
    """The recipient's key."""

    def test_restored(self):
        """What was sealed for a key opens with the key that was kept of it."""
        again = HpkeKey.restore(KEY.raw)
        self.assertEqual((again.raw, again.public), (KEY.raw, KEY.public))
        self.assertEqual(unseal(SEALED, again, RECIPIENT, ENVELOPE_ID, KEY_ID).sender, SENDER)

    def test_new_each_time(self):
        """Each is another, in both halves."""
        keys = [HpkeKey.create() for _ in range(4)]
        for part in (slice(0, 64), slice(64, 96)):
            self.assertEqual(len({key.raw[part] for key in keys}), 4)

    def test_other_sizes(self):
        """96 bytes, and no other number."""
        for size in (0, 95, 97):
            self.assertRaises(CryptoError, HpkeKey.restore, bytes(size))

    def test_shown(self):
        """Its repr shows nothing of it."""
        shown = repr(KEY)
        for part in (KEY.raw, KEY.public):
            self.assertNotIn(part[:4].hex(), shown)
            self.assertNotIn(repr(part[:4])[2:-1], shown)
