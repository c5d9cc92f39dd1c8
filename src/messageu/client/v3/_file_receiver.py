"""Receiving files: pieces go to their place in a hidden file, which gets its name when it is whole.

Each step can be repeated after a crash. A piece is on the disk before the database forgets that it
is wanted, and that before the relay is told. A name is chosen, and committed, before the file gets it.
A file may be offered under several keys, one after another; a piece is taken under any of them.
Nothing that a peer says leads out of the folder, or to a file that is there already.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from messageu.client._files import remove, sync_folder
from messageu.crypto import CryptoError
from messageu.crypto.v3 import FileOffer, open_piece
from messageu.model.v3 import PIECE_SIZE, Delivery, EnvelopeId, Identity

from ._database import Connection
from ._events import Event, FileFailed, FileProgress, FileReceived
from ._file_keys import add_key, forget_keys, has_key, missing, want_all
from ._file_names import names
from ._file_parts import PartGone, is_file, is_same, opened_part
from ._file_tables import FILE_SIZE_LIMIT, PATIENCE, STEP_SIZE, Stage
from ._place import place

OPEN_LIMIT: Final = 32
"""Files that come at once, of all contacts."""

OPEN_OF_CONTACT_LIMIT: Final = 8
"""Files that come at once, of one contact."""

ROOM_KEPT: Final = 256 * 2**20
"""Bytes of the disk that no file is given: the profile needs them, and so do others."""

KEYS_LIMIT: Final = 4
"""Keys under which pieces of one file are taken; the last ones of which we were told."""

NAMES_LIMIT: Final = 10_000
"""Names that are tried for a file."""

_PART_PREFIX: Final = ".messageu-"
_PART_SUFFIX: Final = ".part"
_PART_ID_SIZE: Final = 16


def free_space(folder: Path) -> int:
    """Bytes that the disk of a folder has for us.

    :raises OSError: when there is no such folder.
    """
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


@frozen
class _File:
    """A row of ``incoming_files``."""

    id: int
    contact: Identity = field(converter=Identity)
    message_id: bytes
    size: int
    digest: bytes = field(repr=False)
    pieces: int
    remaining: int
    name: str
    part: str
    began: int
    path: bytes | None


_COLUMNS: Final = (
    "id, contact, message_id, size, digest, pieces, remaining, name, part, began, path"
)


@define
class _Check:
    """A file that is being read to see whether it is what was offered."""

    file: int
    descriptor: int
    digest: Any
    done: int = 0


class FileReceiver:
    """Puts pieces together, in one folder (:mod:`._interfaces`).

    :param folder: is one profile's alone. It is made, mode 0700, when the first piece comes.
    :param free: how many bytes its disk has.
    """

    def __init__(
        self,
        folder: Path,
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
        free: Callable[[Path], int] = free_space,
    ) -> None:
        self._folder = folder.absolute()
        self._random = random
        self._free = free
        self._check: _Check | None = None

    def close(self) -> None:
        """Let go of what is open. What was begun is begun again when it is needed."""
        if self._check is not None:
            os.close(self._check.descriptor)
            self._check = None

    def offered(
        self, connection: Connection, contact: Identity, message_id: bytes, offer: FileOffer
    ) -> Sequence[Event]:
        """An accepted contact sends a file; the message is shown already.

        The same offer again changes nothing. Under another key the pieces that have not come are
        taken, too; a file that has failed is begun anew.
        """
        row = connection.execute(
            "SELECT id, size, digest, stage FROM incoming_files"
            " WHERE contact = ? AND message_id = ?",
            (contact.raw, message_id),
        ).fetchone()
        if row is not None:
            file, *description, stage = row
            if stage not in (Stage.COMING, Stage.FAILED) or has_key(connection, file, offer.key):
                return ()
            if stage == Stage.COMING and description == [offer.size, offer.digest]:
                return self._offered_again(connection, file, offer)
            self._discard(connection, file)
            connection.execute("DELETE FROM incoming_files WHERE id = ?", (file,))
        why = self._refusal(connection, contact, offer)
        if why is not None:
            return (FileFailed(message_id, why, contact),)
        self._add(connection, contact, message_id, offer)
        return (FileProgress(message_id, 0, offer.pieces, contact),)

    def _offered_again(
        self, connection: Connection, file_id: int, offer: FileOffer
    ) -> Sequence[Event]:
        add_key(connection, file_id, offer.key, missing(connection, file_id))
        forget_keys(connection, file_id, KEYS_LIMIT)
        connection.execute("UPDATE incoming_files SET heard = NULL WHERE id = ?", (file_id,))
        (file,) = self._files(connection, "id = ?", file_id)
        return (_progress(file, file.remaining),)

    def _refusal(self, connection: Connection, contact: Identity, offer: FileOffer) -> str | None:
        if offer.size > FILE_SIZE_LIMIT:
            return f"it is larger than {FILE_SIZE_LIMIT // 2**30} GiB"
        row = connection.execute(
            "SELECT count(*), ifnull(sum(contact = ?), 0), ifnull(sum(remaining), 0)"
            " FROM incoming_files WHERE stage < ?",
            (contact.raw, Stage.RECEIVED.value),
        ).fetchone()
        opened, of_contact, expected = row or (0, 0, 0)
        if opened >= OPEN_LIMIT or of_contact >= OPEN_OF_CONTACT_LIMIT:
            return "too many files are coming already"
        try:
            self._make_folder()
            room = self._free(self._folder) - ROOM_KEPT - expected * PIECE_SIZE
        except OSError as error:
            return f"the folder for files cannot be used: {error.strerror}"
        return "there is too little room on the disk" if room < offer.size else None

    def _add(
        self, connection: Connection, contact: Identity, message_id: bytes, offer: FileOffer
    ) -> None:
        file = connection.execute(
            "INSERT INTO incoming_files (contact, message_id, size, digest, pieces, remaining,"
            " name, stage, part) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                contact.raw,
                message_id,
                offer.size,
                offer.digest,
                offer.pieces,
                offer.pieces,
                offer.name,
                Stage.COMING.value,
                f"{_PART_PREFIX}{self._random(_PART_ID_SIZE).hex()}{_PART_SUFFIX}",
            ),
        ).lastrowid
        add_key(connection, file, offer.key, range(offer.pieces))

    def outcome(self, connection: Connection, contact: Identity, message_id: bytes) -> bool | None:
        """Whether a file has come, checked and under its name. None: it is on its way."""
        row = connection.execute(
            "SELECT stage FROM incoming_files WHERE contact = ? AND message_id = ?",
            (contact.raw, message_id),
        ).fetchone()
        stage = Stage.FAILED if row is None else Stage(row[0])
        return None if stage < Stage.RECEIVED else stage is Stage.RECEIVED

    def wants(self, connection: Connection, envelope_id: EnvelopeId) -> bool:
        """Whether an envelope is a piece that is looked for."""
        row = connection.execute(
            "SELECT 1 FROM incoming_pieces WHERE envelope_id = ?", (envelope_id.raw,)
        ).fetchone()
        return row is not None

    def take(self, connection: Connection, delivery: Delivery) -> Sequence[Event]:
        """A piece that is wanted. It is acknowledged when the transaction is committed.

        What does not open is dropped, and the piece is wanted still: whoever passes envelopes on
        can exchange them, and must not be able to end a file by that.

        :raises OSError: when it cannot be kept now; it then comes again later.
        """
        events: list[Event] = []
        for file_id, key, number in connection.execute(
            "SELECT file, incoming_keys.key, number FROM incoming_pieces"
            " JOIN incoming_keys ON incoming_keys.id = incoming_pieces.key WHERE envelope_id = ?",
            (delivery.envelope_id.raw,),
        ).fetchall():
            (file,) = self._files(connection, "id = ?", file_id)
            try:
                piece = open_piece(key, number, number == file.pieces - 1, delivery.sealed)
            except CryptoError:
                continue
            events.extend(self._keep(connection, file, number, piece))
        return events

    def _keep(
        self, connection: Connection, file: _File, number: int, piece: bytes
    ) -> Sequence[Event]:
        offset = number * PIECE_SIZE
        try:
            self._write(file, offset, piece[: max(file.size - offset, 0)])
        except PartGone:
            return self._fail(connection, file, "what had come of it was removed")
        connection.execute(
            "DELETE FROM incoming_pieces WHERE number = ?"
            " AND key IN (SELECT id FROM incoming_keys WHERE file = ?)",
            (number, file.id),
        )
        remaining = file.remaining - 1
        connection.execute(
            "UPDATE incoming_files SET began = 1, remaining = ?, stage = ? WHERE id = ?",
            (remaining, (Stage.COMING if remaining else Stage.CHECKING).value, file.id),
        )
        return (_progress(file, remaining),)

    def _write(self, file: _File, offset: int, content: bytes) -> None:
        """Put bytes where they belong, and wait until the disk has them."""
        self._make_folder()
        part = self._folder / file.part
        if not file.began:
            # What a transaction that was not committed has left. Nobody else knows the name.
            part.unlink(missing_ok=True)
        with opened_part(
            part, os.O_WRONLY | (0 if file.began else os.O_CREAT | os.O_EXCL)
        ) as opened:
            view = memoryview(content)
            while view:
                written = os.pwrite(opened, view, offset)
                view = view[written:]
                offset += written
            os.fsync(opened)
        if not file.began:
            sync_folder(self._folder)

    def tick(self, connection: Connection, now: float) -> Sequence[Event]:
        """Do some of what is to be done: read of one file at most :data:`STEP_SIZE` bytes."""
        connection.execute(
            "UPDATE incoming_files SET heard = ? WHERE stage = ? AND heard IS NULL",
            (now, Stage.COMING.value),
        )
        events: list[Event] = []
        late = self._files(
            connection, "stage = ? AND heard <= ?", Stage.COMING.value, now - PATIENCE
        )
        for file in late:
            events.extend(self._fail(connection, file, "not all of it has come"))
        for stage, step in ((Stage.PLACING, self._place), (Stage.CHECKING, self._read_on)):
            for file in self._files(connection, "stage = ? LIMIT 1", stage.value):
                events.extend(step(connection, file))
        return events

    def next_tick(self, connection: Connection) -> float | None:
        """When it has something to do that waits for nothing but the time; 0: now."""
        row = connection.execute(
            "SELECT min(CASE WHEN stage = ? THEN ifnull(heard + ?, 0.0) ELSE 0.0 END)"
            " FROM incoming_files WHERE stage < ?",
            (Stage.COMING.value, float(PATIENCE), Stage.RECEIVED.value),
        ).fetchone()
        return None if row is None else row[0]

    def refuse(self, connection: Connection, contact: Identity) -> Sequence[Event]:
        """A contact was blocked or removed: nothing of his that has not come is taken."""
        events: list[Event] = []
        for file in self._files(
            connection, "contact = ? AND stage = ?", contact.raw, Stage.COMING.value
        ):
            events.extend(self._fail(connection, file, "its sender is no contact any more"))
        return events

    def cancelled(
        self, connection: Connection, contact: Identity, message_id: bytes
    ) -> Sequence[Event]:
        """A contact does not send a file any more. One that has come whole stays."""
        events: list[Event] = []
        for file in self._files(
            connection,
            "contact = ? AND message_id = ? AND stage = ?",
            contact.raw,
            message_id,
            Stage.COMING.value,
        ):
            events.extend(self._fail(connection, file, "its sender does not send it any more"))
        return events

    def reset(self, connection: Connection) -> None:
        """This state is an old one: what it says of pieces on the disk may not be so.

        All pieces are wanted again of what has not come whole, or is not there any more. Those that
        the relay still has come as before, and the rest when the file is offered again. Parts of
        files of which this state knows nothing are removed.
        """
        known = {part for (part,) in connection.execute("SELECT part FROM incoming_files")}
        for stray in self._folder.glob(f"{_PART_PREFIX}*{_PART_SUFFIX}"):
            if stray.name not in known:
                remove(stray)
        coming = self._files(connection, "stage = ?", Stage.COMING.value)
        whole = self._files(
            connection, "stage IN (?, ?)", Stage.CHECKING.value, Stage.PLACING.value
        )
        for file in (*coming, *(file for file in whole if not self._is_there(file))):
            want_all(connection, file.id, file.pieces)
            connection.execute(
                "UPDATE incoming_files SET stage = ?, began = 0, remaining = pieces, heard = NULL,"
                " path = NULL WHERE id = ?",
                (Stage.COMING.value, file.id),
            )

    def _is_there(self, file: _File) -> bool:
        """Whether there is what a file has come to."""
        path = None if file.path is None else Path(os.fsdecode(file.path))
        has_name = path is not None and is_file(path, file.size)
        return has_name or os.path.lexists(self._folder / file.part)

    def path_of(self, connection: Connection, contact: Identity, message_id: bytes) -> Path | None:
        """Where a file was put; None when it has not come."""
        row = connection.execute(
            "SELECT path FROM incoming_files WHERE contact = ? AND message_id = ? AND stage = ?",
            (contact.raw, message_id, Stage.RECEIVED.value),
        ).fetchone()
        return None if row is None else Path(os.fsdecode(row[0]))

    def _read_on(self, connection: Connection, file: _File) -> Sequence[Event]:
        """Read some of a file that has come, and choose its name when it is the right one."""
        try:
            check = self._checking(file)
            read = self._read_some(check, file.size)
        except (PartGone, OSError):
            self.close()
            return self._fail(connection, file, "what had come of it cannot be read")
        if read and check.done < file.size:
            return ()
        self.close()
        if check.digest.digest() != file.digest:
            return self._fail(connection, file, "it is not what its sender has described")
        return self._choose(connection, file)

    def _read_some(self, check: _Check, size: int) -> int:
        """How many bytes were read; 0 at the end."""
        before = check.done
        while check.done < min(size, before + STEP_SIZE):
            chunk = os.pread(check.descriptor, min(PIECE_SIZE, size - check.done), check.done)
            if not chunk:
                break
            check.digest.update(chunk)
            check.done += len(chunk)
        return check.done - before

    def _checking(self, file: _File) -> _Check:
        if self._check is not None and self._check.file != file.id:
            self.close()
        if self._check is None:
            with opened_part(self._folder / file.part, os.O_RDWR) as opened:
                os.ftruncate(opened, file.size)
                os.fsync(opened)
                self._check = _Check(file.id, os.dup(opened), sha256())
        return self._check

    def _choose(self, connection: Connection, file: _File) -> Sequence[Event]:
        """Keep the name that a file will get, so that it is found under it after a crash."""
        candidates = (self._folder / name for name in islice(names(file.name), NAMES_LIMIT))
        path = next((path for path in candidates if not os.path.lexists(path)), None)
        if path is None:
            return self._fail(connection, file, "the folder has too many files of its name")
        connection.execute(
            "UPDATE incoming_files SET stage = ?, path = ? WHERE id = ?",
            (Stage.PLACING.value, os.fsencode(path), file.id),
        )
        return ()

    def _place(self, connection: Connection, file: _File) -> Sequence[Event]:
        """Give a file its name, or see that it has it."""
        part, path = self._folder / file.part, Path(os.fsdecode(file.path or b""))
        try:
            if os.path.lexists(part):
                if is_same(part, path):
                    remove(part)
                    sync_folder(path.parent)
                else:
                    place(part, path)
            elif not is_file(path, file.size):
                return self._fail(connection, file, "it was removed before it had its name")
        except FileExistsError:
            return self._choose(connection, file)
        except OSError as error:
            why = f"it cannot be given its name ({error.strerror}), and is whole as {file.part}"
            return self._end(connection, file, why)
        connection.execute(
            "UPDATE incoming_files SET stage = ? WHERE id = ?", (Stage.RECEIVED.value, file.id)
        )
        forget_keys(connection, file.id)
        return (FileReceived(file.message_id, path, file.contact),)

    def _fail(self, connection: Connection, file: _File, why: str) -> Sequence[Event]:
        self._discard(connection, file.id)
        return self._end(connection, file, why)

    def _end(self, connection: Connection, file: _File, why: str) -> Sequence[Event]:
        connection.execute(
            "UPDATE incoming_files SET stage = ? WHERE id = ?", (Stage.FAILED.value, file.id)
        )
        return (FileFailed(file.message_id, why, file.contact),)

    def _discard(self, connection: Connection, file_id: int) -> None:
        """Remove what has come of a file. When that is not committed, it is missed, and fails."""
        for file in self._files(connection, "id = ?", file_id):
            remove(self._folder / file.part)
        forget_keys(connection, file_id)

    def _files(self, connection: Connection, where: str, *parameters: object) -> Sequence[_File]:
        # The conditions are constants of this module.
        found = connection.execute(
            f"SELECT {_COLUMNS} FROM incoming_files WHERE {where}",  # noqa: S608
            parameters,
        )
        return [_File(*row) for row in found.fetchall()]

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _progress(file: _File, remaining: int) -> FileProgress:
    done = file.pieces - remaining
    return FileProgress(file.message_id, done, file.pieces, file.contact)
