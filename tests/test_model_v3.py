from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import ClientId, InvalidValue
from messageu.model.v3 import (
    BUNDLE_SIZE,
    ONE_TIME_KEY_SIZE,
    RESERVED_HANDLES,
    Bundle,
    Delivery,
    EnvelopeId,
    Handle,
    Identity,
    IdentityKeys,
    OneTimeKey,
    SealedEnvelope,
    authentication_text,
    label,
    one_time_key_text,
)
from messageu.testing.strategies_v3 import bundles, handles, identity_keys, one_time_keys

IDENTITY = Identity(bytes(range(32)))
KEYS = IdentityKeys(b"e" * 32, b"c" * 32)
KEY = OneTimeKey(2**64 - 1, b"o" * 32, b"s" * 64)


def bundle(**changed) -> Bundle:
    """A bundle with every field at its largest, but for these."""
    fields = {
        "identity": IDENTITY,
        "sequence": 2**64 - 1,
        "not_after": 2**64 - 1,
        "hpke_key_id": 2**32 - 1,
        "hpke_key": b"h" * 1216,
        "fallback_key_id": 2**64 - 1,
        "fallback_key": b"f" * 32,
        "signature": b"s" * 64,
    }
    return Bundle(**{**fields, **changed})


class SizeTests(SynchronousTestCase):
    def assert_size(self, make, size: int) -> None:
        make(bytes(size))
        for other in (0, size - 1, size + 1, 2 * size):
            self.assertRaises(InvalidValue, make, bytes(other))

    def test_sizes(self):
        """Whatever has a size has no other."""
        self.assert_size(Identity, 32)
        self.assert_size(EnvelopeId, 16)
        self.assert_size(lambda raw: IdentityKeys(raw, bytes(32)), 32)
        self.assert_size(lambda raw: IdentityKeys(bytes(32), raw), 32)
        self.assert_size(lambda raw: OneTimeKey(1, raw, bytes(64)), 32)
        self.assert_size(lambda raw: OneTimeKey(1, bytes(32), raw), 64)
        self.assert_size(lambda raw: bundle(hpke_key=raw), 1216)
        self.assert_size(lambda raw: bundle(fallback_key=raw), 32)
        self.assert_size(lambda raw: bundle(signature=raw), 64)
        self.assert_size(OneTimeKey.decode, ONE_TIME_KEY_SIZE)

    def test_ranges(self):
        """Whatever is a number fits into its field."""
        account = ClientId(bytes(16))
        envelope_id = EnvelopeId(bytes(16))
        for bits, make in (
            (32, lambda number: SealedEnvelope(account, envelope_id, number, b"")),
            (64, lambda number: OneTimeKey(number, bytes(32), bytes(64))),
            (64, lambda number: bundle(sequence=number)),
            (64, lambda number: bundle(not_after=number)),
            (32, lambda number: bundle(hpke_key_id=number)),
            (64, lambda number: bundle(fallback_key_id=number)),
        ):
            make(0)
            make(2**bits - 1)
            for number in (-1, 2**bits):
                self.assertRaises(InvalidValue, make, number)


class IdentityTests(SynchronousTestCase):
    def test_hash(self):
        """An identity is the SHA-256 of a label and both keys."""
        text = b"messageu/3 identity\0" + b"e" * 32 + b"c" * 32
        self.assertEqual(KEYS.identity.raw, sha256(text).digest())

    @given(identity_keys(), identity_keys())
    def test_either_key_makes_another(self, one, other):
        """Who has one of somebody's keys, or both the wrong way round, is somebody else."""
        mixed = {one, other, IdentityKeys(one.ed25519, other.curve25519)}
        mixed.add(IdentityKeys(one.curve25519, one.ed25519))
        self.assertEqual(len({keys.identity for keys in mixed}), len(mixed))

    def test_account_id(self):
        """The account id is the first 16 bytes."""
        self.assertEqual(IDENTITY.account_id, ClientId(bytes(range(16))))

    def test_repr(self):
        """The repr shows four bytes of an identity, and nothing of its keys."""
        self.assertEqual(repr(IDENTITY), "Identity(00010203…)")
        self.assertEqual(repr(KEYS), f"IdentityKeys({KEYS.identity!r})")
        self.assertEqual(repr(EnvelopeId(bytes(range(16)))), "EnvelopeId(00010203…)")


class HandleTests(SynchronousTestCase):
    def test_shapes(self):
        """A name has 3 to 32 characters, and begins with a letter or a digit."""
        for text in ("abc", "0-_", "a..", "a" * 32, "zz9", "007"):
            self.assertEqual(Handle(text).text, text)
        for text in (
            "", "ab", "a" * 33, ".abc", "-abc", "_abc", "Abc", "abC", "a b", "abc ", " abc", "abc\n",
            "a\0b", "äbc", "abé", "аbс", "abc\u0301", "ａbc", "٣٣٣",
        ):  # fmt: skip
            self.assertRaises(InvalidValue, Handle, text)
            self.assertRaises(InvalidValue, Handle.from_raw, text.encode())

    def test_typed(self):
        """What a person types may have capitals and space around it, of ASCII alone."""
        self.assertEqual(Handle.from_text("  Alice.B \n"), Handle("alice.b"))
        for text in ("İabc", "\u212aabc", "\u00a0abc", "ﬁabc", "alice b"):
            self.assertRaises(InvalidValue, Handle.from_text, text)

    @given(handles())
    def test_round_trip(self, handle):
        """A name can be read back from its bytes and from its text."""
        self.assertEqual(Handle.from_raw(handle.raw), handle)
        self.assertEqual(Handle.from_text(str(handle)), handle)
        self.assertEqual(Handle.from_text(str(handle).upper()), handle)

    @given(st.text(max_size=40))
    def test_any_text(self, text):
        """Any text gives a name or raises InvalidValue."""
        try:
            handle = Handle.from_text(text)
        except InvalidValue:
            return
        self.assertEqual(handle.text, text.strip().lower())

    @given(st.binary(max_size=40))
    def test_any_bytes(self, raw):
        """Any bytes give a name or raise InvalidValue."""
        try:
            handle = Handle.from_raw(raw)
        except InvalidValue:
            return
        self.assertEqual(handle.raw, raw)

    def test_look_alikes(self):
        """Names that look alike have one skeleton, and others have not."""
        for names in (
            ("alice", "a1ice", "al1ce", "alIce".lower(), "a.l-i_c.e", "alice-", "aiice"),
            ("bob", "b0b", "b.o.b", "b_0_b"),
            ("modem", "rnodem", "r.nodem", "modern", "rn0dern"),
            ("willow", "wi11ow", "vvillow", "v-villovv", "vv1ll0vv"),
            ("sos", "5o5", "50s"),
        ):
            self.assertEqual(len({Handle(name).skeleton for name in names}), 1, names)
        for one, other in (("alice", "alicia"), ("bob", "bobb"), ("mum", "nun"), ("abc", "abd")):
            self.assertNotEqual(Handle(one).skeleton, Handle(other).skeleton)

    @given(handles())
    def test_skeletons(self, handle):
        """A skeleton is never empty, and punctuation does not change it."""
        self.assertTrue(handle.skeleton)
        dotted = handle.text[0] + "".join("." + character for character in handle.text[1:])
        if len(dotted) <= 32:
            self.assertEqual(Handle(dotted).skeleton, handle.skeleton)

    def test_reserved(self):
        """Names that only the operator could mean are reserved, and so is what looks like them."""
        for name in RESERVED_HANDLES:
            self.assertTrue(Handle(name).reserved, name)
        for name in ("adm1n", "a.d.m.i.n", "r00t", "adrnin", "5upport", "rnessageu", "p0strnaster"):
            self.assertTrue(Handle(name).reserved, name)
        for name in ("alice", "administer", "roots", "my-admin"):
            self.assertFalse(Handle(name).reserved, name)


class BundleTests(SynchronousTestCase):
    @given(bundles())
    def test_round_trip(self, given):
        """A bundle can be read back from its 1,376 bytes."""
        self.assertEqual(len(given.encode()), BUNDLE_SIZE)
        self.assertEqual(Bundle.decode(given.encode()), given)

    def test_sizes(self):
        """Other sizes are refused."""
        raw = bundle().encode()
        for other in (b"", raw[:-1], raw + b"\0"):
            self.assertRaises(InvalidValue, Bundle.decode, other)

    def test_reserved(self):
        """What is reserved is zero: it is signed, and one bundle has one encoding."""
        raw = bundle().encode()
        self.assertEqual(raw[1308:1312], bytes(4))
        for at in range(1308, 1312):
            broken = bytearray(raw)
            broken[at] = 1
            self.assertRaises(InvalidValue, Bundle.decode, bytes(broken))

    def test_signed_text(self):
        """All of it is signed but the signature."""
        given = bundle()
        self.assertEqual(given.signed_text, b"messageu/3 bundle\0" + given.encode()[:-64])

    @given(bundles(), st.integers(0, BUNDLE_SIZE - 65))
    def test_every_byte_is_signed(self, given, at):
        """Another byte anywhere before the signature is another text, or no bundle."""
        raw = bytearray(given.encode())
        raw[at] ^= 1
        try:
            other = Bundle.decode(bytes(raw))
        except InvalidValue:
            return
        self.assertNotEqual(other.signed_text, given.signed_text)


class OneTimeKeyTests(SynchronousTestCase):
    @given(one_time_keys())
    def test_round_trip(self, key):
        """A one-time key can be read back from its 104 bytes."""
        self.assertEqual(len(key.encode()), 104)
        self.assertEqual(OneTimeKey.decode(key.encode()), key)

    def test_signed_text(self):
        """The label, whose it is, its id and the key are signed."""
        expected = b"messageu/3 one-time key\0" + IDENTITY.raw + b"\xff" * 8 + b"o" * 32
        self.assertEqual(KEY.signed_text(IDENTITY), expected)
        self.assertEqual(one_time_key_text(IDENTITY, KEY.key_id, KEY.key), expected)


class LabelTests(SynchronousTestCase):
    def test_label(self):
        """A label is its text and a zero byte, so that none is the beginning of another."""
        self.assertEqual(label("seal"), b"messageu/3 seal\0")
        self.assertRaises(UnicodeEncodeError, label, "sé")

    def test_authentication(self):
        """Nonce, identity, generation and channel are signed to authenticate."""
        text = authentication_text(b"n" * 32, IDENTITY, 258, b"b" * 32)
        self.assertEqual(
            text,
            b"messageu/3 authenticate\0"
            + b"n" * 32
            + IDENTITY.raw
            + b"\x02\x01\0\0\0\0\0\0"
            + b"b" * 32,
        )

    def test_no_text_stands_for_another(self):
        """The texts that are signed differ in their beginnings, whatever is in them."""
        texts = (
            authentication_text(bytes(32), IDENTITY, 0, bytes(32)),
            bundle().signed_text,
            KEY.signed_text(IDENTITY),
        )
        beginnings = [text.partition(b"\0")[0] for text in texts]
        self.assertEqual(len(set(beginnings)), 3)


class ReprTests(SynchronousTestCase):
    def test_secrets(self):
        """The repr of what travels shows no key, no signature and nothing that is sealed."""
        account, envelope_id = ClientId(bytes(16)), EnvelopeId(bytes(16))
        for value in (
            KEYS,
            KEY,
            bundle(),
            SealedEnvelope(account, envelope_id, 1, b"x" * 20),
            Delivery(1, envelope_id, 1, b"x" * 20),
        ):
            for secret in ("eeee", "cccc", "oooo", "ssss", "hhhh", "ffff", "xxxx"):
                self.assertNotIn(secret, repr(value))
