"""Moving everything from an SQLite database to PostgreSQL, as its operator sees it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import define

if TYPE_CHECKING:
    from messageu.store import Left

BAR: Final = 20
"""Characters of a whole bar."""

_WIDTH: Final = BAR + 20

_SCHEMES: Final = ("postgresql:", "postgres:")
"""By which an address is known that was taken for a path, and so has fewer slashes."""


class WrongAddress(Exception):
    """This is not what it should be the address of; the text says so without quoting it."""


class ExtraMissing(Exception):
    """What speaks to PostgreSQL is not installed; the text says what to do."""


def migrate(database: Path, address: str) -> Iterator[str]:
    """Move everything; what there is to say of it, in lines.

    :raises ExtraMissing: without psycopg.
    :raises WrongAddress: before anything is done.
    :raises StoreUnusable: when it cannot be done.
    """
    try:
        # An extra, without which all other commands work.
        from messageu.store import postgres
    except ImportError:
        raise ExtraMissing("for a PostgreSQL database install messageu[postgres]") from None
    if str(database).startswith(_SCHEMES):
        raise WrongAddress("--from is the path of an SQLite database")
    if not address.startswith(postgres.SCHEMES):
        raise WrongAddress("--to is an address such as postgresql://user@host/database")
    try:
        target = postgres.PostgresAddress.parse(address)
    except postgres.BadAddress as error:
        raise WrongAddress(f"--to: {error}") from None
    advance = _Advance()
    try:
        moved = postgres.migrate(database.absolute(), target, advance.tell)
    finally:
        advance.end()
    if moved.before:
        yield f"{target.shown}: everything was moved here before; nothing was done"
        return
    for table, total in moved.sums.items():
        yield f"{table}: {total}"
    yield from _left_behind(moved.left)
    yield f"{target.shown}: everything is there, as it is in {database}"


def _left_behind(left: Left) -> Iterator[str]:
    for count, what in (
        (left.clients, "clients of another server, in quarantine"),
        (left.messages, "messages of another server, in quarantine"),
        (left.strays, "messages to clients that are not there"),
        (left.envelopes, "envelopes of accounts that were deleted"),
    ):
        if count:
            yield f"left behind: {count} {what}"


@define
class _Advance:
    """Shows how far it is: a bar on a terminal, and elsewhere a line for each thing that is done."""

    _shown: tuple[str, int] = ("", 0)

    def tell(self, name: str, done: int, total: int) -> None:
        """So much of this is done."""
        percent = done * 100 // max(1, total)
        if (name, percent) == self._shown:
            return
        before, self._shown = self._shown, (name, percent)
        if sys.stderr.isatty():
            bar = "#" * (percent * BAR // 100)
            print(
                f"\r{name:<9} [{bar:<{BAR}}] {percent:3} %", end="\r", file=sys.stderr, flush=True
            )
        elif before[0] != name:
            print(name, flush=True)

    def end(self) -> None:
        """Nothing of the bar is to be seen any more."""
        if sys.stderr.isatty():
            print(" " * _WIDTH, end="\r", file=sys.stderr, flush=True)
