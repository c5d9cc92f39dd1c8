"""Which messages are on their way to somebody, and what becomes of them: a ledger without I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count


class LeaseLedger:
    """Counts the leases that pin each message, and holds the doomed ones: settled or expired, to
    be deleted when their last lease ends.

    A message is named by its sequence. A doomed message is always pinned. What is said to be
    deletable is forgotten here: whoever asked deletes it, or it waits again.

    Changes since the last :meth:`commit` can be undone, so that the ledger follows a transaction.
    """

    def __init__(self) -> None:
        self._numbers = count(1)
        self._leases: dict[int, tuple[int, ...]] = {}
        self._pins: Counter[int] = Counter()
        self._doomed: set[int] = set()
        self._settling: set[int] = set()
        self._undo: list[Callable[[], object]] = []

    def is_doomed(self, sequence: int) -> bool:
        """Whether the message is settled or expired, and only waits for a lease to end."""
        return sequence in self._doomed

    @property
    def doomed(self) -> int:
        """How many messages only wait for leases to end."""
        return len(self._doomed)

    def held(self, number: int) -> Sequence[int]:
        """The messages of a lease, in the order in which it was granted; none when it has ended."""
        return self._leases.get(number, ())

    def grant(self, sequences: Iterable[int]) -> int:
        """Pin messages under a new lease. The lease's number, which is never given again."""
        number = next(self._numbers)
        if held := tuple(sequences):
            self._hold(number, held)
            self._undo.append(partial(self._let_go, number))
        return number

    def settle(self, number: int, limit: int) -> tuple[Sequence[int], bool]:
        """Doom the messages of a lease, and end it for at most so many of them.

        Those that can be deleted now, and whether it is to be settled again for the others.
        """
        sequences = self._leases.get(number, ())
        ended, rest = sequences[:limit], sequences[limit:]
        # Many steps must not cost many times as much as one: each touches what it ends.
        if number not in self._settling:
            self._settling.add(number)
            self._undo.append(partial(self._settling.discard, number))
            self._doom(sequences)
        self._unpin(ended)
        if rest:
            self._leases[number] = rest
        else:
            self._leases.pop(number, None)
            self._settling.discard(number)
        if ended:
            self._undo.append(partial(self._take_back, number, sequences, ended))
        return self._deletable(ended), bool(rest)

    def release(self, number: int) -> Sequence[int]:
        """End a lease whose messages wait again. Those that were doomed and can be deleted now."""
        return self._deletable(self._end(number))

    def release_all(self) -> Sequence[int]:
        """End every lease as :meth:`release` does."""
        return [gone for number in tuple(self._leases) for gone in self.release(number)]

    def expire(self, sequences: Iterable[int]) -> tuple[Sequence[int], int]:
        """Doom messages. Those that can be deleted now, and how many were not doomed before."""
        fresh = [sequence for sequence in sequences if sequence not in self._doomed]
        self._doom(fresh)
        return self._deletable(fresh), len(fresh)

    def mark(self) -> int:
        """A point to come back to with :meth:`rollback`."""
        return len(self._undo)

    def rollback(self, mark: int) -> None:
        """Undo what was done since a mark."""
        while len(self._undo) > mark:
            self._undo.pop()()

    def commit(self) -> None:
        """Keep what was done; marks are void."""
        self._undo.clear()

    def _hold(self, number: int, sequences: tuple[int, ...]) -> None:
        self._leases[number] = sequences
        self._pins.update(sequences)

    def _let_go(self, number: int) -> tuple[int, ...]:
        sequences = self._leases.pop(number, ())
        self._settling.discard(number)
        self._unpin(sequences)
        return sequences

    def _take_back(self, number: int, sequences: tuple[int, ...], ended: tuple[int, ...]) -> None:
        self._leases[number] = sequences
        self._pins.update(ended)

    def _unpin(self, sequences: tuple[int, ...]) -> None:
        pins = self._pins
        for sequence in sequences:
            if pins[sequence] == 1:
                del pins[sequence]
            else:
                pins[sequence] -= 1

    def _end(self, number: int) -> tuple[int, ...]:
        sequences = self._let_go(number)
        if sequences:
            self._undo.append(partial(self._hold, number, sequences))
        return sequences

    def _doom(self, sequences: Iterable[int]) -> None:
        fresh = set(sequences) - self._doomed
        self._doomed |= fresh
        self._undo.append(partial(self._doomed.difference_update, fresh))

    def _deletable(self, sequences: Iterable[int]) -> Sequence[int]:
        gone = [s for s in sequences if s in self._doomed and s not in self._pins]
        self._doomed.difference_update(gone)
        self._undo.append(partial(self._doomed.update, gone))
        return gone
