"""Files between two whole cores, with a relay that refuses, disks that fail, and kills."""

from __future__ import annotations

import errno
import random
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3 import _events as events
from messageu.client.v3._errors import StateFailed
from messageu.client.v3._file_receiver import FileReceiver
from messageu.client.v3._file_sender import FileSender
from messageu.client.v3._values import Status
from messageu.model.v3 import PIECE_KEY_ID, Reason
from messageu.wire import v3

from .files import MIB
from .harness import Clock, Device, Killed, Relay, introduce, settle


class Case(SynchronousTestCase):
    """A file of Alice's, and Bob's folder."""

    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute()
        self.base.mkdir()
        self.path = self.base / "photo.jpeg"
        self.content = random.Random(2).randbytes(MIB + 100)
        self.path.write_bytes(self.content)
        self.begin("downloads")

    def begin(self, folder: str) -> None:
        self.folder = self.base / folder
        self.clock = Clock()
        self.relay = Relay(self.clock)
        self.alice = Device(self.relay, "alice", file_sender=FileSender())
        self.bob = Device(self.relay, "bob", file_receiver=FileReceiver(self.folder))
        introduce(self.alice, self.bob)
        settle(self.alice, self.bob)

    def tick(self, *devices: Device) -> None:
        """As the edge does: as long as there is something to do now."""
        for device in devices:
            for _ in range(100):
                due = device.core.next_tick()
                if due is None or due > self.clock.time:
                    break
                device.guarded(lambda device=device: device.core.tick())

    def settle(self) -> None:
        for _ in range(3):
            settle(self.alice, self.bob, clock=self.clock, seconds=4)
            self.tick(self.alice, self.bob)

    def assert_arrived(self) -> None:
        (path,) = self.folder.iterdir()
        self.assertEqual((path.name, path.read_bytes()), (self.path.name, self.content))
        self.assertIsNone(self.bob.database.execute("SELECT 1 FROM incoming_pieces").fetchone())
        self.assertEqual(self.bob.told(events.Unopened), [])


class TransferTests(Case):
    """Files that Alice sends and Bob receives."""

    def test_arrives(self) -> None:
        """A file arrives, its sender and its recipient see how far it is, and it is receipted."""
        message_id = self.alice.core.send_file("bob", self.path)
        self.alice.core.send_text("bob", "a text that does not wait for it")
        self.settle()
        self.assert_arrived()
        (received,) = self.bob.told(events.FileReceived)
        self.assertEqual(
            received,
            events.FileReceived(message_id, self.folder / "photo.jpeg", self.alice.identity),
        )
        for device in (self.alice, self.bob):
            last = device.told(events.FileProgress)[-1]
            sender = self.alice.identity if device is self.bob else None
            self.assertEqual(last, events.FileProgress(message_id, 5, 5, sender))
        statuses = {message.status for message in self.alice.core.messages()}
        self.assertEqual(statuses, {Status.DELIVERED})
        self.assertEqual(self.bob.received()[-1], "a text that does not wait for it")

    def test_mailbox_full(self) -> None:
        """A full mailbox pauses the pieces, and after a while they go on."""
        real = self.relay.connect

        def refusing(end: object, body: v3.Send) -> object:
            if body.envelope.hpke_key_id == PIECE_KEY_ID and self.clock.time < self.until:
                self.refused += 1
                return Reason.MAILBOX_FULL
            return type(end)._send(end, body)

        def connect() -> object:
            end = real()
            end._send = lambda body: refusing(end, body)
            return end

        self.refused, self.until = 0, self.clock.time + 100
        self.relay.connect = connect
        self.alice.hang_up()
        self.alice.core.send_file("bob", self.path)
        self.settle()
        self.assertTrue(0 < self.refused <= 8, self.refused)
        self.assertEqual(self.bob.told(events.FileReceived), [])
        settle(self.alice, self.bob, clock=self.clock, seconds=150)
        self.settle()
        self.assert_arrived()

    def test_disk_full(self) -> None:
        """A piece that cannot be written is not acknowledged, and comes again."""
        self.alice.core.send_file("bob", self.path)
        full = OSError(errno.ENOSPC, "No space left on device")
        with mock.patch("os.pwrite", side_effect=full):
            with self.assertRaises(StateFailed):
                self.settle()
            self.assertIsNotNone(self.bob.core.verdict)
        self.bob.hang_up()
        self.settle()
        self.assert_arrived()

    def test_blocked(self) -> None:
        """What comes of a file after its sender was blocked is dropped, and none of it is kept."""
        message_id = self.alice.core.send_file("bob", self.path)
        for _ in range(100):
            self.alice.step()
            self.bob.step()
            if self.bob.told(events.FileProgress):
                break
        self.bob.core.block("alice")
        self.bob.events.extend(self.bob.core.events())
        self.settle()
        (failed,) = self.bob.told(events.FileFailed)
        self.assertEqual(failed.message_id, message_id)
        self.assertEqual(list(self.folder.iterdir()), [])
        self.assertEqual(self.bob.told(events.Unopened), [])

    def test_changed(self) -> None:
        """A file that changes before it is sent fails, is told of, and nothing else of it goes."""
        message_id = self.alice.core.send_file("bob", self.path)
        self.path.write_bytes(b"x" * len(self.content))
        self.settle()
        (failed,) = self.alice.told(events.FileFailed)
        self.assertEqual(failed.message_id, message_id)
        sent = [
            body
            for body in self.relay.seen
            if isinstance(body, v3.Send) and body.envelope.hpke_key_id == PIECE_KEY_ID
        ]
        self.assertEqual(sent, [])


class KilledTests(Case):
    """Either client is killed around any of its commits."""

    def test_commits(self) -> None:
        """The file arrives once, whole, and each piece has had one content only."""
        kills = 0
        for victim in ("alice", "bob"):
            self.begin(f"whole-{victim}")
            device = getattr(self, victim)
            before = device.database.commits
            self.transfer()
            total = device.database.commits - before
            for commit in range(1, total + 1):
                for keeps in (False, True):
                    self.begin(f"{victim}-{commit}-{keeps}")
                    device = getattr(self, victim)
                    device.database.commits = 0
                    device.database.kill_at, device.database.keeps = commit, keeps
                    self.transfer()
                    kills += device.kills
        self.assertGreater(kills, 40)

    def transfer(self) -> None:
        self.alice.guarded(lambda: self.alice.core.send_file("bob", self.path))
        if not any(message.mine for message in self.alice.core.messages()):
            self.alice.core.send_file("bob", self.path)
        for _ in range(8):
            self.exchange()
            self.clock.time += 2
            for device in (self.alice, self.bob):
                device.guarded(device.core.tick)
            self.tick(self.alice, self.bob)
        self.assert_arrived()
        contents: dict[object, bytes] = {}
        for body in self.relay.seen:
            if isinstance(body, v3.Send):
                envelope = body.envelope
                known = contents.setdefault(envelope.envelope_id, envelope.sealed)
                self.assertEqual(known, envelope.sealed)

    def exchange(self) -> None:
        for _ in range(1000):
            busy = 0
            for device in (self.alice, self.bob):
                try:
                    if device.end is None:
                        device.dial()
                    busy += device.step()
                except Killed:
                    device.events.extend(device.core.events())
                    device.killed()
                    busy += 1
            if not busy:
                return
        raise AssertionError("it does not settle")
