"""Sending files: what was read is what is sealed, piece by piece, until the relay has them all.

A file is read twice. The first time gives the digests, and is over before anything of it is sent.
The second time each piece is compared with its digest before it is sealed: a key that has sealed
one content for a piece never seals another. Nothing of what is in flight is kept here.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Collection, Sequence
from hashlib import sha256
from mimetypes import MimeTypes
from pathlib import Path
from typing import Final, Self, TypeAlias

from attrs import field, frozen

from messageu.client._errors import FileMissing, FileRefused
from messageu.crypto.v3 import (
    FILE_KEY_SIZE,
    FILE_NAME_SIZE_LIMIT,
    FileOffer,
    piece_count,
    piece_envelope_id,
    seal_piece,
)
from messageu.model import ClientId
from messageu.model.v3 import PIECE_KEY_ID, PIECE_SIZE, EnvelopeId, Reason, SealedEnvelope

from ._database import Connection
from ._events import Event, FileFailed, FileProgress
from ._file_tables import FILE_SIZE_LIMIT, SENDING_LIFE, STEP_SIZE

FILES_LIMIT: Final = 64
"""Files of one profile that wait to be sent."""

PAUSE: Final = 60.0
"""Seconds until a recipient's pieces are tried again, where the relay names no time."""

_FINAL: Final = {
    Reason.NOT_FOUND: "the relay knows its recipient no more",
    Reason.CONFLICT: "the relay has something else in its place",
    Reason.TOO_LARGE: "the relay does not take pieces of files",
}
_CHANGED: Final = "the file was changed or removed before all of it was sent"
_OVER: Final = "the relay has not taken all of it for too long"

_MEDIA_TYPES: Final = MimeTypes()
_UNKNOWN_TYPE: Final = "application/octet-stream"

Progress: TypeAlias = Callable[[int, int], object]


@frozen
class PreparedFile:
    """A file that was read, for one message.

    :ivar digests: of each piece, without what it is filled with.
    """

    path: Path
    offer: FileOffer = field(repr=False)
    digests: tuple[bytes, ...] = field(repr=False)
    envelope_ids: tuple[EnvelopeId, ...] = field(repr=False)


class FileReading:
    """Reads a file once, some of it at a time, so that others have their turn in between.

    :ivar size: of the file, in bytes.
    :ivar done: how many were read.
    :raises FileMissing: when it is not there.
    :raises FileRefused: when it is no regular file, cannot be read, or is too large.
    """

    def __init__(self, path: Path, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._path = path.absolute()
        self._descriptor = _open(self._path)
        self.size = os.fstat(self._descriptor).st_size
        self.done = 0
        self._key = random(FILE_KEY_SIZE)
        self._whole = sha256()
        self._digests: list[bytes] = []
        self._envelope_ids: list[EnvelopeId] = []
        self._pieces = piece_count(self.size)
        if self.size > FILE_SIZE_LIMIT:
            self.close()
            raise FileRefused(f"the file is larger than {FILE_SIZE_LIMIT // 2**30} GiB")

    def step(self) -> bool:
        """Read at most :data:`STEP_SIZE` bytes; whether there is more to read.

        :raises FileRefused: when it cannot be read, or has become smaller.
        """
        for _ in range(STEP_SIZE // PIECE_SIZE):
            if len(self._digests) == self._pieces:
                break
            self._read_piece(len(self._digests))
        return len(self._digests) < self._pieces

    def _read_piece(self, number: int) -> None:
        wanted = _bytes_of(number, self.size)
        try:
            piece = _read_at(self._descriptor, number, wanted)
        except OSError as error:
            self.close()
            raise FileRefused(f"the file cannot be read: {error.strerror}") from None
        if len(piece) != wanted:
            self.close()
            raise FileRefused("the file became smaller while it was read")
        self._whole.update(piece)
        self._digests.append(sha256(piece).digest())
        self._envelope_ids.append(piece_envelope_id(self._key, number))
        self.done += wanted

    def finish(self) -> PreparedFile:
        """What was read, when there is no more to read."""
        self.close()
        offer = FileOffer(
            key=self._key,
            size=self.size,
            digest=self._whole.digest(),
            pieces=self._pieces,
            name=_suggestion(self._path),
            media_type=_MEDIA_TYPES.guess_type(self._path.name)[0] or _UNKNOWN_TYPE,
        )
        return PreparedFile(self._path, offer, tuple(self._digests), tuple(self._envelope_ids))

    def close(self) -> None:
        """Read no more of it. Doing so again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FileSender:
    """Keeps what is left to send, and seals it when there is room (:mod:`._interfaces`)."""

    def __init__(self, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._random = random
        self._broken: set[int] = set()

    def prepare(self, path: Path, progress: Progress | None = None) -> PreparedFile:
        """Read a file at once. :class:`FileReading` does the same in steps.

        :raises FileMissing: when it is not there.
        :raises FileRefused: when it cannot be sent.
        """
        with FileReading(path, self._random) as reading:
            while reading.step():
                if progress is not None:
                    progress(reading.done, reading.size)
            return reading.finish()

    def add(
        self,
        connection: Connection,
        message_id: bytes,
        recipient: ClientId,
        prepared: PreparedFile,
    ) -> FileOffer:
        """Keep what was read; what was prepared once is added once.

        :raises FileRefused: when too many files wait.
        """
        waiting = connection.execute("SELECT count(*) FROM outgoing_files").fetchone()
        if waiting is None or waiting[0] >= FILES_LIMIT:
            raise FileRefused(f"{FILES_LIMIT} files wait to be sent already")
        offer = prepared.offer
        number = connection.execute(
            "INSERT INTO outgoing_files (message_id, recipient, path, key, size, pieces, remaining)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                message_id,
                recipient.raw,
                os.fsencode(prepared.path),
                offer.key,
                offer.size,
                offer.pieces,
                offer.pieces,
            ),
        ).lastrowid
        for place, (envelope_id, digest) in enumerate(
            zip(prepared.envelope_ids, prepared.digests, strict=True)
        ):
            connection.execute(
                "INSERT INTO outgoing_pieces VALUES (?, ?, ?, ?)",
                (number, place, envelope_id.raw, digest),
            )
        return offer

    def start(self, connection: Connection, message_id: bytes) -> None:
        """The relay has the message: pieces may follow it. It may be said again."""
        connection.execute(
            "UPDATE outgoing_files SET started = 1 WHERE message_id = ?", (message_id,)
        )

    def pieces(
        self,
        connection: Connection,
        room: int,
        in_flight: Collection[EnvelopeId],
        now: float,
    ) -> Sequence[SealedEnvelope]:
        """The next pieces, at most so many, none that is in flight. It writes nothing.

        The oldest file goes first; one whose recipient's mailbox is full holds up no other.
        """
        sealed: list[SealedEnvelope] = []
        files = connection.execute(
            "SELECT id, recipient, path, key, size, pieces FROM outgoing_files"
            " WHERE started AND retry_at <= ? ORDER BY id",
            (now,),
        ).fetchall()
        for number, *file in files:
            if len(sealed) >= room:
                break
            if number not in self._broken:
                rows = self._next_rows(connection, number, room - len(sealed), in_flight)
                sealed.extend(self._seal(number, rows, *file))
        return sealed

    def _next_rows(
        self, connection: Connection, file: int, room: int, in_flight: Collection[EnvelopeId]
    ) -> Sequence[tuple[int, EnvelopeId, bytes]]:
        rows = connection.execute(
            "SELECT number, envelope_id, digest FROM outgoing_pieces WHERE file = ?"
            " ORDER BY number LIMIT ?",
            (file, room + len(in_flight)),
        )
        found = ((number, EnvelopeId(raw), digest) for number, raw, digest in rows)
        return [row for row in found if row[1] not in in_flight][:room]

    def _seal(
        self,
        file: int,
        rows: Sequence[tuple[int, EnvelopeId, bytes]],
        recipient: bytes,
        path: bytes,
        key: bytes,
        size: int,
        pieces: int,
    ) -> Sequence[SealedEnvelope]:
        sealed: list[SealedEnvelope] = []
        if not rows:
            return sealed
        try:
            descriptor = _open(Path(os.fsdecode(path)))
        except (FileMissing, FileRefused):
            self._broken.add(file)
            return sealed
        try:
            for number, envelope_id, digest in rows:
                piece = _read_at(descriptor, number, _bytes_of(number, size))
                if sha256(piece).digest() != digest:
                    self._broken.add(file)
                    break
                filled = piece.ljust(PIECE_SIZE, b"\0")
                content = seal_piece(key, number, number == pieces - 1, filled)
                sealed.append(
                    SealedEnvelope(ClientId(recipient), envelope_id, PIECE_KEY_ID, content)
                )
        except OSError:
            self._broken.add(file)
        finally:
            os.close(descriptor)
        return sealed

    def stored(self, connection: Connection, envelope_id: EnvelopeId) -> Sequence[Event]:
        """The relay has a piece."""
        row = connection.execute(
            "DELETE FROM outgoing_pieces WHERE envelope_id = ? RETURNING file", (envelope_id.raw,)
        ).fetchall()
        if not row:
            return ()
        ((file,),) = row
        ((message_id, pieces, remaining),) = connection.execute(
            "UPDATE outgoing_files SET remaining = remaining - 1 WHERE id = ?"
            " RETURNING message_id, pieces, remaining",
            (file,),
        ).fetchall()
        if not remaining:
            self._forget(connection, file)
        return (FileProgress(message_id, pieces - remaining, pieces),)

    def refused(
        self,
        connection: Connection,
        envelope_id: EnvelopeId,
        reason: Reason | int,
        retry_after: int,
        now: float,
    ) -> Sequence[Event]:
        """The relay has not taken a piece: its recipient is left alone for a while, or the file
        is given up."""
        row = connection.execute(
            "SELECT id, recipient FROM outgoing_files"
            " WHERE id = (SELECT file FROM outgoing_pieces WHERE envelope_id = ?)",
            (envelope_id.raw,),
        ).fetchone()
        if row is None:
            return ()
        file, recipient = row
        why = next((text for final, text in _FINAL.items() if final == reason), None)
        if why is not None:
            return self._fail(connection, file, why)
        connection.execute(
            "UPDATE outgoing_files SET retry_at = max(retry_at, ?) WHERE recipient = ?",
            (now + (retry_after or PAUSE), recipient),
        )
        return ()

    def withdraw(self, connection: Connection, message_id: bytes) -> None:
        """The message was not delivered: no piece of it is sent any more."""
        for (file,) in connection.execute(
            "SELECT id FROM outgoing_files WHERE message_id = ?", (message_id,)
        ).fetchall():
            self._forget(connection, file)

    def tick(self, connection: Connection, now: float) -> Sequence[Event]:
        """Give up what cannot be read any more, and what the relay does not take."""
        events: list[Event] = []
        for file in self._broken.copy():
            events.extend(self._fail(connection, file, _CHANGED))
        connection.execute(
            "UPDATE outgoing_files SET began = ? WHERE started AND began IS NULL", (now,)
        )
        connection.execute("UPDATE outgoing_files SET retry_at = 0 WHERE retry_at <= ?", (now,))
        for (file,) in connection.execute(
            "SELECT id FROM outgoing_files WHERE began <= ?", (now - SENDING_LIFE,)
        ).fetchall():
            events.extend(self._fail(connection, file, _OVER))
        return events

    def next_tick(self, connection: Connection) -> float | None:
        """When it has something to do that waits for nothing but the time; 0: now."""
        self._broken.difference_update(
            [file for file in self._broken if not _exists(connection, file)]
        )
        if self._broken:
            return 0.0
        row = connection.execute(
            "SELECT min(CASE WHEN began IS NULL THEN 0.0 ELSE began + ? END),"
            " min(retry_at) FILTER (WHERE retry_at > 0) FROM outgoing_files WHERE started",
            (float(SENDING_LIFE),),
        ).fetchone()
        return min((time for time in row or () if time is not None), default=None)

    def _fail(self, connection: Connection, file: int, why: str) -> Sequence[Event]:
        row = connection.execute(
            "SELECT message_id FROM outgoing_files WHERE id = ?", (file,)
        ).fetchone()
        self._forget(connection, file)
        return () if row is None else (FileFailed(row[0], why),)

    def _forget(self, connection: Connection, file: int) -> None:
        connection.execute("DELETE FROM outgoing_pieces WHERE file = ?", (file,))
        connection.execute("DELETE FROM outgoing_files WHERE id = ?", (file,))


def _exists(connection: Connection, file: int) -> bool:
    row = connection.execute("SELECT 1 FROM outgoing_files WHERE id = ?", (file,)).fetchone()
    return row is not None


def _open(path: Path) -> int:
    """A descriptor of a regular file.

    :raises FileMissing: when it is not there.
    :raises FileRefused: when it is something else, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise FileMissing("file not found") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is none"
        raise FileRefused(f"the file cannot be read: {reason}") from None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise FileRefused("it is not a regular file")


def _bytes_of(number: int, size: int) -> int:
    """How many bytes of a file are in a piece; the rest are zeros."""
    return min(max(size - number * PIECE_SIZE, 0), PIECE_SIZE)


def _read_at(descriptor: int, number: int, size: int) -> bytes:
    """As many bytes of a piece as there are, at most ``size``."""
    parts: list[bytes] = []
    offset = number * PIECE_SIZE
    while size and (part := os.pread(descriptor, size, offset)):
        parts.append(part)
        offset += len(part)
        size -= len(part)
    return b"".join(parts)


def _suggestion(path: Path) -> str:
    """A file's name, as much of it as an offer can hold."""
    raw = os.fsencode(path.name).decode("utf-8", "replace").encode("utf-8")
    return raw[:FILE_NAME_SIZE_LIMIT].decode("utf-8", "ignore")
