from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import (
    CLIENT_ID_SIZE,
    MESSAGE_ID_LIMIT,
    NAME_SIZE_LIMIT,
    NOBODY,
    PUBLIC_KEY_SIZE,
    ClientId,
    Envelope,
    InvalidValue,
    MessageId,
    PublicKey,
    UserName,
)
from messageu.testing.strategies import client_ids, user_names

ID = ClientId(bytes.fromhex("e5610640644748348ca288ad1ced9659"))


class ClientIdTests(SynchronousTestCase):
    def test_size(self):
        """An id has 16 bytes."""
        for size in (0, CLIENT_ID_SIZE - 1, CLIENT_ID_SIZE + 1, 32):
            self.assertRaises(InvalidValue, ClientId, bytes(size))

    def test_hex(self):
        """The hexadecimal form is lower-case, 32 digits long."""
        self.assertEqual(ID.hex, "e5610640644748348ca288ad1ced9659")

    @given(client_ids())
    def test_hex_round_trip(self, client_id):
        """An id can be read back from its hexadecimal form."""
        self.assertEqual(ClientId.from_hex(client_id.hex), client_id)

    def test_forms_of_hex(self):
        """Upper case, white space around and between, and dashes do not matter."""
        for text in (
            "E5610640644748348CA288AD1CED9659",
            " e5610640 64474834\t8ca288ad 1ced9659\r\n",
            "e5610640-6447-4834-8ca2-88ad1ced9659",
            " ".join("e5610640644748348ca288ad1ced9659"),
        ):
            self.assertEqual(ClientId.from_hex(text), ID)

    @given(st.text(max_size=40) | st.text("0123456789abcdefABCDEF -\u0661\0", max_size=40))
    def test_any_hex(self, text):
        """Any text gives an id, or raises InvalidValue."""
        try:
            client_id = ClientId.from_hex(text)
        except InvalidValue:
            return
        self.assertEqual(client_id.hex, "".join(text.split()).replace("-", "").lower())

    def test_repr(self):
        """The repr shows no more than two of the bytes: the id is a bearer token."""
        self.assertEqual(repr(ID), "ClientId(e561…)")

    def test_nobody(self):
        """Who has no id yet is nobody: zeros."""
        self.assertEqual(NOBODY.raw, bytes(16))

    def test_order(self):
        """Ids are ordered as their bytes are."""
        self.assertLess(NOBODY, ID)


class UserNameTests(SynchronousTestCase):
    def test_printable(self):
        """Every printable character of ASCII may stand in a name, the space too."""
        for byte in range(0x20, 0x7F):
            self.assertEqual(UserName(bytes([byte])).raw, bytes([byte]))

    def test_unprintable(self):
        """A control character, DEL and what is not ASCII may not, wherever they stand."""
        for byte in [*range(0x20), *range(0x7F, 0x100)]:
            for raw in (bytes([byte]), b"ali" + bytes([byte]), bytes([byte]) + b"ce"):
                self.assertRaises(InvalidValue, UserName, raw)

    def test_size(self):
        """A name has 1 to 254 bytes, so that its NUL fits into the field."""
        self.assertRaises(InvalidValue, UserName, b"")
        self.assertEqual(len(UserName(b"a" * NAME_SIZE_LIMIT).raw), 254)
        self.assertRaises(InvalidValue, UserName, b"a" * (NAME_SIZE_LIMIT + 1))

    def test_compared_byte_for_byte(self):
        """Case and spaces make another name."""
        self.assertEqual(len({UserName(b"alice"), UserName(b"ALICE"), UserName(b"alice ")}), 3)

    @given(user_names())
    def test_text_round_trip(self, name):
        """A name can be read back from its text."""
        self.assertEqual(UserName.from_text(str(name)), name)

    @given(st.text(st.characters()) | st.text("a\ud800\udc80\udfff\0é", max_size=5))
    def test_any_text(self, text):
        """Any text, lone surrogates too, gives a name or raises InvalidValue."""
        try:
            name = UserName.from_text(text)
        except InvalidValue:
            return
        self.assertEqual(str(name), text)


class PublicKeyTests(SynchronousTestCase):
    def test_size(self):
        """A public key has 160 bytes, of which nothing else is asked."""
        PublicKey(b"\xff" * PUBLIC_KEY_SIZE)
        for size in (0, PUBLIC_KEY_SIZE - 1, PUBLIC_KEY_SIZE + 1):
            self.assertRaises(InvalidValue, PublicKey, bytes(size))

    def test_repr(self):
        """The repr is short."""
        self.assertEqual(repr(PublicKey(bytes(range(160)))), "PublicKey(98999a9b9c9d9e9f)")


class MessageIdTests(SynchronousTestCase):
    def test_range(self):
        """A message id is an unsigned 32-bit number."""
        for number in (0, 1, MESSAGE_ID_LIMIT - 1):
            self.assertEqual(MessageId(number).number, number)
        for number in (-1, MESSAGE_ID_LIMIT):
            self.assertRaises(InvalidValue, MessageId, number)


class EnvelopeTests(SynchronousTestCase):
    def test_repr(self):
        """The repr leaves the content out."""
        self.assertNotIn("sealed", repr(Envelope(ID, NOBODY, 3, b"sealed")))
