"""The echo bot as a process, with a relay under twistd and somebody who writes to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.cli.test_main import COMMAND
from tests.processes.children import ProcessTestCase
from tests.sockets.client import PATIENCE, wait_until

BOT = Path(__file__).resolve().parents[2] / "examples/echo_bot.py"


class EchoBotTests(ProcessTestCase):
    """A bot, and anna who follows what it answers."""

    def setUp(self) -> None:
        super().setUp()
        relay = self.start("--no-v2", "--v3", "tcp:0:interface=127.0.0.1")
        wait_until(lambda: relay.log.count("messageu://"), "the relay tells its address")
        self.address = next(word for word in relay.log.split() if word.startswith("messageu://"))
        for name in ("anna", "echo"):
            (self.folder / name).mkdir()
            self.done(name, "register", self.address, name, "--no-passphrase")
        self.done("anna", "add", "echo")

    def done(self, who: str, *arguments: str) -> str:
        """What a command shows that ends well."""
        finished = subprocess.run(
            [*COMMAND, "--folder", str(self.folder / who), *arguments],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual((finished.returncode, finished.stderr), (0, ""), arguments)
        return finished.stdout

    def start_bot(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The bot."""
        errors = (self.folder / "errors").open("ab")
        self.addCleanup(errors.close)
        bot = subprocess.Popen(
            [sys.executable, str(BOT), str(self.folder / "echo"), *arguments],
            env={**os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        self.addCleanup(bot.wait, PATIENCE)
        self.addCleanup(bot.kill)
        return bot

    def answers(self, count: int) -> list[str]:
        """What anna has been answered, when it is so much."""
        texts: list[str] = []

        def have_come() -> bool:
            lines = self.done("anna", "inbox", "--json").splitlines()
            texts.extend(json.loads(line)["text"] for line in lines)
            return len(texts) >= count

        wait_until(have_come, "the answers have come")
        return texts

    def test_killed(self) -> None:
        """Each text is answered once and in order, though the bot is killed, and forgets its place,
        which is as if it had been killed before it was written."""
        bot = self.start_bot("anna")
        self.done("anna", "send", "echo", "one")
        self.assertEqual(self.answers(1), ["one"])
        bot.send_signal(signal.SIGKILL)
        bot.wait(PATIENCE)
        (self.folder / "echo/echo.place").unlink(missing_ok=True)
        for word in ("one", "two"):
            self.done("anna", "send", "echo", word)
        bot = self.start_bot("anna")
        self.assertEqual(self.answers(2), ["one", "two"])
        bot.send_signal(signal.SIGINT)
        bot.wait(PATIENCE)
        self.assertEqual((self.folder / "errors").read_bytes(), b"")
