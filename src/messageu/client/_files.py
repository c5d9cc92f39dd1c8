"""The small files that a client keeps: read whole and bounded, replaced whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

LOCK_PATIENCE: Final = 1.0
"""Seconds for which a lock is waited for. Who holds it writes one small file meanwhile."""

_LOCK_PAUSE: Final = 0.01

Stamp: TypeAlias = tuple[int, int, int]
"""Tells a file from another that has taken its place."""


def read_small(path: Path, limit: int) -> bytes:
    """A regular file's bytes.

    :raises OSError: when there is none, when it is something else (which is not waited for), or
        when it has more than ``limit`` bytes (EFBIG).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as opened:
            data = opened.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes", str(path))
    return data


def write_beside(path: Path, data: bytes) -> Path:
    """Write a new file, mode 0600, in the folder of ``path``, and wait until the disk has it.

    :raises OSError: when that failed; nothing is left then.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(descriptor)
    except BaseException:
        remove(Path(name))
        raise
    return Path(name)


def replace_file(path: Path, data: bytes) -> None:
    """Give ``path`` new content, mode 0600. After a crash it has the old or the new one, whole.

    :raises OSError: when that failed; the old file is untouched then.
    """
    written = write_beside(path, data)
    try:
        written.replace(path)
    except BaseException:
        remove(written)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder, where the file system can do that."""
    with suppress(OSError), _opened(folder) as descriptor:
        os.fsync(descriptor)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep others out who lock the folder as well, of this process or another.

    The kernel lets go of it when the process ends. Where a file system knows no such locks there
    is none.

    :raises OSError: when somebody holds it for longer than :data:`LOCK_PATIENCE` (EWOULDBLOCK).
    """
    with _opened(folder) as descriptor:
        waited = 0.0
        while not _take_lock(descriptor):
            if waited >= LOCK_PATIENCE:
                raise OSError(errno.EWOULDBLOCK, "another program keeps the folder locked")
            time.sleep(_LOCK_PAUSE)
            waited += _LOCK_PAUSE
        yield


def _take_lock(descriptor: int) -> bool:
    """Whether there is nobody to wait for."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno != errno.EWOULDBLOCK
    return True


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def stamp_of(path: Path) -> Stamp | None:
    """What tells the file that is there from any other; None when there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def remove(path: Path) -> None:
    """Remove a file, if that is possible."""
    with suppress(OSError):
        path.unlink()
