"""``twistd`` with other settings of the database: ``tuned.py PRAGMAS ARGUMENT...``."""

from __future__ import annotations

import sqlite3
import sys

from twisted.scripts.twistd import run

from messageu.store import SqliteEngine

_prepare = SqliteEngine.prepare


def _tune(pragmas: list[str]) -> None:
    def prepare(engine: SqliteEngine, connection: sqlite3.Connection) -> None:
        _prepare(engine, connection)
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()

    SqliteEngine.prepare = prepare


if __name__ == "__main__":
    _tune(sys.argv.pop(1).split(","))
    run()
