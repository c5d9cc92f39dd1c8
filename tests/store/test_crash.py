"""What is left when the process is killed."""

import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from messageu.model import ClientId
from tests.store.contract import HUGE, MANY, SqliteFixture

SERVER = """
import os, sys, time
from twisted.internet import reactor
from messageu.model import Envelope, PublicKey, UserName
from messageu.store import SqliteStore

store = SqliteStore(sys.argv[1], reactor, now=time.time)
store.open()

def send(bob):
    os.write(1, bob.raw)
    for number in range(10_000):
        envelope = Envelope(bob, bob, 3, number.to_bytes(4, "big"))
        store.put([envelope]).addCallback(lambda _, each=envelope: os.write(1, each.content))

reactor.callWhenRunning(
    lambda: store.register(UserName(b"Bob"), PublicKey(bytes(160))).addCallback(send)
)
reactor.run()
"""


class CrashTests(SynchronousTestCase):
    def test_acknowledged_is_kept(self):
        """What was acknowledged is there after kill -9 in the midst of it, and a restart."""
        with TemporaryDirectory() as folder:
            path = Path(folder, "defensive.db")
            with subprocess.Popen(
                [sys.executable, "-c", SERVER, path], stdout=subprocess.PIPE
            ) as server:
                output = server.stdout.read(16 + 4 * 1_000)
                server.send_signal(signal.SIGKILL)
                output += server.stdout.read()
            self.assertEqual(server.returncode, -signal.SIGKILL)
            bob = ClientId(output[:16])
            acknowledged = {output[at : at + 4] for at in range(16, len(output), 4)}
            fixture = SqliteFixture(folder=Path(folder))
            lease = fixture.result(fixture.store.lease(bob, 100 * MANY, HUGE, HUGE))
            stored = {content for (content,) in fixture.sql("SELECT Content FROM messages")}
            fixture.result(fixture.store.close())
        self.assertGreaterEqual(len(acknowledged), 1_000)
        self.assertLessEqual(acknowledged, stored)
        self.assertEqual(lease.count, len(stored))
