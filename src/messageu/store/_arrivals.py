"""What has arrived lately, and is not in the index of what waits for whom (ADR 6).

To put each message into that index as it comes costs a page of the database for nearly every
message: those that come together are for different clients, whose entries lie far apart. So the
index is written for some thousand messages at once, in its own order, and until then what it lacks
is remembered here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

ARRIVALS_LIMIT: Final = 2_048
"""Messages that are remembered before they are put into the index."""


class Arrivals:
    """The sequences and sizes of what is not in the index, by the recipients' keys.

    Nothing is known before the first :meth:`load`. What is added in a transaction that fails is to
    be discarded. A message that is gone may stay until it is discarded: it is not found any more.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, dict[int, int]] = {}
        self._recipients: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self.loaded = False

    def __len__(self) -> int:
        return len(self._recipients)

    def load(self, rows: Iterable[tuple[int, int, int]]) -> None:
        """Begin with these sequences, recipients and sizes, in order of arrival."""
        self.clear()
        self.add(rows)
        self.loaded = True

    def add(self, rows: Iterable[tuple[int, int, int]]) -> None:
        """Messages have arrived, later than all that are known: sequence, recipient, size."""
        recipients, waiting, sizes = self._recipients, self._waiting, self._sizes
        for sequence, recipient, size in rows:
            recipients[sequence] = recipient
            if recipient in waiting:
                waiting[recipient][sequence] = size
                sizes[recipient] += size
            else:
                waiting[recipient] = {sequence: size}
                sizes[recipient] = size

    def discard(self, sequences: Iterable[int]) -> None:
        """Some messages are gone, or did not arrive after all."""
        for sequence in sequences:
            recipient = self._recipients.pop(sequence, None)
            if recipient is not None:
                waiting = self._waiting[recipient]
                self._sizes[recipient] -= waiting.pop(sequence)
                if not waiting:
                    del self._waiting[recipient], self._sizes[recipient]

    def clear(self) -> None:
        """All of them are in the index."""
        self._waiting.clear()
        self._recipients.clear()
        self._sizes.clear()

    def usage(self, recipient: int) -> tuple[int, int]:
        """How many messages of a client are here, and how many bytes of content they have."""
        return len(self._waiting.get(recipient, ())), self._sizes.get(recipient, 0)

    def of(self, recipient: int, first: int) -> Sequence[int]:
        """What waits for a client from a sequence on, in order of arrival."""
        return [sequence for sequence in self._waiting.get(recipient, ()) if sequence >= first]

    def unknown(self, sequences: Iterable[int]) -> Sequence[int]:
        """Those of these messages that are not here, and so in the index if they are anywhere."""
        return [sequence for sequence in sequences if sequence not in self._recipients]
