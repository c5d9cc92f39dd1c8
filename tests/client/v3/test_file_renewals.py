"""Files when one of two clients goes on with a copy of its profile, and when either gives one up."""

from __future__ import annotations

import os
import random
import shutil
from collections import deque
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from messageu.client.v3 import _events as events
from messageu.client.v3 import _file_receiver as file_receiver
from messageu.client.v3._file_receiver import FileReceiver
from messageu.client.v3._file_sender import FileSender
from messageu.client.v3._file_tables import Stage
from messageu.client.v3._values import Status, Trust, Why
from messageu.model.v3 import PIECE_KEY_ID, PIECE_SIZE, Reason
from messageu.wire import v3

from .harness import MAIL_LIFE, Clock, Device, Killed, Relay, introduce

DAY = 86_400.0
STEPS_LIMIT = 2_000


class FileDevice(Device):
    """A client with a folder for files. Each of its processes begins with nothing in memory."""

    def __init__(self, relay: Relay, name: str, folder: Path) -> None:
        self.folder = folder
        super().__init__(relay, name, **self.new_tools())

    def new_tools(self) -> dict[str, object]:
        return {"file_sender": FileSender(), "file_receiver": FileReceiver(self.folder)}

    def start(self) -> None:
        self.files["file_receiver"].close()
        self.files = self.new_tools()
        super().start()

    def restore(self, copy: object) -> None:
        """Go on with a copy of the database, as one does who has noticed that it is old."""
        self.database = copy
        self.start()
        self.core.reset()

    def read(self) -> int:
        """Hand the core one answer: each is a moment at which something may happen."""
        rest = self.end.answers if self.end is not None else deque()
        later = deque(rest)
        if not later:
            return 0
        rest.clear()
        rest.append(later.popleft())
        count = super().read()
        rest.extend(later)
        return count

    @property
    def received_files(self) -> list[Path]:
        """What is in the folder under a name, or on its way there."""
        return sorted(self.folder.iterdir()) if self.folder.exists() else []


class Case(SynchronousTestCase):
    """A file of Alice's, and Bob's folder."""

    def setUp(self) -> None:
        self.patch(os, "fsync", lambda _: None)  # nothing loses power
        self.base = Path(self.mktemp()).absolute()
        self.base.mkdir()
        self.path = self.base / "photo.jpeg"
        self.content = random.Random(2).randbytes(2 * PIECE_SIZE + 100)
        self.path.write_bytes(self.content)
        self.begin("first")

    def begin(self, name: str) -> None:
        """Two clients that know each other and have spoken."""
        self.path.write_bytes(self.content)
        self.clock = Clock()
        self.relay = Relay(self.clock)
        self.alice, self.bob = self.devices = [
            FileDevice(self.relay, who, self.base / name / who) for who in ("alice", "bob")
        ]
        introduce(*self.devices)
        self.alice.core.send_text("bob", "hello")
        self.bob.core.send_text("alice", "hello too")
        self.settle()

    def step(self) -> bool:
        """One exchange of each with the relay; whether anything happened."""
        busy = 0
        for device in self.devices:
            try:
                if device.end is None:
                    device.dial()
                busy += device.step()
                due = device.core.next_tick()
                if due is not None and due <= self.clock.time:
                    device.core.tick()
                    busy += 1
                device.events.extend(device.core.events())
            except Killed:
                device.events.extend(device.core.events())
                device.killed()
                busy += 1
        return bool(busy)

    def settle(self, seconds: float = 8.0) -> None:
        """Let both exchange until nothing happens any more, with time for what waits for it."""
        for _ in range(STEPS_LIMIT):
            if self.step():
                continue
            if seconds <= 0:
                return
            seconds -= 2.0
            self.clock.time += 2.0
            for device in self.devices:
                device.guarded(device.core.tick)
        raise AssertionError("it does not settle")

    def later(self, seconds: float) -> None:
        """Time passes while nobody is connected."""
        for device in self.devices:
            device.hang_up()
        self.clock.time += seconds
        for device in self.devices:
            device.guarded(device.core.tick)

    def until(self, device: FileDevice, kind: type, count: int = 1) -> None:
        """Let both exchange until somebody has been told so many events of a kind."""
        for _ in range(STEPS_LIMIT):
            if len(device.told(kind)) >= count:
                return
            self.step()
        raise AssertionError("it does not happen")

    def send(self) -> bytes:
        return self.alice.core.send_file("bob", self.path)

    def status(self) -> tuple[Status, Why | None]:
        """What has become of the file, as Alice sees it."""
        (message,) = [each for each in self.alice.core.messages() if each.mine and each.kind == 3]
        return message.status, message.why

    def assert_arrived(self, times: int = 1) -> None:
        """It is there, whole, shown once, nothing of it is on its way, and its sender knows."""
        self.assertEqual(self.status(), (Status.DELIVERED, None))
        shown = [each for each in self.bob.core.messages() if each.kind == 3]
        self.assertEqual(len(shown), 1)
        received = self.bob.files["file_receiver"].path_of(
            self.bob.database, self.alice.identity, shown[0].message_id
        )
        self.assertEqual(received.read_bytes(), self.content)
        self.assertEqual(len(self.bob.received_files), times, self.bob.received_files)
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        """Neither of them waits for, or keeps, anything of a file."""
        for device in self.devices:
            for table in ("incoming_pieces", "outgoing_files", "outgoing_pieces", "receipts"):
                rows = device.database.execute(f"SELECT * FROM {table}").fetchall()
                self.assertEqual(rows, [], (device.name, table))

    def fill_mailbox(self) -> None:
        """From the next connections on the relay has no room for pieces, until it is emptied."""
        self.is_full = True
        connect = self.relay.connect

        def full(body: v3.Send, end: object) -> object:
            is_piece = body.envelope.hpke_key_id == PIECE_KEY_ID
            return Reason.MAILBOX_FULL if self.is_full and is_piece else type(end)._send(end, body)

        def connected() -> object:
            end = connect()
            end._send = partial(full, end=end)
            return end

        self.patch(self.relay, "connect", connected)
        for device in self.devices:
            device.hang_up()

    def pieces_sent(self) -> list[object]:
        return [
            body.envelope
            for body in self.relay.seen
            if isinstance(body, v3.Send) and body.envelope.hpke_key_id == PIECE_KEY_ID
        ]


class ReceiptTests(Case):
    """What a tick means."""

    def test_delivered(self) -> None:
        """A file is delivered when it is on its recipient's disk under its name, and not before."""
        self.send()
        for _ in range(STEPS_LIMIT):
            self.step()
            self.clock.time += 0.1
            (status, _) = self.status()
            if status is Status.DELIVERED:
                break
            self.assertEqual(self.alice.told(events.MessageDelivered)[1:], [])
        (path,) = self.bob.received_files
        self.assertEqual(path.read_bytes(), self.content)
        self.settle()
        self.assert_arrived()
        self.assertEqual(self.bob.core.profile.unopened, 0)

    def test_receipt_and_file_are_one_commit(self) -> None:
        """There is a receipt to send at whatever commit the file has come, and at none before."""
        self.send()
        commits = []
        real = type(self.bob.database).execute

        def execute(database: object, sql: str, parameters: object = ()) -> object:
            answer = real(database, sql, parameters)
            if sql == "COMMIT" and database is self.bob.database:
                (come,) = real(
                    database, "SELECT count(*) FROM incoming_files WHERE stage = 3"
                ).fetchone()
                (due,) = real(
                    database,
                    "SELECT count(*) FROM receipts JOIN incoming_files USING (message_id)",
                ).fetchone()
                commits.append((come, due))
            return answer

        self.patch(type(self.bob.database), "execute", execute)
        self.until(self.bob, events.FileReceived)
        self.assertEqual(set(commits), {(0, 0), (1, 1)})

    def test_last_answers_lost(self) -> None:
        """Also when the relay's answers to the last pieces were lost, a receipt ends the sending."""
        self.send()
        self.until(self.alice, events.FileProgress)
        # From now on Alice does not hear what is answered, and Bob hears everything.
        for _ in range(20):
            self.alice.write()
            self.bob.step()
        self.alice.hang_up()
        self.settle()
        self.assert_arrived()
        self.assertEqual(self.alice.told(events.FileProgress)[-1].done, 3)

    def test_expired(self) -> None:
        """A file that nobody fetches is shown as not delivered when the life of its last piece is
        over, and no sooner; also its recipient does not wait for it any more."""
        self.fill_mailbox()
        message_id = self.send()
        self.until(self.bob, events.FileProgress)
        self.bob.hang_up()
        self.alice.go()
        self.later(3 * DAY)
        self.is_full = False
        self.alice.go()
        self.later(MAIL_LIFE)
        self.assertEqual(self.status()[0], Status.STORED)
        self.later(DAY)
        self.assertEqual(self.status(), (Status.UNDELIVERED, Why.EXPIRED))
        self.relay.store.expire(self.clock() - MAIL_LIFE)
        self.settle()
        self.assertIs(self.bob.core.file_outcome(self.alice.identity, message_id), False)
        self.assert_nothing_left()


class GivenUpTests(Case):
    """Files that are given up, by either end."""

    def test_no_room(self) -> None:
        """A file that its recipient cannot keep is not delivered, and its sender is told so."""
        self.patch(file_receiver, "ROOM_KEPT", 2**62)
        message_id = self.send()
        self.settle()
        self.assertEqual(self.status(), (Status.UNDELIVERED, Why.NOT_KEPT))
        (failed,) = self.bob.told(events.FileFailed)
        self.assertEqual((failed.message_id, failed.contact), (message_id, self.alice.identity))
        self.assertIs(self.bob.core.file_outcome(self.alice.identity, message_id), False)
        self.assertEqual(self.bob.received_files, [])
        self.assert_nothing_left()

    def test_part_removed(self) -> None:
        """So it is told when what had come of it was removed."""
        self.send()
        self.until(self.bob, events.FileProgress, 2)
        (part,) = self.bob.received_files
        part.unlink()
        self.settle()
        self.assertEqual(self.status(), (Status.UNDELIVERED, Why.NOT_KEPT))
        self.assert_nothing_left()

    def test_blocked(self) -> None:
        """Who is blocked hears nothing; when he is let in again he hears that it was given up."""
        self.send()
        self.until(self.bob, events.FileProgress, 2)
        self.bob.core.block("alice")
        self.settle()
        self.assertEqual(self.status()[0], Status.STORED)
        self.bob.core.accept("alice")
        self.settle()
        self.assertEqual(self.status(), (Status.UNDELIVERED, Why.NOT_KEPT))

    def test_changed(self) -> None:
        """A file that changes while it is sent is not delivered, and its recipient does not wait
        for it."""
        message_id = self.send()
        self.until(self.bob, events.FileProgress)
        self.path.write_bytes(b"x" * len(self.content))
        self.settle()
        self.assertEqual(self.status(), (Status.UNDELIVERED, Why.FILE_GONE))
        (failed,) = self.bob.told(events.FileFailed)
        self.assertIn("does not send it any more", failed.why)
        self.assertIs(self.bob.core.file_outcome(self.alice.identity, message_id), False)
        self.assert_nothing_left()

    def test_withdrawn(self) -> None:
        """A file that waits to be offered again can be withdrawn; its recipient is told."""
        self.fill_mailbox()
        message_id = self.send()
        self.until(self.bob, events.FileProgress)
        self.alice.core.set_trust(Trust.MANUAL)
        self.bob.core.reset()
        self.settle()
        self.assertTrue(self.alice.core.withdraw(message_id))
        self.settle()
        self.assertEqual(self.status(), (Status.UNDELIVERED, Why.WITHDRAWN))
        self.assertIs(self.bob.core.file_outcome(self.alice.identity, message_id), False)
        self.assert_nothing_left()

    def test_receipt_after_all(self) -> None:
        """A file that was given up and has come after all is delivered."""
        self.send()
        self.until(self.alice, events.FileProgress, 3)
        self.bob.hang_up()
        self.alice.core.disconnected()
        self.alice.hang_up()
        (number,) = self.alice.database.execute(
            "SELECT id FROM messages WHERE mine AND kind = 3"
        ).fetchone()
        self.alice.database.execute(
            "UPDATE messages SET status = 4, why = 5 WHERE id = ?", (number,)
        )
        self.settle()
        self.assert_arrived()


class RestoredRecipientTests(Case):
    """Bob goes on with a copy of his profile."""

    def moments(self) -> list[object]:
        """Copies of Bob's database at each commit of a transfer, the first before it."""
        copies: list[object] = [self.bob.database.copy()]
        self.send()
        before = self.bob.database.commits
        for _ in range(STEPS_LIMIT):
            busy = self.step()
            if self.bob.database.commits != before:
                copies.append(self.bob.database.copy())
                before = self.bob.database.commits
            if self.bob.told(events.FileReceived):
                return copies
            if not busy:
                self.clock.time += 1.0
        raise AssertionError("it does not arrive")

    def test_restored(self) -> None:
        """From whichever moment his copy is, and at whichever he goes on with it, the file arrives
        once, as far as its sender had not heard that it has: also when the folder for files is
        empty, or is as old as the copy."""
        runs = 0
        total = len(self.moments())
        for copied in range(total):
            for restored in range(copied, total + 1, 2):
                for folder in ("kept", "emptied", "copied"):
                    self.begin(f"{copied}-{restored}-{folder}")
                    self.restored(copied, restored, folder)
                    runs += 1
        self.assertGreater(runs, 40)

    def restored(self, copied: int, restored: int, folder: str) -> None:
        self.send()
        for moment in range(restored + 1):
            if moment == copied:
                copy = self.bob.database.copy()
                if self.bob.folder.exists():
                    shutil.copytree(self.bob.folder, self.bob.folder.with_name("copy"))
            before = self.bob.database.commits
            for _ in range(STEPS_LIMIT):
                if self.bob.database.commits != before or not self.step():
                    break
        stage = copy.execute("SELECT stage FROM incoming_files").fetchone()
        has_come = stage == (Stage.RECEIVED,)
        forgotten = self.bob.told(events.FileReceived) and stage in (None, (0,), (1,))
        if (folder == "emptied" and not has_come) or folder == "copied":
            shutil.rmtree(self.bob.folder, ignore_errors=True)
        if folder == "copied" and self.bob.folder.with_name("copy").exists():
            shutil.copytree(self.bob.folder.with_name("copy"), self.bob.folder)
        self.bob.restore(copy)
        self.bob.events.clear()
        self.settle()
        # What had come to its end in a life that is forgotten stays in the folder.
        self.assert_arrived(times=2 if forgotten and folder == "kept" else 1)

    def test_killed(self) -> None:
        """Whichever commit either of them is killed around after that, it arrives once."""
        kills = 0
        for victim in (0, 1):
            total = self.renewal(f"whole-{victim}", victim, None)
            for commit in range(1, total + 1):
                for keeps in (False, True):
                    self.renewal(f"{victim}-{commit}-{keeps}", victim, (commit, keeps))
                    kills += self.devices[victim].kills
        self.assertGreater(kills, 60)

    def renewal(self, name: str, victim: int, kill: tuple[int, bool] | None) -> int:
        """Bob is restored when some pieces have come; how many commits follow."""
        self.begin(name)
        copy = self.bob.database.copy()
        self.send()
        self.until(self.bob, events.FileProgress, 3)
        self.bob.restore(copy)
        device = self.devices[victim]
        device.database.commits = 0
        if kill is not None:
            device.database.kill_at, device.database.keeps = kill
        self.settle()
        self.assert_arrived()
        contents: dict[object, bytes] = {}
        for envelope in self.pieces_sent():
            known = contents.setdefault(envelope.envelope_id, envelope.sealed)
            self.assertEqual(known, envelope.sealed)
        return int(device.database.commits)

    def test_nothing_swallowed(self) -> None:
        """The pieces that had been acknowledged come again under ids that are new to the relay."""
        copy = self.bob.database.copy()
        self.send()
        self.until(self.bob, events.FileProgress, 4)
        before = {envelope.envelope_id for envelope in self.pieces_sent()}
        self.assertEqual(len(before), 3)
        self.bob.restore(copy)
        self.settle()
        after = {envelope.envelope_id for envelope in self.pieces_sent()} - before
        self.assertEqual(len(after), 3)
        self.assert_arrived()

    def test_source_gone(self) -> None:
        """When the file is not there any more at the sender's it is not offered again; that is
        shown, with why, and nobody waits."""
        copy = self.bob.database.copy()
        self.send()
        self.until(self.bob, events.FileProgress, 2)
        self.bob.restore(copy)
        self.path.unlink()
        self.settle()
        self.assertEqual(self.status(), (Status.UNDELIVERED, Why.FILE_GONE))
        (undelivered,) = self.alice.told(events.MessageUndelivered)
        self.assertIs(undelivered.why, Why.FILE_GONE)
        self.assertEqual([each.kind for each in self.bob.core.messages() if not each.mine], [1])
        self.assert_nothing_left()

    def test_source_changed(self) -> None:
        """When the file is another by then, it fails at both ends, and nothing of it is shown as
        received."""
        copy = self.bob.database.copy()
        message_id = self.send()
        self.until(self.bob, events.FileProgress, 4)
        self.bob.restore(copy)
        self.bob.events.clear()
        self.path.write_bytes(b"x" * len(self.content))
        self.settle()
        self.assertEqual(self.status(), (Status.UNDELIVERED, Why.FILE_GONE))
        self.assertEqual(self.bob.told(events.FileReceived), [])
        self.assertIs(self.bob.core.file_outcome(self.alice.identity, message_id), False)
        self.assert_nothing_left()

    def test_unreceipted_copy(self) -> None:
        """A file that had come by the time of the copy, and was not receipted, is receipted, and
        not fetched again."""
        self.send()
        self.until(self.bob, events.FileReceived)
        copy = self.bob.database.copy()
        self.alice.hang_up()
        self.bob.restore(copy)
        self.settle()
        self.assert_arrived()

    def test_checked_copy_without_files(self) -> None:
        """A file that was whole by the time of the copy, and is not there any more, comes again:
        also when its sender hears of that late."""
        self.send()
        self.until(self.bob, events.FileProgress, 4)
        copy = self.bob.database.copy()
        self.alice.hang_up()
        shutil.rmtree(self.bob.folder)
        self.bob.restore(copy)
        for _ in range(5):
            self.bob.go()
            self.clock.time += 2.0
            self.bob.core.tick()
        self.settle()
        self.assert_arrived()

    def test_texts_go_on(self) -> None:
        """Texts before and behind the file are shown once, in their order."""
        copy = self.bob.database.copy()
        self.alice.core.send_text("bob", "before")
        self.send()
        self.alice.core.send_text("bob", "behind")
        self.until(self.bob, events.FileProgress, 2)
        self.bob.restore(copy)
        self.settle()
        self.assert_arrived()
        texts = [message.text for message in self.bob.core.messages() if message.kind == 1]
        self.assertEqual(texts[2:], ["before", "behind"])

    def test_one_offer_after_another(self) -> None:
        """A file that its recipient's copies cause to be offered again and again arrives once."""
        copy = self.bob.database.copy()
        self.send()
        for _ in range(6):
            self.until(self.bob, events.FileProgress, 1)
            self.bob.restore(copy.copy())
            self.bob.events.clear()
            self.later(3700.0)
        self.settle()
        self.assertEqual(self.status(), (Status.DELIVERED, None))
        self.assert_nothing_left()


class RestoredSenderTests(Case):
    """Alice goes on with a copy of her profile."""

    def test_restored(self) -> None:
        """At whichever moment she goes on with a copy from before the file was sealed, or from
        while it was sent, it arrives once; what had come of it is not fetched for a second time."""
        for copied in range(0, 9, 2):
            for restored in range(copied, 12, 2):
                self.begin(f"{copied}-{restored}")
                self.restored(copied, restored)

    def restored(self, copied: int, restored: int) -> None:
        self.alice.hang_up()
        self.send()
        copy = self.alice.database.copy()
        for moment in range(restored + 1):
            if moment == copied:
                copy = self.alice.database.copy()
            self.step()
        self.alice.restore(copy)
        self.settle()
        self.assert_arrived()

    def test_killed(self) -> None:
        """So it is around whichever commit either of them is killed after that."""
        kills = 0
        for victim in (0, 1):
            total = self.renewal(f"whole-{victim}", victim, None)
            for commit in range(1, total + 1):
                for keeps in (False, True):
                    self.renewal(f"{victim}-{commit}-{keeps}", victim, (commit, keeps))
                    kills += self.devices[victim].kills
        self.assertGreater(kills, 60)

    def renewal(self, name: str, victim: int, kill: tuple[int, bool] | None) -> int:
        self.begin(name)
        self.alice.hang_up()
        self.send()
        copy = self.alice.database.copy()
        self.until(self.bob, events.FileProgress, 3)
        self.alice.restore(copy)
        device = self.devices[victim]
        device.database.commits = 0
        if kill is not None:
            device.database.kill_at, device.database.keeps = kill
        self.settle()
        self.assert_arrived()
        return int(device.database.commits)

    def test_both(self) -> None:
        """When both go on with copies at once, the file arrives all the same."""
        copy = self.bob.database.copy()
        self.alice.hang_up()
        self.send()
        other = self.alice.database.copy()
        self.until(self.bob, events.FileProgress, 3)
        self.bob.restore(copy)
        self.alice.restore(other)
        self.settle()
        self.later(3700.0)
        self.settle()
        self.assert_arrived()

    def test_cancel_that_was_not_sent(self) -> None:
        """What her recipient could not keep is judged again when it is offered again, and what he
        had not said of it before is not said any more."""
        self.fill_mailbox()
        self.send()
        copy = self.alice.database.copy()
        room, self.bob.files["file_receiver"]._free = (
            self.bob.files["file_receiver"]._free,
            lambda _: 0,
        )
        self.until(self.bob, events.FileFailed)
        self.bob.files["file_receiver"]._free = room
        self.alice.restore(copy)
        self.alice.go()
        renewed = "SELECT honoured_at FROM contacts"
        while self.bob.database.execute(renewed).fetchone() == (None,):
            self.bob.step()
        self.clock.time += 2.0
        self.bob.core.tick()
        self.settle()
        self.is_full = False
        self.settle(100.0)
        self.assert_arrived()

    def test_held(self) -> None:
        """When a file is to be offered again, and may not be for now, no piece is sent meanwhile."""
        self.fill_mailbox()
        self.send()
        self.until(self.bob, events.FileProgress)
        self.alice.core.set_trust(Trust.MANUAL)
        self.bob.core.reset()
        self.settle()
        self.is_full = False
        before = len(self.pieces_sent())
        self.settle(200.0)
        self.assertEqual(len(self.pieces_sent()), before)
        self.alice.core.set_trust(Trust.TOFU)
        self.settle()
        self.assert_arrived()


class RemovedTests(Case):
    """Contacts that were removed meanwhile."""

    def test_forgotten_messages(self) -> None:
        """What was said to somebody who was removed is not sent again when he is a contact again:
        it is forgotten, and the conversation goes on."""
        self.bob.hang_up()
        self.alice.core.send_text("bob", "what is forgotten")
        self.send()
        self.alice.go()
        self.alice.core.remove("bob")
        self.bob.core.reset()
        self.settle()
        self.alice.core.add_contact(self.bob.identity, "bob")
        self.alice.core.send_text("bob", "what is not")
        self.settle()
        self.assertEqual(self.bob.received()[-1], "what is not")
        statuses = self.alice.database.execute(
            "SELECT DISTINCT status FROM messages WHERE mine AND hidden"
        ).fetchall()
        self.assertEqual(set(statuses), {(Status.UNDELIVERED,), (Status.DELIVERED,)})
