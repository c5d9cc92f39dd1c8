"""Files on their way from one disk to another: whole, in pieces, cut short, forged."""

from __future__ import annotations

import errno
import os
import random
import resource
import secrets
import stat
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

import messageu
from messageu.client import FileMissing, FileRefused
from messageu.client.v3 import _file_receiver, _file_sender
from messageu.client.v3._database import transaction
from messageu.client.v3._events import (
    FileFailed,
    FileProgress,
    FileReceived,
    MessageUndelivered,
)
from messageu.client.v3._file_reading import FileReading
from messageu.client.v3._file_receiver import (
    KEYS_LIMIT,
    OPEN_LIMIT,
    OPEN_OF_CONTACT_LIMIT,
    ROOM_KEPT,
    FileReceiver,
)
from messageu.client.v3._file_sender import FILES_LIMIT, PAUSE, FileSender
from messageu.client.v3._file_tables import FILE_SIZE_LIMIT, PATIENCE, SENDING_LIFE, STEP_SIZE
from messageu.client.v3._values import Why
from messageu.crypto.v3 import (
    FileOffer,
    open_piece,
    piece_count,
    piece_envelope_id,
    seal_piece,
)
from messageu.model import ClientId
from messageu.model.v3 import (
    PIECE_KEY_ID,
    PIECE_SIZE,
    EnvelopeId,
    Identity,
    Reason,
    SealedEnvelope,
)
from tests.torture import report, scaled

from .files import ACCOUNT, CONTACT, MESSAGE, MIB, NOW, Crash, Transfer, database, delivery
from .kill import kills

CLIENT = Path(messageu.__file__).parent / "client"
FULL = OSError(errno.ENOSPC, "No space left on device")


class Case(SynchronousTestCase):
    """A file to send, and a folder to receive in."""

    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute()
        self.base.mkdir()
        self.path, self.folder = self.base / "Holiday.tar.gz", self.base / "downloads"

    def transfer(self, content: bytes) -> Transfer:
        self.path.write_bytes(content)
        return Transfer(self.path, self.folder)

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}

    def failure(self, transfer: Transfer, why: Why) -> str:
        """Why it failed, in words; the last events say so, and nothing is left of the file."""
        event, undelivered = transfer.events[-2:]
        assert isinstance(event, FileFailed), event
        self.assertEqual((event.message_id, event.contact), (MESSAGE, None))
        self.assertEqual(undelivered, MessageUndelivered(MESSAGE, why))
        self.assert_nothing_kept(transfer)
        return event.why

    def assert_nothing_kept(self, transfer: Transfer) -> None:
        """The sender remembers nothing of it."""
        for table in ("outgoing_files", "outgoing_pieces"):
            rows = transfer.sending.connection.execute(f"SELECT * FROM {table}").fetchall()
            self.assertEqual(rows, [])


class WholeTests(Case):
    """Files that arrive."""

    def test_sizes(self) -> None:
        """A file of any size arrives as it was: none, one byte, a piece, one more, many."""
        for size in (0, 1, PIECE_SIZE, PIECE_SIZE + 1, 2 * PIECE_SIZE, 3 * MIB + 7):
            content = random.Random(size).randbytes(size)
            transfer = self.transfer(content)
            transfer.run()
            pieces = piece_count(size)
            path = transfer.events[-1].path
            self.assertEqual(
                transfer.events,
                [
                    *(FileProgress(MESSAGE, done, pieces) for done in range(1, pieces + 1)),
                    *(FileProgress(MESSAGE, done, pieces, CONTACT) for done in range(pieces + 1)),
                    FileReceived(MESSAGE, path, CONTACT),
                ],
            )
            self.assertEqual(path.read_bytes(), content)
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.folder.stat().st_mode), 0o700)
        self.assertEqual(
            self.names(), {"Holiday.tar.gz", *(f"Holiday.tar ({n}).gz" for n in range(1, 6))}
        )

    def test_nothing_left(self) -> None:
        """When a file has arrived no piece of it is remembered, and neither is its key."""
        transfer = self.transfer(b"x" * MIB)
        transfer.run()
        self.assert_nothing_kept(transfer)
        connection = transfer.receiving.connection
        for table in ("incoming_pieces", "incoming_keys"):
            self.assertEqual(connection.execute(f"SELECT * FROM {table}").fetchall(), [])
        rows = connection.execute("SELECT remaining FROM incoming_files").fetchall()
        self.assertEqual(rows, [(0,)])
        found = transfer.receiver.path_of(connection, CONTACT, MESSAGE)
        self.assertEqual(found, self.folder.absolute() / "Holiday.tar.gz")
        self.assertIsNone(transfer.receiver.path_of(connection, CONTACT, b"o" * 16))
        self.assertIsNone(transfer.receiver.next_tick(connection))
        self.assertIsNone(transfer.sender.next_tick(transfer.sending.connection))

    def test_order(self) -> None:
        """Pieces that come in any order, and twice, make the same file."""
        content = random.Random(5).randbytes(2 * MIB)
        transfer = self.transfer(content)
        transfer.send()
        transfer.sender.start(transfer.sending.connection, MESSAGE)
        pieces = list(transfer.sender.pieces(transfer.sending.connection, 100, (), NOW))
        with transfer.receiving.unit() as connection:
            transfer.receiver.offered(connection, CONTACT, MESSAGE, transfer.offer)
        random.Random(1).shuffle(pieces)
        wanted = [transfer.deliver(piece) for piece in [*pieces[:5], *pieces]]
        self.assertEqual(wanted, [True] * 5 + [False] * 5 + [True] * (len(pieces) - 5))
        transfer.rest()
        self.assertEqual((self.folder / "Holiday.tar.gz").read_bytes(), content)

    def test_memory(self) -> None:
        """A file needs the memory of a few pieces, however large it is."""
        size = scaled(96, 1024) * MIB
        with self.path.open("wb") as opened:
            opened.truncate(size)
        transfer = Transfer(self.path, self.folder)
        transfer.send()
        transfer.sender.start(transfer.sending.connection, MESSAGE)
        with transfer.receiving.unit() as connection:
            transfer.receiver.offered(connection, CONTACT, MESSAGE, transfer.offer)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with mock.patch("os.fsync"):  # the disk's speed is not what is looked at
            while pieces := transfer.sender.pieces(transfer.sending.connection, 8, (), NOW):
                for piece in pieces:
                    transfer.sender.stored(transfer.sending.connection, piece.envelope_id)
                    transfer.deliver(piece)
            transfer.rest()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        report("a large file", MiB=size // MIB, grown_KiB=grown)
        self.assertLess(grown, 32 * 1024)
        self.assertIsInstance(transfer.events[-1], FileReceived)
        self.assertEqual((self.folder / "Holiday.tar.gz").stat().st_size, size)

    def test_steps(self) -> None:
        """A file is read in steps, each of which is bounded, at both ends."""
        content = random.Random(9).randbytes(2 * STEP_SIZE + 5)
        transfer = self.transfer(content)
        read: list[int] = []
        real = os.pread

        def pread(descriptor: int, size: int, offset: int) -> bytes:
            read.append(size)
            return real(descriptor, size, offset)

        with mock.patch("os.pread", pread), FileReading(self.path) as reading:
            done = []
            while reading.step():
                done.append((reading.done, sum(read)))
            self.assertEqual(done, [(STEP_SIZE, STEP_SIZE), (2 * STEP_SIZE, 2 * STEP_SIZE)])
            prepared = reading.finish()
            self.assertEqual(prepared.offer.digest, sha256(content).digest())
            self.assertEqual(prepared.offer.media_type, "application/x-tar")
            self.assertNotIn(prepared.offer.key.hex(), repr(prepared))
            transfer = self.transfer(content)
            progress: list[tuple[int, int]] = []
            transfer.sender.prepare(self.path, lambda *figures: progress.append(figures))
        self.assertEqual(progress, [(n * STEP_SIZE, len(content)) for n in (1, 2)])

    def test_received_in_steps(self) -> None:
        """What has come is read again in steps, one a tick, before it gets its name."""
        transfer = self.transfer(b"x" * (3 * STEP_SIZE))
        transfer.send()
        transfer.sender.start(transfer.sending.connection, MESSAGE)
        while transfer.upload(8):
            pass
        with mock.patch("os.fsync"):
            transfer.download()
        ticks = 0
        while transfer.receiver.next_tick(transfer.receiving.connection) == 0:
            transfer.tick(transfer.receiving, transfer.receiver.tick)
            ticks += 1
        self.assertEqual(ticks, 3 + 1)


class SenderTests(Case):
    """What is sent, when, and what is not."""

    def begun(self, content: bytes) -> Transfer:
        transfer = self.transfer(content)
        transfer.send()
        transfer.sender.start(transfer.sending.connection, MESSAGE)
        return transfer

    def test_waits_for_the_message(self) -> None:
        """No piece is sent before the relay has the message."""
        transfer = self.transfer(b"x")
        transfer.send()
        connection = transfer.sending.connection
        self.assertEqual(list(transfer.sender.pieces(connection, 8, (), NOW)), [])
        for _ in range(2):
            transfer.sender.start(connection, MESSAGE)
            self.assertEqual(len(transfer.sender.pieces(connection, 8, (), NOW)), 1)

    def test_window(self) -> None:
        """No more than there is room for is sealed, and nothing that is in flight."""
        transfer = self.begun(b"x" * (3 * MIB))
        connection = transfer.sending.connection
        first = transfer.sender.pieces(connection, 8, (), NOW)
        flying = {piece.envelope_id for piece in first}
        second = transfer.sender.pieces(connection, 100, flying, NOW)
        self.assertEqual((len(first), len(second)), (8, 4))
        self.assertFalse(flying & {piece.envelope_id for piece in second})
        self.assertEqual(list(transfer.sender.pieces(connection, 0, (), NOW)), [])
        self.assertTrue(all(piece.recipient == ACCOUNT for piece in first))
        self.assertTrue(all(piece.hpke_key_id == PIECE_KEY_ID for piece in first))

    def test_stored_again(self) -> None:
        """An answer that comes again, or to another's envelope, changes nothing."""
        transfer = self.begun(b"x" * MIB)
        connection = transfer.sending.connection
        (piece,) = transfer.sender.pieces(connection, 1, (), NOW)
        self.assertEqual(
            transfer.sender.stored(connection, piece.envelope_id), (FileProgress(MESSAGE, 1, 4),)
        )
        for envelope_id in (piece.envelope_id, EnvelopeId(bytes(16))):
            self.assertEqual(transfer.sender.stored(connection, envelope_id), ())
            self.assertEqual(
                transfer.sender.refused(connection, envelope_id, Reason.CONFLICT, 0, NOW), ()
            )

    def test_mailbox_full(self) -> None:
        """A full mailbox pauses all files of its recipient, and nobody else's."""
        transfer = self.begun(b"x" * MIB)
        connection, sender = transfer.sending.connection, transfer.sender
        for message_id, recipient in ((b"2" * 16, ACCOUNT), (b"3" * 16, ClientId(b"o" * 16))):
            sender.add(connection, message_id, recipient, sender.prepare(self.path))
            sender.start(connection, message_id)
        sender.tick(connection, NOW)
        (piece,) = sender.pieces(connection, 1, (), NOW)
        self.assertEqual(
            sender.refused(connection, piece.envelope_id, Reason.MAILBOX_FULL, 0, NOW), ()
        )
        left = sender.pieces(connection, 100, (), NOW)
        self.assertEqual({each.recipient for each in left}, {ClientId(b"o" * 16)})
        self.assertEqual(sender.next_tick(connection), NOW + PAUSE)
        sender.refused(connection, piece.envelope_id, Reason.BUSY, 5, NOW)
        self.assertEqual(len(sender.pieces(connection, 100, (), NOW + 5)), 4)
        later = sender.pieces(connection, 100, (), NOW + PAUSE)
        self.assertEqual(len(later), 12)
        self.assertIn(piece, later)
        sender.tick(connection, NOW + PAUSE)
        self.assertEqual(sender.next_tick(connection), NOW + SENDING_LIFE)

    def test_refused_for_good(self) -> None:
        """What the relay will never take ends the file, and says why."""
        for reason in (Reason.NOT_FOUND, Reason.CONFLICT, Reason.TOO_LARGE):
            transfer = self.begun(b"x" * MIB)
            connection, sender = transfer.sending.connection, transfer.sender
            (piece,) = sender.pieces(connection, 1, (), NOW)
            event, undelivered = sender.refused(connection, piece.envelope_id, reason, 0, NOW)
            self.assertIsInstance(event, FileFailed)
            self.assertIsInstance(undelivered, MessageUndelivered)
            self.assertEqual(list(sender.pieces(connection, 8, (), NOW)), [])

    def test_unknown_reason(self) -> None:
        """A reason that this client does not know is one to wait for."""
        transfer = self.begun(b"x")
        connection, sender = transfer.sending.connection, transfer.sender
        (piece,) = sender.pieces(connection, 1, (), NOW)
        self.assertEqual(sender.refused(connection, piece.envelope_id, 999, 7, NOW), ())
        self.assertEqual(len(sender.pieces(connection, 1, (), NOW + 7)), 1)

    def test_given_up(self) -> None:
        """After seven days a file is given up."""
        transfer = self.begun(b"x" * MIB)
        self.assertEqual(transfer.sender.next_tick(transfer.sending.connection), 0)
        transfer.tick(transfer.sending, transfer.sender.tick)
        transfer.now += SENDING_LIFE - 1
        transfer.tick(transfer.sending, transfer.sender.tick)
        self.assertEqual(transfer.events, [])
        transfer.now += 1
        transfer.tick(transfer.sending, transfer.sender.tick)
        self.assertIn("too long", self.failure(transfer, Why.GAVE_UP))

    def test_withdrawn(self) -> None:
        """A message that was not delivered takes its file along."""
        transfer = self.begun(b"x" * MIB)
        transfer.sender.withdraw(transfer.sending.connection, MESSAGE)
        transfer.sender.withdraw(transfer.sending.connection, b"o" * 16)
        self.assertEqual(transfer.upload(8), 0)

    def offered(self, transfer: Transfer) -> FileOffer | None:
        """What is sealed as the message."""
        return transfer.sender.offer(transfer.sending.connection, MESSAGE, transfer.offer)

    def test_offered_first(self) -> None:
        """The first offer has the key with which the file was added; of what is unknown there is
        none."""
        transfer = self.begun(b"x" * MIB)
        self.assertEqual(self.offered(transfer), transfer.offer)
        connection = transfer.sending.connection
        self.assertIsNone(transfer.sender.offer(connection, b"o" * 16, transfer.offer))

    def test_offered_again(self) -> None:
        """Each further offer has a fresh key, and all pieces come again under it, no earlier than
        the relay has the message."""
        content = random.Random(9).randbytes(MIB + 5)
        transfer = self.begun(content)
        keys, ids = set(), set()
        connection, sender = transfer.sending.connection, transfer.sender
        for attempt in range(3):
            sender.hold(connection, ACCOUNT)
            offer = self.offered(transfer)
            self.assertEqual(list(sender.pieces(connection, 100, (), NOW)), [])
            sender.start(connection, MESSAGE)
            pieces = sender.pieces(connection, 100, (), NOW)
            opened = b"".join(
                open_piece(offer.key, number, number == offer.pieces - 1, piece.sealed)
                for number, piece in enumerate(pieces)
            )
            self.assertEqual(opened[: len(content)], content)
            self.assertEqual((offer.digest, offer.name), (transfer.offer.digest, self.path.name))
            keys.add(offer.key)
            ids.update(piece.envelope_id for piece in pieces)
            for piece in pieces[: 2 + 10 * (attempt == 1)]:
                sender.stored(connection, piece.envelope_id)
        self.assertEqual((len(keys), len(ids)), (3, 3 * offer.pieces))

    def test_answers_to_an_old_key(self) -> None:
        """What the relay says of pieces under an old key changes nothing."""
        transfer = self.begun(b"x" * MIB)
        connection, sender = transfer.sending.connection, transfer.sender
        self.offered(transfer)
        old = sender.pieces(connection, 100, (), NOW)
        self.offered(transfer)
        sender.start(connection, MESSAGE)
        for piece, reason in zip(old, (Reason.NOT_FOUND, Reason.MAILBOX_FULL, None), strict=False):
            if reason is None:
                self.assertEqual(sender.stored(connection, piece.envelope_id), ())
            else:
                self.assertEqual(sender.refused(connection, piece.envelope_id, reason, 0, NOW), ())
        self.assertEqual(len(sender.pieces(connection, 100, (), NOW)), len(old))

    def test_not_there_for_another_offer(self) -> None:
        """A file that was removed, made shorter, or is none any more, is not offered again."""
        for change in (
            self.path.unlink,
            lambda: os.truncate(self.path, 5),
            lambda: (self.path.unlink(), self.path.mkdir()),
        ):
            transfer = self.begun(b"x" * MIB)
            self.offered(transfer)
            change()
            self.assertIsNone(self.offered(transfer))

    def test_reset(self) -> None:
        """After a reset also a file that was not offered as far as is known has a fresh key."""
        transfer = self.begun(b"x" * MIB)
        transfer.sender.reset(transfer.sending.connection)
        self.assertNotEqual(self.offered(transfer).key, transfer.offer.key)

    def test_kept_until_delivered(self) -> None:
        """When the relay has all pieces, the file is kept, costs no look at the time, and can be
        offered again; when the recipient has it nothing is kept."""
        transfer = self.begun(b"x" * MIB)
        self.offered(transfer)
        while transfer.upload(8):
            pass
        connection = transfer.sending.connection
        self.assertIsNone(transfer.sender.next_tick(connection))
        transfer.now += 2 * SENDING_LIFE
        transfer.tick(transfer.sending, transfer.sender.tick)
        self.assertEqual(transfer.events[-1], FileProgress(MESSAGE, 4, 4))
        self.assertIsNotNone(self.offered(transfer))
        self.assertEqual(
            transfer.sender.delivered(connection, MESSAGE), (FileProgress(MESSAGE, 4, 4),)
        )
        self.assertEqual(transfer.sender.delivered(connection, MESSAGE), ())
        self.assert_nothing_kept(transfer)

    def test_changed(self) -> None:
        """Nothing is sealed that differs from what was read; the file fails, and says so."""

        def other_byte() -> None:
            content = bytearray(self.path.read_bytes())
            content[600_000] ^= 1
            self.path.write_bytes(content)

        def shorter() -> None:
            os.truncate(self.path, 600_000)

        def removed() -> None:
            self.path.unlink()

        def pipe() -> None:
            self.path.unlink()
            os.mkfifo(self.path)

        for change, sealed in ((other_byte, 2), (shorter, 2), (removed, 0), (pipe, 0)):
            transfer = self.begun(b"x" * MIB)
            change()
            connection = transfer.sending.connection
            pieces = transfer.sender.pieces(connection, 8, (), NOW)
            self.assertEqual(len(pieces), sealed, change.__name__)
            self.assertEqual(transfer.sender.next_tick(connection), 0)
            self.assertEqual(list(transfer.sender.pieces(connection, 8, (), NOW)), [])
            transfer.tick(transfer.sending, transfer.sender.tick)
            self.assertIn("changed or removed", self.failure(transfer, Why.FILE_GONE))
            self.assertIsNone(transfer.sender.next_tick(connection))
            self.path.unlink(missing_ok=True)

    def test_longer(self) -> None:
        """What is written behind the end of a file, such as a log, is not sent."""
        transfer = self.begun(b"x" * 300_000)
        with self.path.open("ab") as opened:
            opened.write(b"more" * 100_000)
        transfer.run()
        self.assertEqual((self.folder / "Holiday.tar.gz").read_bytes(), b"x" * 300_000)

    def test_refused(self) -> None:
        """What is not there, no regular file, too large or unreadable is not sent."""
        sender = FileSender()
        self.assertRaises(FileMissing, sender.prepare, self.path)
        self.assertRaises(FileMissing, sender.prepare, self.path / "below")
        self.assertRaises(FileRefused, sender.prepare, self.base)
        self.assertRaises(FileRefused, sender.prepare, Path("nul\0"))
        os.mkfifo(self.path)
        self.assertRaises(FileRefused, sender.prepare, self.path)
        self.path.unlink()
        with self.path.open("wb") as opened:
            opened.truncate(FILE_SIZE_LIMIT + 1)
        self.assertRaises(FileRefused, sender.prepare, self.path)
        self.path.write_bytes(b"x")
        with mock.patch("os.pread", side_effect=OSError(errno.EIO, "Input/output error")):
            self.assertRaises(FileRefused, sender.prepare, self.path)
        with mock.patch("os.pread", return_value=b""):
            self.assertRaises(FileRefused, sender.prepare, self.path)

    def test_disk_fails(self) -> None:
        """A disk that cannot be read any more ends the file."""
        transfer = self.begun(b"x" * MIB)
        with mock.patch("os.pread", side_effect=OSError(errno.EIO, "Input/output error")):
            self.assertEqual(transfer.upload(8), 0)
        self.assertIn("changed or removed", self.failure(transfer, Why.FILE_GONE))

    def test_too_many(self) -> None:
        """As many files wait as one profile keeps, and no more."""
        self.path.write_bytes(b"x")
        sender, connection = FileSender(), database()
        for number in range(FILES_LIMIT):
            sender.add(connection, number.to_bytes(16, "big"), ACCOUNT, sender.prepare(self.path))
        prepared = sender.prepare(self.path)
        self.assertRaises(FileRefused, sender.add, connection, MESSAGE, ACCOUNT, prepared)

    def test_too_many_kept(self) -> None:
        """As many files as one profile keeps wait for their recipients, and no more."""
        self.patch(_file_sender, "KEPT_LIMIT", FILES_LIMIT + 1)
        self.path.write_bytes(b"x")
        sender, connection = FileSender(), database()
        for number in range(FILES_LIMIT + 1):
            message_id = number.to_bytes(16, "big")
            sender.add(connection, message_id, ACCOUNT, sender.prepare(self.path))
            sender.start(connection, message_id)
            (piece,) = sender.pieces(connection, 8, (), NOW)
            sender.stored(connection, piece.envelope_id)
        prepared = sender.prepare(self.path)
        self.assertRaises(FileRefused, sender.add, connection, MESSAGE, ACCOUNT, prepared)
        sender.delivered(connection, bytes(16))
        sender.add(connection, MESSAGE, ACCOUNT, prepared)

    def test_name(self) -> None:
        """A name that is too long or no UTF-8 is offered as far as it goes."""
        for raw, name in ((b"\xff.txt", "\ufffd.txt"), ("é".encode() * 127, "é" * 127)):
            path = Path(os.fsdecode(os.fsencode(self.base) + b"/" + raw))
            path.write_bytes(b"x")
            self.assertEqual(FileSender().prepare(path).offer.name, name)

    def test_crash(self) -> None:
        """A sender that begins anew sends what is left, under the same ids, with the same bytes."""
        transfer = self.begun(random.Random(3).randbytes(2 * MIB))
        transfer.upload(3)
        before = transfer.sender.pieces(transfer.sending.connection, 8, (), NOW)
        transfer.restart()
        self.assertEqual(
            list(transfer.sender.pieces(transfer.sending.connection, 8, (), NOW)), list(before)
        )


class ReceiverCase(Case):
    """A receiver, and what its peer says."""

    def setUp(self) -> None:
        super().setUp()
        self.connection = database()
        self.receiver = FileReceiver(self.folder)
        self.addCleanup(self.receiver.close)

    def offer(self, content: bytes = b"content", **changes: object) -> FileOffer:
        fields = {
            "key": secrets.token_bytes(32),
            "size": len(content),
            "digest": sha256(content).digest(),
            "pieces": piece_count(len(content)),
            "name": "name.txt",
            "media_type": "text/plain",
        }
        return FileOffer(**(fields | changes))

    def offered(
        self, offer: FileOffer, message_id: bytes = MESSAGE, contact: Identity = CONTACT
    ) -> list[object]:
        return list(self.receiver.offered(self.connection, contact, message_id, offer))

    def piece(self, offer: FileOffer, number: int, content: bytes) -> SealedEnvelope:
        last = number == offer.pieces - 1
        sealed = seal_piece(offer.key, number, last, content.ljust(PIECE_SIZE, b"\0"))
        return SealedEnvelope(ACCOUNT, piece_envelope_id(offer.key, number), PIECE_KEY_ID, sealed)

    def take(self, envelope: SealedEnvelope) -> list[object]:
        return list(self.receiver.take(self.connection, delivery(envelope)))

    def rest(self) -> list[object]:
        events: list[object] = []
        while self.receiver.next_tick(self.connection) == 0:
            events.extend(self.receiver.tick(self.connection, NOW))
        return events

    def received(self, offer: FileOffer, content: bytes, message_id: bytes = MESSAGE) -> Path:
        """Where a small file goes."""
        self.offered(offer, message_id)
        self.take(self.piece(offer, 0, content))
        events = self.rest()
        self.assertIsInstance(events[-1], FileReceived, events)
        return events[-1].path


class HostileTests(ReceiverCase):
    """Offers and pieces of somebody who means ill."""

    def test_absurd_sizes(self) -> None:
        """A size that no disk has is refused before anything is made for it."""
        for size in (FILE_SIZE_LIMIT + 1, 2**49):
            offer = self.offer(size=size, pieces=piece_count(size))
            (event,) = self.offered(offer)
            self.assertEqual(event, FileFailed(MESSAGE, "it is larger than 4 GiB", CONTACT))
        self.assertFalse(self.folder.exists())
        rows = self.connection.execute("SELECT * FROM incoming_files").fetchall()
        self.assertEqual(rows, [])

    def test_no_room(self) -> None:
        """A file for which the disk has too little room, all others counted, is refused."""
        room = ROOM_KEPT + 10 * PIECE_SIZE
        self.receiver = FileReceiver(self.folder, free=lambda _: room)
        ten = self.offer(size=10 * PIECE_SIZE, pieces=10)
        self.assertIsInstance(self.offered(ten)[0], FileProgress)
        self.assertEqual(
            self.offered(self.offer(size=1, pieces=1), b"2" * 16),
            [FileFailed(b"2" * 16, "there is too little room on the disk", CONTACT)],
        )

    def test_no_folder(self) -> None:
        """Where there can be no folder the offer fails."""
        self.folder.write_bytes(b"a file")
        (event,) = self.offered(self.offer())
        self.assertIn("cannot be used", event.why)

    def test_too_many(self) -> None:
        """A contact has so many files on their way, and all together so many; then more come."""
        for number in range(OPEN_LIMIT + OPEN_OF_CONTACT_LIMIT):
            contact = Identity(bytes((number // OPEN_OF_CONTACT_LIMIT,)) * 32)
            last = self.offered(self.offer(), number.to_bytes(16, "big"), contact)
        self.assertIsInstance(last[0], FileFailed)
        rows = self.connection.execute("SELECT * FROM incoming_files").fetchall()
        self.assertEqual(len(rows), OPEN_LIMIT)
        self.receiver.refuse(self.connection, Identity(bytes(32)))
        for number in range(OPEN_OF_CONTACT_LIMIT + 1):
            last = self.offered(self.offer(), number.to_bytes(16, "little"))
        self.assertEqual(last[0].why, "too many files are coming already")

    def test_forged(self) -> None:
        """A piece that does not open is dropped, and the right one is taken when it comes."""
        offer = self.offer()
        self.offered(offer)
        right = self.piece(offer, 0, b"content")
        for sealed in (b"", b"x", bytes(len(right.sealed)), right.sealed[:-1], right.sealed + b"x"):
            forged = SealedEnvelope(ACCOUNT, right.envelope_id, PIECE_KEY_ID, sealed)
            self.assertEqual(self.take(forged), [])
            self.assertTrue(self.receiver.wants(self.connection, right.envelope_id))
        self.assertEqual(self.take(right), [FileProgress(MESSAGE, 1, 1, CONTACT)])

    def test_exchanged(self) -> None:
        """A piece in another's place, or that is called the last one and is not, does not open."""
        offer = self.offer(size=2 * PIECE_SIZE, pieces=2)
        self.offered(offer)
        first, second = (self.piece(offer, number, b"") for number in range(2))
        swapped = SealedEnvelope(ACCOUNT, first.envelope_id, PIECE_KEY_ID, second.sealed)
        early = seal_piece(offer.key, 0, True, bytes(PIECE_SIZE))
        ended = SealedEnvelope(ACCOUNT, first.envelope_id, PIECE_KEY_ID, early)
        self.assertEqual(self.take(swapped) + self.take(ended), [])

    def test_unknown(self) -> None:
        """A piece of no file is not wanted, and changes nothing."""
        piece = self.piece(self.offer(), 0, b"")
        self.assertFalse(self.receiver.wants(self.connection, piece.envelope_id))
        self.assertEqual(self.take(piece), [])

    def test_digest(self) -> None:
        """A file that is not what was offered is removed, and never gets a name."""
        offer = self.offer(digest=bytes(32))
        self.offered(offer)
        self.take(self.piece(offer, 0, b"content"))
        self.assertEqual(
            self.rest(), [FileFailed(MESSAGE, "it is not what its sender has described", CONTACT)]
        )
        self.assertEqual(list(self.folder.iterdir()), [])
        self.assertIsNone(self.receiver.next_tick(self.connection))

    def test_longer_than_offered(self) -> None:
        """What a piece holds behind the end of the file is not written."""
        path = self.received(self.offer(b"con"), b"content")
        self.assertEqual(path.read_bytes(), b"con")

    def test_names(self) -> None:
        """No name leads out of the folder, hides what it is, or is longer than a name can be."""
        for number, (name, safe) in enumerate(
            (
                ("../../.ssh/authorized_keys", "authorized_keys"),
                ("/etc/passwd", "passwd"),
                ("C:\\Windows\\System32\\calc.exe", "calc.exe"),
                ("..", "file"),
                (".", "file"),
                ("", "file"),
                ("/", "file"),
                ("a/", "file"),
                (".bashrc", "bashrc"),
                ("nul\0byte", "nulbyte"),
                ("line\nfeed\x1b[31m\x7f\x9b", "linefeed[31m"),
                ("invoice\u202egnp.exe", "invoicegnp.exe"),
                ("zero\u200bwidth\ufeff\u2028", "zerowidth"),
                ("CON", "_CON"),
                ("aux.txt", "_aux.txt"),
                ("com1.tar.gz", "_com1.tar.gz"),
                ('a<b>c:d"e|f?g*', "a_b_c_d_e_f_g_"),
                ("trailing. . ", "trailing"),
                ("  spaced  .txt", "spaced.txt"),
                ("e\u0301", "é"),
                ("\U0001f600.png", "\U0001f600.png"),
                ("x" * 255, "x" * 200),
                ("é" * 120 + ".jpeg", "é" * 97 + ".jpeg"),
                ("a." + "b" * 253, "a." + "b" * 198),
            )
        ):
            path = self.received(self.offer(b"y", name=name), b"y", number.to_bytes(16, "big"))
            self.assertEqual(path.parent, self.folder.absolute())
            base, _, rest = path.name.partition(" (")
            self.assertEqual(base + rest.partition(")")[2], safe, name)
            self.assertLessEqual(len(os.fsencode(path.name)), 255)

    def test_nothing_overwritten(self) -> None:
        """Neither a file nor a link, to nowhere or to somewhere, is written over or through."""
        self.folder.mkdir()
        outside = self.base / "outside"
        (self.folder / "name.txt").symlink_to(outside)
        (self.folder / "name (1).txt").write_bytes(b"precious")
        (self.folder / "name (2).txt").mkdir()
        (self.folder / "name (3).txt").symlink_to(self.base)
        path = self.received(self.offer(b"new"), b"new")
        self.assertEqual((path.name, path.read_bytes()), ("name (4).txt", b"new"))
        self.assertFalse(outside.exists())
        self.assertEqual((self.folder / "name (1).txt").read_bytes(), b"precious")

    def test_name_taken_late(self) -> None:
        """A name that is taken after it was chosen stays with its owner."""
        offer = self.offer(b"new")
        self.offered(offer)
        self.take(self.piece(offer, 0, b"new"))
        self.receiver.tick(self.connection, NOW)
        (self.folder / "name.txt").symlink_to(self.base / "outside")
        (event,) = self.rest()
        self.assertEqual(event.path.name, "name (1).txt")
        self.assertTrue((self.folder / "name.txt").is_symlink())

    def test_no_name_left(self) -> None:
        """Where all names are taken the file fails."""
        offer = self.offer(b"new")
        self.offered(offer)
        self.take(self.piece(offer, 0, b"new"))
        with mock.patch.object(_file_receiver, "NAMES_LIMIT", 0):
            (event,) = self.rest()
        self.assertEqual(event.why, "the folder has too many files of its name")

    def test_part_replaced(self) -> None:
        """A part that somebody has removed, or exchanged for a link, ends the file.

        Nothing is written through the link.
        """
        outside = self.base / "outside"
        outside.write_bytes(b"precious")
        for number, exchange in enumerate(
            (lambda part: None, lambda part: part.symlink_to(outside), os.mkfifo, os.mkdir)
        ):
            message_id = number.to_bytes(16, "big")
            offer = self.offer(size=2 * PIECE_SIZE, pieces=2)
            self.offered(offer, message_id)
            self.take(self.piece(offer, 0, b"x" * PIECE_SIZE))
            (part,) = self.folder.glob(".messageu-*.part")
            part.unlink()
            exchange(part)
            (event,) = self.take(self.piece(offer, 1, b"x" * PIECE_SIZE))
            self.assertEqual(
                event, FileFailed(message_id, "what had come of it was removed", CONTACT)
            )
            self.assertEqual(self.rest(), [])
            if part.is_dir():
                part.rmdir()
        self.assertEqual(outside.read_bytes(), b"precious")
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_part_removed_later(self) -> None:
        """A part that is removed when all has come, or when it has a name to get, fails."""
        for ticks in range(2):
            offer = self.offer(b"new")
            message_id = bytes((ticks,)) * 16
            self.offered(offer, message_id)
            self.take(self.piece(offer, 0, b"new"))
            for _ in range(ticks):
                self.receiver.tick(self.connection, NOW)
            (part,) = self.folder.glob(".messageu-*.part")
            part.unlink()
            (event,) = self.rest()
            self.assertIsInstance(event, FileFailed)

    def test_part_planted(self) -> None:
        """A link where the part is to be made is not followed."""
        outside = self.base / "outside"
        self.receiver = FileReceiver(self.folder, random=bytes)
        self.folder.mkdir()
        (self.folder / f".messageu-{bytes(16).hex()}.part").symlink_to(outside)
        self.received(self.offer(b"new"), b"new")
        self.assertFalse(outside.exists())

    def test_never_complete(self) -> None:
        """A file that does not come to its end is given up, and what came of it is removed."""
        offer = self.offer(size=2 * PIECE_SIZE, pieces=2)
        self.offered(offer)
        self.take(self.piece(offer, 0, b""))
        self.assertEqual(self.rest(), [])
        self.assertEqual(self.receiver.next_tick(self.connection), NOW + PATIENCE)
        self.assertEqual(self.receiver.tick(self.connection, NOW + PATIENCE - 1), [])
        self.assertEqual(
            self.receiver.tick(self.connection, NOW + PATIENCE),
            [FileFailed(MESSAGE, "not all of it has come", CONTACT)],
        )
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_offered_again(self) -> None:
        """The same offer again changes nothing. Under another key what has not come is taken, too:
        whatever comes first, under either key. When it has come another key changes nothing."""
        content = random.Random(6).randbytes(3 * PIECE_SIZE)
        one, other = self.offer(content), self.offer(content)
        self.offered(one)
        self.assertEqual(self.offered(one), [])
        self.take(self.piece(one, 0, content[:PIECE_SIZE]))
        self.assertEqual(self.offered(other), [FileProgress(MESSAGE, 1, 3, CONTACT)])
        self.assertEqual(self.take(self.piece(other, 0, content[:PIECE_SIZE])), [])
        for number, offer in ((2, one), (1, other)):
            piece = content[number * PIECE_SIZE :][:PIECE_SIZE]
            self.assertEqual(len(self.take(self.piece(offer, number, piece))), 1)
            for each in (one, other):
                self.assertEqual(self.take(self.piece(each, number, piece)), [])
        (received,) = self.rest()
        self.assertEqual(received.path.read_bytes(), content)
        self.assertEqual(self.offered(self.offer(content)), [])
        self.assertEqual([path.name for path in self.folder.iterdir()], ["name.txt"])

    def test_many_keys(self) -> None:
        """Of too many keys the last ones count; a file still comes whole under them."""
        content = b"new"
        offers = [self.offer(content) for _ in range(KEYS_LIMIT + 1)]
        for offer in offers:
            self.offered(offer)
        self.assertEqual(self.take(self.piece(offers[0], 0, content)), [])
        (count,) = self.connection.execute("SELECT count(*) FROM incoming_pieces").fetchone()
        self.assertEqual(count, KEYS_LIMIT)
        self.assertEqual(len(self.take(self.piece(offers[1], 0, content))), 1)
        self.assertEqual(self.rest()[-1].path.read_bytes(), content)

    def test_another_file(self) -> None:
        """An offer of something else under an id begins anew, until all has come."""
        one, other = self.offer(b"one"), self.offer(b"other")
        self.offered(one)
        self.assertEqual(self.offered(other), [FileProgress(MESSAGE, 0, 1, CONTACT)])
        self.assertEqual(self.take(self.piece(one, 0, b"one")), [])
        self.take(self.piece(other, 0, b"other"))
        self.assertEqual(self.offered(one), [])
        self.assertEqual(self.rest()[-1].path.read_bytes(), b"other")

    def test_offered_after_a_failure(self) -> None:
        """A file that has failed is begun anew when it is offered again."""
        offer = self.offer(b"new", digest=bytes(32))
        self.offered(offer)
        self.take(self.piece(offer, 0, b"new"))
        self.assertIsInstance(self.rest()[-1], FileFailed)
        self.assertIs(self.receiver.outcome(self.connection, CONTACT, MESSAGE), False)
        self.assertEqual(self.received(self.offer(b"new"), b"new").read_bytes(), b"new")
        self.assertIs(self.receiver.outcome(self.connection, CONTACT, MESSAGE), True)

    def test_outcome(self) -> None:
        """A file is on its way until it is under its name; what was never taken has not come."""
        outcomes = []

        def look() -> None:
            outcomes.append(self.receiver.outcome(self.connection, CONTACT, MESSAGE))

        offer = self.offer(b"new")
        look()
        self.offered(offer)
        look()
        self.take(self.piece(offer, 0, b"new"))
        look()
        while self.receiver.next_tick(self.connection) == 0:
            self.receiver.tick(self.connection, NOW)
            look()
        self.assertEqual(outcomes[:3], [False, None, None])
        self.assertEqual(outcomes[-2:], [None, True])

    def test_cancelled(self) -> None:
        """A file that its sender gives up is removed; one that has come stays, and others do."""
        offer = self.offer(size=2 * PIECE_SIZE, pieces=2)
        self.offered(offer)
        self.take(self.piece(offer, 0, b""))
        for contact, message_id in ((Identity(b"o" * 32), MESSAGE), (CONTACT, b"o" * 16)):
            self.assertEqual(self.receiver.cancelled(self.connection, contact, message_id), [])
        (event,) = self.receiver.cancelled(self.connection, CONTACT, MESSAGE)
        self.assertEqual(
            event, FileFailed(MESSAGE, "its sender does not send it any more", CONTACT)
        )
        self.assertEqual(list(self.folder.iterdir()), [])
        path = self.received(self.offer(b"new"), b"new")
        self.assertEqual(self.receiver.cancelled(self.connection, CONTACT, MESSAGE), [])
        self.assertTrue(path.exists())

    def test_reset(self) -> None:
        """After a reset nothing on the disk is trusted: all pieces are wanted again, under the
        keys that are known and under the next."""
        content = random.Random(7).randbytes(2 * PIECE_SIZE)
        one, other = self.offer(content), self.offer(content)
        self.offered(one)
        self.take(self.piece(one, 0, content[:PIECE_SIZE]))
        (part,) = self.folder.iterdir()
        part.write_bytes(b"what a backup has brought back")
        stray = self.folder / f".messageu-{'5' * 32}.part"
        stray.write_bytes(b"what this state does not know of")
        self.receiver.reset(self.connection)
        self.assertFalse(stray.exists())
        self.assertEqual(self.offered(other), [FileProgress(MESSAGE, 0, 2, CONTACT)])
        self.assertEqual(
            self.take(self.piece(one, 1, content[PIECE_SIZE:])),
            [FileProgress(MESSAGE, 1, 2, CONTACT)],
        )
        self.assertEqual(
            self.take(self.piece(other, 0, content[:PIECE_SIZE])),
            [FileProgress(MESSAGE, 2, 2, CONTACT)],
        )
        self.assertEqual(self.rest()[-1].path.read_bytes(), content)
        self.receiver.reset(self.connection)
        self.assertEqual(self.rest(), [])
        self.assertEqual([path.name for path in self.folder.iterdir()], ["name.txt"])

    def test_same_key(self) -> None:
        """Two offers with one key are two files, and each gets the pieces."""
        offer = self.offer(b"new")
        self.offered(offer, b"1" * 16)
        self.offered(offer, b"2" * 16, Identity(b"o" * 32))
        self.assertEqual(len(self.take(self.piece(offer, 0, b"new"))), 2)
        self.assertEqual(len(self.rest()), 2)

    def test_blocked(self) -> None:
        """What a contact sends is dropped and removed when he is a contact no more."""
        offer = self.offer(size=2 * PIECE_SIZE, pieces=2)
        self.offered(offer)
        self.take(self.piece(offer, 0, b""))
        self.assertEqual(
            list(self.receiver.refuse(self.connection, CONTACT)),
            [FileFailed(MESSAGE, "its sender is no contact any more", CONTACT)],
        )
        self.assertEqual(self.take(self.piece(offer, 1, b"")), [])
        self.assertEqual(list(self.folder.iterdir()), [])


class DiskTests(ReceiverCase):
    """A disk that is full or fails."""

    def test_full(self) -> None:
        """A piece for which there is no room is not taken; it is when it comes again."""
        offer = self.offer()
        self.offered(offer)
        piece = self.piece(offer, 0, b"content")
        for name in ("os.pwrite", "os.fsync"):
            with mock.patch(name, side_effect=FULL):
                self.assertRaises(OSError, self.take, piece)
            self.assertTrue(self.receiver.wants(self.connection, piece.envelope_id))
        self.assertEqual(self.take(piece), [FileProgress(MESSAGE, 1, 1, CONTACT)])
        self.assertEqual(self.rest()[-1].path.read_bytes(), b"content")

    def test_short_writes(self) -> None:
        """A disk that takes a few bytes at a time gets all of them."""
        real = os.pwrite
        with mock.patch("os.pwrite", lambda fd, data, at: real(fd, data[:3], at)):
            self.assertEqual(self.received(self.offer(), b"content").read_bytes(), b"content")

    def test_unreadable(self) -> None:
        """A part that cannot be read again ends the file."""
        offer = self.offer()
        self.offered(offer)
        self.take(self.piece(offer, 0, b"content"))
        with mock.patch("os.pread", side_effect=OSError(errno.EIO, "Input/output error")):
            (event,) = self.rest()
        self.assertEqual(event.why, "what had come of it cannot be read")

    def test_no_name(self) -> None:
        """A file that cannot get its name is kept under the other, and its user is told."""
        offer = self.offer()
        self.offered(offer)
        self.take(self.piece(offer, 0, b"content"))
        with mock.patch("os.link", side_effect=OSError(errno.EACCES, "Permission denied")):
            (event,) = self.rest()
        (part,) = self.folder.iterdir()
        self.assertEqual(
            event.why,
            f"it cannot be given its name (Permission denied), and is whole as {part.name}",
        )
        self.assertEqual(part.read_bytes(), b"content")

    def test_without_links(self) -> None:
        """On a file system without links a file gets its name all the same."""
        with mock.patch("os.link", side_effect=OSError(errno.EPERM, "not permitted")):
            self.assertEqual(self.received(self.offer(), b"content").read_bytes(), b"content")
            with mock.patch("os.rename", side_effect=FULL):
                offer = self.offer()
                self.offered(offer, b"2" * 16)
                self.take(self.piece(offer, 0, b"content"))
                self.assertIn("is whole as", self.rest()[-1].why)
        self.assertEqual(sorted(path.suffix for path in self.folder.iterdir()), [".part", ".txt"])


class CrashTests(Case):
    """Processes that end at any commit, or at any line."""

    def commits_of(self, content: bytes) -> tuple[int, int]:
        transfer = self.transfer(content)
        transfer.run()
        return transfer.sending.commits, transfer.receiving.commits

    def test_commits(self) -> None:
        """Gone before or after any commit at either end, a file arrives all the same, once.

        No two contents are ever sealed for one piece.
        """
        content = random.Random(8).randbytes(MIB + 5)
        totals = self.commits_of(content)
        crashes = 0
        for end, total in zip(("sending", "receiving"), totals, strict=True):
            for commit in range(total):
                for after in (False, True):
                    self.folder = self.base / f"{end}-{commit}-{after}"
                    transfer = self.transfer(content)
                    getattr(transfer, end).crash_at = (commit, after)
                    crashes += self.runs_through(transfer)
                    (path,) = self.folder.iterdir()
                    self.assertEqual((path.name, path.read_bytes()), (self.path.name, content))
        self.assertEqual(crashes, 2 * sum(totals))
        report("files, a crash at each commit", runs=crashes, lost=0)

    def runs_through(self, transfer: Transfer) -> int:
        """Begins anew after each crash; how many there were."""
        for crashes in range(3):
            try:
                transfer.run()
            except Crash:
                transfer.sending.crash_at = transfer.receiving.crash_at = None
                transfer.restart()
                transfer.offer = transfer.offer or self.kept_offer(transfer)
            else:
                return crashes
        raise AssertionError("it does not end")

    def kept_offer(self, transfer: Transfer) -> FileOffer | None:
        """What the message holds that was committed together with its file."""
        row = transfer.sending.connection.execute(
            "SELECT key, size, pieces FROM outgoing_files"
        ).fetchone()
        if row is None:
            return None
        key, size, pieces = row
        digest = sha256(self.path.read_bytes()).digest()
        return FileOffer(key, size, digest, pieces, self.path.name, "")

    def test_lines(self) -> None:
        """Killed at any line while it receives, a process that begins anew ends with one file."""
        content = random.Random(4).randbytes(PIECE_SIZE + 9)
        self.path.write_bytes(content)
        source = database()
        sender = FileSender()
        offer = sender.add(source, MESSAGE, ACCOUNT, sender.prepare(self.path))
        sender.start(source, MESSAGE)
        pieces = sender.pieces(source, 8, (), NOW)

        def receive(run: int) -> None:
            connection = database(self.base / f"{run}.db")
            receiver = FileReceiver(self.base / str(run))
            for act in (
                lambda: receiver.offered(connection, CONTACT, MESSAGE, offer),
                *(
                    lambda piece=piece: receiver.take(connection, delivery(piece))
                    for piece in pieces
                ),
            ):
                with transaction(connection):
                    act()
            while receiver.next_tick(connection) == 0:
                with transaction(connection):
                    receiver.tick(connection, NOW)
            receiver.close()
            connection.close()

        for run in kills(CLIENT, receive):
            receive(run)
            (path,) = (self.base / str(run)).iterdir()
            with closing(database(self.base / f"{run}.db")) as connection:
                receiver = FileReceiver(self.base / str(run))
                self.assertEqual(receiver.path_of(connection, CONTACT, MESSAGE), path)
            self.assertEqual((path.name, path.read_bytes()), (self.path.name, content))
        self.assertGreater(run, 150)
