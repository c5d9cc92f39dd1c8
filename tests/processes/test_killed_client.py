"""What a client has not shown when it is killed waits on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from messageu.client import read_identity
from tests.sockets.client import PATIENCE, fetch, message, messages_in

from .children import ANY_PORT, BIN, ProcessTestCase

FETCHES_AND_IS_KILLED = """
import os, signal, sys
from pathlib import Path
from twisted.internet import reactor
from messageu.client import Client

def show(message):
    os.kill(os.getpid(), signal.SIGKILL)

client = Client(reactor, Path(sys.argv[1]))
reactor.callWhenRunning(client.fetch, show)
reactor.run()
"""


class KilledClientTests(ProcessTestCase):
    """Anna's client, in a process of its own."""

    def test_killed_while_it_shows(self) -> None:
        """A client that is killed with the whole answer read, and the first message on its way to
        the user, loses none."""
        relay = self.start(*ANY_PORT)
        home = self.folder / "anna"
        home.mkdir()
        (home / "server.info").write_text(f"127.0.0.1:{relay.ports[0]}\n")
        subprocess.run(
            [BIN / "messageu", "--dir", home],
            input=b"110\nanna\n0\n",
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=PATIENCE,
        )
        anna = _id_in(home)
        sender = relay.dial()
        contents = [b"one", b"two"]
        for content in contents:
            self.assertEqual(sender.ask(message(anna, anna, content)).code, 2103)
        killed = subprocess.run(
            [sys.executable, "-c", FETCHES_AND_IS_KILLED, home], check=False, timeout=PATIENCE
        )
        self.assertEqual(killed.returncode, -9)
        self.assertEqual([each.content for each in messages_in(sender.ask(fetch(anna)))], contents)
        sender.close()


def _id_in(home: Path) -> bytes:
    identity = read_identity(home)
    assert identity is not None
    return identity.client_id.raw
