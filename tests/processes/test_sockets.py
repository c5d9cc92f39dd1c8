"""A relay that is given its ports, as systemd does it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from tests.sockets.client import PATIENCE, SocketClient, fetch, message, messages_in

from .children import ProcessTestCase, Relay

ACTIVATE = """
import fcntl, os, sys
count = int(sys.argv[1])
# Out of the way of each other first.
fds = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 64) for each in sys.argv[2 : 2 + count]]
for place, fd in enumerate(fds):
    os.dup2(fd, 3 + place)
    os.close(fd)
names = ":".join(["messageu.socket"] * count)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES=names)
os.execv(sys.argv[2 + count], sys.argv[2 + count :])
"""
"""What systemd does: descriptors from 3 on, and three variables that tell of them."""


class SocketActivationTests(ProcessTestCase):
    """Relays whose ports somebody else has opened."""

    def listen(self) -> socket.socket:
        """A port, to which anybody can connect from now on."""
        listening = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.addCleanup(listening.close)
        listening.setblocking(False)
        return listening

    def activate(self, ports: list[socket.socket], *options: str) -> Relay:
        """A relay that is given ports."""
        command = self.command("twistd", *options)
        numbers = [str(port.fileno()) for port in ports]
        log = self.folder / "output"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", ACTIVATE, str(len(ports)), *numbers, *command],
                cwd=self.folder,
                pass_fds=[port.fileno() for port in ports],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.kill)
        return Relay(log, process.pid, process)

    def test_waits_meanwhile(self) -> None:
        """Whoever connects before the relay runs, and while it is started again, is served when it
        does: the port is open all the time."""
        port = self.listen()
        number = port.getsockname()[1]
        early = SocketClient(number)
        relay = self.activate([port], "-e", "systemd:domain=INET:index=0")
        anna = early.register(b"anna")
        early.ask(message(anna, anna, b"sealed"))
        early.close()
        self.assertEqual(relay.stop(), -signal.SIGTERM)
        between = SocketClient(number)
        relay = self.activate([port], "-e", "systemd:domain=INET:index=0")
        (waiting,) = messages_in(between.ask(fetch(anna)))
        self.assertEqual(waiting.content, b"sealed")
        between.close()
        self.assertEqual(relay.stop(), -signal.SIGTERM)
        self.assertNotIn("Traceback", relay.log)

    def test_both_protocols(self) -> None:
        """v2 and v3 can each be given a port, by its place; v3's address in the log has its number."""
        ports = [self.listen(), self.listen()]
        relay = self.activate(
            ports, *("-e", "systemd:domain=INET:index=0", "--v3", "systemd:domain=INET:index=1")
        )
        client = SocketClient(ports[0].getsockname()[1])
        self.assertTrue(client.register(b"anna"))
        client.close()
        relay.stop()
        self.assertIn(f"127.0.0.1:{ports[1].getsockname()[1]}#", relay.log)

    def test_not_given(self) -> None:
        """Without such a port the relay says in one line that there is none, and ends."""
        finished = self.run_to_end(self.command("twistd", "-e", "systemd:domain=INET:index=0"))
        self.assertEqual(finished.returncode, 1)
        self.assertRegex(
            finished.stderr, r"\Amessageu: 'systemd:domain=INET:index=0' is not an endpoint: .*\n\Z"
        )
        self.assertNotIn("LISTEN_FDS", os.environ)
