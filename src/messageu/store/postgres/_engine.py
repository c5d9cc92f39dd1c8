"""What is particular to PostgreSQL: how it works in transactions, and fails."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.pq import TransactionStatus

Connection: TypeAlias = psycopg.Connection[Any]
Cursor: TypeAlias = psycopg.Cursor[Any]

STATEMENT_PATIENCE: Final = 8_000
"""Milliseconds after which the server gives up one statement."""

LOCK_PATIENCE: Final = 4_000
"""Milliseconds after which it gives up to wait for a lock."""

IDLE_PATIENCE: Final = 10_000
"""Milliseconds after which it gives up a transaction whose relay says nothing any more, and with it
the locks that others wait for."""

SESSION: Final = (
    f"SET statement_timeout = {STATEMENT_PATIENCE}; SET lock_timeout = {LOCK_PATIENCE};"
    f" SET idle_in_transaction_session_timeout = {IDLE_PATIENCE};"
    # Whatever the server, the database or the address says otherwise: locks are taken to read what
    # was committed before them, and a warning is what tells that a commit did not wait.
    " SET default_transaction_isolation = 'read committed'; SET client_min_messages = warning"
)
BACKGROUND: Final = "; SET synchronous_commit = off"
"""For what is done again if it is lost."""


class Fault(Enum):
    """What is to be done after an error that no single operation is to blame for."""

    AGAIN = auto()
    """The same again: others were in the way."""
    LOST = auto()
    """Connect anew, perhaps to another server, and then the same again."""
    REFUSED = auto()
    """Nothing: the server cannot do it now."""


class CommitUnconfirmedError(Exception):
    """The server says that it has committed, but not that this is where it was to be."""


class LaneForgottenError(Exception):
    """There is no row in which a batch could write its number: others took this relay for gone."""


_AGAIN: Final = frozenset(
    {
        "40001",  # a serialization failure
        "40P01",  # a deadlock
        "55P03",  # a lock that was not to be had
    }
)
_LOST: Final = frozenset(
    {
        "25006",  # a server that was the primary, and is not any more
        "57P01",  # shut down by its administrator
        "57P02",  # after a crash
        "57P03",  # starting up, or shutting down
        "57P05",  # idle for too long
        "25P03",  # idle in a transaction for too long
        "53300",  # too many connections
    }
)
_OUTAGES: Final = frozenset({"53", "57", "58", "XX", "F0", "25"})
"""Classes of errors for which no statement is to blame, and against which nothing helps at once."""
_DAMAGES: Final = frozenset({"XX001", "XX002"})
"""Errors of those classes that only one mailbox may have: of a damaged page of a table or an index."""


class PostgresEngine:
    """PostgreSQL, where a commit is on the disk when it returns, and on that of a synchronous
    standby if there is one.

    :param background: whether what is committed may be lost with the server.
    """

    def __init__(self, *, background: bool = False) -> None:
        self._background = background
        self._warned = False

    def prepare(self, connection: Connection) -> None:
        """Make a new connection ready, and durable."""
        connection.add_notice_handler(self._hear)
        cursor = connection.cursor()
        cursor.execute(SESSION + BACKGROUND if self._background else SESSION)
        if not self._background:
            # Whatever the server's settings say otherwise, short of this, is for its operator to say.
            cursor.execute(
                "SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') = 'off'"
            )

    def begin(self, cursor: Cursor, _: bool) -> None:
        """Begin a transaction, whatever the last one left."""
        self.rollback(cursor)
        cursor.execute("BEGIN")

    def commit(self, cursor: Cursor) -> None:
        """Put on the disk what was written, and only return then.

        :raises CommitUnconfirmedError: when the server has rolled back instead, or warns: a wait
            for the standby that was cut short is no error to it.
        """
        self._warned = False
        cursor.execute("COMMIT")
        if cursor.statusmessage != "COMMIT" or self._warned:
            raise CommitUnconfirmedError

    def rollback(self, cursor: Cursor) -> None:
        """Undo the transaction, if there is one, and a server to hear of it."""
        connection = cursor.connection
        if connection.closed or connection.info.transaction_status is TransactionStatus.IDLE:
            return
        try:
            cursor.execute("ROLLBACK")
        except psycopg.Error:
            # What cannot be rolled back ends with its connection.
            connection.close()

    def savepoint(self, cursor: Cursor) -> None:
        """Begin what can be undone alone."""
        cursor.execute("SAVEPOINT operation")

    def release_savepoint(self, cursor: Cursor) -> None:
        """End what could be undone alone."""
        cursor.execute("RELEASE SAVEPOINT operation")

    def rollback_to_savepoint(self, cursor: Cursor) -> None:
        """Undo what was done since the savepoint."""
        cursor.execute("ROLLBACK TO SAVEPOINT operation")

    def judge(self, error: Exception) -> Fault:
        """What helps after an error that is an outage."""
        state = sqlstate_of(error)
        if isinstance(error, _UNCLEAR) or state in _LOST or state[:2] == "08" or _is_fatal(error):
            return Fault.LOST
        if state in _AGAIN:
            return Fault.AGAIN
        # Without a code of the server's own, it is the connection that has failed.
        lost = not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return Fault.LOST if lost else Fault.REFUSED

    def is_outage(self, error: Exception) -> bool:
        """Whether the server or the connection is at fault, or others were in the way, and not a
        statement."""
        state = sqlstate_of(error)
        is_general = state[:2] in _OUTAGES and state not in _DAMAGES
        return is_general or self.judge(error) is not Fault.REFUSED

    def describe(self, error: Exception) -> str:
        """What kind of error it is. Not its text, which can quote what was to be stored."""
        state = sqlstate_of(error)
        return f"{type(error).__name__} {state}" if state else type(error).__name__

    def _hear(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        self._warned = self._warned or diagnostic.severity_nonlocalized == "WARNING"


_UNCLEAR: Final = (CommitUnconfirmedError, LaneForgottenError)


def _is_fatal(error: Exception) -> bool:
    """Whether the session has ended with it, so that nobody has heard how a COMMIT has ended."""
    said = isinstance(error, psycopg.Error) and error.diag.severity_nonlocalized
    return said in ("FATAL", "PANIC")


def sqlstate_of(error: Exception) -> str:
    """The five characters by which the server names an error; empty if it does not come from there."""
    state = getattr(error, "sqlstate", None)
    # When a connection cannot be made, psycopg guesses a code of class 08.
    return state or ""
