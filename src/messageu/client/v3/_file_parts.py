"""The hidden file that pieces are put into, and its name."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class PartGone(Exception):
    """The file that had begun is not there any more, or something else is."""


@contextmanager
def opened_part(part: Path, flags: int) -> Iterator[int]:
    """A descriptor of the file that a part is in.

    :raises PartGone: when there is none, or something else in its place.
    """
    try:
        opened = os.open(part, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise PartGone from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise PartGone
        yield opened
    finally:
        os.close(opened)


def is_same(part: Path, path: Path) -> bool:
    """Whether both are names of one file."""
    try:
        return os.path.samestat(part.lstat(), path.lstat())
    except FileNotFoundError:
        return False


def is_file(path: Path, size: int) -> bool:
    """Whether there is a regular file of this size."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size
