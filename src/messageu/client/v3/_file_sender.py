"""Sending files: what was read is what is sealed, piece by piece, until their recipients have them.

A file is read twice. The first time gives the digests, and is over before anything of it is sent.
The second time each piece is compared with its digest before it is sealed: a key that has sealed
one content for a piece never seals another. Nothing of what is in flight is kept here.

When the relay has all pieces the digests stay until the recipient has said that he has the file:
if he has lost what had come, it is offered again under a fresh key, and so all pieces are new to
the relay.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeAlias

from attrs import evolve

from messageu.client._errors import FileMissing, FileRefused
from messageu.crypto.v3 import FILE_KEY_SIZE, FileOffer, piece_envelope_id, seal_piece
from messageu.model import ClientId
from messageu.model.v3 import PIECE_KEY_ID, PIECE_SIZE, EnvelopeId, Reason, SealedEnvelope

from ._database import Connection
from ._events import Event, FileFailed, FileProgress, MessageUndelivered
from ._file_reading import FileReading, PreparedFile, bytes_of, open_file, read_at
from ._file_tables import SENDING_LIFE
from ._values import Why

FILES_LIMIT: Final = 64
"""Files of one profile of which the relay has not all pieces."""

KEPT_LIMIT: Final = 1_024
"""Files of one profile that their recipients are not known to have."""

PAUSE: Final = 60.0
"""Seconds until a recipient's pieces are tried again, where the relay names no time."""

_FINAL: Final = {
    Reason.NOT_FOUND: (Why.NO_ACCOUNT, "the relay knows its recipient no more"),
    Reason.CONFLICT: (Why.REFUSED, "the relay has something else in its place"),
    Reason.TOO_LARGE: (Why.TOO_LARGE, "the relay does not take pieces of files"),
}
_CHANGED: Final = (Why.FILE_GONE, "the file was changed or removed before its recipient had it")
_OVER: Final = (Why.GAVE_UP, "the relay has not taken all of it for too long")

Progress: TypeAlias = Callable[[int, int], object]


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
        _check_room(connection)
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

    def offer(
        self, connection: Connection, message_id: bytes, offer: FileOffer
    ) -> FileOffer | None:
        """What is to be sealed as the message: under a fresh key, if it may have been sealed before.

        What of its pieces was acknowledged, the relay would not take again under their old ids.
        None: the file is gone, or shorter than it was.
        """
        row = connection.execute(
            "SELECT id, path, spent FROM outgoing_files WHERE message_id = ?", (message_id,)
        ).fetchone()
        if row is None:
            return None
        file, path, spent = row
        if not spent:
            connection.execute("UPDATE outgoing_files SET spent = 1 WHERE id = ?", (file,))
            return offer
        if not _is_there(Path(os.fsdecode(path)), offer.size):
            return None
        key = self._random(FILE_KEY_SIZE)
        for number in range(offer.pieces):
            connection.execute(
                "UPDATE outgoing_pieces SET envelope_id = ? WHERE file = ? AND number = ?",
                (piece_envelope_id(key, number).raw, file, number),
            )
        connection.execute(
            "UPDATE outgoing_files SET key = ?, remaining = pieces, started = 0, began = NULL,"
            " retry_at = 0 WHERE id = ?",
            (key, file),
        )
        return evolve(offer, key=key)

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
            " WHERE started AND remaining AND retry_at <= ? ORDER BY id",
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
            "SELECT number, envelope_id, digest FROM outgoing_pieces"
            " WHERE file = ? AND envelope_id IS NOT NULL ORDER BY number LIMIT ?",
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
            descriptor = open_file(Path(os.fsdecode(path)))
        except (FileMissing, FileRefused):
            self._broken.add(file)
            return sealed
        try:
            for number, envelope_id, digest in rows:
                piece = read_at(descriptor, number, bytes_of(number, size))
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
            "UPDATE outgoing_pieces SET envelope_id = NULL WHERE envelope_id = ? RETURNING file",
            (envelope_id.raw,),
        ).fetchall()
        if not row:
            return ()
        ((file,),) = row
        ((message_id, pieces, remaining),) = connection.execute(
            "UPDATE outgoing_files SET remaining = remaining - 1 WHERE id = ?"
            " RETURNING message_id, pieces, remaining",
            (file,),
        ).fetchall()
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
        failure = next((failure for final, failure in _FINAL.items() if final == reason), None)
        if failure is not None:
            return self._fail(connection, file, failure)
        connection.execute(
            "UPDATE outgoing_files SET retry_at = max(retry_at, ?) WHERE recipient = ?",
            (now + (retry_after or PAUSE), recipient),
        )
        return ()

    def hold(self, connection: Connection, recipient: ClientId) -> None:
        """All messages to somebody are sealed again: no piece is sent before its message is."""
        connection.execute(
            "UPDATE outgoing_files SET started = 0 WHERE recipient = ?", (recipient.raw,)
        )

    def reset(self, connection: Connection) -> None:
        """This state is an old one: any message may have been sealed since."""
        connection.execute("UPDATE outgoing_files SET spent = 1")

    def withdraw(self, connection: Connection, message_id: bytes) -> None:
        """The message was not delivered: no piece of it is sent any more."""
        self.delivered(connection, message_id)

    def delivered(self, connection: Connection, message_id: bytes) -> Sequence[Event]:
        """Its recipient has all of it: nothing of it is needed any more.

        That the relay had its last pieces may not have been heard.
        """
        row = connection.execute(
            "SELECT id, pieces, remaining FROM outgoing_files WHERE message_id = ?", (message_id,)
        ).fetchone()
        if row is None:
            return ()
        file, pieces, remaining = row
        self._forget(connection, file)
        return (FileProgress(message_id, pieces, pieces),) if remaining else ()

    def tick(self, connection: Connection, now: float) -> Sequence[Event]:
        """Give up what cannot be read any more, and what the relay does not take."""
        events: list[Event] = []
        for file in self._broken.copy():
            events.extend(self._fail(connection, file, _CHANGED))
        connection.execute(
            "UPDATE outgoing_files SET began = ? WHERE started AND remaining AND began IS NULL",
            (now,),
        )
        connection.execute("UPDATE outgoing_files SET retry_at = 0 WHERE retry_at <= ?", (now,))
        for (file,) in connection.execute(
            "SELECT id FROM outgoing_files WHERE started AND remaining AND began <= ?",
            (now - SENDING_LIFE,),
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
            " min(retry_at) FILTER (WHERE retry_at > 0) FROM outgoing_files"
            " WHERE started AND remaining",
            (float(SENDING_LIFE),),
        ).fetchone()
        return min((time for time in row or () if time is not None), default=None)

    def _fail(self, connection: Connection, file: int, failure: tuple[Why, str]) -> Sequence[Event]:
        row = connection.execute(
            "SELECT message_id FROM outgoing_files WHERE id = ?", (file,)
        ).fetchone()
        self._forget(connection, file)
        if row is None:
            return ()
        why, words = failure
        return FileFailed(row[0], words), MessageUndelivered(row[0], why)

    def _forget(self, connection: Connection, file: int) -> None:
        connection.execute("DELETE FROM outgoing_pieces WHERE file = ?", (file,))
        connection.execute("DELETE FROM outgoing_files WHERE id = ?", (file,))


def _exists(connection: Connection, file: int) -> bool:
    row = connection.execute("SELECT 1 FROM outgoing_files WHERE id = ?", (file,)).fetchone()
    return row is not None


def _is_there(path: Path, size: int) -> bool:
    """Whether there is a file of at least this size."""
    try:
        descriptor = open_file(path)
    except (FileMissing, FileRefused):
        return False
    try:
        return os.fstat(descriptor).st_size >= size
    finally:
        os.close(descriptor)


def _check_room(connection: Connection) -> None:
    row = connection.execute(
        "SELECT ifnull(sum(remaining > 0), 0), count(*) FROM outgoing_files"
    ).fetchone()
    waiting, kept = row or (0, 0)
    if waiting >= FILES_LIMIT:
        raise FileRefused(f"{FILES_LIMIT} files wait to be sent already")
    if kept >= KEPT_LIMIT:
        raise FileRefused(f"of {KEPT_LIMIT:,} files it is not known whether they have come")
