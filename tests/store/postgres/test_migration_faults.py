"""Migrations that are killed, or whose server fails, at any statement, and are begun again."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any, ClassVar
from unittest import mock
from uuid import uuid4

import psycopg

from messageu.store import StoreUnusable
from messageu.store.postgres import PostgresAddress, _schema
from tests.sockets.client import PATIENCE
from tests.torture import report, scaled

from . import killed_migration
from .killed_migration import BEGUN, every_call
from .moving import MovingCase, dump

KILLS = scaled(3, 60)


class _Broken(psycopg.OperationalError):
    """The server is gone, as far as one can see."""


class FaultTests(MovingCase):
    """Faults at each call, and what is there in the end."""

    expected: ClassVar[dict[str, Any]] = {}
    calls: ClassVar[int] = 0

    def setUp(self) -> None:
        super().setUp()
        if not self.expected:
            type(self).expected = self.undisturbed()
        self.schema = self.make_schema()
        self.looking = psycopg.connect(self.schema.address, autocommit=True)
        self.addCleanup(self.looking.close)

    def undisturbed(self) -> dict[str, Any]:
        """What is there after a migration of which nothing fails."""
        whole = self.make_schema()
        with every_call(self.count, after=BEGUN):
            self.migrate(whole)
        return dump(whole)

    def count(self, number: int) -> None:
        """So many calls write and compare."""
        type(self).calls = number

    def check(self) -> None:
        """All is there, and once, and relays start."""
        self.migrate(self.schema)
        self.assertEqual(dump(self.schema), self.expected)
        self.start_relay()

    def start_relay(self) -> None:
        """What a relay does first."""
        _schema.open_database(PostgresAddress.parse(self.schema.address), uuid4().hex)

    def is_begun(self) -> bool:
        """Whether something may be there; if so, no relay starts before all is."""
        there = self.looking.execute("SELECT to_regclass('relay_migration') IS NOT NULL")
        if there.fetchone() != (True,):
            return False
        finished = self.looking.execute("SELECT finished FROM relay_migration").fetchall()
        if finished == [(None,)]:
            self.assertRaises(StoreUnusable, self.start_relay)
        return finished == [(None,)]

    def fail_at(self, last: int, after: str = "") -> bool:
        """Migrate, but that a call fails: whether there was no such call, and all is done."""

        def fail(number: int) -> None:
            if number == last:
                raise _Broken("told to fail")

        with every_call(fail, after=after):
            try:
                self.migrate(self.schema)
            except StoreUnusable as error:
                self.assertIn("told to fail", str(error))
                return False
        return True

    def test_each_call_before(self) -> None:
        """Whatever fails before anything is written, it can be done again."""
        failed = 0
        while not self.is_begun():
            failed += 1
            self.assertFalse(self.fail_at(failed))
        self.assertGreater(failed, 20)
        self.check()

    def test_each_call(self) -> None:
        """Each attempt fails one call later than the one before, and what it has committed stays:
        in the end everything is there once."""
        failed = 0
        while not self.fail_at(failed + 1, BEGUN):
            failed += 1
            self.assertTrue(self.is_begun())
        self.assertGreater(failed, 10)
        self.check()

    def test_commits_of_which_nothing_is_heard(self) -> None:
        """When the connection is lost behind each commit, the next attempt goes on behind it."""
        execute = psycopg.Cursor.execute
        lost = 0

        def lose(cursor: Any, query: Any, *arguments: Any, **options: Any) -> Any:
            nonlocal lost
            result = execute(cursor, query, *arguments, **options)
            if query == "COMMIT":
                lost += 1
                cursor.connection.close()
                raise _Broken("told to fail")
            return result

        with mock.patch.object(psycopg.Cursor, "execute", lose):
            for _ in range(self.calls):
                try:
                    self.assertTrue(self.migrate(self.schema).before)
                    break
                except StoreUnusable as error:
                    self.assertIn("told to fail", str(error))
        self.assertGreater(lost, 20)
        self.assertEqual(dump(self.schema), self.expected)

    def test_killed(self) -> None:
        """Killed at whatever call, the process leaves what the next one goes on with."""
        command = [sys.executable, killed_migration.__file__]
        arguments = ["migrate", "--from", str(self.source.path), "--to", self.schema.address]
        killed = 0
        for last in range(2, self.calls, max(1, self.calls // (4 * KILLS))):
            finished = subprocess.run(
                [*command, str(last), *arguments],
                capture_output=True,
                check=False,
                timeout=PATIENCE,
                text=True,
            )
            if finished.returncode == 0:
                break
            self.assertEqual(finished.returncode, -signal.SIGKILL, finished.stderr)
            killed += 1
            self.assertTrue(self.is_begun())
            if killed == KILLS:
                break
        report("a migration is killed", kills=killed)
        self.assertGreater(killed, 1)
        self.check()
