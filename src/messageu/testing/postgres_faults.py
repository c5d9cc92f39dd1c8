"""Connections to PostgreSQL that fail when they are told to: on a real server, at any statement."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import psycopg
from attrs import define, field

from messageu.store.postgres import LanePool

Execute: TypeAlias = Callable[[], Any]
"""Executes the statement that was meant to be."""

Fault: TypeAlias = Callable[["FaultyConnection", Execute], Any]
"""What becomes of a statement instead: it is given a way to execute it all the same."""


def fails(sqlstate: str) -> Fault:
    """The server refuses the statement with such an error, and goes on."""

    def fault(connection: FaultyConnection, _: Execute) -> Any:
        return connection.tell(
            f"DO $$ BEGIN RAISE EXCEPTION 'told to fail' USING ERRCODE = '{sqlstate}'; END $$"
        )

    return fault


def ended(connection: FaultyConnection, _: Execute) -> Any:
    """The server ends the session instead, as its operator can make it do, and says so."""
    return connection.tell("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(10)")


def cut_before(connection: FaultyConnection, execute: Execute) -> Any:
    """The connection is lost before the server has heard of the statement."""
    connection.cut()
    return execute()


def cut_after(connection: FaultyConnection, execute: Execute) -> Any:
    """The server has done it, and nobody hears its answer."""
    execute()
    connection.cut()
    return connection.tell("SELECT 1")


@define
class Plan:
    """Which of the next statements fail, and how, over all connections that follow it.

    :ivar faults: by the place of a statement since it was told, from 0 on.
    :ivar statements: what was to be executed since then, in order.
    :ivar is_away: whether there is no server to be reached any more.
    :ivar attempts: how often a connection was asked for.
    """

    faults: Mapping[int, Fault] = field(factory=dict)
    statements: list[str] = field(factory=list)
    is_away: bool = False
    attempts: int = 0

    def tell(self, faults: Mapping[int, Fault]) -> None:
        """Begin to count, and fail so."""
        self.faults, self.statements = faults, []

    def connect(self, **parameters: Any) -> FaultyConnection:
        """A connection that follows this plan.

        :raises psycopg.OperationalError: when there is none to be had.
        """
        self.attempts += 1
        if self.is_away:
            raise psycopg.OperationalError("told that nobody is there")
        connection = FaultyConnection.connect(**parameters)
        assert isinstance(connection, FaultyConnection)
        connection.plan = self
        return connection

    def execute(self, connection: FaultyConnection, statement: str, execute: Execute) -> Any:
        """Execute a statement, or do to it what is meant for it."""
        place = len(self.statements)
        self.statements.append(statement)
        if self.is_away:
            connection.cut()
        fault = self.faults.get(place)
        return execute() if fault is None else fault(connection, execute)


class FaultyCursor(psycopg.Cursor[Any]):
    """Asks the plan of its connection what becomes of each statement."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        plan = getattr(self.connection, "plan", None)
        if plan is None:
            return super().execute(query, params, **options)
        run = super().execute
        return plan.execute(self.connection, str(query), lambda: run(query, params, **options))


class FaultyConnection(psycopg.Connection[Any]):
    """A connection whose statements fail as a plan says.

    :ivar plan: that one; None while it is being made.
    """

    plan: Plan | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.cursor_factory = FaultyCursor

    def tell(self, statement: str) -> Any:
        """Execute something that is in no plan."""
        return psycopg.Cursor(self).execute(statement)

    def cut(self) -> None:
        """Lose the connection, as when a cable is pulled."""
        with socket.socket(fileno=os.dup(self.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)


class FaultyPool(LanePool):
    """A lane's pool, whose connections follow a plan."""

    def __init__(self, plan: Plan, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # All that adbapi asks of the module is how to connect.
        self.dbapi = plan
