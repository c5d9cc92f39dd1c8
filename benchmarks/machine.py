"""The machine that is measured on: what it is, and the reactor that servers use on it."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from pathlib import Path

from twisted.internet import epollreactor

import twisted


def use_epoll() -> None:
    """Install the reactor that twistd takes on Linux."""
    epollreactor.install()


def describe(directory: Path) -> dict[str, str]:
    """The conditions of a run, in words; ``directory`` is where databases lie."""
    return {
        "processor": f"{processor()}, {os.cpu_count()} logical",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 20} MiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": file_system(directory),
        "Python": sys.version.split()[0],
        "Twisted": twisted.__version__,
        "SQLite": sqlite3.sqlite_version,
    }


def processor() -> str:
    """The processor's name, as the kernel knows it."""
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def file_system(directory: Path) -> str:
    """The kind of file system that a directory lies on."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text("utf-8").splitlines():
        _, point, this, *_ = line.split()
        if directory.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, this
    return kind
