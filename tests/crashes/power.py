"""What a disk can hold after the power has failed, worked out from the record of a run.

The model is that of a page cache. What is written changes pages in memory. A sync puts the changed
pages of its file on the disk; before that any sector of them may get there, or none. A sync that
fails leaves its pages clean: no later sync writes them. Names of files reach the disk, in their
order, when their folder is synced, or earlier.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Final

from attrs import define, field

from tests.sockets.client import Answer, messages_in

from .disk import Record

PAGE: Final = 4096
SECTOR: Final = 512


@define(eq=False)
class File:
    """A file in memory and on the disk.

    :ivar dirty: pages that the disk does not have as they are in memory.
    """

    memory: bytearray = field(factory=bytearray)
    disk: bytearray = field(factory=bytearray)
    dirty: set[int] = field(factory=set)
    _shortest: int | None = None

    def write(self, offset: int, data: bytes) -> None:
        """Change it in memory."""
        end = offset + len(data)
        _lengthen(self.memory, end)
        self.memory[offset:end] = data
        self.dirty.update(range(offset // PAGE, (end - 1) // PAGE + 1))

    def cut(self, size: int) -> None:
        """Change its size in memory."""
        _lengthen(self.memory, size)
        del self.memory[size:]
        self._shortest = size if self._shortest is None else min(size, self._shortest)
        self.dirty = {page for page in self.dirty if page * PAGE < size}

    def sync(self) -> None:
        """Put it on the disk."""
        if self._shortest is not None:
            del self.disk[self._shortest :]
            self._shortest = None
        for page in self.dirty:
            self.write_back(page * PAGE, PAGE)
        self.dirty.clear()
        _lengthen(self.disk, len(self.memory))

    def fail_to_sync(self) -> None:
        """Forget that it is not on the disk, as Linux does."""
        self.dirty.clear()

    def write_back(self, offset: int, size: int) -> None:
        """Put some bytes on the disk."""
        data = self.memory[offset : offset + size]
        _lengthen(self.disk, offset + len(data))
        self.disk[offset : offset + len(data)] = data

    def sectors(self) -> Iterator[int]:
        """Where the sectors begin that may not be on the disk."""
        for page in sorted(self.dirty):
            yield from range(page * PAGE, min((page + 1) * PAGE, len(self.memory)), SECTOR)


def _lengthen(data: bytearray, size: int) -> None:
    if len(data) < size:
        data.extend(bytes(size - len(data)))


class PageCache:
    """A folder, in memory and on the disk.

    :param random: decides what reaches the disk without a sync; None when nothing does.
    """

    def __init__(self, folder: Path, random: Random | None = None) -> None:
        self._folder = str(folder)
        self._random = random
        self._names: dict[str, File] = {}
        self._names_on_disk: dict[str, File] = {}
        self._changes: list[tuple[str, File | None]] = []
        self._open: dict[int, File | None] = {}

    def feed(self, record: Record) -> None:
        """Something has been done."""
        _FEED[record.kind](self, record)
        if self._random is not None and record.kind in "WTCUR":
            self._leak(self._random)

    def on_disk(self) -> dict[str, bytes]:
        """The files that would be found if the power failed now."""
        return {name: bytes(file.disk) for name, file in self._names_on_disk.items()}

    def in_memory(self) -> dict[str, bytes]:
        """The files as they would be if everything reached the disk."""
        return {name: bytes(file.memory) for name, file in self._names.items()}

    def _leak(self, random: Random) -> None:
        """Some of what is not synced reaches the disk, once in a while."""
        if random.random() < 0.5:
            return
        for file in self._files():
            for offset in file.sectors():
                if random.random() < 0.5:
                    file.write_back(offset, SECTOR)
        self._apply(random.randint(0, len(self._changes)))

    def _files(self) -> Sequence[File]:
        every = [*self._names.values(), *self._names_on_disk.values()]
        return list({id(file): file for file in every}.values())

    def _apply(self, count: int) -> None:
        for name, file in self._changes[:count]:
            if file is None:
                self._names_on_disk.pop(name, None)
            else:
                self._names_on_disk[name] = file
        del self._changes[:count]

    def _name(self, path: str) -> str:
        return path.removeprefix(self._folder).removeprefix("/")

    def _set(self, name: str, file: File | None) -> None:
        if file is None:
            del self._names[name]
        else:
            self._names[name] = file
        self._changes.append((name, file))

    def _begin(self, _: Record) -> None:
        self._open.clear()

    def _create(self, record: Record) -> None:
        file = self._open[record.descriptor] = File()
        self._set(self._name(record.data.decode()), file)

    def _open_again(self, record: Record) -> None:
        # The folder itself has no name in it.
        self._open[record.descriptor] = self._names.get(self._name(record.data.decode()))

    def _close(self, record: Record) -> None:
        self._open.pop(record.descriptor, None)

    def _write(self, record: Record) -> None:
        self._file(record).write(record.offset, record.data)

    def _cut(self, record: Record) -> None:
        self._file(record).cut(record.offset)

    def _sync(self, record: Record) -> None:
        file = self._open[record.descriptor]
        if file is None:
            if not record.error:
                self._apply(len(self._changes))
        elif record.error:
            file.fail_to_sync()
        else:
            file.sync()

    def _unlink(self, record: Record) -> None:
        self._set(self._name(record.data.decode()), None)

    def _rename(self, record: Record) -> None:
        old, new = (self._name(path) for path in record.data.decode().split("\0"))
        file = self._names[old]
        self._set(old, None)
        self._set(new, file)

    def _pass(self, _: Record) -> None:
        pass

    def _file(self, record: Record) -> File:
        file = self._open[record.descriptor]
        assert file is not None, record
        return file


_FEED: Final = {
    "S": PageCache._begin,
    "C": PageCache._create,
    "O": PageCache._open_again,
    "X": PageCache._close,
    "W": PageCache._write,
    "T": PageCache._cut,
    "F": PageCache._sync,
    "U": PageCache._unlink,
    "R": PageCache._rename,
    "A": PageCache._pass,
}


@define
class Told:
    """What clients have been told, up to a moment of the record.

    :ivar acknowledged: numbers of messages, in the 2103s that were sent.
    :ivar delivered: numbers of messages, in the 2104s that were sent to their end.
    :ivar registered: ids, in the 2100s that were sent.
    """

    acknowledged: set[int] = field(factory=set)
    delivered: set[int] = field(factory=set)
    registered: set[bytes] = field(factory=set)
    _streams: dict[int, bytearray] = field(factory=dict)

    def feed(self, record: Record) -> None:
        """Something has been done."""
        if record.kind == "S":
            self._streams.clear()
        elif record.kind == "X":
            self._streams.pop(record.descriptor, None)
        elif record.kind == "A":
            stream = self._streams.setdefault(record.descriptor, bytearray())
            stream += record.data
            while frame := _take_frame(stream):
                self._note(*frame)

    def _note(self, code: int, payload: bytes) -> None:
        if code == 2103:
            self.acknowledged.add(int.from_bytes(payload[16:], "little"))
        elif code == 2100:
            self.registered.add(payload)
        elif code == 2104:
            self.delivered |= {each.number for each in messages_in(Answer(2, code, payload))}


def _take_frame(stream: bytearray) -> tuple[int, bytes] | None:
    size = int.from_bytes(stream[3:7], "little")
    if len(stream) < 7 or len(stream) < 7 + size:
        return None
    frame = int.from_bytes(stream[1:3], "little"), bytes(stream[7 : 7 + size])
    del stream[: 7 + size]
    return frame
