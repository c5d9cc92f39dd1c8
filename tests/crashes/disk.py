"""A disk that fails when it is told to, and keeps a record of what was done to it: ``shim.c`` between
a relay and the system."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Final

from attrs import frozen
from twisted.trial.unittest import SkipTest

_SOURCE: Final = Path(__file__).resolve().with_name("shim.c")
_BUILD: Final = _SOURCE.parent.parent.parent / "build" / "crashes"
_FLAGS: Final = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
_LIBRARIES: Final = ("-ldl", "-lpthread")

_CONTROL: Final = struct.Struct("=qqqqiiii")
_RECORD: Final = struct.Struct("=BBxxiqI")
FOR_EVER: Final = 2**62
"""As many calls as there will be."""


def shim() -> Path:
    """The library, compiled when its source is newer.

    :raises SkipTest: when there is no compiler.
    """
    gcc = shutil.which("gcc")
    if gcc is None:
        raise SkipTest("there is no gcc, and what stands before the disk is in C")
    library = _BUILD / "shim.so"
    if not library.exists() or library.stat().st_mtime < _SOURCE.stat().st_mtime:
        _BUILD.mkdir(parents=True, exist_ok=True)
        made = library.with_suffix(f".{os.getpid()}")
        subprocess.run([gcc, *_FLAGS, "-o", made, _SOURCE, *_LIBRARIES], check=True)
        made.replace(library)
    return library


class Action(IntEnum):
    """What becomes of a call: it never begins; half of it is done; it answers with an error."""

    KILL = 1
    TEAR = 2
    FAIL = 3


@frozen
class Record:
    """Something that was done.

    :ivar kind: S: a process begins; C, O, X: a file is made, opened, closed; W, T, F: it is
        written, cut, synced; U, R: a name is taken away, changed; A: something is sent.
    :ivar error: the errno with which a sync failed; 0 when it did not.
    :ivar offset: where in the file; of T, its size.
    :ivar data: what was written or sent; or the path, or two with a NUL between them.
    """

    kind: str
    error: int
    descriptor: int
    offset: int
    data: bytes


class FaultyDisk:
    """A folder whose relay meets faults.

    :ivar folder: where its files are.
    :ivar environment: what its relay must be started with.
    """

    def __init__(self, parent: Path, *, logs: bool = False) -> None:
        self.folder = parent / "disk"
        self.folder.mkdir(parents=True)
        self._log = parent / "disk.log"
        control = parent / "disk.control"
        control.write_bytes(bytes(_CONTROL.size))
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), _CONTROL.size)
        self.environment: dict[str, str] = {
            "LD_PRELOAD": str(shim()),
            "DISK_FOLDER": str(self.folder),
            "DISK_CONTROL": str(control),
        }
        if logs:
            self._log.touch()
            self.environment["DISK_LOG"] = str(self._log)

    @property
    def calls(self) -> int:
        """How many calls have changed something, or have tried."""
        return int(_CONTROL.unpack(self._control[:])[0])

    @property
    def hits(self) -> int:
        """How many calls have met a fault since it was set."""
        return int(_CONTROL.unpack(self._control[:])[3])

    def arm(
        self,
        nth: int,
        action: Action,
        *,
        error: int = 0,
        limit: int = 1,
        syncs_only: bool = False,
    ) -> None:
        """From the n-th call on, counted from now, so many calls meet a fault."""
        self.mend()
        calls = self.calls
        # What says that there is a fault is written last; the calls are the relay's to count.
        rest = _CONTROL.pack(0, calls + nth, limit, 0, action, error, syncs_only, 0)
        self._control[16:] = rest[16:]
        self._control[8:16] = rest[8:16]

    def mend(self) -> None:
        """No call meets a fault any more."""
        self._control[8:16] = bytes(8)

    def records(self) -> Iterator[Record]:
        """What was done, from the beginning."""
        data = self._log.read_bytes()
        offset = 0
        while offset < len(data):
            kind, error, descriptor, at, size = _RECORD.unpack_from(data, offset)
            offset += _RECORD.size
            yield Record(chr(kind), error, descriptor, at, data[offset : offset + size])
            offset += size
