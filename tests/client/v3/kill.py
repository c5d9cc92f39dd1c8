"""Killing a process at every step of what it does."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import FrameType

from tests.torture import scaled

KILLED = 9
LINES_LIMIT = 2000


def kills(package: Path, act: Callable[[int], None]) -> Iterator[int]:
    """Run ``act`` in processes of their own, each killed some lines of ``package`` later.

    At full size it is each line.

    ``act`` is given the number of its run. After each run the caller looks at what is left. The
    last run is the one that nothing kills.
    """
    for line in count(step=scaled(5, 1)):
        if line >= LINES_LIMIT:
            raise AssertionError("it does not end")
        child = os.fork()
        if not child:
            _run(package, act, line)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, KILLED):
            raise AssertionError(f"killed at line {line}, it ended with {code}")
        yield line
        if code == 0:
            return


def _run(package: Path, act: Callable[[int], None], line: int) -> None:
    left = line
    folder = str(package)

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., object] | None:
        nonlocal left
        if not frame.f_code.co_filename.startswith(folder):
            return None
        if event == "line":
            if not left:
                os._exit(KILLED)
            left -= 1
        return trace

    code = 1
    try:
        sys.settrace(trace)
        act(line)
        sys.settrace(None)
        code = 0
    finally:
        os._exit(code)
