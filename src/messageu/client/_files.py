"""The small files that a client keeps: read whole and bounded, replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path


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
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, if that is possible."""
    with suppress(OSError):
        path.unlink()
