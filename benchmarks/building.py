"""The programs in C, compiled when their sources are newer."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = ROOT / "build" / "benchmarks"
FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
PROGRAMS = {
    "load": sorted((HERE / "load").glob("*.c")),
    "responder": [HERE / "responder.c"],
}
HEADERS = sorted((HERE / "load").glob("*.h"))


def compiler() -> str | None:
    """The C compiler, if there is one."""
    return shutil.which("gcc")


def build(name: str) -> Path:
    """The program of this name.

    :raises SystemExit: when there is no compiler, or it finds fault.
    """
    gcc = compiler()
    if gcc is None:
        raise SystemExit("bench: gcc is needed for the load generator")
    program = BUILD / name
    sources = PROGRAMS[name]
    newest = max(source.stat().st_mtime for source in [*sources, *HEADERS])
    if not program.exists() or program.stat().st_mtime < newest:
        BUILD.mkdir(parents=True, exist_ok=True)
        made = program.with_suffix(f".{os.getpid()}")
        finished = subprocess.run([gcc, *FLAGS, "-o", made, *sources], check=False)
        if finished.returncode:
            raise SystemExit(f"bench: {name} cannot be compiled")
        made.replace(program)
    return program


if __name__ == "__main__":
    for name in PROGRAMS:
        print(build(name))
