"""Runs what a page says, as its reader would: in a checkout, with real processes and real time.

Nothing of it touches the machine. Ports are free ones, and what a page says of ``/etc``, ``/run``,
``/tmp`` and ``/var`` is in the sandbox; what is seen is compared after both were put back.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Final, cast

from ._blocks import ROOT, Ctrl, Page, Shell, Shown, Step, Terminal

PATIENCE: Final = 60.0
"""Seconds that one step may take on a slow machine."""

PORTS: Final = (1357, 1358, 8404, 9464)
"""What pages call their ports: v2, v3, health, metrics."""

_FOLDERS: Final = re.compile(r"(?<![\w.$}/-])/(?=(?:etc|run|tmp|var)/)")
_CHECKOUT: Final = (
    *("Makefile", "README.md", "myport.info", "pyproject.toml"),
    *("benchmarks", "deploy", "docs", "examples", "fuzz", "tools"),
)


class PageFailed(Exception):
    """What a page says does not happen; the text says where, and what did."""


def run_page(page: Page) -> None:
    """Run a page from its first step to its last.

    :raises PageFailed: at the first step that goes otherwise.
    """
    root = Path(tempfile.mkdtemp(prefix="messageu-page-"))
    try:
        with ExitStack() as stack:
            session = Session(root, stack)
            for step in page.steps:
                try:
                    session.take(step)
                except PageFailed as failed:
                    raise PageFailed(f"{page.name}:{step.line}: {failed}") from None
    finally:
        shutil.rmtree(root, ignore_errors=True)


class Session:
    """A shell that goes on from block to block, and terminals beside it."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self._root = root
        self._stack = stack
        self._ports = free_ports()
        self._folder = make_checkout(root)
        self._environment = self._make_environment()
        self._terminals: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}
        self._count = 0
        stack.callback(end_daemons, root)
        self._shell = self._start(["bash", "-e"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def take(self, step: Step) -> None:
        """Do one step.

        :raises PageFailed: when it goes otherwise.
        """
        match step:
            case Shell():
                self._run(step)
            case Terminal():
                self._open(step)
            case Shown():
                self._await(step.name, pattern_of(step.text))
            case Ctrl():
                self._interrupt(step.name)

    def _run(self, step: Shell) -> None:
        said = self._new_file()
        stdin, stdout = cast("IO[bytes]", self._shell.stdin), cast("IO[bytes]", self._shell.stdout)
        commands = f"{{\n{self._inside(step.commands)}\n}} </dev/null >{said} 2>&1\necho done\n"
        stdin.write(commands.encode())
        stdin.flush()
        ready, _, _ = select.select([stdout], [], [], PATIENCE)
        seen = self._outside(said)
        if not ready:
            raise PageFailed(f"it does not end; it says:\n{seen}")
        if not os.read(stdout.fileno(), 16):
            raise PageFailed(f"it fails; it says:\n{seen}")
        if step.shows is not None and not pattern_of(step.shows).fullmatch(seen):
            raise PageFailed(f"it shows something else:\n{seen}")

    def _open(self, step: Terminal) -> None:
        said = self._new_file()
        with said.open("wb") as output:
            process = self._start(["bash", "-ec", self._inside(step.commands)], stdout=output)
        self._terminals[step.name] = process, said
        self._await(step.name, re.compile(re.escape(step.until)))

    def _await(self, name: str, pattern: re.Pattern[str]) -> None:
        process, said = self._terminals[name]
        deadline = time.monotonic() + PATIENCE
        while True:
            ended = process.poll() is not None or time.monotonic() > deadline
            if pattern.search(self._outside(said)):
                return
            if ended:
                raise PageFailed(f"{name} does not show it, but:\n{self._outside(said)}")
            time.sleep(0.02)

    def _interrupt(self, name: str) -> None:
        process, said = self._terminals.pop(name)
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise PageFailed(f"{name} does not end:\n{self._outside(said)}") from None

    def _start(
        self, command: list[str], *, stdout: int | IO[bytes], stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command,
            bufsize=0,
            cwd=self._folder,
            env=dict(self._environment),
            start_new_session=True,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.STDOUT,
        )
        self._stack.callback(end_process, process)
        return process

    def _new_file(self) -> Path:
        self._count += 1
        path = self._root / f"said-{self._count}"
        path.touch()
        return path

    def _inside(self, text: str) -> str:
        """What a page says, as it is meant here."""
        for port, free in self._ports.items():
            text = re.sub(rf"\b{port}\b", str(free), text)
        return _FOLDERS.sub(f"{self._root}/", text)

    def _outside(self, said: Path) -> str:
        """What is seen here, as a page says it."""
        text = said.read_text("utf-8", "replace").replace(str(self._root), "")
        for port, free in self._ports.items():
            text = re.sub(rf"\b{free}\b", str(port), text)
        return "".join(f"{line.rstrip()}\n" for line in text.strip().splitlines())

    def _make_environment(self) -> Mapping[str, str]:
        here = "interface=127.0.0.1"
        return {
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ.get('PATH', os.defpath)}",
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self._root / "tmp"),
            # The environment is there: make need not make it.
            "PYTHON": "true",
            # What a relay would listen on by default, and what a client would ask for at a terminal.
            "MESSAGEU_ENDPOINT": f"tcp:{self._ports[1357]}:{here}",
            "MESSAGEU_V3": f"tcp:{self._ports[1358]}:{here}",
            "MESSAGEU_PASSPHRASE": "correct horse battery staple",
        }


def pattern_of(shown: str) -> re.Pattern[str]:
    """What a block of output stands for: ``…`` is anything in a line, and alone any lines."""
    return re.compile(
        "".join(_pattern_of_line(line.rstrip()) for line in shown.strip().splitlines())
    )


def _pattern_of_line(line: str) -> str:
    if line == "…":
        return "(?:[^\n]*\n)*"
    return re.escape(line).replace("…", "[^\n]*") + "\n"


def free_ports() -> Mapping[int, int]:
    """A free port of the loopback for each that pages name."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
        return {
            port: listener.getsockname()[1] for port, listener in zip(PORTS, listeners, strict=True)
        }


def make_checkout(root: Path) -> Path:
    """What the reader of a page has before him: a checkout whose environment is made."""
    for folder in ("etc", "run", "tmp", "var/backups", "var/lib/messageu", "var/log"):
        (root / folder).mkdir(parents=True)
    checkout = root / "messageu"
    checkout.mkdir()
    for name in _CHECKOUT:
        if (ROOT / name).exists():
            (checkout / name).symlink_to(ROOT / name)
    (checkout / ".venv").symlink_to(sys.prefix)
    return checkout


def end_process(process: subprocess.Popen[bytes]) -> None:
    """Nothing that was started here outlives its page."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def end_daemons(root: Path) -> None:
    """Nor do daemons, which have left their numbers in the sandbox."""
    for file in root.glob("run/*.pid"):
        with suppress(ProcessLookupError, ValueError):
            os.kill(int(file.read_text("ascii")), signal.SIGKILL)
