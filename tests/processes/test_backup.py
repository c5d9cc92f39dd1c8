"""A backup of a relay under load, made and put in place by the operator's command."""

from __future__ import annotations

import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from messageu.store import SCHEMA_VERSION
from tests.sockets.client import PATIENCE, message, wait_until
from tests.torture import report, scaled

from .children import ANY_PORT, ProcessTestCase, Relay
from .test_durability import Sender

ADMIN = Path(sys.executable).parent / "messageu-admin"

LARGE = bytes(range(256)) * 4096
WAITING = scaled(8, 64)
"""Large messages that wait before the senders begin."""

SENDERS = scaled(4, 12)
ROUNDS = scaled(2, 10)


class AdminTestCase(ProcessTestCase):
    """Tests that run the operator's command in the folder of the relay."""

    def admin(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run it."""
        return self.run_to_end([str(ADMIN), *words])

    def succeed(self, *words: str) -> str:
        """Run it, and see that it does what it should; its output."""
        finished = self.admin(*words)
        self.assertEqual((finished.returncode, finished.stderr), (0, ""))
        return finished.stdout

    def refuse(self, code: int, *words: str) -> str:
        """Run it, and see that it ends with such a code; its one line."""
        finished = self.admin(*words)
        self.assertEqual((finished.returncode, finished.stdout), (code, ""), finished.stderr)
        self.assertRegex(finished.stderr, r"\Amessageu-admin: [^\n]+\n\Z")
        return finished.stderr

    def contents(self, name: str) -> list[bytes]:
        """All contents in a database that nobody uses, as other programs see them."""
        uri = f"{(self.folder / name).as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as database:
            return [content for (content,) in database.execute("SELECT Content FROM messages")]


class BackupUnderLoadTests(AdminTestCase):
    """Backing up while many send, and what is there after the backup was put in place."""

    def back_up_under_load(
        self, relay: Relay, anna: bytes, number: int
    ) -> tuple[list[Sender], set[bytes]]:
        """Make a backup while many send, and kill the relay in the midst of it; the senders, and
        what was acknowledged before the backup was asked for."""
        senders = [Sender(relay, f"round {number}, {each}", anna) for each in range(SENDERS)]
        for sender in senders:
            sender.start()
        wait_until(
            lambda: all(len(sender.acknowledged) >= 20 for sender in senders),
            "everybody has sent something",
        )
        before = {content for sender in senders for content in list(sender.acknowledged)}
        self.succeed("backup", f"backup-{number}")
        relay.stop(signal.SIGKILL)
        for sender in senders:
            sender.join(PATIENCE)
            self.assertFalse(sender.is_alive())
        return senders, before

    def test_restored_under_load(self) -> None:
        """Every message that was acknowledged before a backup was asked for, and was not fetched,
        is there when the relay is killed and the backup put in place: whole, and once. Nothing is
        that nobody has sent, and the relay goes on from there."""
        relay = self.start(*ANY_PORT)
        client = relay.dial()
        anna = client.register(b"anna")
        for _ in range(WAITING):
            self.assertEqual(client.ask(message(anna, anna, LARGE)).code, 2103)
        client.close()
        sent: set[bytes] = set()
        expected: set[bytes] = set()
        later = 0
        for number in range(ROUNDS):
            began = time.monotonic()
            senders, before = self.back_up_under_load(relay, anna, number)
            expected |= before
            sent |= {content for sender in senders for content in sender.sent}
            self.succeed("restore", f"backup-{number}")
            found = self.contents("defensive.db")
            small = [content for content in found if content != LARGE]
            lost = expected - set(small)
            later += len({c for each in senders for c in each.acknowledged} - set(small))
            report("a backup is restored", seconds=time.monotonic() - began, lost=len(lost))
            self.assertEqual(lost, set())
            self.assertEqual(len(found) - len(small), WAITING)
            self.assertEqual(len(small), len(set(small)))
            self.assertEqual(set(small) - sent, set())
            # What is in it now is expected of the next one, too.
            expected |= set(small)
            relay = self.start(*ANY_PORT)
        client = relay.dial()
        fetched = [waiting.content for waiting in client.fetch_all(anna)]
        client.close()
        self.assertEqual(sorted(fetched), sorted(found))
        # A loss would be noticed: one message less in the backup is one that is missing.
        with closing(sqlite3.connect(self.folder / f"backup-{number}")) as database:
            database.execute("DELETE FROM mailbox_message WHERE content = ?", (min(expected),))
            database.commit()
        self.succeed("-d", "other.db", "restore", f"backup-{number}")
        self.assertEqual(expected - set(self.contents("other.db")), {min(expected)})
        report(
            "backups of a relay under load, restored after a kill",
            runs=ROUNDS,
            acknowledged_before=len(expected),
            lost=0,
            acknowledged_while_copied_or_later_and_not_in_it=later,
        )


class CommandTests(AdminTestCase):
    """What the operator sees."""

    def test_status(self) -> None:
        """A running relay says how it is, without names and addresses."""
        relay = self.start(*ANY_PORT)
        client = relay.dial()
        client.register(b"anna")
        said = dict(line.split(": ", 1) for line in self.succeed("status").splitlines())
        client.close()
        self.assertEqual(said["process"], str(relay.pid))
        self.assertEqual(said["connections"], "1 of 10000")
        self.assertNotIn("anna", str(said))

    def test_socket_comes_and_goes(self) -> None:
        """The socket is there while the relay runs, for its owner alone; one that a killed relay
        has left is replaced."""
        path = self.folder / "defensive.db.control"
        relay = self.start(*ANY_PORT)
        self.assertEqual(path.stat().st_mode, stat.S_IFSOCK | 0o600)
        relay.stop(signal.SIGKILL)
        self.assertTrue(path.exists())
        self.assertIn("no relay listens", self.refuse(3, "status"))
        relay = self.start(*ANY_PORT)
        self.succeed("status")
        relay.stop()
        self.assertFalse(path.exists())

    def test_another_place(self) -> None:
        """The socket can be elsewhere, or nowhere; where it cannot be, a relay that was told to
        have it there does not start."""
        relay = self.start(*ANY_PORT, "--control", "here")
        self.succeed("--control", "here", "status")
        relay.stop()
        self.start(*ANY_PORT, "--no-control")
        self.refuse(3, "status")
        other = ("-d", "other.db", *ANY_PORT)
        finished = self.run_to_end(self.command("twistd", *other, "--control", "no/where"))
        self.assertNotEqual(finished.returncode, 0)
        self.assertIn("messageu: ", finished.stderr)
        (self.folder / "other.db.control").mkdir()
        relay = self.start(*other)
        self.assertIn("messageu-admin cannot speak to this relay", relay.log)

    def test_daemon(self) -> None:
        """A daemon is backed up as well, into a folder that is relative to the command."""
        self.start_daemon(*ANY_PORT)
        (self.folder / "kept").mkdir()
        output = self.succeed("backup", "kept/copy.db")
        self.assertIn(
            f"kept/copy.db: sound; schema {SCHEMA_VERSION}, 0 clients, 0 messages", output
        )
        self.assertEqual([path.name for path in (self.folder / "kept").iterdir()], ["copy.db"])

    def test_refusals(self) -> None:
        """What cannot be done is one line and its exit code, and changes nothing."""
        self.start(*ANY_PORT)
        self.succeed("backup", "copy.db")
        before = (self.folder / "copy.db").read_bytes()
        self.assertIn("there is a file of this name", self.refuse(1, "backup", "copy.db"))
        self.assertIn("No such file or directory", self.refuse(1, "backup", "no/copy.db"))
        self.assertIn("another server", self.refuse(1, "restore", "copy.db"))
        self.assertIn("there is no such file", self.refuse(1, "check", "nothing.db"))
        self.assertIn("not an SQLite database", self.refuse(1, "check", "output-1"))
        self.assertEqual((self.folder / "copy.db").read_bytes(), before)
        self.assertEqual(self.admin("backup").returncode, 2)

    def test_interrupted(self) -> None:
        """A command that is interrupted leaves no file behind, and the relay goes on."""
        relay = self.start(*ANY_PORT)
        client = relay.dial()
        anna = client.register(b"anna")
        for _ in range(64):
            client.ask(message(anna, anna, LARGE))
        partial = self.folder / "copy.db.partial"
        command = subprocess.Popen([str(ADMIN), "backup", "copy.db"], cwd=self.folder)
        self.addCleanup(command.wait, PATIENCE)
        self.addCleanup(command.kill)
        wait_until(partial.exists, "the backup has begun")
        command.send_signal(signal.SIGKILL)
        wait_until(lambda: not partial.exists(), "the backup was given up")
        self.assertFalse((self.folder / "copy.db").exists())
        self.assertEqual(client.ask(message(anna, anna, b"on")).code, 2103)
        client.close()
