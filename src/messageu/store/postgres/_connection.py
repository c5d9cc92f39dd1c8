"""The one connection of a thread, which may be lost and made anew; and how it is cut from outside."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Lock
from typing import Any, Final

import psycopg
from twisted.enterprise import adbapi

from ._engine import Connection, Cursor

STUCK_AFTER: Final = 12.0
"""Seconds after which a connection is cut on which somebody still waits for the server."""


class Wire:
    """The socket of a connection, as another thread may cut it.

    A thread that waits for a server which says nothing cannot be told so; but it hears that its
    connection is gone.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._descriptor: int | None = None

    def attach(self, descriptor: int) -> None:
        """This is it now."""
        with self._lock:
            self._let_go()
            # A copy: libpq closes its own whenever it likes, and the number may be another's then.
            self._descriptor = os.dup(descriptor)

    def detach(self) -> None:
        """There is none."""
        with self._lock:
            self._let_go()

    def cut(self) -> None:
        """Shut it down, whatever is on its way."""
        with self._lock:
            if self._descriptor is not None:
                with suppress(OSError), socket.socket(fileno=os.dup(self._descriptor)) as wire:
                    wire.shutdown(socket.SHUT_RDWR)

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class LaneConnection(adbapi.Connection):
    """What adbapi gives its thread: a connection that is made when it is asked for, and made anew
    when it is lost. Transactions are not adbapi's to end."""

    def __init__(self, pool: LanePool) -> None:
        self._pool = pool

    def open(self) -> Connection:
        """The connection; another one than the last time if that is lost.

        :raises psycopg.Error: when there is none to be had.
        """
        pool = self._pool
        kept: Connection | None = pool.connections.get(pool.threadID())
        if kept is not None and not kept.closed:
            return kept
        self.drop()
        connection: Connection = pool.connect()
        return connection

    def drop(self) -> None:
        """Let go of the connection, if there is one."""
        pool = self._pool
        pool.wire.detach()
        kept = pool.connections.get(pool.threadID())
        if kept is not None:
            pool.disconnect(kept)

    def commit(self) -> None:
        """Nothing is open any more when a batch has ended."""

    def rollback(self) -> None:
        """The same."""


class LanePool(adbapi.ConnectionPool):
    """adbapi's pool of one connection in one thread.

    :ivar wire: by which the connection can be cut.
    """

    connectionFactory = LaneConnection

    def __init__(
        self,
        parameters: Mapping[str, Any],
        prepare: Callable[[Connection], object],
        reactor: object,
        *,
        application_name: str,
    ) -> None:
        self.wire = Wire()
        self._prepare = prepare
        super().__init__(  # type: ignore[no-untyped-call]
            "psycopg",
            cp_reactor=reactor,
            cp_min=1,
            cp_max=1,
            cp_openfun=self._begin,
            # What follows is for psycopg: each statement is its own transaction, until we say BEGIN.
            autocommit=True,
            **_named(parameters, application_name),
        )

    def close(self) -> None:
        """Nothing runs any more."""
        self.wire.detach()
        super().close()  # type: ignore[no-untyped-call]

    def _begin(self, connection: Connection) -> None:
        """A connection is new: from now on it can be cut."""
        try:
            self.wire.attach(connection.fileno())
            self._prepare(connection)
        except BaseException:
            self.wire.detach()
            connection.close()
            raise


def connect(parameters: Mapping[str, Any], application_name: str) -> Connection:
    """A connection that is nobody's else, for those who may wait.

    :raises psycopg.Error: when there is none to be had.
    """
    return psycopg.connect(autocommit=True, **_named(parameters, application_name))


def _named(parameters: Mapping[str, Any], application_name: str) -> Mapping[str, Any]:
    # Of a database that knows no encoding, psycopg would give names as bytes.
    return {**parameters, "application_name": application_name, "client_encoding": "UTF8"}


__all__ = ["Connection", "Cursor", "LaneConnection", "LanePool", "Wire", "connect"]
