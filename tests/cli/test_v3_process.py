"""The commands of v3 as processes, with a relay under twistd."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import signal
import subprocess
from pathlib import Path

from tests.processes.children import ProcessTestCase, Relay
from tests.sockets.client import PATIENCE, wait_until

from .test_main import COMMAND

FILE_SIZE = 5 * 2**20 + 1


class CommandProcessTests(ProcessTestCase):
    """Two profiles and a relay."""

    def setUp(self) -> None:
        super().setUp()
        self.relay = self.start_relay("tcp:0:interface=127.0.0.1")
        found = re.search(r"messageu://127\.0\.0\.1:(\d+)#\S+", self.relay.log)
        self.address, self.port = found[0], found[1]
        for name in ("anna", "bern"):
            (self.folder / name).mkdir()
            self.done(name, "register", self.address, name)
        self.done("anna", "add", self.done("bern", "link").strip(), "--label", "bern")
        self.done("bern", "add", "anna")

    def start_relay(self, where: str) -> Relay:
        """A relay of v3, which tells its address."""
        relay = self.start("--no-v2", "--v3", where)
        wait_until(lambda: "messageu://" in relay.log, "the relay tells its address")
        return relay

    def run_command(self, who: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*COMMAND, "--folder", str(self.folder / who), *arguments],
            capture_output=True,
            check=False,
            env={**os.environ, "MESSAGEU_PASSPHRASE": f"of {who}"},
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=PATIENCE,
        )

    def done(self, who: str, *arguments: str) -> str:
        """What a command shows that ends well."""
        finished = self.run_command(who, *arguments)
        self.assertEqual((finished.returncode, finished.stderr), (0, ""), arguments)
        return finished.stdout

    def follow(self, who: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Somebody who stays connected, and what he is shown."""
        shown = self.folder / f"{who}.json"
        with shown.open("wb") as output:
            following = subprocess.Popen(
                [*COMMAND, "--folder", str(self.folder / who), "inbox", "--follow", "--json"],
                env={**os.environ, "MESSAGEU_PASSPHRASE": f"of {who}"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
            )
        self.addCleanup(following.wait, PATIENCE)
        self.addCleanup(following.kill)
        return following, shown

    def test_conversation(self) -> None:
        """Texts and a file come, each once, also when the relay is killed in between, and whoever
        follows is back by himself and ends with 130 when he is interrupted."""
        following, shown = self.follow("bern")
        self.assertEqual(
            self.done("anna", "send", "bern", "one", "--wait-delivered"), "delivered\n"
        )
        self.relay.stop(signal.SIGKILL)
        queued = self.run_command("anna", "send", "bern", "two")
        self.assertEqual((queued.returncode, queued.stdout[:7]), (3, "queued:"))
        self.relay = self.start_relay(f"tcp:{self.port}:interface=127.0.0.1")
        sent = self.folder / "holiday.jpg"
        sent.write_bytes(secrets.token_bytes(FILE_SIZE))
        self.assertEqual(self.done("anna", "send-file", "bern", str(sent)), "sent\n")
        self.done("anna", "send", "bern", "three", "--wait-delivered")
        received = self.folder / "bern/downloads/holiday.jpg"
        wait_until(received.exists, "the file has come")
        digests = [hashlib.sha256(path.read_bytes()).digest() for path in (sent, received)]
        self.assertEqual(digests[0], digests[1])
        wait_until(lambda: "three" in shown.read_text("ascii"), "it is shown")
        following.send_signal(signal.SIGINT)
        self.assertEqual(following.wait(PATIENCE), 130)
        lines = [json.loads(line) for line in shown.read_text("ascii").splitlines() if line]
        texts = [line["text"] for line in lines if line["kind"] == "text"]
        self.assertEqual(texts, ["one", "two", "three"])

    def test_one_at_a_time(self) -> None:
        """A profile that is open is not opened by another program; that is a line."""
        _, shown = self.follow("bern")
        self.done("anna", "send", "bern", "are you there?", "--wait-delivered")
        wait_until(lambda: "there?" in shown.read_text("ascii"), "it is shown")
        finished = self.run_command("bern", "link")
        self.assertEqual(finished.stderr, "error: another program has the profile open\n")
