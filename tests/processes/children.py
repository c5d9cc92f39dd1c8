"""Relays in processes of their own, as an operator starts them. Every wait is bounded."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.sockets.client import PATIENCE, SocketClient, wait_until

BIN: Final = Path(sys.executable).parent

ANY_PORT: Final = ("-e", "tcp:0:interface=127.0.0.1")

COMMANDS: Final = {
    "twistd": ["twistd", "--nodaemon", "--pidfile=", "--no_save"],
    "twist": ["twist", "--log-format=text"],
    "daemon": ["twistd", "--pidfile=relay.pid", "--logfile=relay.log", "--no_save"],
}
"""The ways to start a relay, up to the name of the plugin."""


def one_port(options: Sequence[str]) -> Sequence[str]:
    """These options, and v3 only if they say where: several relays run on one machine."""
    return options if "--v3" in options else (*options, "--no-v3")


class Relay:
    """A relay that is serving.

    :ivar ports: where, in the order of its endpoints.
    :ivar v3_addresses: what clients of v3 are given.
    :ivar health_port: where it is asked how it is, or 0.
    """

    def __init__(self, log: Path, pid: int, process: subprocess.Popen[bytes] | None) -> None:
        self._log = log
        self._process = process
        self.pid = pid
        self.ports = [int(port) for port in re.findall(r"RelayFactory starting on (\d+)", self.log)]

        self.v3_addresses = re.findall(r"the address (messageu://\S+)", self.log)
        health = re.search(r"HealthFactory starting on (\d+)", self.log)
        self.health_port = int(health[1]) if health else 0

    @property
    def log(self) -> str:
        """What it has logged; of one in the foreground also what it has written elsewhere."""
        return self._log.read_text("utf-8")

    def dial(self) -> SocketClient:
        """A connection to its first port."""
        return SocketClient(self.ports[0])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end; the exit status."""
        os.kill(self.pid, how)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end of one in the foreground; the exit status."""
        assert self._process is not None
        return self._process.wait(PATIENCE)


class ProcessTestCase(SynchronousTestCase):
    """Tests that start relays.

    :ivar folder: an empty folder, in which they are started.
    :ivar environment: what their environment has beside ours.
    """

    def setUp(self) -> None:
        self.environment: dict[str, str] = {}
        self.take_folder()
        self._started = 0

    def command(self, way: str, *options: str, before: tuple[str, ...] = ()) -> list[str]:
        """A command line; ``before`` stands before the name of the plugin."""
        program, *own = COMMANDS[way]
        return [str(BIN / program), *own, *before, "messageu", *one_port(options)]

    def run_to_end(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command that ends by itself, and lets go of its output."""
        return subprocess.run(
            command,
            capture_output=True,
            check=False,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=PATIENCE,
        )

    def take_folder(self) -> None:
        """Start what comes in an empty folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def start(self, *options: str, way: str = "twistd", before: tuple[str, ...] = ()) -> Relay:
        """A relay in the foreground, which is serving.

        :raises RuntimeError: with its output, when it ends instead.
        """
        self._started += 1
        log = self.folder / f"output-{self._started}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command(way, *options, before=before),
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.kill)

        def has_started() -> bool:
            if process.poll() is not None:
                raise RuntimeError(log.read_text("utf-8"))
            return " serves " in log.read_text("utf-8")

        wait_until(has_started, "the relay serves")
        return Relay(log, process.pid, process)

    def start_daemon(self, *options: str) -> Relay:
        """A relay in the background, whose parent has ended well."""
        self.addCleanup(self._kill_daemon)
        parent = self.run_to_end(self.command("daemon", *options))
        self.assertEqual((parent.returncode, parent.stdout, parent.stderr), (0, "", ""))
        pid = int((self.folder / "relay.pid").read_text("ascii"))
        return Relay(self.folder / "relay.log", pid, None)

    def _kill_daemon(self) -> None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((self.folder / "relay.pid").read_text("ascii")), signal.SIGKILL)

    def start_or_skip(self, *options: str) -> Relay:
        """A relay on a port that may be taken; then the test is skipped."""
        try:
            return self.start(*options)
        except RuntimeError as error:
            if "Address already in use" in str(error):
                raise SkipTest("somebody else uses the port") from None
            raise
