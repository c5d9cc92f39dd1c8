"""Our display name: which contacts are to be told it.

They are told behind the first message that we write to them, whenever it changes, and when either
side begins anew. Nothing says that it has come. Who does not know us yet takes texts only; so
whoever was told before his first receipt is told again after it.
"""

from __future__ import annotations

from ._contacts import Peer
from ._unit import Unit
from ._values import Naming, Status


def set_name(unit: Unit, name: bytes) -> None:
    """Call ourselves otherwise, and have all told to whom we have written."""
    unit.execute("UPDATE profile SET display_name = ?", name)
    unit.execute("UPDATE contacts SET naming = ? WHERE sent > 0", Naming.DUE.value)


def is_due(unit: Unit, of: Peer) -> None:
    """Have somebody told, if there is a name to tell, and we have written to him."""
    unit.execute(
        "UPDATE contacts SET naming = ? WHERE id = ? AND sent > 0"
        " AND EXISTS (SELECT 1 FROM profile WHERE display_name != x'')",
        Naming.DUE.value,
        of.id,
    )


def told(unit: Unit, of: Peer) -> None:
    """Somebody is being told."""
    listens = unit.row(
        "SELECT 1 FROM messages WHERE contact = ? AND mine AND status = ? LIMIT 1",
        of.id,
        Status.DELIVERED.value,
    )
    _set(unit, of, Naming.UNSURE if listens is None else Naming.TOLD)


def listens(unit: Unit, of: Peer) -> None:
    """A receipt has shown that somebody listens to us."""
    if of.naming is Naming.UNSURE:
        _set(unit, of, Naming.DUE)


def _set(unit: Unit, of: Peer, naming: Naming) -> None:
    unit.execute("UPDATE contacts SET naming = ? WHERE id = ?", naming.value, of.id)
