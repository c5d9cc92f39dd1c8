"""Stores that fail when they are told to."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from messageu.model import ClientId, Envelope, PublicKey, Refusal, UserName
from messageu.store import (
    Directory,
    DirectoryPage,
    Hear,
    IChecked,
    IMailboxStore,
    ISurvey,
    Lease,
    Page,
    Position,
    PutOutcome,
    SqliteEngine,
    StoreError,
    StoreUnavailable,
)

POISON: Final = 254
"""A type of message that :class:`FaultyEngine` cannot insert."""

POISON_KEY_ID: Final = 2**32 - 2
"""An HPKE key id of which it cannot insert an envelope."""

_POISONS: Final = (
    ("mailbox_message", "type", POISON),
    ("account_mail", "hpke_key_id", POISON_KEY_ID),
)


class FaultyEngine(SqliteEngine):
    """SQLite on a disk that fails, for :class:`messageu.store.SqliteStore`.

    Inserting a message of the type POISON, or mail of POISON_KEY_ID, is an error of its statement
    alone.

    :ivar is_full: whether every transaction that writes finds no space.
    :ivar failing_commits: how many of the next commits of transactions that write fail.
    :ivar commits: how many transactions that write were committed.
    """

    is_full = False
    failing_commits = 0
    commits = 0

    def begin(self, cursor: sqlite3.Cursor, writes: bool) -> None:
        super().begin(cursor, writes)
        self._writes = writes
        if writes and self.is_full:
            raise sqlite_error("SQLITE_FULL")
        # Not when it is prepared: then there may be no table yet.
        for table, column, value in _POISONS:
            cursor.execute(
                f"CREATE TEMP TRIGGER IF NOT EXISTS poison_{table} BEFORE INSERT ON {table}"
                f" WHEN NEW.{column} = {value} BEGIN SELECT RAISE(ABORT, 'poison'); END"
            )

    def commit(self, cursor: sqlite3.Cursor) -> None:
        if self._writes and self.failing_commits:
            self.failing_commits -= 1
            raise sqlite_error("SQLITE_IOERR")
        super().commit(cursor)
        self.commits += self._writes


def sqlite_error(name: str) -> sqlite3.OperationalError:
    """An error as SQLite raises it, by the name of its result code."""
    error = sqlite3.OperationalError("told to fail")
    error.sqlite_errorname = name
    error.sqlite_errorcode = getattr(sqlite3, name)
    return error


@implementer(IMailboxStore, IChecked)
class FaultyStore:
    """A store that does what another one does, unless it was told to fail or to be slow.

    Operations are told by the names of their methods.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self._failing: dict[str, type[StoreError]] = {}
        self._slow: set[str] = set()
        self._held: list[tuple[Deferred[Any], Deferred[Any]]] = []

    def fail(self, *names: str, error: type[StoreError] = StoreUnavailable) -> None:
        """From now on these operations fail, and do nothing."""
        self._failing.update(dict.fromkeys(names, error))

    def hold(self, *names: str) -> None:
        """From now on these operations are done, and answered only after :meth:`mend`."""
        self._slow.update(names)

    def mend(self) -> None:
        """Answer what was held back, and do everything again."""
        self._failing.clear()
        self._slow.clear()
        held, self._held = self._held, []
        for done, answer in held:
            done.chainDeferred(answer)

    def open(self) -> None:
        self._store.open()

    def watch(self, hear: Hear) -> None:
        self._store.watch(hear)

    @property
    def surveys(self) -> Mapping[str, ISurvey]:
        """Those of the store; they do not fail."""
        surveys: Mapping[str, ISurvey] = self._store.surveys
        return surveys

    def check(self) -> Deferred[None]:
        return self._call("check")

    def close(self) -> Deferred[None]:
        return self._call("close")

    def register(self, name: UserName, public_key: PublicKey) -> Deferred[ClientId | Refusal]:
        return self._call("register", name, public_key)

    def public_key(self, requester: ClientId, client_id: ClientId) -> Deferred[PublicKey | Refusal]:
        return self._call("public_key", requester, client_id)

    def directory(self, requester: ClientId) -> Deferred[Directory | Refusal]:
        return self._call("directory", requester)

    def directory_page(
        self, directory: Directory, start: int, limit: int
    ) -> Deferred[DirectoryPage]:
        return self._call("directory_page", directory, start, limit)

    def put(self, envelopes: Sequence[Envelope]) -> Deferred[Sequence[PutOutcome]]:
        return self._call("put", envelopes)

    def lease(
        self, requester: ClientId, max_messages: int, max_bytes: int, page: int
    ) -> Deferred[Lease | Refusal]:
        return self._call("lease", requester, max_messages, max_bytes, page)

    def read(self, lease: Lease, start: Position, page: int) -> Deferred[Page]:
        return self._call("read", lease, start, page)

    def settle(self, lease: Lease) -> Deferred[None]:
        return self._end("settle", lease)

    def release(self, lease: Lease) -> Deferred[None]:
        return self._end("release", lease)

    def expire(self, before: float) -> Deferred[int]:
        return self._call("expire", before)

    def _end(self, name: str, lease: Lease) -> Deferred[None]:
        if name in self._failing:
            # A lease whose end fails has ended.
            released: Deferred[None] = self._store.release(lease)
            return released.addCallback(lambda _: self._call(name))
        return self._call(name, lease)

    def _call(self, name: str, *arguments: object) -> Deferred[Any]:
        if name in self._failing:
            return fail(self._failing[name](f"{name} was told to fail"))
        done: Deferred[Any] = getattr(self._store, name)(*arguments)
        if name not in self._slow:
            return done
        answer: Deferred[Any] = Deferred()
        self._held.append((done, answer))
        return answer
