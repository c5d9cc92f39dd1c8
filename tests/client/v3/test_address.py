"""Links of relays and of contacts."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.client import AddressInvalid, RelayAddress
from messageu.client.v3 import (
    ContactLink,
    RelayLink,
    is_link,
    parse_contact,
    parse_relay,
    read_relay,
    write_relay,
)
from messageu.model.v3 import Identity

PIN = bytes(range(32))
PIN_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
IDENTITY = Identity(bytes(range(255, 223, -1)))
IDENTITY_TEXT = "__79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eA"

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True).filter(
    lambda label: not label.isdigit()
)
HOSTS = st.one_of(
    st.ip_addresses().map(str),
    st.lists(LABELS, min_size=1, max_size=3).map(".".join),
)
RELAYS = st.builds(
    RelayLink,
    st.builds(RelayAddress, HOSTS, st.integers(1, 65535)),
    st.binary(min_size=32, max_size=32),
)
CONTACTS = st.builds(ContactLink, RELAYS, st.binary(min_size=32, max_size=32).map(Identity))


def damaged(link: str) -> st.SearchStrategy[str]:
    """A link in which one place is cut, doubled or replaced."""
    places = st.integers(0, len(link))
    return st.builds(
        lambda start, size, new: link[:start] + new + link[start + size :],
        places,
        st.integers(0, 3),
        st.text("messageu:/#.[]0129AZaz-_=%? \0é", max_size=3),
    )


class ParseTests(SynchronousTestCase):
    """Text and links."""

    @given(RELAYS)
    def test_relays(self, relay: RelayLink) -> None:
        """A relay's link is read as what was written."""
        self.assertEqual(parse_relay(str(relay)), relay)

    @given(CONTACTS)
    def test_contacts(self, contact: ContactLink) -> None:
        """A contact's link is read as what was written."""
        self.assertEqual(parse_contact(f" {contact}\n"), contact)

    @given(st.one_of(CONTACTS.map(str).flatmap(damaged), st.text()))
    @example("messageu://a:1/#")
    def test_damage(self, text: str) -> None:
        """Whatever is read is written in the same way again, but for the spelling of IPv6; anything
        else is refused."""
        try:
            contact = parse_contact(text)
        except AddressInvalid:
            return
        if ":" not in contact.relay.address.host:
            self.assertEqual(str(contact), text.strip())

    def test_golden(self) -> None:
        """The links are written as the specification has them."""
        relay = RelayLink(RelayAddress("relay.example", 1358), PIN)
        self.assertEqual(str(relay), f"messageu://relay.example:1358#{PIN_TEXT}")
        self.assertEqual(
            str(ContactLink(relay, IDENTITY)),
            f"messageu://relay.example:1358/{IDENTITY_TEXT}#{PIN_TEXT}",
        )
        address = RelayAddress("::1", 1358)
        self.assertEqual(str(RelayLink(address, PIN)), f"messageu://[::1]:1358#{PIN_TEXT}")

    def test_refused(self) -> None:
        """What is not exactly a link is refused, and it is said why."""
        for text, words in (
            ("", "no link of MessageU"),
            ("anna", "no link of MessageU"),
            (f"Messageu://a:1#{PIN_TEXT}", "no link of MessageU"),
            (f"messageu://a:1#{PIN_TEXT}#", "no link of MessageU"),
            (f"messageu://u@a:1#{PIN_TEXT}", "no link of MessageU"),
            (f"messageu://a:1?b#{PIN_TEXT}", "no link of MessageU"),
            (f"messageu://[fe80::1%25lo]:1#{PIN_TEXT}", "no link of MessageU"),
            (f"messageu://{'a' * 500}:1#{PIN_TEXT}", "no link of MessageU"),
            ("messageu://a:1", "no link of MessageU"),
            (f"messageu://a#{PIN_TEXT}", "no colon"),
            (f"messageu://a:0#{PIN_TEXT}", "the port"),
            (f"messageu://a:01#{PIN_TEXT}", "the port"),
            (f"messageu://a:65536#{PIN_TEXT}", "the port"),
            (f"messageu://::1:1#{PIN_TEXT}", "brackets"),
            (f"messageu://1.2.3:1#{PIN_TEXT}", "no IP address"),
            ("messageu://a:1#", "the pin"),
            (f"messageu://a:1#{PIN_TEXT}=", "the pin"),
            (f"messageu://a:1#{PIN_TEXT[:-1]}", "the pin"),
            (f"messageu://a:1#{PIN_TEXT[:-1]}9", "the pin"),
            (f"messageu://a:1#{PIN_TEXT[:-1]}+", "the pin"),
            (f"messageu://a:1/#{PIN_TEXT}", "the identity"),
            (f"messageu://a:1/{IDENTITY_TEXT[1:]}#{PIN_TEXT}", "the identity"),
        ):
            with self.assertRaises(AddressInvalid, msg=text) as caught:
                parse_contact(text)
            self.assertIn(words, str(caught.exception))

    def test_one_for_the_other(self) -> None:
        """A relay is no contact, and a contact is no relay."""
        relay = RelayLink(RelayAddress("a", 1), PIN)
        with self.assertRaisesRegex(AddressInvalid, "not the link of a contact"):
            parse_contact(str(relay))
        with self.assertRaisesRegex(AddressInvalid, "not the address of a relay"):
            parse_relay(str(ContactLink(relay, IDENTITY)))

    def test_pin_of_another_size(self) -> None:
        """A pin has 32 bytes."""
        with self.assertRaises(AddressInvalid):
            RelayLink(RelayAddress("a", 1), PIN[1:])

    def test_is_link(self) -> None:
        """What begins like a link is meant to be one, also when it is wrong; a name is none."""
        self.assertTrue(is_link(" MESSAGEU:x"))
        self.assertFalse(is_link("messageu"))

    def test_says_little(self) -> None:
        """The pin, which is long, is not in what is shown to a programmer."""
        self.assertNotIn("pin", repr(RelayLink(RelayAddress("a", 1), PIN)))


class FileTests(SynchronousTestCase):
    """server.info."""

    def setUp(self) -> None:
        scratch = TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.file = self.folder / "server.info"

    def test_written_and_read(self) -> None:
        """A folder of v3 remembers its relay, in a file of the user's alone."""
        relay = RelayLink(RelayAddress("::1", 1358), PIN)
        write_relay(self.folder, relay)
        self.assertEqual(read_relay(self.folder), relay)
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)

    def test_folders_of_v2(self) -> None:
        """A folder without the file, or with one of v2, or of nonsense, is none of v3."""
        self.assertIsNone(read_relay(self.folder))
        for content in (b"127.0.0.1:1357\n", b"", b"\xff\xfe", b" " * 5000):
            self.file.write_bytes(content)
            self.assertIsNone(read_relay(self.folder))

    def test_damaged(self) -> None:
        """A link that is not whole is said to be invalid, and is not taken for v2."""
        self.file.write_bytes(b"\nmessageu://a:1#AAAA\n")
        with self.assertRaisesRegex(AddressInvalid, "server.info is invalid: the pin"):
            read_relay(self.folder)

    def test_not_written(self) -> None:
        """A folder that cannot be written to is one line."""
        with self.assertRaisesRegex(AddressInvalid, "server.info cannot be written: No such file"):
            write_relay(self.folder / "nowhere", RelayLink(RelayAddress("a", 1), PIN))
