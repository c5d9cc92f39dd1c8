"""A migration that kills its own process at a call to PostgreSQL: a child of the tests.

Run with the number of the call, and then the arguments of messageu-admin.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from unittest import mock

import psycopg

from messageu.admin.__main__ import main


@contextmanager
def every_call(called: Callable[[int], object], *, after: str = "") -> Iterator[None]:
    """Tell of each statement, and of each part of a COPY, before it is sent: which one it is.

    :param after: the beginning of the statement behind which is counted.
    """
    numbers = count(1)
    counting = not after

    def execute(cursor: Any, query: str, *arguments: Any, **options: Any) -> Any:
        nonlocal counting
        if counting:
            called(next(numbers))
        counting = counting or query.startswith(after)
        return _execute(cursor, query, *arguments, **options)

    def write(copy: Any, part: bytes) -> None:
        called(next(numbers))
        _write(copy, part)

    with (
        mock.patch.object(psycopg.Cursor, "execute", execute),
        mock.patch.object(psycopg.Copy, "write", write),
    ):
        yield


_execute = psycopg.Cursor.execute
_write = psycopg.Copy.write

BEGUN = "SELECT pg_advisory_unlock"
"""After this statement rows are written."""

if __name__ == "__main__":
    last = int(sys.argv[1])
    with every_call(
        lambda number: number == last and os.kill(os.getpid(), signal.SIGKILL), after=BEGUN
    ):
        sys.exit(main(sys.argv[2:]))
