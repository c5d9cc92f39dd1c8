"""A copy of the database while it is in use, in steps on the store's own connection (ADR 7)."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from threading import Semaphore, Thread
from typing import Any, ClassVar, Final, TypeAlias

from attrs import field, frozen
from twisted.internet.defer import Deferred

from ._interface import BackupFailed, Progress
from ._opening import DATABASE_MODE, WHY, beside, connect, sync_folder
from ._operations import StoreOperation, StoreWork

STEP_PAGES: Final = 64
"""Pages that are copied at once: 256 KiB of pages of the usual size."""

STEPS_A_TURN: Final = 64
"""Steps for which everybody else waits at the most: more than a transaction can write."""

BACKUP_PAUSE: Final = 0.005
"""Seconds between two turns, unless the database grows faster than it is copied."""

SYNC_TURNS: Final = 32
"""Turns after which what was copied is put on the disk, so that it is never much at once."""

SPARE_SPACE: Final = 64 * 2**20
"""Bytes that a disk must have beyond what the copy takes, which is often the disk of the database."""

_TAKEN_NAMES: Final = ("-wal", "-shm", "-journal")
"""Endings by which SQLite knows what belongs to a database."""

Submit: TypeAlias = Callable[[StoreOperation], "Deferred[Any]"]
InThread: TypeAlias = Callable[..., "Deferred[Any]"]


class _Abandoned(Exception):
    """Nobody wants this copy any more."""


class Copier:
    """SQLite's own backup, which goes on only while somebody waits in :meth:`turn`.

    Python makes all steps of a backup in one call. So that call has a thread of its own, which the
    store's thread waits for: the connection is never used by two at once. Between two turns no
    transaction is open. What the connection writes meanwhile, SQLite brings to the copy as well.

    :ivar remaining: pages that are left, of ``total``, as of the last step.
    :ivar finished: whether there are no more turns: the copy is whole, or there was an error.
    """

    def __init__(self, target: Path, pages: int = STEP_PAGES) -> None:
        self._target = target
        self._pages = pages
        self._go = Semaphore(0)
        self._waits = Semaphore(0)
        self._thread: Thread | None = None
        self._abandoned = False
        self._error: Exception | None = None
        self.remaining = 0
        self.total = 0
        self.finished = False

    def turn(self, source: sqlite3.Connection) -> None:
        """Copy until less is left than after the last turn, but only so many steps.

        :raises sqlite3.Error: when the copy cannot be written.
        """
        enough = self.remaining - self._pages
        for _ in range(STEPS_A_TURN):
            is_first = self._thread is None
            self._let_go_on(source)
            if is_first or self.finished or self.remaining <= enough:
                break
        if self._error is not None:
            raise self._error

    def abandon(self, source: sqlite3.Connection) -> None:
        """Let go of the connection, whatever has been copied."""
        if self._thread is not None and not self.finished:
            self._abandoned = True
            self._let_go_on(source)

    def _let_go_on(self, source: sqlite3.Connection) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._copy, args=(source,), name="backup", daemon=True)
            self._thread.start()
        else:
            self._go.release()
        self._waits.acquire()
        if self.finished:
            self._thread.join()

    # What follows runs in the thread of the copy.

    def _copy(self, source: sqlite3.Connection) -> None:
        try:
            with closing(connect(self._target, "rw")) as copy:
                # Whole or not at all: a copy that is broken off is removed.
                copy.execute("PRAGMA journal_mode = OFF")
                copy.execute("PRAGMA synchronous = OFF")
                source.backup(copy, pages=self._pages, progress=self._wait, sleep=0)
        except _Abandoned:
            pass
        except Exception as error:  # noqa: BLE001 - it is raised where somebody waits
            self._error = error
        finally:
            self.finished = True
            self._waits.release()

    def _wait(self, _: int, remaining: int, total: int) -> None:
        self.remaining, self.total = remaining, total
        self._waits.release()
        self._go.acquire()
        if self._abandoned:
            raise _Abandoned


@frozen
class CopyPages(StoreOperation):
    """Copy some of the database."""

    name: ClassVar[str] = "backup"
    commutes: ClassVar[bool] = True

    copier: Copier = field(repr=False)

    def run(self, work: StoreWork) -> BackupFailed | None:
        try:
            self.copier.turn(work.cursor.connection)
        except sqlite3.Error as error:
            return BackupFailed(_reason(error))
        return None


@frozen
class AbandonCopy(StoreOperation):
    """Let go of a copy that nobody wants any more."""

    name: ClassVar[str] = "end of a backup"
    commutes: ClassVar[bool] = True
    essential: ClassVar[bool] = True

    copier: Copier = field(repr=False)

    def run(self, work: StoreWork) -> None:
        self.copier.abandon(work.cursor.connection)


class BackupFile:
    """The file of a copy: it has another name until it is whole and on the disk.

    :param target: the name that it will have. Nothing that is there is ever replaced.
    :raises BackupFailed: when it cannot be made.
    """

    def __init__(self, target: Path, size: int) -> None:
        self._target = target
        self.partial = beside(target, ".partial")
        try:
            self._check(size)
            # Left behind by a process that was killed.
            self.partial.unlink(missing_ok=True)
            self._descriptor = os.open(
                self.partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, DATABASE_MODE
            )
        except OSError as error:
            raise BackupFailed(f"{target}: {error.strerror}") from None

    def _check(self, size: int) -> None:
        target = self._target
        if target.name.endswith(_TAKEN_NAMES):
            raise BackupFailed(f"{target}: SQLite takes such a name for a part of a database")
        if os.path.lexists(target):
            raise BackupFailed(f"{target}: there is a file of this name")
        free = shutil.disk_usage(target.parent).free
        if free < size + SPARE_SPACE:
            raise BackupFailed(
                f"{target}: the disk has {free} bytes left, of {size + SPARE_SPACE} that are needed"
            )

    def sync(self) -> None:
        """Put on the disk what was copied so far.

        :raises OSError: when the disk fails.
        """
        os.fdatasync(self._descriptor)

    def keep(self) -> int:
        """Put all of it on the disk, and give it its name; its size in bytes.

        :raises BackupFailed: when somebody else has taken the name meanwhile.
        :raises OSError: when the disk fails.
        """
        os.fsync(self._descriptor)
        try:
            # Unlike a renaming it replaces nothing.
            os.link(self.partial, self._target)
        except FileExistsError:
            raise BackupFailed(f"{self._target}: there is a file of this name") from None
        size = os.fstat(self._descriptor).st_size
        self.partial.unlink()
        sync_folder(self._target.parent)
        return size

    def close(self) -> None:
        """Let go of it; without its name nothing of it stays."""
        with suppress(OSError):
            self.partial.unlink(missing_ok=True)
        os.close(self._descriptor)


class Backup:
    """One backup, from a file to be made to a copy with a name.

    :param submit: hands an operation to the store's thread.
    :param in_thread: calls what waits for a disk in another one.
    :param pause: a Deferred that fires when the next turn may begin.
    """

    def __init__(
        self, submit: Submit, in_thread: InThread, pause: Callable[[], Deferred[None]]
    ) -> None:
        self._submit = submit
        self._in_thread = in_thread
        self._pause = pause
        self._stopped = False

    def stop(self) -> None:
        """End it after the turn that is under way, and leave nothing behind."""
        self._stopped = True

    async def make(self, database: Path, target: Path, progress: Progress) -> int:
        """Copy a database; the size of the copy.

        :raises StoreError: when that is not possible. There is no such file then.
        """
        try:
            size = sum(
                beside(database, suffix).stat().st_size
                for suffix in ("", "-wal")
                if beside(database, suffix).exists()
            )
            file: BackupFile = await self._in_thread(BackupFile, target, size)
        except OSError as error:
            raise BackupFailed(f"{database}: {error.strerror}") from None
        try:
            return await self._fill(file, progress)
        except OSError as error:
            raise BackupFailed(f"{target}: {error.strerror}") from None
        finally:
            await self._in_thread(file.close)

    async def _fill(self, file: BackupFile, progress: Progress) -> int:
        copier = Copier(file.partial)
        turns, left = 0, None
        try:
            while not copier.finished:
                await self._submit(CopyPages(copier))
                if self._stopped:
                    raise BackupFailed("the backup was stopped")
                progress(copier.total - copier.remaining, copier.total)
                turns += 1
                if not turns % SYNC_TURNS:
                    await self._in_thread(file.sync)
                if left is None or copier.remaining < left:
                    await self._pause()
                left = copier.remaining
        finally:
            await self._submit(AbandonCopy(copier))
        size: int = await self._in_thread(file.keep)
        return size


def _reason(error: sqlite3.Error) -> str:
    return WHY.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "the copy cannot be written")
