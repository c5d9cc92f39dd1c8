"""The connection of a lane: how it is cut by another thread, and what is told of it."""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

import psycopg
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from messageu.store.postgres import LanePool
from messageu.store.postgres._connection import Wire, connect
from messageu.testing.threadpool import threadless

from .fixtures import PATIENCE, make_schema

SECRET = "hunter2"


class WireTests(SynchronousTestCase):
    """A pair of sockets, of which one is libpq's."""

    def setUp(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        for each in (self.ours, self.theirs):
            each.setblocking(False)
            self.addCleanup(each.close)
        self.wire = Wire()
        self.addCleanup(self.wire.detach)

    def is_cut(self) -> bool:
        try:
            return self.theirs.recv(1) == b""
        except BlockingIOError:
            return False

    def test_cut(self) -> None:
        """What is cut is over for both ends, at once, and to cut it again does nothing."""
        self.wire.attach(self.ours.fileno())
        self.assertFalse(self.is_cut())
        for _ in range(2):
            self.wire.cut()
            self.assertTrue(self.is_cut())
            self.assertEqual(self.ours.recv(1), b"")

    def test_nothing_to_cut(self) -> None:
        """Where there is no connection there is nothing to cut."""
        self.wire.cut()
        self.wire.attach(self.ours.fileno())
        self.wire.detach()
        self.wire.detach()
        self.wire.cut()
        self.assertFalse(self.is_cut())

    def test_another(self) -> None:
        """Only the last connection is cut."""
        other, end = socket.socketpair()
        self.addCleanup(other.close)
        self.addCleanup(end.close)
        self.wire.attach(self.ours.fileno())
        self.wire.attach(other.fileno())
        self.wire.cut()
        self.assertFalse(self.is_cut())
        self.assertEqual(end.recv(1), b"")

    def test_number_is_used_again(self) -> None:
        """A connection that libpq has closed may be cut: nothing else is that has its number now."""
        self.wire.attach(self.ours.fileno())
        number = self.ours.detach()
        socket.close(number)
        other, end = socket.socketpair()
        self.addCleanup(other.close)
        self.addCleanup(end.close)
        end.setblocking(False)
        self.assertIn(number, (other.fileno(), end.fileno()))
        self.wire.cut()
        self.assertRaises(BlockingIOError, end.recv, 1)

    def test_wakes_a_thread(self) -> None:
        """A thread that waits for a server that says nothing hears that its connection is gone."""
        schema = make_schema()
        self.addCleanup(schema.remove)
        connection = psycopg.connect(schema.address, autocommit=True)
        self.addCleanup(connection.close)
        self.wire.attach(connection.fileno())
        errors: list[BaseException] = []

        def wait() -> None:
            try:
                connection.execute("SELECT pg_sleep(1000)")
            except psycopg.OperationalError as error:
                errors.append(error)

        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        self.wire.cut()
        waiting.join(PATIENCE)
        self.assertEqual(len(errors), 1)
        self.assertTrue(connection.closed)


class PoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def pool(self, prepare: Any = lambda _: None, **parameters: str) -> LanePool:
        pool = threadless(
            LanePool, Clock(), {**parameters, "password": SECRET}, prepare, application_name="me"
        )
        self.addCleanup(pool.close)
        return pool

    def test_no_password_is_told(self) -> None:
        """Neither a pool, nor its failure to connect, nor its log says a password."""
        pool = self.pool(host="/nowhere")
        error = self.assertRaises(psycopg.OperationalError, pool.connect)
        told = (
            f"{error!r} {error} {error.diag.message_primary} {pool!r} {pool.wire!r} {self.events}"
        )
        self.assertNotIn(SECRET, told)

    def test_useless_connection(self) -> None:
        """A connection that cannot be made ready is closed, and nothing of it can be cut."""
        made: list[psycopg.Connection[Any]] = []

        def prepare(connection: psycopg.Connection[Any]) -> None:
            made.append(connection)
            raise psycopg.errors.DiskFull

        schema = make_schema()
        self.addCleanup(schema.remove)
        parameters = psycopg.conninfo.conninfo_to_dict(schema.address)
        pool = self.pool(prepare, **{name: str(value) for name, value in parameters.items()})
        self.assertRaises(psycopg.errors.DiskFull, pool.connect)
        self.assertTrue(made[0].closed)
        self.assertEqual(pool.connections, {})
        pool.wire.cut()

    def test_name(self) -> None:
        """A connection has the name by which it is found again, whatever an address says."""
        schema = make_schema()
        self.addCleanup(schema.remove)
        parameters = psycopg.conninfo.conninfo_to_dict(schema.address, application_name="theirs")
        connection = connect(parameters, "ours")
        self.addCleanup(connection.close)
        shown = connection.execute("SHOW application_name").fetchone()
        self.assertEqual(shown, ("ours",))
        self.assertEqual(logging.getLogger("psycopg").handlers, [])
