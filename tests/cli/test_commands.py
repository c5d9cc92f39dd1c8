"""Commands and menu of v3: profiles in folders, a relay in memory, and people who type."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from messageu.cli import MENU_V3, WORK, Desk, Exit, Lines, MenuV3, NoTerminal, run_command
from messageu.cli._letters import PLACE_FILE
from messageu.client import RelayAddress
from messageu.client.v3 import MessengerSettings, RelayLink, Status, _file_receiver
from messageu.commands import Invocation, read
from messageu.crypto.certificates import check_certificate
from messageu.terminal import AWAITED_FILE
from messageu.testing.network import MemoryNetwork
from messageu.testing.transport import Faults

from ..server.v3.relay import CERTIFICATE, MemoryRelay
from ..terminal.processes import FakeReactor


class FakeConsole:
    """Somebody at a terminal, or a script."""

    def __init__(self) -> None:
        self.interactive = False
        self.encoding = "utf-8"
        self.written: list[str] = []
        self.complaints: list[str] = []
        self.secrets: list[str] = []
        self.questions: list[str] = []
        self.lines = Lines(lambda: None)

    def write(self, text: str) -> None:
        self.written.append(text)

    def complain(self, line: str) -> None:
        self.complaints.append(line)

    def next_line(self) -> Deferred[bytes]:
        return self.lines.next_line()

    async def ask_secret(self, question: str) -> str:
        self.questions.append(question)
        if not self.secrets:
            raise NoTerminal("there is no terminal")
        return self.secrets.pop(0)

    def take(self) -> str:
        """What was written since."""
        text = "".join(self.written)
        self.written.clear()
        return text


class CommandCase(SynchronousTestCase):
    """A relay in memory, and two folders in which commands are run."""

    def setUp(self) -> None:
        scratch = TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)
        self.relay = MemoryRelay()
        self.network = MemoryNetwork(self.relay.clock, self.relay.listener)
        link = RelayLink(RelayAddress("192.0.2.7", 1358), check_certificate(CERTIFICATE))
        self.address = str(link)
        self.console = FakeConsole()
        self.environment: dict[str, str] = {}
        self.patch(os, "environ", {"NO_COLOR": "1"})
        for name in ("anna", "bern"):
            (self.root / name).mkdir()

    def desk(self, who: str, said: Invocation | None = None) -> Desk:
        """Where somebody works."""
        settings = MessengerSettings(endpoint=self.network.endpoint(), now=self.relay.now)
        return Desk(
            self.relay.clock,
            self.root / who,
            self.console,
            self.environment,
            passphrase_file=None if said is None else said.passphrase_file,
            timeout=30.0 if said is None else said.timeout,
            settings=settings,
            run_in_thread=maybeDeferred,
        )

    def begin(self, who: str, *arguments: str) -> Deferred[Exit]:
        """Begin a command."""
        said = read(arguments)
        return Deferred.fromCoroutine(run_command(self.desk(who, said), said.command, said.options))

    def run_for(self, who: str, *arguments: str, seconds: float = 60) -> tuple[Exit, str]:
        """Run a command to its end: how it has ended, and what was written."""
        running = self.begin(who, *arguments)
        for _ in range(round(seconds * 4)):
            self.network.run()
            if running.called:
                break
            self.network.clock.advance(0.25)
        return self.successResultOf(running), self.console.take()

    def done(self, who: str, *arguments: str) -> str:
        """What a command writes that ends well."""
        exit_code, written = self.run_for(who, *arguments)
        self.assertEqual((exit_code, self.console.complaints), (Exit.DONE, []), arguments)
        return written

    def failed(self, who: str, *arguments: str, code: Exit = Exit.FAILED) -> str:
        """The one line of a command that does not."""
        exit_code, written = self.run_for(who, *arguments)
        self.assertEqual((exit_code, written, len(self.console.complaints)), (code, "", 1))
        line = self.console.complaints.pop()
        self.assertTrue(line.startswith("error: "), line)
        self.assertNotIn("\n", line)
        return line

    def register_both(self) -> None:
        """Two profiles that know each other."""
        for name in ("anna", "bern"):
            self.done(name, "register", self.address, name, "--no-passphrase")
        link = self.done("bern", "link").strip()
        self.done("anna", "add", link, "--label", "bern")
        self.done("bern", "add", "anna")


class RegisterTests(CommandCase):
    """register, and the passphrase."""

    def test_register(self) -> None:
        """A profile is made, and the folder remembers its relay; the link is shown."""
        written = self.done("anna", "register", self.address, "anna", "--no-passphrase")
        self.assertTrue(written.startswith("registered as anna\nyour link: messageu://192.0.2.7"))
        self.assertEqual((self.root / "anna/server.info").read_text(), f"{self.address}\n")
        self.assertIn(written.split()[-1], self.done("anna", "link"))

    def test_again(self) -> None:
        """The same again changes nothing; another name, or another relay, is refused."""
        self.done("anna", "register", self.address, "anna", "--no-passphrase")
        self.done("anna", "register", self.address, "anna", "--no-passphrase")
        self.assertIn("name", self.failed("anna", "register", self.address, "annette"))
        other = self.address.replace("192.0.2.7", "192.0.2.8")
        self.assertIn("another relay", self.failed("anna", "register", other, "anna"))

    def test_name_taken(self) -> None:
        """A name that somebody has is refused; the profile can ask for another one."""
        self.done("anna", "register", self.address, "anna", "--no-passphrase")
        words = self.failed("bern", "register", self.address, "anna", "--no-passphrase")
        self.assertIn("somebody has this name", words)
        self.done("bern", "register", self.address, "bern")

    def test_passphrase(self) -> None:
        """The passphrase is typed twice, unseen, and asked for from then on."""
        self.console.secrets = ["one two", "one two"]
        self.done("anna", "register", self.address, "anna")
        self.assertEqual(self.console.questions, ["New passphrase: ", "The same again: "])
        self.assertIn("no terminal", self.failed("anna", "link"))
        self.console.secrets = ["wrong"]
        self.failed("anna", "link")
        self.console.secrets = ["one two"]
        self.done("anna", "link")
        self.environment["MESSAGEU_PASSPHRASE"] = "one two"
        self.done("anna", "link")
        del self.environment["MESSAGEU_PASSPHRASE"]
        secret = self.root / "secret"
        secret.write_text("one two\n")
        self.done("anna", "link", "--passphrase-file", str(secret))

    def test_two_passphrases(self) -> None:
        """Two that differ make no profile."""
        self.console.secrets = ["one", "two"]
        self.assertIn("different", self.failed("anna", "register", self.address, "anna"))
        self.assertEqual(list((self.root / "anna").iterdir()), [])

    def test_folders_of_v2(self) -> None:
        """A folder of a client of v2 is left as it is."""
        (self.root / "anna/server.info").write_text("127.0.0.1:1357\n")
        self.assertIn("MessageU v2", self.failed("anna", "register", self.address, "anna"))
        self.assertEqual((self.root / "anna/server.info").read_text(), "127.0.0.1:1357\n")

    def test_no_profile(self) -> None:
        """Without a profile every command says so in a line."""
        rest = {
            "register": None, "import": None, "doctor": None, "export": None, "add": ["x"],
            "send": ["x", "y"], "send-file": ["x", "y"], "accept": ["x"], "block": ["x"],
            "unblock": ["x"], "rename": ["x", "y"], "verify": ["x"], "history": ["x"], "reset": ["--yes"], "delete-account": ["--yes"],
        }  # fmt: skip
        for name in WORK:
            arguments = rest.get(name, [])
            if arguments is not None:
                self.assertIn("profile", self.failed("anna", name, *arguments))

    def test_how_to_begin(self) -> None:
        """Without a profile one is told how to make it; registering makes the folder, for oneself only."""
        self.assertIn(f"{self.root / 'anna'} register RELAY NAME", self.failed("anna", "link"))
        self.done("new", "register", self.address, "anna", "--no-passphrase")
        self.assertEqual((self.root / "new").stat().st_mode & 0o777, 0o700)

    def test_bad_address(self) -> None:
        """What is no address of a relay is refused before anything is made."""
        self.assertIn("no link", self.failed("anna", "register", "127.0.0.1:1357", "anna"))
        self.assertEqual(list((self.root / "anna").iterdir()), [])


class TalkTests(CommandCase):
    """Two profiles that know each other."""

    def setUp(self) -> None:
        super().setUp()
        self.register_both()

    def test_text(self) -> None:
        """A text is sent, and shown once."""
        self.assertEqual(self.done("anna", "send", "bern", "hello"), "sent\n")
        shown = "From: anna\nContent:\nhello\n-----<EOM>-----\n\n"
        self.assertEqual(self.done("bern", "inbox"), shown)
        self.assertEqual(self.done("bern", "inbox"), "")

    def test_text_from_input(self) -> None:
        """What stands on the input is sent, its lines as they are."""
        self.console.lines.receive_data(b"one\ntwo\n")
        self.console.lines.end_input()
        self.done("anna", "send", "bern", "-")
        self.assertIn("\none\ntwo\n-----<EOM>", self.done("bern", "inbox"))

    def test_harmless(self) -> None:
        """What a peer has written cannot move the cursor, or pass for another message."""
        evil = "\x1b[2J\n-----<EOM>-----\n\nFrom: carl\nContent:\nlies"
        self.done("anna", "send", "bern", evil)
        shown = self.done("bern", "inbox")
        self.assertNotIn("\x1b", shown)
        self.assertEqual(shown.count("\n-----<EOM>-----"), 1)
        self.assertEqual(shown.count("\nFrom:"), 0)

    def test_json(self) -> None:
        """--json gives an object a line, in plain ASCII."""
        self.done("anna", "send", "bern", "zoë\x1b")
        [line] = self.done("bern", "inbox", "--json").splitlines()
        self.assertTrue(line.isascii() and line.isprintable())
        fields = json.loads(line)
        self.assertEqual(
            (fields["from"], fields["kind"], fields["text"]), ("anna", "text", "zoë\x1b")
        )

    def test_killed_before_it_was_noted(self) -> None:
        """What was shown and not noted is shown again."""
        self.done("anna", "send", "bern", "hello")
        self.done("bern", "inbox")
        (self.root / "bern" / PLACE_FILE).write_bytes(b"\xff")
        self.assertIn("hello", self.done("bern", "inbox"))

    def test_queued(self) -> None:
        """Without a relay a text is kept, with an exit code of its own, and sent with the next
        command that connects; it arrives once."""
        listening, self.network.listener = self.network.listener, None
        exit_code, written = self.run_for("anna", "send", "bern", "hello")
        self.assertEqual(exit_code, Exit.QUEUED)
        self.assertRegex(
            written, r"\Aqueued: the relay at 192.0.2.7:1358 cannot be reached: .*\n\Z"
        )
        self.failed("anna", "inbox", code=Exit.AWAY)
        self.network.listener = listening
        self.done("anna", "inbox")
        self.assertEqual(self.done("bern", "inbox").count("hello"), 1)

    def test_silent_relay(self) -> None:
        """A relay that says nothing is not waited for longer than the time that was given."""
        self.network.new_faults = self.hold
        exit_code, written = self.run_for(
            "anna", "send", "bern", "hello", "--timeout", "2", seconds=3
        )
        self.assertEqual(
            (exit_code, written), (Exit.QUEUED, "queued: the relay gives no sign for 2 seconds\n")
        )

    def hold(self) -> object:
        """A line on which nothing comes back."""
        return Faults(), Faults(window=0)

    def test_wait_delivered(self) -> None:
        """--wait-delivered ends when the other has it; or says that he has not."""
        exit_code, written = self.run_for(
            "anna", "send", "bern", "hello", "--wait-delivered", "--timeout", "5"
        )
        self.assertEqual(exit_code, Exit.QUEUED)
        self.assertEqual(written, "sent, but bern has not received it yet\n")
        following = self.begin("bern", "inbox", "--follow")
        written = self.done("anna", "send", "bern", "again", "--wait-delivered")
        self.assertIn("delivered\n", written)
        self.assertIn("hello", written)
        following.cancel()
        self.network.run()
        self.failureResultOf(following)

    def test_file(self) -> None:
        """A file arrives as it was, under its name, with a bar where somebody sees it."""
        sent = self.root / "holiday.jpg"
        sent.write_bytes(bytes(range(256)) * 3000)
        self.console.interactive = True
        written = self.done("anna", "send-file", "bern", str(sent))
        self.assertIn("100 %", written)
        self.assertTrue(written.endswith("\nsent\n"))
        self.done("bern", "inbox")
        received = self.root / "bern/downloads/holiday.jpg"
        self.assertEqual(received.read_bytes(), sent.read_bytes())

    def test_file_delivered(self) -> None:
        """A file is said to be delivered when the other has all of it, under its name; when he has
        not, it is sent. Fetching it receipts it."""
        sent = self.root / "holiday.jpg"
        sent.write_bytes(bytes(range(256)) * 3000)
        received = self.root / "bern/downloads/holiday.jpg"
        words = ("send-file", "bern", str(sent), "--wait-delivered")
        exit_code, written = self.run_for("anna", *words, "--timeout", "3")
        self.assertEqual(exit_code, Exit.QUEUED)
        self.assertEqual(written, "sent, but bern has not received it yet\n")
        self.done("bern", "inbox")
        self.assertEqual(received.read_bytes(), sent.read_bytes())
        following = self.begin("bern", "inbox", "--follow")
        waiting = self.begin("anna", *words, "--timeout", "30")
        second = received.with_name("holiday (1).jpg")
        while not waiting.called:
            self.assertFalse(self.console.written and "delivered" in self.console.written[-1])
            self.network.wait(0.25, step=0.25)
        self.assertEqual(second.read_bytes(), sent.read_bytes())
        self.assertEqual(self.successResultOf(waiting), Exit.DONE)
        self.assertIn("delivered\n", self.console.take())
        self.assertIn(f"received: {second}", self.console.complaints)
        following.cancel()
        self.network.run()
        self.failureResultOf(following)

    def test_bars_while_following(self) -> None:
        """Whoever follows at a terminal sees how far files are, those of his own that were begun
        before, and that they are delivered; a program does not."""
        sent = self.root / "holiday.jpg"
        sent.write_bytes(bytes(range(256)) * 9000)
        listening, self.network.listener = self.network.listener, None
        for _ in range(2):
            self.run_for("anna", "send-file", "bern", str(sent))
        self.network.listener = listening
        self.console.interactive = True
        self.console.take()
        reading = self.begin("bern", "inbox", "--follow", "--json")
        self.network.wait(5, step=0.25)
        self.assertEqual(self.console.take(), "")
        following = self.begin("anna", "inbox", "--follow")
        self.network.wait(30, step=0.25)
        bars = [line for line in self.console.take().split("\n") if "\r" in line]
        self.assertEqual(len(bars), 2)
        for bar in bars:
            self.assertTrue(bar.startswith("\rholiday.jpg ━━━"), bar)
            self.assertTrue(bar.endswith("100 %"), bar)
        self.assertEqual(self.console.complaints.count("delivered: holiday.jpg"), 2)
        for each in (reading, following):
            each.cancel()
            self.network.run()
            self.failureResultOf(each)

    def test_fetching_receipts_a_file(self) -> None:
        """Whoever fetches a file and leaves has receipted it."""
        sent = self.root / "holiday.jpg"
        sent.write_bytes(bytes(range(256)) * 3000)
        self.done("anna", "send-file", "bern", str(sent))
        self.done("bern", "inbox")
        self.done("anna", "inbox")
        messenger = self.desk("anna").open(None)
        (message,) = messenger.messages()
        messenger.close()
        self.assertIs(message.status, Status.DELIVERED)

    def test_file_that_is_not_kept(self) -> None:
        """A file that the other cannot keep is not delivered: both are told so."""
        self.patch(_file_receiver, "ROOM_KEPT", 2**62)
        sent = self.root / "holiday.jpg"
        sent.write_bytes(b"x" * 300_000)
        following = self.begin("bern", "inbox", "--follow")
        exit_code, written = self.run_for(
            "anna", "send-file", "bern", str(sent), "--wait-delivered"
        )
        self.assertEqual(exit_code, Exit.FAILED)
        self.assertIn("300,000 bytes: it could not be received", written)
        self.assertEqual(
            sorted(self.console.complaints),
            [
                "a file of anna was not received: there is too little room on the disk",
                "not delivered: the recipient could not keep it",
            ],
        )
        following.cancel()
        self.network.run()
        self.failureResultOf(following)
        self.console.complaints.clear()
        (self.root / "bern" / PLACE_FILE).unlink()
        fields = json.loads(self.done("bern", "inbox", "--json"))
        self.assertEqual((fields["state"], fields["path"]), ("failed", None))

    def test_told_while_following(self) -> None:
        """Whoever follows is told when something of his was not delivered."""
        following = self.begin("bern", "inbox", "--follow")
        self.network.wait(5, step=0.25)
        self.done("anna", "delete-account", "--yes")
        self.network.run()
        self.console.complaints.clear()
        following.cancel()
        self.network.run()
        self.failureResultOf(following)
        listening, self.network.listener = self.network.listener, None
        self.run_for("bern", "send", "anna", "are you there?")
        self.network.listener = listening
        self.console.take()
        following = self.begin("bern", "inbox", "--follow")
        self.network.wait(5, step=0.25)
        self.assertIn(
            "something that you sent was not delivered: the recipient has no account any more",
            self.console.complaints,
        )
        following.cancel()
        self.network.run()
        self.failureResultOf(following)

    def test_missing_file(self) -> None:
        """A file that is not there is a line."""
        self.assertIn("no such file", self.failed("anna", "send-file", "bern", "nowhere"))

    def test_verify(self) -> None:
        """Both see the same 60 digits in groups of five; whoever confirms it has verified."""
        one = self.done("anna", "verify", "bern").splitlines()[:3]
        two = self.done("bern", "verify", "anna", "--confirm").splitlines()
        self.assertEqual(one, two[:3])
        self.assertRegex(" ".join(one), r"\A\d{5}( \d{5}){11}\Z")
        self.assertEqual(two[3], "anna is verified")
        self.assertIn("anna (verified", self.done("bern", "contacts"))
        self.assertIn("bern (not verified", self.done("anna", "contacts"))

    def test_history(self) -> None:
        """Both sides are shown, the oldest first, also after they were shown before; nothing in a
        message passes for another one."""
        self.done("anna", "send", "bern", "one\n2026-01-01 00:00:00 from carl: lies\x1b[2J")
        self.done("bern", "inbox")
        self.done("bern", "send", "anna", "two", "--timeout", "5")
        shown = self.done("bern", "history", "anna")
        time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
        self.assertRegex(
            shown,
            rf"\A{time} from anna: one\n    2026-01-01 00:00:00 from carl: lies\\x1b\[2J\n"
            rf"{time} to anna \(stored\): two\n\Z",
        )
        self.done("anna", "inbox")
        self.done("bern", "inbox")
        self.assertIn(" to anna (delivered): two\n", self.done("bern", "history", "anna"))
        self.assertIn("no such contact", self.failed("bern", "history", "nobody"))

    def test_history_without_relay(self) -> None:
        """The history is read without a relay; what waits for it is queued."""
        self.network.listener = None
        self.run_for("anna", "send", "bern", "hello")
        self.assertIn("to bern (queued): hello", self.done("anna", "history", "bern"))

    def test_search(self) -> None:
        """A text is found in either case, in texts and in names of files; a limit leaves the last."""
        sent = self.root / "Straße.jpg"
        sent.write_bytes(b"x")
        self.done("anna", "send-file", "bern", str(sent))
        for number in range(105):  # more than a page
            messenger = self.desk("anna").open(None)
            messenger.core.send_text("bern", f"number {number}" if number else "In der STRASSE")
            messenger.close()
        found = self.done("anna", "history", "bern", "--search", "strasse").splitlines()
        self.assertEqual(
            [line.partition("): ")[2] for line in found],
            ["file Straße.jpg, 1 bytes", "In der STRASSE"],
        )
        last = self.done("anna", "history", "bern", "--limit", "2").splitlines()
        self.assertEqual([line[-3:] for line in last], ["103", "104"])
        self.assertEqual(self.done("anna", "history", "bern", "--search", "nothing"), "")

    def test_block(self) -> None:
        """Who is blocked is not heard, and may be let in again."""
        self.done("bern", "block", "anna")
        self.assertIn("blocked", self.done("bern", "contacts"))
        self.done("anna", "send", "bern", "hello")
        self.assertEqual(self.done("bern", "inbox"), "")
        self.done("bern", "unblock", "anna")
        self.done("anna", "send", "bern", "and now?")
        self.assertIn("and now?", self.done("bern", "inbox"))

    def test_request(self) -> None:
        """Who is not known asks; when he is accepted he is a contact."""
        (self.root / "carl").mkdir()
        self.done("carl", "register", self.address, "carl", "--no-passphrase")
        self.done("carl", "add", "anna")
        self.done("carl", "send", "anna", "hello")
        self.assertIn("(asks to write to you: accept or block)", self.done("anna", "inbox"))
        listed = self.done("anna", "contacts").splitlines()[-1]
        self.assertIn("asks to write to you", listed)
        label = listed.partition(" (")[0]
        self.assertEqual(self.done("anna", "accept", label, "--label", "carl"), "accepted carl\n")

    def test_rename(self) -> None:
        """A contact is called otherwise, harmlessly, and not as another one."""
        self.assertEqual(self.done("anna", "rename", "bern", "B\x1b[2J"), "bern is now B\\x1b[2J\n")
        self.assertIn("no such contact", self.failed("anna", "rename", "bern", "x"))
        self.done("anna", "rename", "B\x1b[2J", "bern")
        (self.root / "carl").mkdir()
        self.done("carl", "register", self.address, "carl", "--no-passphrase")
        self.done("anna", "add", "carl")
        self.assertIn("called so already", self.failed("anna", "rename", "carl", "bern"))

    def test_display_name(self) -> None:
        """A display name reaches those who are written to, and is shown as theirs, harmless."""
        self.assertEqual(self.done("anna", "display-name"), "you have no display name\n")
        evil = "Anna\x1b[2J (verified)\n"
        self.assertEqual(
            self.done("anna", "display-name", evil),
            "your display name: Anna\\x1b[2J (verified)\\n\n",
        )
        self.done("anna", "send", "bern", "hello")
        self.done("bern", "inbox")
        self.done("anna", "inbox")
        self.done("bern", "inbox")
        line = self.done("bern", "contacts")
        self.assertTrue(line.startswith("anna (not verified"), line)
        self.assertTrue(line.endswith(", calls themselves: Anna\\x1b[2J (verified)\\n\n"), line)
        self.done("anna", "display-name", "")
        self.assertEqual(self.done("anna", "display-name"), "you have no display name\n")
        self.assertIn("at most 256 bytes", self.failed("anna", "display-name", "x" * 257))

    def test_move(self) -> None:
        """A profile moves in a file: it goes on there, and no more here."""
        self.environment["MESSAGEU_EXPORT_PASSPHRASE"] = "for the way"
        moved = str(self.root / "moved")
        self.done("anna", "export", moved)
        self.assertIn("exported", self.failed("anna", "send", "bern", "hello"))
        (self.root / "new").mkdir()
        self.done("new", "import", moved, "--no-passphrase")
        self.done("new", "send", "bern", "from my new machine")
        self.assertIn("From: anna\n", self.done("bern", "inbox"))

    def test_reset_and_deletion_are_meant(self) -> None:
        """Nobody resets a profile or deletes an account by mistake."""
        for command in ("reset", "delete-account"):
            self.assertIn("--yes", self.failed("anna", command))
        self.done("anna", "reset", "--yes")
        self.console.interactive = True
        self.console.lines.receive_data(b"no\n")
        exit_code, _ = self.run_for("anna", "delete-account")
        self.assertEqual(
            (exit_code, self.console.complaints), (Exit.FAILED, ["error: nothing was done"])
        )
        self.console.complaints.clear()
        self.done("anna", "delete-account", "--yes")
        exit_code, _ = self.run_for("bern", "add", "anna", "--label", "other")
        self.assertEqual(exit_code, Exit.FAILED)


class HookTests(CommandCase):
    """inbox --follow with a command, and with notifications."""

    def setUp(self) -> None:
        super().setUp()
        self.register_both()
        self.reactor = FakeReactor()
        self.processes = self.reactor.processes
        self.relay.clock.spawnProcess = self.reactor.spawnProcess

    def follow(self, *arguments: str) -> Deferred[Exit]:
        """Have bern follow."""
        following = self.begin("bern", "inbox", "--follow", *arguments)
        self.network.wait(2, step=0.25)
        return following

    def send(self, *words: str) -> None:
        """Have anna send texts."""
        for word in words:
            self.done("anna", "send", "bern", word)
        self.network.wait(2, step=0.25)
        self.console.take()

    def end(self, following: Deferred[Exit]) -> None:
        """Interrupt it."""
        following.cancel()
        self.network.run()
        self.failureResultOf(following, CancelledError)

    def exit_last(self, code: int = 0) -> None:
        """Have the command end."""
        self.processes[-1].exit(code)
        self.network.run()

    def test_texts(self) -> None:
        """The command is run on each text, one after the other; its failure is said, and no more."""
        following = self.follow("--on-message", "work")
        self.send("one", "two")
        self.assertEqual([each.written for each in self.processes], [b"one"])
        facts = self.processes[0].environment
        self.assertEqual(
            {name: facts[name] for name in facts if name not in ("MESSAGEU_ID", "MESSAGEU_NUMBER")},
            {"MESSAGEU_FROM": "anna", "MESSAGEU_KIND": "text", "MESSAGEU_STANDING": "accepted"},
        )
        self.exit_last(1)
        self.assertEqual(self.console.complaints, ["the command has failed with exit code 1"])
        self.console.complaints.clear()
        self.assertEqual(self.processes[1].written, b"two")
        self.exit_last()
        self.end(following)

    def test_json(self) -> None:
        """With --json it is given what is shown: the object of a line."""
        self.send("hello")
        following = self.follow("--json", "--on-message", "work")
        line = self.console.take()
        self.assertEqual(self.processes[0].written.decode("ascii"), line)
        self.assertEqual(json.loads(line)["text"], "hello")
        self.exit_last()
        self.end(following)

    def test_interrupted(self) -> None:
        """What the command had not finished with is shown and given again; what it had, is not."""
        following = self.follow("--on-message", "work")
        self.send("one", "two")
        self.exit_last()
        self.end(following)
        self.exit_last(1)
        following = self.follow("--on-message", "work")
        self.assertEqual([each.written for each in self.processes], [b"one", b"two", b"two"])
        self.assertIn("two", self.console.take())
        self.exit_last()
        self.end(following)
        self.assertEqual(self.done("bern", "inbox"), "")

    def test_request(self) -> None:
        """Who asks to write to us is shown, and has nothing run."""
        (self.root / "carl").mkdir()
        self.done("carl", "register", self.address, "carl", "--no-passphrase")
        self.done("carl", "add", "bern")
        following = self.follow("--on-message", "work", "--notify")
        _, written = self.run_for("carl", "send", "bern", "let me in")
        self.network.wait(2, step=0.25)
        self.assertIn("let me in", written + self.console.take())
        self.assertEqual(self.processes, [])
        self.end(following)

    def test_file(self) -> None:
        """The command is run on a file when all of it is there, and is told where."""
        sent = self.root / "holiday.jpg"
        sent.write_bytes(bytes(range(256)) * 3000)
        following = self.follow("--on-message", "work")
        self.done("anna", "send-file", "bern", str(sent))
        self.network.wait(10, step=0.25)
        [process] = self.processes
        received = self.root / "bern/downloads/holiday.jpg"
        self.assertEqual(process.environment["MESSAGEU_KIND"], "file")
        self.assertEqual(process.environment["MESSAGEU_PATH"], str(received))
        self.assertEqual(process.written, b"")
        self.assertEqual(received.read_bytes(), sent.read_bytes())
        self.end(following)
        self.exit_last(1)
        following = self.follow("--on-message", "work")
        self.assertEqual(len(self.processes), 2)
        self.exit_last()
        self.assertEqual((self.root / "bern" / AWAITED_FILE).read_bytes(), b"")
        self.end(following)

    def test_notify(self) -> None:
        """Without a desktop the bell is rung where somebody hears it, once for many messages."""
        following = self.follow("--notify")
        self.send("not for a program")
        self.console.interactive = True
        self.network.wait(60, step=1)
        for word in ("one", "two"):
            self.begin("anna", "send", "bern", word)
            self.network.wait(4, step=0.25)
        self.assertEqual(self.console.take().count("\a"), 1)
        self.end(following)

    def test_options(self) -> None:
        """Both are for whoever follows."""
        for option in (["--on-message", "work"], ["--notify"]):
            self.assertIn("need --follow", self.failed("bern", "inbox", *option))


class MenuTests(CommandCase):
    """The menu in a profile of v3."""

    def setUp(self) -> None:
        super().setUp()
        self.register_both()
        self.menu = MenuV3(self.desk("anna"))
        self.running = Deferred.fromCoroutine(self.menu.run())
        self.addCleanup(self.leave)

    def leave(self) -> None:
        """End it."""
        Deferred.fromCoroutine(self.menu.close())
        self.network.run()

    def type(self, *lines: str) -> str:
        """Type some lines; what is printed, without the menu itself."""
        for line in lines:
            self.console.lines.receive_data(line.encode() + b"\n")
            self.network.wait(3, step=0.25)
        return self.console.take().replace(MENU_V3, "")

    def test_same_numbers(self) -> None:
        """It has the numbers of v2's menu."""
        for number in ("110", "120", "130", "140", "150", "151", "152", "153", "0"):
            self.assertIn(f"\n{number}) ", MENU_V3)

    def test_conversation(self) -> None:
        """Texts and files come and go, and numbers are compared."""
        self.assertIn("sent", self.type("150", "bern", "hello"))
        self.assertIn("hello", self.done("bern", "inbox"))
        self.done("bern", "send", "anna", "hello yourself")
        self.assertIn("hello yourself", self.type("140"))
        self.assertEqual(self.type("140"), "no messages are waiting\n")
        self.assertIn("bern is verified", self.type("152", "bern", "yes"))
        self.assertIn("bern (verified", self.type("120"))
        self.assertIn("file not found", self.type("153", "bern", "nowhere"))
        self.assertIn("anna\n", self.type("130", ""))
        self.assertIn("your link: messageu://", self.type("151", ""))
        self.assertIn("no such contact", self.type("150", "nobody", "x"))
        self.assertIn("no such entry", self.type("999"))
        self.type("0")
        self.assertIsNone(self.successResultOf(self.running))
