"""A large message in small pieces through the parser: twice the size takes twice the time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from itertools import pairwise

from benchmarks.building import ROOT
from benchmarks.effort import Effort, say
from benchmarks.figures import Findings, Goal, Plot, Row, Series, ratios
from messageu.model import ClientId
from messageu.wire import NEED_DATA, Parser, v2

SECTION = "4 receiving"
MIB = 2**20
PIECE = 1448
SIZES = (8, 16, 32, 64)
REPEATS = 4
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
"""For glibc: what a first large message got from the kernel is used again by the next. Otherwise
page faults are most of the time, and their number is not linear."""


def measure(effort: Effort, findings: Findings) -> None:
    """8, 16, 32 and 64 MiB in each round."""
    times: dict[int, list[float]] = {size: [] for size in SIZES}
    for number in range(effort.rounds):
        say(f"receiving, round {number + 1} of {effort.rounds}")
        finished = subprocess.run(
            [sys.executable, "-m", "benchmarks.receiving"],
            check=True,
            cwd=ROOT,
            env={**os.environ, **KEEP_MEMORY},
            stdout=subprocess.PIPE,
        )
        for size, seconds in zip(SIZES, json.loads(finished.stdout), strict=True):
            times[size].append(seconds)
    for half, whole in pairwise(SIZES):
        findings.rows.append(
            Row(
                SECTION,
                f"{whole} MiB in pieces of {PIECE:,} bytes, to {half} MiB",
                "ratio",
                ratios(times[whole], times[half]),
                Goal(at_most=2.6),
                "linear is 2",
            )
        )
    speed = [SIZES[-1] / each for each in times[SIZES[-1]]]
    findings.rows.append(Row(SECTION, f"speed at {SIZES[-1]} MiB", "MiB/s", speed))
    points = [(float(size), min(times[size]) * 1e3) for size in SIZES]
    findings.plots.append(
        Plot("Receiving one message", "MiB", "ms", [Series("the parser", points)])
    )


def time_all() -> list[float]:
    """Seconds for each size, the fastest of some: the first one gets its memory from the kernel."""
    client = ClientId(bytes(16))
    codec = v2.RequestCodec(content_limit=SIZES[-1] * MIB)
    frames = (v2.Request(client, v2.SendMessage(client, 4, bytes(size * MIB))) for size in SIZES)
    return [
        min(_receive(codec, encoded) for _ in range(REPEATS))
        for encoded in (frame.encode() for frame in frames)
    ]


def _receive(codec: v2.RequestCodec, frame: bytes) -> float:
    pieces = [frame[at : at + PIECE] for at in range(0, len(frame), PIECE)]
    parser = Parser(codec)
    began = time.perf_counter()
    events = 0
    for piece in pieces:
        parser.receive_data(piece)
        events += parser.next_event() is not NEED_DATA
    if events != 1:
        raise SystemExit("bench: the parser has not found the message")
    return time.perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(time_all()))
