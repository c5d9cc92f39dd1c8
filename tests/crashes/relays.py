"""Relays on a disk that fails when it is told to, and what their clients find afterwards."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests.processes.children import ANY_PORT, COMMANDS, ProcessTestCase, Relay, one_port
from tests.sockets.client import SocketClient

from .disk import FaultyDisk
from .history import Findings, History
from .workload import Clients

TUNED = Path(__file__).resolve().with_name("tuned.py")

OFTEN = "wal_autocheckpoint=40"
"""The log is moved into the database each time that it has 40 pages, so that a short workload
meets that, too."""


class CrashTestCase(ProcessTestCase):
    """Tests with relays on a disk.

    :ivar disk: the disk.
    :ivar history: what has been done on it.
    :ivar clients: who has done it.
    :ivar pragmas: settings of the relays' databases.
    """

    pragmas = OFTEN

    def setUp(self) -> None:
        super().setUp()
        self.new_disk()

    def new_disk(self, *, logs: bool = False) -> None:
        """An empty disk, which nobody has used."""
        self._disks = getattr(self, "_disks", 0) + 1
        self.disk = FaultyDisk(self.folder / f"{self._disks}", logs=logs)
        self.environment = self.disk.environment
        self.history = History()
        self.clients = Clients(self.history, self.dial)
        self.relay: Relay | None = None

    def command(self, way: str, *options: str, before: tuple[str, ...] = ()) -> list[str]:
        _, *own = COMMANDS[way]
        return [
            sys.executable,
            str(TUNED),
            self.pragmas,
            *own,
            *before,
            "messageu",
            *one_port(options),
        ]

    @property
    def database(self) -> Path:
        """Where the relay on the disk has its database."""
        return self.disk.folder / "defensive.db"

    def serve(self) -> Relay:
        """Start a relay on the disk.

        :raises RuntimeError: when it ends instead.
        """
        self.relay = self.start(*ANY_PORT, "-d", str(self.database))
        return self.relay

    def dial(self) -> SocketClient:
        """A connection to the relay."""
        assert self.relay is not None
        return self.relay.dial()

    def check(self) -> Findings:
        """What waits is what must wait, and who was registered is."""
        findings = self.history.check(self.clients.look())
        self.assertEqual(findings.wrong, {})
        self.assertEqual(self.clients.who_is_missing(), [])
        return findings

    def check_database(self) -> None:
        """The database is whole, when no relay uses it."""
        self.assertEqual(faults_of(self.database), [])


_FAULTS = (
    "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
    (
        "SELECT 'piece of nothing', message FROM mailbox_piece WHERE message NOT IN"
        " (SELECT sequence FROM mailbox_message UNION SELECT message FROM mailbox_rubbish)"
    ),
    (
        "SELECT 'rubbish that is a message', message FROM mailbox_rubbish WHERE message IN"
        " (SELECT sequence FROM mailbox_message)"
    ),
    (
        "SELECT 'index of nothing', sequence FROM mailbox_waiting WHERE sequence NOT IN"
        " (SELECT sequence FROM mailbox_message)"
    ),
    (
        "SELECT 'not in the index', sequence FROM mailbox_message WHERE sequence <="
        " (SELECT value FROM mailbox_meta WHERE name = 'last_indexed') AND sequence NOT IN"
        " (SELECT sequence FROM mailbox_waiting)"
    ),
    (
        "SELECT 'number to come again', sequence FROM mailbox_message WHERE sequence >"
        " (SELECT value FROM mailbox_meta WHERE name = 'last_sequence')"
    ),
    (
        "SELECT 'message of nobody', sequence FROM mailbox_message WHERE recipient NOT IN"
        " (SELECT key FROM mailbox_client)"
    ),
)


def faults_of(database: Path) -> list[object]:
    """What is not as it should be in a database that nobody uses."""
    with closing(sqlite3.connect(database)) as connection:
        return [row for query in _FAULTS for row in connection.execute(query)]


def spread(total: int, wanted: int) -> Sequence[int]:
    """So many numbers from 1 to a total, evenly; all of them if there are no more."""
    if wanted >= total:
        return range(1, total + 1)
    return sorted({1 + each * (total - 1) // max(1, wanted - 1) for each in range(wanted)})
