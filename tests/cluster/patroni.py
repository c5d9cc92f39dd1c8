"""A primary and its standby under Patroni and etcd, which decide by themselves who is which."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psycopg

from messageu.testing import postgres
from tests.sockets.client import wait_until

from .servers import signal_all

PATIENCE: Final = 120.0
"""Seconds in which there is a primary, or a standby that has caught up."""

DEPLOY: Final = Path(__file__).resolve().parents[2] / "deploy" / "patroni"
"""The example that is tried here, with the addresses and folders of this machine."""

ETCDS: Final = "192.0.2.21:2379,192.0.2.22:2379,192.0.2.1:2379"
OPERATOR: Final = "postgres:change-me-1"
RELAY: Final = "messageu:change-me-4"
NAMES: Final = ("db1", "db2")


def missing() -> str:
    """Which of the programs that it takes is not there for the servers' user; empty if all are."""
    wanted = [name for name in ("patroni", "etcd") if not _can_run(name)]
    return f"not installed, or not for the servers' user: {', '.join(wanted)}" if wanted else ""


def _can_run(program: str) -> bool:
    try:
        finished = subprocess.run(
            [program, "--version"],
            check=False,
            capture_output=True,
            cwd="/",
            **postgres._as_nobody(),
        )
    except OSError:
        return False
    return finished.returncode == 0


class Member:
    """One server with its Patroni, in a folder of its own.

    :ivar port: of the server; it has another one for questions about how it is.
    """

    def __init__(self, name: str, etcd: int) -> None:
        self.name = name
        self.folder = _new_folder(name)
        self.data = self.folder / "data"
        self.port, self._asked = free_port(), free_port()
        self._config = self.folder / "patroni.yml"
        self._config.write_text(self._describe(etcd), "utf-8")
        shutil.copy(DEPLOY / "post_bootstrap", self.folder)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start Patroni, which starts the server."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["patroni", self._config],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                **postgres._as_nobody(),
            )

    def kill(self) -> None:
        """Kill (-9) Patroni and the server: the machine is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.kill_server()

    def kill_server(self) -> None:
        """Kill (-9) the server only, which Patroni will notice."""
        with suppress(OSError, ValueError):
            signal_all(self, signal.SIGKILL)  # type: ignore[arg-type]

    def remove(self) -> None:
        """Leave nothing behind."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def status(self) -> dict[str, Any]:
        """What Patroni says of its server; nothing, if it says nothing."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._asked}/patroni") as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            return dict(json.load(error))
        except OSError:
            return {}

    def _describe(self, etcd: int) -> str:
        """The example, with other places."""
        text = (DEPLOY / "patroni.yml").read_text("utf-8")
        for old, new in (
            (ETCDS, f"127.0.0.1:{etcd}"),
            ("0.0.0.0:8008", f"127.0.0.1:{self._asked}"),
            ("0.0.0.0:5432", f"127.0.0.1:{self.port}"),
            ("/var/lib/postgresql/18/messageu", str(self.data)),
            ("/usr/lib/postgresql/18/bin", str(postgres._programs())),
            ("/run/postgresql", str(self.folder)),
            ("/etc/patroni", str(self.folder)),
        ):
            assert old in text, old
            text = text.replace(old, new)
        return re.sub(r"192\.0\.2\.\d+/32", "127.0.0.1/32", text)

    @property
    def _environment(self) -> dict[str, str]:
        text = (DEPLOY / "patroni.env").read_text("utf-8")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return {
            **dict(line.split("=", 1) for line in lines),
            "PATRONI_NAME": self.name,
            "PATRONI_RESTAPI_CONNECT_ADDRESS": f"127.0.0.1:{self._asked}",
            "PATRONI_POSTGRESQL_CONNECT_ADDRESS": f"127.0.0.1:{self.port}",
            "PATH": f"{postgres._programs()}:{os.environ['PATH']}",
        }


class PatroniPair:
    """Two members, and the etcd that they ask."""

    def __init__(self) -> None:
        self._folder = _new_folder("etcd")
        client, peer = free_port(), free_port()
        with (self._folder / "log").open("ab") as log:
            self._etcd = subprocess.Popen(
                [
                    *("etcd", "--name", "one", "--data-dir", str(self._folder / "data")),
                    *("--listen-client-urls", f"http://127.0.0.1:{client}"),
                    *("--advertise-client-urls", f"http://127.0.0.1:{client}"),
                    *("--listen-peer-urls", f"http://127.0.0.1:{peer}"),
                    *("--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"),
                    *("--initial-cluster", f"one=http://127.0.0.1:{peer}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **postgres._as_nobody(),
            )
        self.members = [Member(name, client) for name in NAMES]

    def begin(self) -> None:
        """Let the first be the primary."""
        self.members[0].start()
        wait_until(lambda: self._leader() is not None, "there is a primary", PATIENCE)

    def close(self) -> None:
        """Leave nothing behind."""
        for member in self.members:
            member.remove()
        self._etcd.kill()
        self._etcd.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def address(self) -> str:
        """Of both, as ``--database`` takes it."""
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"postgresql://{RELAY}@{hosts}/messageu"

    def renew_standby(self) -> None:
        """Start whoever does not run, and wait until the primary waits for him."""
        leader = self.leader
        for member in self.members:
            if member is not leader and not member.status():
                member.start()
        wait_until(self._is_synchronous, "the standby has caught up", PATIENCE)

    @property
    def leader(self) -> Member:
        """Who is the primary."""
        wait_until(lambda: self._leader() is not None, "there is a primary", PATIENCE)
        leader = self._leader()
        assert leader is not None
        return leader

    def _leader(self) -> Member | None:
        for member in self.members:
            status = member.status()
            if status.get("role") in ("master", "primary") and status.get("state") == "running":
                return member
        return None

    def _is_synchronous(self) -> bool:
        leader = self._leader()
        if leader is None:
            return False
        address = f"postgresql://{OPERATOR}@127.0.0.1:{leader.port}/postgres"
        try:
            with psycopg.connect(address) as connection:
                rows = connection.execute(
                    "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
                ).fetchall()
        except psycopg.Error:
            return False
        return rows == [(1,)]


def free_port() -> int:
    """A port on the loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _new_folder(name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"messageu-{name}-", dir=postgres._temporary()))
    user = postgres._as_nobody()
    if user:
        os.chown(folder, user["user"], user["group"])
    return folder
