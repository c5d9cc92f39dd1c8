"""A finished file gets its name, and takes nobody else's."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from messageu.client._files import remove, sync_folder

_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS})


def place(part: Path, path: Path) -> None:
    """Give a file that is on the disk another name in its folder, on the disk, too.

    After a crash it has one of the names, or both, and is whole under each.

    :raises FileExistsError: when something has that name; it is untouched.
    :raises OSError: when that failed.
    """
    try:
        os.link(part, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _move(part, path)
    else:
        sync_folder(path.parent)
        remove(part)
    sync_folder(path.parent)


def _move(part: Path, path: Path) -> None:
    """Where there are no links the name is taken by an empty file first."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(path, flags, 0o600))
    try:
        part.rename(path)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
