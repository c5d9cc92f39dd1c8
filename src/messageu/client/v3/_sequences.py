"""What somebody has said and has not come: gaps in the numbers of his messages."""

from __future__ import annotations

from typing import Final

from ._contacts import Peer, missing, peer
from ._events import MessagesMissing
from ._unit import Unit

GAPS_LIMIT: Final = 256
"""Gaps that are remembered of a contact. What is in an older one is missing for good."""


def came(unit: Unit, of: Peer, sequence: int) -> None:
    """A message with this number came. One that is not counted has 0."""
    if sequence > of.heard:
        if sequence > of.heard + 1:
            _open_gap(unit, of, of.heard + 1, sequence - 1)
        unit.execute("UPDATE contacts SET heard = ? WHERE id = ?", sequence, of.id)
    elif sequence > 0:
        _fill(unit, of, sequence)


def count_from(unit: Unit, of: Peer, sequence: int) -> None:
    """A renewal: its number is where the sender counts on from."""
    before = missing(unit, of)
    unit.execute("DELETE FROM gaps WHERE contact = ?", of.id)
    unit.execute("UPDATE contacts SET heard = ?, forgotten = 0 WHERE id = ?", sequence, of.id)
    if before:
        unit.tell(MessagesMissing(of.identity, 0))


def _open_gap(unit: Unit, of: Peer, first: int, last: int) -> None:
    unit.execute("INSERT INTO gaps (contact, first, last) VALUES (?, ?, ?)", of.id, first, last)
    _bound(unit, of)
    _tell(unit, of)


def _fill(unit: Unit, of: Peer, sequence: int) -> None:
    gap = unit.row(
        "SELECT first, last FROM gaps WHERE contact = ? AND first <= ?2 AND last >= ?2",
        of.id,
        sequence,
    )
    if gap is None:
        return
    first, last = gap
    unit.execute("DELETE FROM gaps WHERE contact = ? AND first = ?", of.id, first)
    for part in ((first, sequence - 1), (sequence + 1, last)):
        if part[0] <= part[1]:
            unit.execute("INSERT INTO gaps (contact, first, last) VALUES (?, ?, ?)", of.id, *part)
    _bound(unit, of)
    _tell(unit, of)


def _bound(unit: Unit, of: Peer) -> None:
    gaps = unit.rows("SELECT first, last FROM gaps WHERE contact = ? ORDER BY first", of.id)
    for first, last in gaps[: max(0, len(gaps) - GAPS_LIMIT)]:
        unit.execute("DELETE FROM gaps WHERE contact = ? AND first = ?", of.id, first)
        unit.execute(
            "UPDATE contacts SET forgotten = MIN(forgotten + ?, ?) WHERE id = ?",
            last - first + 1,
            2**62,
            of.id,
        )


def _tell(unit: Unit, of: Peer) -> None:
    unit.tell(MessagesMissing(of.identity, missing(unit, peer(unit, of.id))))
