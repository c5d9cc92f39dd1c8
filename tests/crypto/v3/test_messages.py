from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto.v3 import (
    CryptoError,
    FileOffer,
    Kind,
    Message,
    decode_receipt,
    encode_receipt,
    piece_count,
)

from ._people import account, damaged, message

ids = st.binary(min_size=16, max_size=16)
u64 = st.integers(0, 2**64 - 1)

BODIES = {
    Kind.TEXT: st.binary(min_size=1, max_size=99),
    Kind.RECEIPT: st.lists(ids, min_size=1, max_size=9).map(b"".join),
    Kind.FILE: st.binary(min_size=79, max_size=589),
    Kind.RENEWAL: st.just(b""),
    Kind.PROFILE: st.binary(max_size=256),
    Kind.CANCEL: st.lists(ids, min_size=1, max_size=9).map(b"".join),
}


@st.composite
def messages(draw):
    """Any message that is right."""
    kind = draw(st.sampled_from(Kind) | st.integers(6, 255))
    counted = kind not in (Kind.RECEIPT, Kind.PROFILE, Kind.CANCEL)
    sequence = draw(st.integers(1, 2**64 - 1)) if counted else 0
    body = draw(BODIES.get(kind, st.binary(max_size=99)))
    return message(
        message_id=draw(ids),
        sequence=sequence,
        time=draw(u64),
        expiry=draw(u64),
        kind=int(kind),
        body=body,
    )


class MessageTests(SynchronousTestCase):
    """What is inside the ratchet."""

    def test_bytes(self):
        """The bytes are those of the document."""
        anna, berta = account("anna").keys, account("berta").keys
        expected = b"".join(
            (
                b"messageu/3 message\0",
                anna.ed25519,
                anna.curve25519,
                berta.ed25519,
                berta.curve25519,
                bytes(range(16)),
                b"\x05\0\0\0\0\0\0\0",
                b"\x01\x02\0\0\0\0\0\0",
                b"\xff\0\0\0\0\0\0\0",
                b"\x01",
                b"good morning",
            )
        )
        self.assertEqual(message(sequence=5, time=0x201, expiry=255).encode(), expected)

    @given(messages())
    def test_round_trip(self, original):
        """What is encoded is read as the same."""
        self.assertEqual(Message.decode(original.encode()), original)

    @given(st.binary(max_size=300) | damaged([message().encode()]))
    def test_anything(self, raw):
        """Whatever was encrypted is read as it was written, or refused by the one error."""
        try:
            decoded = Message.decode(raw)
        except CryptoError:
            return
        self.assertEqual(decoded.encode(), raw)

    def test_cut(self):
        """A message that ends in its head is none, and a text needs a body."""
        raw = message(body=b"x").encode()
        for size in range(len(raw)):
            self.assertRaises(CryptoError, Message.decode, raw[:size])

    def test_label(self):
        """What begins with another label is none."""
        raw = message().encode()
        for label in (b"messageu/3 receipt\0", b"messageu/2 message\0", b"messageu/3 message "):
            self.assertRaises(CryptoError, Message.decode, label + raw[len(label) :])

    def test_sizes_of_bodies(self):
        """A body has the sizes of its kind and no other."""
        for kind, right, wrong in (
            (Kind.TEXT, (1, 65_536), (0, 65_537)),
            (Kind.RECEIPT, (16, 16_384), (0, 15, 17, 16_400)),
            (Kind.FILE, (79, 589), (0, 78, 590)),
            (Kind.RENEWAL, (0,), (1,)),
            (Kind.PROFILE, (0, 256), (257,)),
            (Kind.CANCEL, (16, 16_384), (0, 15, 17, 16_400)),
            (7, (0, 70_000), ()),
        ):
            sequence = int(kind not in (Kind.RECEIPT, Kind.PROFILE, Kind.CANCEL))
            for size in right:
                built = message(kind=kind, sequence=sequence, body=bytes(size))
                self.assertEqual(Message.decode(built.encode()), built)
            for size in wrong:
                raw = message(kind=7, sequence=sequence, body=bytes(size)).encode()
                at = len(raw) - size - 1
                forged = raw[:at] + bytes((kind,)) + raw[at + 1 :]
                self.assertRaises(CryptoError, Message.decode, forged)

    def test_sequences(self):
        """What is counted has a sequence, and what is not has none."""
        for fields in (
            {"sequence": 0},
            {"kind": Kind.RENEWAL, "sequence": 0, "body": b""},
            {"kind": Kind.PROFILE, "sequence": 1, "body": b"Anna"},
            {"kind": Kind.RECEIPT, "sequence": 1, "body": bytes(16)},
            {"kind": Kind.CANCEL, "sequence": 1, "body": bytes(16)},
        ):
            self.assertRaises(CryptoError, message, **fields)

    def test_values_that_do_not_fit(self):
        """A value that its field cannot hold is refused when the message is made."""
        for fields in (
            {"message_id": bytes(15)},
            {"sequence": -1},
            {"sequence": 2**64},
            {"time": 2**64},
            {"expiry": -1},
            {"kind": 256},
            {"kind": -1},
        ):
            self.assertRaises(CryptoError, message, **fields)

    def test_shown(self):
        """Its repr does not quote it."""
        self.assertNotIn("morning", repr(message()))


class ReceiptTests(SynchronousTestCase):
    """The body of a receipt."""

    @given(st.lists(ids, min_size=1, max_size=30))
    def test_round_trip(self, message_ids):
        """The ids come out in their order."""
        self.assertEqual(decode_receipt(encode_receipt(message_ids)), message_ids)

    def test_limits(self):
        """One to 1,024 ids of 16 bytes."""
        most = [bytes(16)] * 1024
        self.assertEqual(decode_receipt(encode_receipt(most)), most)
        for wrong in ([], [bytes(16)] * 1025, [bytes(15)], [bytes(8), bytes(8)], [bytes(32)]):
            self.assertRaises(CryptoError, encode_receipt, wrong)
        for size in (0, 15, 17, 16 * 1025):
            self.assertRaises(CryptoError, decode_receipt, bytes(size))


names = st.text(st.characters(codec="utf-8"), max_size=60).filter(
    lambda text: len(text.encode()) <= 255
)
offers = st.builds(
    lambda size, name, media_type, raw: FileOffer(
        raw, size, raw[::-1], piece_count(size), name, media_type
    ),
    st.integers(0, 2**49),
    names,
    st.text(st.characters(max_codepoint=127), max_size=60),
    st.binary(min_size=32, max_size=32),
)


def offer(**fields):
    defaults = {
        "key": b"k" * 32,
        "size": 5,
        "digest": b"d" * 32,
        "pieces": 1,
        "name": "a.txt",
        "media_type": "text/plain",
    }
    return FileOffer(**defaults | fields)


class FileOfferTests(SynchronousTestCase):
    """The body of a file message."""

    def test_bytes(self):
        """The bytes are those of the document."""
        expected = b"k" * 32 + b"\x05\0\0\0\0\0\0\0" + b"d" * 32 + b"\x01\0\0\0"
        expected += b"\x05\0a.txt" + b"\x0atext/plain"
        self.assertEqual(offer().encode(), expected)

    @given(offers)
    def test_round_trip(self, original):
        """What is encoded is read as the same, and fits a message."""
        body = original.encode()
        self.assertEqual(FileOffer.decode(body), original)
        self.assertEqual(message(kind=Kind.FILE, body=body).body, body)

    @given(st.binary(max_size=200) | damaged([offer().encode(), offer(name="").encode()]))
    def test_anything(self, body):
        """Whatever a peer says is read as it was written, or refused by the one error."""
        try:
            decoded = FileOffer.decode(body)
        except CryptoError:
            return
        self.assertEqual(decoded.encode(), body)

    def test_cut_or_longer(self):
        """Neither less nor more than an offer is one."""
        body = offer().encode()
        for size in range(len(body)):
            self.assertRaises(CryptoError, FileOffer.decode, body[:size])
        self.assertRaises(CryptoError, FileOffer.decode, body + b"\0")

    def test_texts_that_are_none(self):
        """A name that is not UTF-8, and a type that is not ASCII, are refused."""
        body = offer().encode()
        self.assertRaises(CryptoError, FileOffer.decode, body.replace(b"a.txt", b"\xff.txt"))
        self.assertRaises(CryptoError, FileOffer.decode, body.replace(b"plain", b"pl\xc3\xa4n"))
        self.assertRaises(CryptoError, FileOffer.decode, body.replace(b"a.txt", b"\xed\xa0\x80xx"))

    def test_values_that_do_not_fit(self):
        """Sizes, counts and texts that no offer can have are refused when it is made."""
        self.assertEqual(len(offer(name="n" * 255, media_type="t" * 255).encode()), 589)
        for fields in (
            {"key": bytes(31)},
            {"digest": bytes(33)},
            {"size": -1},
            {"size": 2**49 + 1, "pieces": piece_count(2**49 + 1)},
            {"size": 2**64 - 1, "pieces": 2**32 - 1},
            {"pieces": 0},
            {"pieces": 2},
            {"name": "n" * 256},
            {"name": "ä" * 128},
            {"name": "\ud800"},
            {"media_type": "t" * 256},
            {"media_type": "tä"},
        ):
            self.assertRaises(CryptoError, offer, **fields)

    def test_shown(self):
        """Its repr shows neither key, nor digest, nor names."""
        shown = repr(offer())
        for secret in ("kkkk", "dddd", "a.txt", "plain"):
            self.assertNotIn(secret, shown)
