"""What is left of accounts when the process is killed."""

import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from tests.store.contract import HUGE, MANY
from tests.store.v3.contract import SqliteFixture, account_id

SERVER = """
import os, sys, time
from twisted.internet import reactor
from messageu.model.v3 import Handle
from messageu.store import SqliteStore
from tests.store.v3.contract import account_id, envelope, keys

store = SqliteStore(sys.argv[1], reactor, now=time.time)
store.open()

def stored(outcomes, number):
    os.write(1, number.to_bytes(4, "big"))
    if number % 2:
        store.accounts.acknowledge(account_id(1), [outcomes[0].sequence])

def send(_):
    for number in range(20_000):
        put = store.accounts.put([envelope(1, number, bytes(1_000))])
        put.addCallback(stored, number)

reactor.callWhenRunning(
    lambda: store.accounts.register(keys(1), 1, Handle("alice"), None).addCallback(send)
)
reactor.run()
"""


class CrashTests(SynchronousTestCase):
    def test_acknowledged_is_kept(self):
        """What was stored is there after kill -9 in the midst of it, unless its recipient has
        acknowledged it; the mailbox holds what it is said to hold, and goes on behind it."""
        with TemporaryDirectory() as folder:
            path = Path(folder, "defensive.db")
            with subprocess.Popen(
                [sys.executable, "-c", SERVER, path], stdout=subprocess.PIPE
            ) as server:
                output = server.stdout.read(4 * 1_000)
                server.send_signal(signal.SIGKILL)
                output += server.stdout.read()
            self.assertEqual(server.returncode, -signal.SIGKILL)
            answered = {int.from_bytes(output[at : at + 4]) for at in range(0, len(output), 4)}
            fixture = SqliteFixture(folder=Path(folder))
            waiting = fixture.result(
                fixture.store.accounts.waiting(account_id(1), 0, 100 * MANY, HUGE)
            )
            ((last, messages, content),) = fixture.sql(
                "SELECT last_sequence, messages, content FROM account_mailbox"
            )
            fixture.result(fixture.store.close())
        numbers = {int.from_bytes(delivery.envelope_id.raw) for delivery in waiting}
        self.assertGreaterEqual(len(answered), 1_000)
        self.assertLessEqual({number for number in answered if not number % 2}, numbers)
        self.assertEqual((messages, content), (len(waiting), 1_000 * len(waiting)))
        self.assertGreaterEqual(last, max(delivery.sequence for delivery in waiting))
