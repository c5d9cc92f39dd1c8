"""Servers and loads as real processes on loopback, and what the kernel says of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any, Self

from attrs import define, field, frozen

from benchmarks.building import build

START_SECONDS = 60.0
STOP_SECONDS = 30.0
LOAD_SECONDS = 900.0
TICKS = os.sysconf("SC_CLK_TCK")


def _nothing(*_: object) -> None:
    pass


def _as_it_is(_port: int, _directory: Path) -> Mapping[str, str]:
    return {}


@frozen
class Recipe:
    """How a server is started, on a port and in an empty directory.

    :ivar prepare: is called before the start, ``greet`` when it listens, ``after`` at its end.
    """

    name: str
    command: Callable[[int, Path], Sequence[str]]
    environment: Callable[[int, Path], Mapping[str, str]] = _as_it_is
    prepare: Callable[[int, Path], None] = _nothing
    greet: Callable[[int], None] = _nothing
    after: Callable[[int], None] = _nothing


@define
class Server:
    """A running server; a context manager which ends it and removes its directory."""

    recipe: Recipe
    scratch: Path
    directory: Path = field(init=False)
    port: int = field(init=False)
    _process: subprocess.Popen[bytes] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.directory = Path(mkdtemp(prefix=f"{self.recipe.name}-", dir=self.scratch))
        self.port = free_port()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def database(self) -> Path:
        """Where a relay of ours keeps its mail."""
        return self.directory / "relay.db"

    def __enter__(self) -> Self:
        recipe, port, directory = self.recipe, self.port, self.directory
        recipe.prepare(port, directory)
        with (directory / "output.log").open("wb") as log:
            self._process = subprocess.Popen(
                recipe.command(port, directory),
                cwd=directory,
                env={**os.environ, **recipe.environment(port, directory)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._await_port()
            recipe.greet(port)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        shutil.rmtree(self.directory, ignore_errors=True)

    def stop(self) -> None:
        """End the process, and keep its directory."""
        self._end()

    def _await_port(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        log = (self.directory / "output.log").read_text("utf-8", "replace")
        raise SystemExit(f"bench: {self.recipe.name} does not start:\n{log[-2000:]}")

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()
        self.recipe.after(self.port)

    def cpu_seconds(self) -> float:
        """Processor time that the server, its threads and its children have used."""
        return sum(map(_ticks, _family(self.pid))) / TICKS

    def memory(self, field_name: str = "VmRSS") -> int:
        """Bytes of memory: resident now, or ``VmHWM``, the most since :meth:`forget_peak`."""
        for line in Path(f"/proc/{self.pid}/status").read_text("ascii").splitlines():
            if line.startswith(field_name):
                return int(line.split()[1]) * 1024
        raise KeyError(field_name)

    def forget_peak(self) -> None:
        """From now on ``VmHWM`` begins anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", "ascii")


def _family(pid: int) -> Iterator[int]:
    """A process and all that it has started."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError):  # the thread has ended
            for child in path.read_text("ascii").split():
                yield from _family(int(child))


def _ticks(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii")
    except FileNotFoundError:
        return 0
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@frozen
class Outcome:
    """What a load reported, and how busy both sides were, as parts of one processor."""

    figures: Mapping[str, Any]
    server_busy: float
    load_busy: float

    def __getitem__(self, name: str) -> float:
        return float(self.figures[name])


def load_command(port: int, mode: str, options: Mapping[str, object]) -> Sequence[str]:
    """The load generator's command line; True stands for a switch."""
    command = [str(build("load")), mode, "--port", str(port)]
    for name, value in options.items():
        if value is None:
            continue
        command.append(f"--{name.replace('_', '-')}")
        if value is not True:
            command.append(str(value))
    return command


def run_load(server: Server, mode: str, **options: object) -> Outcome:
    """Load a server, and wait for the end.

    :raises SystemExit: when an answer was wrong or refused: such figures mean nothing.
    """
    began, busy = time.monotonic(), server.cpu_seconds()
    used = sum(os.times()[2:4])
    finished = subprocess.run(
        load_command(server.port, mode, options),
        capture_output=True,
        check=False,
        text=True,
        timeout=LOAD_SECONDS,
    )
    if finished.returncode:
        raise SystemExit(f"bench: {mode} on {server.recipe.name}: {finished.stderr.strip()}")
    figures = json.loads(finished.stdout)
    if figures.get("errors") or figures.get("wrong"):
        raise SystemExit(
            f"bench: {mode} on {server.recipe.name}: {figures['errors']} refused, "
            f"{figures['wrong']} wrong; {finished.stderr.strip()}"
        )
    seconds = time.monotonic() - began
    return Outcome(
        figures,
        (server.cpu_seconds() - busy) / seconds,
        (sum(os.times()[2:4]) - used) / seconds,
    )
