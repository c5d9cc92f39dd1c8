"""A primary and its standby, which can be killed, hang, and take each other's place."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import psycopg

from messageu.testing.postgres import PostgresServer
from tests.sockets.client import wait_until

from .gate import Gate

SETTINGS: Final = ("max_connections=60", "shared_buffers=64MB", "max_wal_size=512MB")
"""Of both servers. What is written is synced, as by default."""

PATIENCE: Final = 60.0
"""Seconds in which a standby has caught up."""

STANDBYS: Final = "*"
"""Any standby will do."""


def processes_of(server: PostgresServer) -> list[int]:
    """The server's first process, and then its others."""
    first = int((server.data / "postmaster.pid").read_text("ascii").split("\n", 1)[0])
    children = Path(f"/proc/{first}/task/{first}/children").read_text("ascii").split()
    return [first, *map(int, children)]


def signal_all(server: PostgresServer, number: signal.Signals) -> None:
    """Send a signal to all processes of a server, of which the first makes the others."""
    for process in processes_of(server):
        with suppress(ProcessLookupError):
            os.kill(process, number)


class Pair:
    """Two places for servers, each behind a gate, by which relays reach what is there.

    :param settings: of both servers.
    :ivar gates: of both places.
    :ivar primary: which of the places has the primary: 0 or 1.
    :ivar lone: whether the primary has no standby, and does not wait for one.
    """

    def __init__(self, *settings: str) -> None:
        first = PostgresServer.made(*(settings or SETTINGS))
        self._servers: list[PostgresServer | None] = [first, None]
        self.gates = (Gate(), Gate())
        self.primary = 0
        self.lone = True
        self._open()

    def close(self) -> None:
        """Leave nothing behind."""
        for gate in self.gates:
            gate.close()
        for server in self._servers:
            if server is not None:
                with suppress(OSError):
                    signal_all(server, signal.SIGCONT)
                server.kill()
                server.remove()

    @property
    def address(self) -> str:
        """Of both, as ``--database`` takes it."""
        return "postgresql://messageu@{}/postgres".format(
            ",".join(f"127.0.0.1:{gate.port}" for gate in self.gates)
        )

    def __getitem__(self, place: int) -> PostgresServer:
        server = self._servers[place]
        assert server is not None
        return server

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """What an operator does at the primary."""
        return self[self.primary].execute(statement)

    # The standby.

    def renew_standby(self) -> None:
        """Copy the primary to the other place, and wait for the copy from then on."""
        other = 1 - self.primary
        old = self._servers[other]
        if old is not None:
            old.kill()
            old.remove()
        self._servers[other] = self[self.primary].standby()
        self._open()
        self.wait_for_it()

    def wait_for_it(self) -> None:
        """Let no commit return that the standby does not have."""
        self.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBYS}'")
        self.execute("SELECT pg_reload_conf()")
        self.lone = False
        self.wait_until_synchronous()

    def wait_until_synchronous(self) -> None:
        """Wait until the standby has what the primary has committed."""
        wait_until(self._is_synchronous, "the standby has caught up", PATIENCE)

    def _is_synchronous(self) -> bool:
        rows = self.execute(
            "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
            " AND state = 'streaming' AND flush_lsn >= pg_current_wal_flush_lsn() - 65536"
        )
        return rows == [(1,)]

    def stop_waiting(self) -> None:
        """Let commits return that no standby has."""
        self.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        self.execute("SELECT pg_reload_conf()")

    def kill_standby(self) -> None:
        """Kill it; its data stays."""
        self._kill(1 - self.primary)

    def start_standby(self) -> None:
        """Start it where it was killed."""
        self[1 - self.primary].start()

    # The primary.

    def kill_primary(self) -> None:
        """Kill it: nothing of it is used any more."""
        self._kill(self.primary)

    def promote(self) -> None:
        """Make the standby the primary, which waits for nobody, as nobody follows it."""
        other = 1 - self.primary
        self[other].execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        self[other].promote()
        self.primary = other
        self.lone = True
        self._open()

    def restart_primary(self) -> None:
        """Start it where it was killed."""
        self[self.primary].start()

    def hang(self, place: int) -> None:
        """Stop all its processes, so that it says nothing."""
        signal_all(self[place], signal.SIGSTOP)

    def wake(self, place: int) -> None:
        """Let it go on."""
        signal_all(self[place], signal.SIGCONT)

    def disconnect(self) -> None:
        """Have the primary end what relays do there."""
        with suppress(psycopg.Error):
            self.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'messageu %'"
            )

    def _kill(self, place: int) -> None:
        server = self[place]
        processes = processes_of(server)
        server.kill()
        wait_until(lambda: not any(map(_is_alive, processes)), "the server is gone")
        # Its first process may still be listed, as nobody has asked how it ended.
        for left in (server.data / "postmaster.pid", server.folder / ".s.PGSQL.5432.lock"):
            left.unlink(missing_ok=True)

    def _open(self) -> None:
        for gate, server in zip(self.gates, self._servers, strict=True):
            gate.targets = () if server is None else (server.folder / ".s.PGSQL.5432",)


def _is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def now() -> float:
    """Seconds, of the clock that all processes of this machine share."""
    return time.monotonic()
