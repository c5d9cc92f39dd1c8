"""The screen as a program, on a terminal, with a relay under twistd."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.cli.test_main import COMMAND
from tests.processes.children import ProcessTestCase
from tests.sockets.client import PATIENCE, wait_until

from .terminal import Terminal

SCREEN = [sys.executable, "-m", "messageu", "chat"]
F8 = "\x1b[19~"
LEAVES_ALTERNATE_SCREEN = b"\x1b[?1049l"


class ScreenProcessTests(ProcessTestCase):
    """Two profiles, and a screen of each."""

    def run_command(self, who: str, *arguments: str) -> str:
        """What a command shows."""
        finished = subprocess.run(
            [*COMMAND, "--dir", str(self.folder / who), *arguments],
            capture_output=True,
            check=True,
            env={**os.environ, "MESSAGEU_PASSPHRASE": f"of {who}"},
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=PATIENCE,
        )
        return finished.stdout.strip()

    def screen(self, who: str, **environment: str) -> Terminal:
        """The screen of a profile."""
        terminal = Terminal([*SCREEN, "--dir", str(self.folder / who)], environment)
        self.addCleanup(terminal.close)
        return terminal

    def test_talk(self) -> None:
        """Two talk, each on a terminal; both are left as they were, by a key and by a signal."""
        relay = self.start("--no-v2", "--v3", "tcp:0:interface=127.0.0.1")
        wait_until(lambda: "messageu://" in relay.log, "the relay tells its address")
        for name in ("anna", "bern"):
            (self.folder / name).mkdir()
            address = next(word for word in relay.log.split() if word.startswith("messageu://"))
            self.run_command(name, "register", address, name)
        self.run_command("anna", "add", self.run_command("bern", "link"), "--label", "bern")

        anna = self.screen("anna", MESSAGEU_PASSPHRASE="of anna")
        bern = self.screen("bern")
        bern.wait_for("Passphrase:")
        bern.type("of bern\r")
        for terminal in (anna, bern):
            terminal.wait_for("online as")
        self.assertNotIn(b"of bern", bern.raw)
        anna.type("\r")
        anna.wait_for("bern  · not verified")
        anna.type("hello from a terminal\r")
        bern.wait_for("asks to write to you")
        bern.type("\r")
        bern.wait_for("hello from a terminal")
        bern.type(F8)
        bern.wait_for("What you call them")
        bern.type("anna\r")
        anna.wait_for("✓✓ delivered")

        anna.type("\x03")
        self.assertEqual(anna.wait(), 0)
        bern.process.send_signal(signal.SIGTERM)
        self.assertEqual(bern.wait(), 130)
        for terminal in (anna, bern):
            self.assertTrue(terminal.is_as_it_was)
            self.assertIn(LEAVES_ALTERNATE_SCREEN, terminal.raw)
            self.assertNotIn(b"Traceback", terminal.raw)

    def test_cannot_begin(self) -> None:
        """Without a terminal, or a profile, that is a line, and no screen."""
        finished = subprocess.run(
            SCREEN,
            capture_output=True,
            check=False,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
        )
        self.assertEqual((finished.returncode, finished.stdout), (2, b""))
        self.assertEqual(finished.stderr, b"error: the screen needs a terminal\n")
        for name, relay, advice in (
            ("nobody", None, b"register"),
            ("nobody-of-v2", "127.0.0.1:1357", b"register with 110 of the menu"),
        ):
            (self.folder / name).mkdir()
            if relay is not None:
                (self.folder / name / "server.info").write_text(f"{relay}\n", "ascii")
            terminal = self.screen(name)
            self.assertEqual(terminal.wait(), 1)
            said = b" ".join(terminal.raw.split())
            self.assertIn(b"error: ", said)
            self.assertIn(advice, said)
            self.assertNotIn(LEAVES_ALTERNATE_SCREEN, terminal.raw)
