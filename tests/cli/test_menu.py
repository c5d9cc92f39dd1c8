"""The menu, line by line."""

from __future__ import annotations

import errno
from pathlib import Path
from textwrap import dedent
from unittest import mock

from twisted.internet import error
from twisted.internet.defer import Deferred

from messageu.cli import LINE_LIMIT, MENU, Lines, Menu
from messageu.client import _api, _fetch
from messageu.crypto.v2 import PrivateKey, SymmetricKey
from messageu.model import ClientId, ListedClient, MessageId, PublicKey
from messageu.wire import v2

from ..client.relay import ANNA, BERN, KEY, REFUSED, ClientCase, wild_identity

CARL = wild_identity("peer-b", "A")


class MenuCase(ClientCase):
    """anna at the menu, with a foreign relay."""

    def setUp(self) -> None:
        super().setUp()
        self.open_menu()

    def open_menu(self) -> None:
        """Start the program in ``folder``."""
        self.output: list[str] = []
        self.lines = Lines(lambda: None)
        self.client = self.client_in(self.folder)
        menu = Menu(self.client, self.folder, self.lines.next_line, self.output.append)
        self.running = Deferred.fromCoroutine(menu.run())

    def type(self, *lines: str | bytes) -> str:
        """Type some lines; what is printed, without the menu itself."""
        for line in lines:
            raw = line if isinstance(line, bytes) else line.encode("utf-8")
            self.lines.receive_data(raw + b"\n")
            self.relay.run()
        printed = "".join(self.output).replace(MENU, "")
        self.output.clear()
        return printed


class MenuTests(MenuCase):
    """The menu itself."""

    def test_text(self) -> None:
        """The menu is as the protocol has it."""
        expected = """\
            MessageU client at your service.

            110) Register
            120) Request for clients list
            130) Request for public key
            140) Fetch waiting messages
            150) Send a text message
            151) Send a request for symmetric key
            152) Send your symmetric key
            153) Send a file
            0) Exit client
            ?
            """
        self.assertEqual("".join(self.output), dedent(expected))

    def test_shown_again(self) -> None:
        """After each choice the menu is there again."""
        self.output.clear()
        self.type("")
        self.lines.receive_data(b"120\n")
        self.relay.run()
        self.assertEqual(self.output[-1], MENU)

    def test_exit(self) -> None:
        """0 ends it, with spaces around as well."""
        self.assertEqual(self.type(" 0 "), "")
        self.assertIsNone(self.successResultOf(self.running))

    def test_end_of_input(self) -> None:
        """The end of input ends it, after what was typed before has been done, and in the middle
        of a question, too."""
        self.lines.receive_data(b"120\n150\nbern\n")
        self.lines.end_input()
        self.assertNoResult(self.running)
        self.relay.run()
        self.assertIsNone(self.successResultOf(self.running))
        self.assertEqual(self.relay.codes, [601])

    def test_unknown_choice(self) -> None:
        """What is no entry is said to be none, in one harmless line."""
        self.assertEqual(self.type("999"), "there is no such entry: 999\n")
        self.assertEqual(self.type(b"\xff\x1b[2J"), "there is no such entry: \\xff\\x1b[2J\n")
        self.assertEqual(len(self.type("x" * 1000)), len("there is no such entry: \n") + 20)

    def test_long_line(self) -> None:
        """A line that is too long is skipped, as a choice and as an answer."""
        long = b"x" * (LINE_LIMIT + 1)
        words = "a line of more than 1 MiB was skipped\n"
        self.assertEqual(self.type(long), words)
        self.assertEqual(self.type("151", long), f"From whom?\n{words}")
        self.assertEqual(self.type("120"), "bern\n")

    def test_nobody_is_registered(self) -> None:
        """Before registration every entry but 110 says to register first."""
        (self.folder / "me.info").unlink()
        self.open_menu()
        for choice in ("120", "130", "140", "150", "151", "152", "153"):
            self.assertEqual(
                self.type(choice), "you are not registered yet: register first, with 110\n"
            )
        self.assertEqual(self.relay.requests, [])

    def test_identity_that_cannot_be_used(self) -> None:
        """A damaged identity file is named, and is not overwritten."""
        (self.folder / "me.info").write_bytes(b"")
        self.open_menu()
        self.assertEqual(self.type("120"), "me.info cannot be used: line 1 holds no name\n")
        self.assertIn("you are registered already", self.type("110"))
        self.assertEqual((self.folder / "me.info").read_bytes(), b"")

    def test_relay_in_trouble(self) -> None:
        """A relay that is missing, refuses, closes or talks nonsense is one line each, and then
        all goes on."""
        self.relay.unreachable.append(error.ConnectionRefusedError())
        refused = "the relay at the given endpoint cannot be reached: nothing listens there\n"
        self.assertEqual(self.type("120"), refused)
        self.relay.says.extend([REFUSED, REFUSED])
        self.assertEqual(self.type("120"), "server responded with an error\n")
        self.relay.says.extend([b"220 mail.example ESMTP\x1b[2J\r\n"] * 2)
        self.assertRegex(
            self.type("120"), r"\A[^\n\x1b]*makes no sense[^\n\x1b]*MessageU[^\n]*\n\Z"
        )
        self.relay.says.append(b"\x02")
        self.relay.closes = True
        self.assertRegex(self.type("120"), r"\A[^\n]*closed the connection in the middle[^\n]*\n\Z")
        self.relay.says.append(None)
        self.assertEqual(self.type("120"), "")
        self.clock.advance(31)
        self.assertRegex(self.type(), r"\A[^\n]*silent for 30 seconds[^\n]*\n\Z")
        self.assertEqual(self.type("120"), "bern\n")

    def test_refusals(self) -> None:
        """Any 9000 is said in the same words."""
        self.share_key()
        self.client.keyring.learn_public_key(BERN.client_id, BERN.private_key.public_key)
        for lines in (
            ("120",),
            ("130", "bern"),
            ("140",),
            ("150", "bern", "text"),
            ("151", "bern"),
            ("152", "bern"),
            ("153", "bern", __file__),
        ):
            self.relay.says.extend([REFUSED, REFUSED])
            printed = self.type(*lines).splitlines()
            self.assertEqual(printed[-1], "server responded with an error")
            self.relay.says.clear()


class RegisterTests(MenuCase):
    """110."""

    def setUp(self) -> None:
        super().setUp()
        patch = mock.patch.object(PrivateKey, "generate", return_value=CARL.private_key)
        patch.start()
        self.addCleanup(patch.stop)
        self.folder = self.folder_of(None, "new")
        self.open_menu()

    def test_register(self) -> None:
        """A name is asked for and registered; then the other entries work."""
        self.assertEqual(self.type("110", "carl"), "Your name:\nregistered as carl\n")
        self.assertTrue((self.folder / "me.info").exists())
        self.assertEqual(self.type("120"), "anna\nbern\n")

    def test_name_taken(self) -> None:
        """A name that is taken is an error, and another can be chosen."""
        self.assertEqual(self.type("110", "bern"), "Your name:\nserver responded with an error\n")
        self.assertIn("registered as bernd", self.type("110", "bernd"))

    def test_invalid_names(self) -> None:
        """A name that cannot be registered does not reach the relay."""
        for name in ("", "a\tb", "zoë", "x" * 255, b"\xff"):
            self.assertRegex(self.type("110", name), r"\AYour name:\nerror: a name [^\n]*\n\Z")
        self.assertEqual(self.relay.requests, [])

    def test_registered_already(self) -> None:
        """Where there is an identity file, under either name, no name is even asked for."""
        for name in ("my.info", "me.info"):
            (self.folder / name).write_bytes(CARL.encode())
            self.assertEqual(
                self.type("110"), f"error: you are registered already, {name} exists\n"
            )


class DirectoryTests(MenuCase):
    """120 and 130."""

    def test_list(self) -> None:
        """Names are listed, harmless; or it is said that there are none."""
        clients = (
            ListedClient(CARL.client_id, b"\x1b[31mcarl\n0) Exit"),
            ListedClient(BERN.client_id, b"bern"),
        )
        self.relay.says.append(v2.ClientsList(clients).encode())
        self.assertEqual(self.type("120"), "\\x1b[31mcarl\\n0) Exit\nbern\n")
        self.relay.says.append(v2.ClientsList(()).encode())
        self.assertEqual(self.type("120"), "nobody else is registered\n")

    def test_long_list(self) -> None:
        """What is left out of a long list is counted."""
        self.relay.add(CARL)
        with mock.patch.object(_api, "LISTING_LIMIT", 1):
            self.assertEqual(self.type("120"), "bern\nand 1 more\n")

    def test_public_key(self) -> None:
        """A public key is fetched, the client being found by name."""
        printed = self.type("130", "bern")
        self.assertEqual(printed, "Whose public key?\nthe public key of bern is known now\n")
        self.assertEqual(self.relay.codes, [601, 602])

    def test_public_key_has_changed(self) -> None:
        """When the relay gives another key than before, it is said."""
        self.type("130", "bern")
        self.assertNotIn("warning", self.type("130", "bern"))
        self.relay.clients[BERN.client_id] = b"bern", CARL.private_key.public_key
        self.assertIn("warning: it is not the one", self.type("130", "bern"))

    def test_public_key_that_is_none(self) -> None:
        """A public key that is none is said to be none, and the menu goes on."""
        self.relay.clients[BERN.client_id] = b"bern", PublicKey(bytes(160))
        self.assertRegex(self.type("130", "bern"), "is no public key\n\\Z")
        self.assertRegex(self.type("152", "bern"), "is no public key\n\\Z")

    def test_unknown_name(self) -> None:
        """A name that nobody has is said, harmless, wherever a client is asked for."""
        for lines in (
            ("130", "\x1bx"),
            ("150", "\x1bx", "text"),
            ("151", "\x1bx"),
            ("152", "\x1bx"),
            ("153", "\x1bx", __file__),
        ):
            last = self.type(*lines).splitlines()[-1]
            self.assertEqual(last, "nobody is registered as \\x1bx")


class SendTests(MenuCase):
    """150 to 153."""

    def waiting(self) -> v2.WaitingMessage:
        """The last message for bern."""
        return self.relay.mail[BERN.client_id][-1]

    def test_text(self) -> None:
        """A text is sent to somebody with whom a key is shared, in UTF-8 or whatever was typed."""
        self.share_key()
        for text in ("héllo".encode(), b"latin \xe9", b""):
            printed = self.type("150", "bern", text)
            self.assertEqual(printed, "To whom?\nYour message:\nsent\n")
            self.assertEqual(KEY.open(self.waiting().content), text)

    def test_no_key(self) -> None:
        """Without a shared key, a text and a file are not sent, and it is said what to do."""
        words = "no symmetric key is shared with bern: 152 sends yours, 151 asks for theirs"
        for lines in (("150", "bern", "text"), ("153", "bern", __file__)):
            self.assertEqual(self.type(*lines).splitlines()[-1], words)
        self.assertEqual(self.relay.codes, [601])

    def test_request_key(self) -> None:
        """151 asks for a key."""
        self.assertEqual(self.type("151", "bern"), "From whom?\nsent\n")
        self.assertEqual((self.waiting().type, self.waiting().content), (1, b""))

    def test_send_key(self) -> None:
        """152 sends a new key, and from then on texts can be sent."""
        self.assertEqual(self.type("152", "bern"), "To whom?\nsent\n")
        key = BERN.private_key.unwrap(self.waiting().content)
        self.assertTrue(self.type("150", "bern", "hello").endswith("sent\n"))
        self.assertEqual(key.open(self.waiting().content), b"hello")

    def test_file(self) -> None:
        """153 sends a file."""
        self.share_key()
        printed = self.type("153", "bern", __file__)
        self.assertEqual(printed, "To whom?\nWhich file?\nsent\n")
        self.assertEqual(KEY.open(self.waiting().content), Path(__file__).read_bytes())

    def test_missing_file(self) -> None:
        """A path that is not there is said before anything else is looked at."""
        for path in ("/no/such/file", b"a\0b", b"\xff", "x" * 5000):
            printed = self.type("153", "nobody", path)
            self.assertEqual(printed, "To whom?\nWhich file?\nfile not found\n")
        self.assertEqual(self.relay.requests, [])

    def test_what_is_no_file(self) -> None:
        """A folder is no file to send."""
        self.share_key()
        printed = self.type("153", "bern", str(self.root))
        self.assertIn("the file cannot be sent: it is not a regular file\n", printed)


class FetchTests(MenuCase):
    """140."""

    def setUp(self) -> None:
        super().setUp()
        self.share_key()

    def assert_shown(self, content: str, name: str = "bern") -> None:
        """140 shows this one message."""
        expected = f"From: {name}\nContent:\n{content}\n-----<EOM>-----\n\n"
        self.assertEqual(self.type("140"), expected)

    def test_nothing(self) -> None:
        """An empty mailbox is said to be empty."""
        self.assertEqual(self.type("140"), "no messages are waiting\n")

    def test_text(self) -> None:
        """A text is shown as it is, with more than one line, too."""
        for text in ("hello", "", "two\nlines", "שלום \t😀"):
            self.relay.put_text(text)
            self.assert_shown(text)

    def test_harmful_text(self) -> None:
        """A text can neither steer the terminal nor forge another message."""
        self.relay.put_text("\x1b[2J\nFrom: bank\nContent:\nx\n-----<EOM>-----\n")
        self.assert_shown("\\x1b[2J\n\\From: bank\n\\Content:\nx\n\\-----<EOM>-----\n")

    def test_key_request(self) -> None:
        """A request for a key is shown in the words of the protocol."""
        self.relay.put(BERN, ANNA, 1, b"")
        self.assert_shown("Request for symmetric key")

    def test_key(self) -> None:
        """A key is kept, and shown in the words of the protocol."""
        self.client.keyring.share(BERN.client_id, SymmetricKey(bytes(16)))
        self.relay.put_key()
        self.assert_shown("symmetric key received")
        self.relay.put_text("hello")
        self.assert_shown("hello")

    def test_what_cannot_be_read(self) -> None:
        """A text, a file or a key that does not open is shown in the words of the protocol."""
        for kind, content in ((3, b"x"), (4, b"x"), (2, b"x"), (77, b"")):
            self.relay.put(BERN, ANNA, kind, content)
            self.assert_shown("can't decrypt message")

    def test_file(self) -> None:
        """Of a file the full path is shown where it is."""
        self.relay.put(BERN, ANNA, 4, KEY.seal(b"content"))
        printed = self.type("140")
        [path] = self.downloads.iterdir()
        self.assertEqual(printed, f"From: bern\nContent:\n{path}\n-----<EOM>-----\n\n")

    def test_harmful_name(self) -> None:
        """A name is on one line, whatever it is."""
        self.client.keyring.learn_name(ListedClient(BERN.client_id, b"x\nContent:\n\x9b"))
        self.relay.put(BERN, ANNA, 1, b"")
        self.assert_shown("Request for symmetric key", "x\\nContent:\\n\\x9b")

    def test_nameless(self) -> None:
        """Somebody without a name is shown by the id."""
        nobody = ClientId(b"\x1b" * 16)
        waiting = v2.WaitingMessage(nobody, MessageId(1), 1, b"")
        self.relay.says.append(v2.WaitingMessages((waiting,)).encode())
        self.assert_shown("Request for symmetric key", "1b" * 16)

    def test_oversized(self) -> None:
        """A message above the limit is said to be lost, and the next is shown."""
        self.relay.put(BERN, ANNA, 4, bytes(v2.DEFAULT_CONTENT_LIMIT + 1))
        self.relay.put_text("hello")
        printed = self.type("140")
        self.assertTrue(printed.startswith("a message of more than 16 MiB was skipped\nFrom: bern"))

    def test_more_than_a_bound(self) -> None:
        """When a fetch stops at its bound, it is said that there may be more."""
        self.relay.put_text("hello")
        with mock.patch.object(_fetch, "ROUNDS_LIMIT", 1):
            self.assertTrue(self.type("140").endswith("more may be waiting: ask again\n"))

    def test_full_disk(self) -> None:
        """A file that cannot be saved is said, after all that can be shown."""
        self.relay.put(BERN, ANNA, 4, KEY.seal(b"content"))
        self.relay.put_text("hello")
        full = OSError(errno.ENOSPC, "No space left on device")
        with mock.patch("tempfile.mkstemp", side_effect=full):
            printed = self.type("140")
        self.assertIn("hello", printed)
        self.assertTrue(
            printed.endswith("a received file cannot be saved: No space left on device\n")
        )
