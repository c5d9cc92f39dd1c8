"""``twistd`` with a store that breaks a promise: ``broken.py WAY ARGUMENT...``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import psycopg
from twisted.scripts.twistd import run

from messageu.store.postgres._engine import PostgresEngine
from messageu.store.postgres._runner import PersistentRunner


def _ignore_markers() -> None:
    """Whoever connects again takes his last batch for one that was not committed."""
    take_lane = PersistentRunner._take_lane

    def take(runner: PersistentRunner, cursor: Any) -> int:
        take_lane(runner, cursor)
        return -1

    PersistentRunner._take_lane = take


def _believe() -> None:
    """A commit that was not confirmed is taken for one that was."""
    commit = PostgresEngine.commit

    def believe(engine: PostgresEngine, cursor: Any) -> None:
        with suppress(psycopg.Error, Exception):
            commit(engine, cursor)

    PostgresEngine.commit = believe


WAYS: Final[Mapping[str, Callable[[], None]]] = {
    "ignores markers": _ignore_markers,
    "believes": _believe,
}

if __name__ == "__main__":
    WAYS[sys.argv.pop(1)]()
    run()
