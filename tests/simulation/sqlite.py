"""The database of a world in SQLite, on a disk.

A kill of the relay is what ``kill -9`` is. The next relay finds on the disk what its ``write`` calls
had brought there: a copy of the database and of its write-ahead log as they are in that moment. It
has to be a copy. The dead relay's connection is still in our process, where SQLite would know of
it, and to close it would tidy up what a crash leaves behind. The shared memory file is not copied:
SQLite makes it anew when nobody else has the database open. What was written and not synced stays,
as it does when only the process dies; what a loss of power leaves is not looked at here.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import ClassVar, Final

from attrs import define

from messageu.store import SqliteEngine, SqliteStore
from messageu.testing.store import sqlite_error
from messageu.testing.threadpool import threadless_pool

from .database import Database, StoreThread

AUDIT: Final = {
    "mailboxes that do not hold what they say": """
        SELECT count(*) FROM (
            SELECT recipient, messages, content FROM mailbox_usage
            UNION ALL SELECT recipient, -1, -size FROM mailbox_waiting
        ) GROUP BY recipient HAVING sum(messages) <> 0 OR sum(content) <> 0""",
    "messages that wait and are not there": """
        SELECT count(*) FROM mailbox_waiting
        WHERE sequence NOT IN (SELECT sequence FROM mailbox_message)""",
    "pieces of no message": """
        SELECT count(*) FROM mailbox_piece
        WHERE message NOT IN (SELECT sequence FROM mailbox_message)
            AND message NOT IN (SELECT message FROM mailbox_rubbish)""",
    "accounts' mailboxes that do not hold what they say": """
        SELECT count(*) FROM (
            SELECT account, messages, content FROM account_mailbox
            UNION ALL SELECT account, -1, -length(sealed) FROM account_mail
        ) GROUP BY account HAVING sum(messages) <> 0 OR sum(content) <> 0""",
    "mail behind the last place": """
        SELECT count(*) FROM account_mailbox JOIN account_mail USING (account)
        WHERE sequence > last_sequence""",
    "mail of accounts that is not known to have come": """
        SELECT count(*) FROM account_mail
        WHERE place NOT IN (SELECT place FROM account_tombstone)""",
}
"""Questions whose answer is 0."""


class DiskCursor(sqlite3.Cursor):
    """A cursor whose disk knows what is executed, before and after."""

    def execute(self, sql, parameters=()):
        return self._watched(super().execute, sql, parameters)

    def executemany(self, sql, rows):
        return self._watched(super().executemany, sql, rows)

    def _watched(self, execute, sql, values):
        disk, relay = self.connection.disk, self.connection.relay
        if disk is None:
            return execute(sql, values)
        disk.before(relay, self.connection, sql)
        result = execute(sql, values)
        disk.step(relay)
        return result


class DiskConnection(sqlite3.Connection):
    """What the store's thread has open.

    :ivar disk: None until the connection is prepared.
    """

    disk = relay = None

    def cursor(self, factory=DiskCursor):
        return super().cursor(factory)


class DiskEngine(SqliteEngine):
    """SQLite on the disk of a world."""

    def __init__(self, disk, relay):
        super().__init__(disk.path)
        self.connect_arguments["factory"] = DiskConnection
        self._disk = disk
        self._relay = relay

    def prepare(self, connection):
        super().prepare(connection)
        # A process that is killed loses nothing that it wrote, synced or not.
        connection.execute("PRAGMA synchronous = OFF")
        if isinstance(connection, DiskConnection):  # not the one that only looks what there is
            connection.disk, connection.relay = self._disk, self._relay


@define(eq=False)
class Disk(Database):
    """Where the database is.

    Any statement may fail, with an error of the disk or of the statement alone.
    """

    lives: int = 1
    _writing: bool = False

    ERRORS: ClassVar = ("SQLITE_IOERR", "SQLITE_ERROR")
    WRITES: ClassVar = ("INSERT", "UPDATE", "DELETE", "COMMIT")

    def __attrs_post_init__(self):
        self.path.parent.mkdir()

    @property
    def folder(self):
        return self.world.folder

    @property
    def path(self):
        return self.folder / str(self.lives) / "defensive.db"

    def make_store(self, relay):
        world = self.world

        def new_pool(engine, clock):
            pool = threadless_pool(engine, clock)
            pool.threadpool = StoreThread(relay.time, world.draw_store_delay)
            return pool

        return SqliteStore(
            self.path,
            relay.time,
            **world.store_options(),
            engine=DiskEngine(self, relay),
            new_pool=new_pool,
        )

    def crash(self, relay):
        self.copy_to(self.folder / str(self.lives + 1))
        self.lives += 1

    def let_go(self, relay):
        if relay.store._held is not None:
            # Our own process would run out of descriptors.
            relay.store._held.let_go()

    def leases(self, relay):
        return len(relay.store._leases._leases)

    def audit(self):
        with closing(sqlite3.connect(self.path)) as connection:
            return [
                (what, sum(count for (count,) in connection.execute(sql)))
                for what, sql in AUDIT.items()
            ]

    def copy_to(self, folder):
        """Copy the database as it is now, with what is in its write-ahead log only."""
        folder.mkdir(exist_ok=True)
        for suffix in ("", "-wal"):
            file = self.path.with_name(self.path.name + suffix)
            if file.exists():
                shutil.copyfile(file, folder / file.name)

    def before(self, relay, connection, sql):
        """A statement is about to be executed."""
        self.step(relay)
        verb, *rest = sql.split(maxsplit=2)
        if verb == "BEGIN":
            self._writing = rest == ["IMMEDIATE"]
        if verb in ("ROLLBACK", "PRAGMA"):
            return
        error = None
        if self.is_full and self._writing and verb in self.WRITES:
            error = "SQLITE_FULL" if verb == "COMMIT" or self.random.random() < 0.2 else None
        elif self.is_failing and self.random.random() < 0.05:
            error = self.random.choice(self.ERRORS)
        if error is not None:
            if self.random.random() < 0.5:  # SQLite may undo everything by itself, or leave it so
                connection.rollback()
            raise sqlite_error(error)
