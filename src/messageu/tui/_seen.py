"""What was seen: kept over restarts, after it was shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from messageu.client import FileNotSaved
from messageu.client.v3 import read_small_file, replace_small_file

SEEN_FILE: Final = "chat.seen"
"""The number of the last message that was seen of each, mode 0600."""

_SIZE_LIMIT: Final = 4 * 2**20
"""Bytes of that file: more than 10,000 contacts need."""


class Seen:
    """Places in the history up to which conversations were read.

    Killed before it is saved, the program shows something as new again, and nothing never.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / SEEN_FILE
        self._places = _read(self._file)
        self._changed = False

    def place(self, key: bytes) -> int:
        """The number of the last message that was seen of somebody; 0: none was."""
        return self._places.get(key, 0)

    def advance(self, key: bytes, number: int) -> bool:
        """Messages were seen up to a number. Whether one of them was new."""
        if number <= self.place(key):
            return False
        self._places[key] = number
        self._changed = True
        return True

    def save(self) -> None:
        """Keep it, if it has changed.

        :raises FileNotSaved: when that cannot be done.
        """
        if not self._changed:
            return
        places = {key.hex(): number for key, number in self._places.items()}
        try:
            replace_small_file(self._file, f"{json.dumps(places)}\n".encode("ascii"))
        except OSError as error:
            raise FileNotSaved(f"{SEEN_FILE} cannot be written: {error.strerror}") from None
        self._changed = False


def _read(file: Path) -> dict[bytes, int]:
    """What is in the file: nothing, if it is not there, or is not what we write."""
    try:
        content = json.loads(read_small_file(file, _SIZE_LIMIT))
        return {bytes.fromhex(key): int(number) for key, number in content.items()}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}
