"""One input: its transaction, and what follows when that is committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import Factory, define, frozen

from ._database import Connection, Cursor
from ._events import Event
from ._interfaces import FileReceiver, FileSender


@frozen
class Tools:
    """What the rules are given, and never reach for by themselves."""

    connection: Connection
    now: Callable[[], float]
    random: Callable[[int], bytes]
    file_sender: FileSender | None = None
    file_receiver: FileReceiver | None = None


@define
class Unit:
    """A transaction that is going on.

    :ivar now: the time of all that happens in it.
    :ivar events: heard of when it is committed.
    """

    tools: Tools
    now: float
    events: list[Event] = Factory(list)

    @property
    def connection(self) -> Connection:
        """The database."""
        return self.tools.connection

    def execute(self, sql: str, *parameters: object) -> Cursor:
        """Run a statement."""
        return self.tools.connection.execute(sql, parameters)

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """All that a query answers."""
        return self.execute(sql, *parameters).fetchall()

    def row(self, sql: str, *parameters: object) -> tuple[Any, ...] | None:
        """The first row that a query answers."""
        return self.execute(sql, *parameters).fetchone()

    def value(self, sql: str, *parameters: object) -> Any:
        """The first field of a query that answers one row."""
        row = self.row(sql, *parameters)
        return None if row is None else row[0]

    def tell(self, *events: Event) -> None:
        """Have events told after the commit."""
        self.events.extend(events)

    def random(self, size: int) -> bytes:
        """Random bytes."""
        return self.tools.random(size)
