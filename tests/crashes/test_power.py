"""The model of a disk whose power fails."""

from __future__ import annotations

import struct
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from .disk import Record
from .power import PAGE, SECTOR, PageCache, Told

FOLDER = Path("/disk")
OLD, NEW = b"o" * PAGE, b"n" * PAGE


def record(kind: str, data: bytes = b"", *, offset: int = 0, fd: int = 1, error: int = 0) -> Record:
    """Something that was done."""
    return Record(kind, error, fd, offset, data)


MADE = record("C", b"/disk/file")
SYNCED = record("F")
FOLDER_SYNCED = (record("O", b"/disk", fd=2), record("F", fd=2), record("X", fd=2))
OLD_IS_THERE = (MADE, record("W", OLD), SYNCED, *FOLDER_SYNCED)


class PageCacheTests(SynchronousTestCase):
    """A folder with at most one file."""

    def on_disk(self, *records: Record, seed: int | None = None) -> dict[str, bytes]:
        """What is there after this was done, and the power has failed."""
        cache = PageCache(FOLDER, None if seed is None else Random(seed))
        for each in records:
            cache.feed(each)
        return cache.on_disk()

    def test_synced(self) -> None:
        """What was synced is there, in a folder that was."""
        self.assertEqual(self.on_disk(*OLD_IS_THERE), {"file": OLD})

    def test_not_synced(self) -> None:
        """What was not synced is in memory only: contents, names, and that something is gone."""
        self.assertEqual(self.on_disk(MADE, record("W", OLD), SYNCED), {})
        for change in (record("W", NEW), record("T", offset=1), record("U", b"/disk/file")):
            self.assertEqual(self.on_disk(*OLD_IS_THERE, change), {"file": OLD})

    def test_gone(self) -> None:
        """A file that was taken away is gone when its folder was synced, or has its new name."""
        gone, moved = record("U", b"/disk/file"), record("R", b"/disk/file\0/disk/other")
        self.assertEqual(self.on_disk(*OLD_IS_THERE, gone, *FOLDER_SYNCED), {})
        self.assertEqual(self.on_disk(*OLD_IS_THERE, moved, *FOLDER_SYNCED), {"other": OLD})

    def test_cut(self) -> None:
        """What was cut off and is written behind leaves zeros between."""
        records = (record("T"), record("W", b"n", offset=PAGE), SYNCED)
        self.assertEqual(self.on_disk(*OLD_IS_THERE, *records), {"file": bytes(PAGE) + b"n"})

    def test_failed_sync(self) -> None:
        """What was written before a sync that failed is not written by the next, unless its page
        was changed again; it can be read all the same."""
        failed = (*OLD_IS_THERE, record("W", NEW), record("F", error=5), SYNCED)
        self.assertEqual(self.on_disk(*failed), {"file": OLD})
        again = (*failed, record("W", b"!"), SYNCED)
        self.assertEqual(self.on_disk(*again), {"file": b"!" + NEW[1:]})

    def test_torn(self) -> None:
        """Any sectors of a page may be there, each of them whole."""
        found = set()
        for seed in range(40):
            (content,) = self.on_disk(*OLD_IS_THERE, record("W", NEW), seed=seed).values()
            sectors = [content[start : start + SECTOR] for start in range(0, PAGE, SECTOR)]
            self.assertEqual({bytes([each[0]]) * SECTOR for each in sectors}, set(sectors))
            found.add(content)
        self.assertGreater(len(found), 10)

    def test_in_memory(self) -> None:
        """What is in memory can be asked for, too."""
        cache = PageCache(FOLDER)
        for each in (MADE, record("W", NEW)):
            cache.feed(each)
        self.assertEqual((cache.on_disk(), cache.in_memory()), ({}, {"file": NEW}))


class ToldTests(SynchronousTestCase):
    """What clients have been told is read off what was sent."""

    def test_frames(self) -> None:
        """Frames count when they were sent to their end, each connection by itself."""
        anna = b"anna" * 4
        waiting = anna + struct.pack("<IBI", 8, 3, 5) + b"hello"
        frames = [
            struct.pack("<BHI", 2, code, len(payload)) + payload
            for code, payload in (
                (2100, anna),
                (2103, anna + struct.pack("<I", 7)),
                (2104, waiting),
                (9000, b""),
            )
        ]
        told = Told()
        for fd, data in ((1, frames[0] + frames[1][:-1]), (2, frames[2][:-1]), (1, b"")):
            told.feed(record("A", data, fd=fd))
        self.assertEqual(
            (told.registered, told.acknowledged, told.delivered), ({anna}, set(), set())
        )
        told.feed(record("A", frames[1][-1:], fd=1))
        told.feed(record("A", frames[2][-1:] + frames[3], fd=2))
        self.assertEqual((told.acknowledged, told.delivered), ({7}, {8}))

    def test_connection_ends(self) -> None:
        """The next connection begins with a frame."""
        frame = struct.pack("<BHI", 2, 2100, 16) + b"anna" * 4
        told = Told()
        for each in (record("A", frame[:5]), record("X"), record("A", frame)):
            told.feed(each)
        self.assertEqual(told.registered, {b"anna" * 4})
