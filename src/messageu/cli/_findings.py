"""What the doctor sees of the folder: files, their modes, and the disk under them."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import frozen

ROOM_WANTED: Final = 512 * 2**20
"""Bytes that should be free: a file is not taken that would leave less than half of it."""

_NO_MODE: Final = 0o077
"""What of a file's mode nobody but its owner may have."""

_OTHERS_WRITE: Final = 0o002
_MIB: Final = 2**20


@frozen
class Finding:
    """What the doctor has seen.

    :ivar good: whether it is well.
    :ivar what: what was looked at, in a word.
    :ivar text: how it is.
    :ivar advice: what to do now, where it is not well.
    """

    good: bool
    what: str
    text: str
    advice: str | None = None

    @property
    def line(self) -> str:
        """For a person."""
        advice = "" if self.advice is None else f": {self.advice}"
        return f"{'ok ' if self.good else 'BAD'} {self.what}: {self.text}{advice}"


def look_at_folder(folder: Path) -> Iterator[Finding]:
    """Whether it can be written, by nobody else, and has room."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not os.access(folder, os.W_OK | os.X_OK):
        advice = "take the user whose it is, or another folder"
        yield Finding(False, "folder", f"it cannot be written (mode {mode:o})", advice)
    elif mode & _OTHERS_WRITE:
        advice = "chmod o-w on the folder"
        yield Finding(False, "folder", f"others may change it (mode {mode:o})", advice)
    else:
        yield Finding(True, "folder", f"mode {mode:o}")
    free = shutil.disk_usage(folder).free
    text = f"{free // _MIB:,} MiB are free"
    if free < ROOM_WANTED:
        yield Finding(False, "disk", text, f"make room: {ROOM_WANTED // _MIB} MiB at least")
    else:
        yield Finding(True, "disk", text)


def look_at_secret(path: Path, if_missing: str) -> Finding:
    """Whether a file is there, and its owner's alone.

    :param if_missing: what to do where it is not.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return Finding(False, path.name, f"{error.strerror}", if_missing)
    if mode & _NO_MODE:
        text = f"others may use it (mode {mode:o})"
        return Finding(False, path.name, text, f"chmod 600 {path.name}")
    return Finding(True, path.name, f"mode {mode:o}")
