"""The menu, with a relay that means harm."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from messageu.cli import MENU, Lines, Menu
from messageu.client import Client, Patience, Settings
from messageu.client._fetch import ROUNDS_LIMIT
from messageu.crypto.v2 import PrivateKey
from messageu.model import ListedClient

from ..client.hostile import ESCAPES, MISANSWERS, HostileRelay, Misanswer
from ..client.relay import ANNA, BERN, KEY, at_once, wild_identity

CARL = wild_identity("peer-b", "A")
PATIENCE = Patience()
REQUESTS = 4
"""Requests of which the longest entry is made, each of which may be asked twice."""

ENTRIES = {
    "110": ("110", "carl"),
    "120": ("120",),
    "130": ("130", "bern"),
    "130 of somebody new": ("130", "dora"),
    "140": ("140",),
    "150": ("150", "bern", "hello"),
    "151": ("151", "bern"),
    "152": ("152", "bern"),
    "153": ("153", "bern", "me.info"),
}
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


class HostileCase(SynchronousTestCase):
    """anna at the menu."""

    def setUp(self) -> None:
        self.enterContext(mock.patch.object(PrivateKey, "generate", lambda: CARL.private_key))
        scratch = TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)
        self.count = 0

    def open_menu(self, *, registered: bool) -> None:
        """Start the program in a folder of its own."""
        self.count += 1
        folder = self.root / str(self.count)
        folder.mkdir()
        if registered:
            (folder / "me.info").write_bytes(ANNA.encode())
        self.clock = Clock()
        self.relay = HostileRelay()
        for identity in (ANNA, BERN):
            self.relay.proper.add(identity)
        self.output: list[str] = []
        self.lines = Lines(lambda: None)
        settings = Settings(PATIENCE, folder, self.relay)
        self.client = Client(
            self.clock, folder, settings, run_in_thread=at_once, warn=self.output.append
        )
        if registered:
            self.client._identity = ANNA  # to read it takes a while, and here it is not in question
            self.client.keyring.learn_name(ListedClient(BERN.client_id, BERN.name))
            self.client.keyring.learn_public_key(BERN.client_id, BERN.private_key.public_key)
            self.client.keyring.share(BERN.client_id, KEY)
        self.running = Deferred.fromCoroutine(
            Menu(self.client, folder, self.lines.next_line, self.output.append).run()
        )
        self.output.clear()

    def type(self, *lines: str) -> None:
        """Type some lines."""
        self.lines.receive_data(b"".join(line.encode() + b"\n" for line in lines))
        self.relay.run()

    @property
    def ready(self) -> bool:
        """Whether the menu is there again."""
        return bool(self.output) and self.output[-1] == MENU

    def wait(self, pause: float, patience: float) -> float:
        """Let time pass until the menu is there again; how much did."""
        began = self.clock.seconds()
        while not self.ready and self.clock.seconds() < began + patience:
            said = self.relay.go_on()
            self.relay.run()
            if not self.ready:
                self.clock.advance(pause if said else PATIENCE.progress)
                self.relay.run()
        return self.clock.seconds() - began

    def printed(self) -> str:
        """What has been printed, without the menu."""
        printed = "".join(self.output).replace(MENU, "")
        self.output.clear()
        return printed

    def assert_harmless(self, printed: str) -> None:
        """Nothing of it moves a cursor or hides."""
        for character in set(printed) - {"\n", "\t"}:
            self.assertNotIn(unicodedata.category(character), HIDDEN, ascii(printed[:200]))

    def assert_goes_on(self) -> None:
        """With a relay that has become honest the next entry works."""
        self.assertNoResult(self.running)
        self.relay.misanswer, self.relay.unasked = None, b""
        self.type("120")
        self.wait(1.0, PATIENCE.progress)
        self.assertIn("bern\n", self.printed())


class HostileRelayTests(HostileCase):
    """Every entry, and everything that it can be answered."""

    def check(self, entry: str, misanswer: Misanswer) -> None:
        """An entry ends in time, says something harmless, and the next one works."""
        self.open_menu(registered=entry != "110")
        self.relay.misanswer = misanswer
        self.type(*ENTRIES[entry])
        patience = REQUESTS * 2 * (PATIENCE.answer + 2 * PATIENCE.progress)
        self.wait(misanswer.pause, patience)
        self.assertTrue(self.ready, "the menu does not come back")
        printed = self.printed()
        self.assert_harmless(printed)
        self.assertGreater(len(printed.splitlines()), len(ENTRIES[entry]) - 1, "nothing is said")
        shown = printed.count("\n-----<EOM>-----\n\n")
        self.assertEqual(printed.count("\nFrom: ") + printed.startswith("From: "), shown)
        if entry == "110" and "registered as carl" not in printed:
            return  # nobody is registered, and so nothing can be listed
        self.assert_goes_on()

    def check_all(self, entry: str) -> None:
        """All misanswers to one entry."""
        self.assertGreater(len(MISANSWERS), 100)
        for misanswer in MISANSWERS:
            try:
                self.check(entry, misanswer)
            except Exception as error:
                raise AssertionError(f"{entry}: {misanswer.name}: {error!r}") from error

    def test_register(self) -> None:
        """110 survives every misanswer."""
        self.check_all("110")

    def test_list(self) -> None:
        """120 survives every misanswer."""
        self.check_all("120")

    def test_public_key(self) -> None:
        """130 survives every misanswer, for somebody who is known and for somebody who is not."""
        self.check_all("130")
        self.check_all("130 of somebody new")

    def test_fetch(self) -> None:
        """140 survives every misanswer."""
        self.check_all("140")

    def test_send(self) -> None:
        """150 to 153 survive every misanswer."""
        for entry in ("150", "151", "152", "153"):
            self.check_all(entry)

    def test_unasked(self) -> None:
        """What a relay says before anything was asked is not taken for an answer."""
        for misanswer in MISANSWERS:
            (unasked, *_) = misanswer.chunks(b"") if misanswer.pause == 1.0 else (b"x",)
            if not unasked:
                continue
            self.open_menu(registered=True)
            self.relay.unasked = unasked
            self.type("120")
            self.wait(1.0, 4 * PATIENCE.progress)
            self.assertTrue(self.ready, misanswer.name)
            self.assert_harmless(self.printed())
            self.assert_goes_on()


class BoundsTests(HostileCase):
    """Time that a hostile relay may take."""

    def time_of(self, entry: str, name: str) -> tuple[float, str]:
        """How long an entry takes with a misanswer, and what it says."""
        (misanswer,) = [each for each in MISANSWERS if each.name == name]
        self.open_menu(registered=True)
        self.relay.misanswer = misanswer
        self.type(*ENTRIES[entry])
        seconds = self.wait(misanswer.pause, 10**9)
        return seconds, self.printed()

    def test_drip(self) -> None:
        """A byte now and then is no progress: it ends soon after the silence that is allowed."""
        for entry, what in (("120", "list"), ("140", "message")):
            for pause in ("0.5", "29"):
                seconds, printed = self.time_of(
                    entry, f"a {what} of which a byte comes each {pause} seconds"
                )
                self.assertLess(seconds, 2 * PATIENCE.progress + 30)
                self.assertIn("answers with less than 1024 bytes a second", printed)

    def test_without_end(self) -> None:
        """An answer that never ends is given up, however fast it comes."""
        for entry, name in (
            ("120", "a list without end"),
            ("140", "messages without end"),
            ("140", "a message without end"),
        ):
            seconds, printed = self.time_of(entry, name)
            self.assertLess(seconds, PATIENCE.answer + PATIENCE.progress)
            self.assertIn("no end after 3600 seconds", printed)

    def test_rounds(self) -> None:
        """A relay that always has one more message is asked so often and no more."""
        self.open_menu(registered=True)
        text = KEY.seal(ESCAPES)
        numbers = iter(range(1, 10**6))

        def one_more(_: bytes) -> object:
            from messageu.client._fetch import v2
            from messageu.model import MessageId

            message = v2.WaitingMessage(BERN.client_id, MessageId(next(numbers)), 3, text)
            return iter((v2.WaitingMessages((message,)).encode(),))

        self.relay.misanswer = Misanswer("one more", one_more)
        self.type("140")
        self.assertTrue(self.ready)
        printed = self.printed()
        self.assertEqual(printed.count("From: bern\n"), ROUNDS_LIMIT)
        self.assertIn("more may be waiting: ask again\n", printed)
