"""Reading a file that is to be sent: once whole, for its digests, and then piece by piece."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from hashlib import sha256
from mimetypes import MimeTypes
from pathlib import Path
from typing import Final, Self

from attrs import field, frozen

from messageu.client._errors import FileMissing, FileRefused
from messageu.crypto.v3 import (
    FILE_KEY_SIZE,
    FILE_NAME_SIZE_LIMIT,
    FileOffer,
    piece_count,
    piece_envelope_id,
)
from messageu.model.v3 import PIECE_SIZE, EnvelopeId

from ._file_tables import FILE_SIZE_LIMIT, STEP_SIZE

_MEDIA_TYPES: Final = MimeTypes()
_UNKNOWN_TYPE: Final = "application/octet-stream"


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
        self._descriptor = open_file(self._path)
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
        wanted = bytes_of(number, self.size)
        try:
            piece = read_at(self._descriptor, number, wanted)
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


def open_file(path: Path) -> int:
    """A descriptor of a regular file, which somebody has to close.

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


def bytes_of(number: int, size: int) -> int:
    """How many bytes of a file are in a piece; the rest are zeros."""
    return min(max(size - number * PIECE_SIZE, 0), PIECE_SIZE)


def read_at(descriptor: int, number: int, size: int) -> bytes:
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
