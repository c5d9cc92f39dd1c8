"""What PostgreSQL costs, and what a second relay brings: one SQLite relay, one and two on PostgreSQL.

``python -m benchmarks.sharing`` prints a table, and writes no file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from attrs import frozen

from benchmarks.building import BUILD, build
from benchmarks.candidates import relay
from benchmarks.processes import LOAD_SECONDS, Recipe, Server, load_command
from benchmarks.run import make_scratch
from benchmarks.sends import SHAPES, Shape
from messageu.testing.postgres import PostgresServer


@frozen
class Setting:
    """What is measured: so many relays, on what, with so many connections each."""

    title: str
    relays: int
    connections: int | None

    def recipe(self, address: str) -> Recipe:
        """How one of its relays is started."""
        if self.connections is None:
            return relay().recipe
        options = (f"--database={address}", f"--database-connections={self.connections}")

        def command(port: int, _: Path) -> Sequence[str]:
            return [
                str(Path(sys.executable).parent / "twistd"),
                *("--nodaemon", "--pidfile=", "messageu"),
                *(f"--endpoint=tcp:{port}:interface=127.0.0.1", "--no-v3", *options),
            ]

        return Recipe("postgres-relay", command)


def main(arguments: list[str]) -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, nargs="+", default=[4])
    parser.add_argument("--scratch", type=Path, default=BUILD)
    parser.add_argument("--setting", action="append", help="only those whose title has this in it")
    options = parser.parse_args(arguments)
    settings = [Setting("SQLite", 1, None)]
    for count in options.connections:
        settings += [
            Setting(f"PostgreSQL, {count} connections", 1, count),
            Setting(f"two relays on PostgreSQL, {count} connections each", 2, count),
        ]
    if options.setting:
        settings = [each for each in settings if any(s in each.title for s in options.setting)]
    scratch = make_scratch(options.scratch)
    try:
        figures = measure(settings, scratch, options)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    report(settings, figures)
    return 0


def measure(
    settings: Sequence[Setting], scratch: Path, options: argparse.Namespace
) -> dict[tuple[str, Shape], list[dict[str, float]]]:
    """All settings in all shapes, one after the other in each round."""
    build("load")
    figures: dict[tuple[str, Shape], list[dict[str, float]]] = defaultdict(list)
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        for setting in settings:
            server = PostgresServer.made("shared_buffers=256MB") if setting.connections else None
            try:
                recipe = setting.recipe(server.address if server is not None else "")
                with ExitStack() as stack:
                    relays = [
                        stack.enter_context(Server(recipe, scratch)) for _ in range(setting.relays)
                    ]
                    for shape in SHAPES:
                        found = load_all(relays, shape, options.seconds)
                        figures[setting.title, shape].append(found)
            finally:
                if server is not None:
                    server.remove()
    return figures


def load_all(relays: Sequence[Server], shape: Shape, seconds: float) -> dict[str, float]:
    """Load all relays at once, each with its part of the connections; what they do together."""
    share = max(1, shape.connections // len(relays))
    busy = sum(each.cpu_seconds() for each in relays)
    loads = [
        subprocess.Popen(
            load_command(
                each.port,
                "send",
                {
                    "connections": share,
                    "in_flight": shape.in_flight,
                    "seconds": seconds,
                    "warmup": seconds / 4,
                },
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for each in relays
    ]
    found: list[dict[str, Any]] = []
    for load in loads:
        said, complaint = load.communicate(timeout=LOAD_SECONDS)
        if load.returncode:
            raise SystemExit(f"bench: {complaint.strip()}")
        found.append(json.loads(said))
        if found[-1].get("errors") or found[-1].get("wrong"):
            raise SystemExit(f"bench: refused or wrong: {said} {complaint}")
    return {
        "rate": sum(each["rate"] for each in found),
        "p50": max(each["p50"] for each in found),
        "p99": max(each["p99"] for each in found),
        "busy": (sum(each.cpu_seconds() for each in relays) - busy) / (1.25 * seconds),
    }


def report(
    settings: Sequence[Setting], figures: dict[tuple[str, Shape], list[dict[str, float]]]
) -> None:
    """Print what was found, and ratios to the first within each round."""
    first = settings[0].title
    print("| connections × in flight | | sends/s | to the first | p50 µs | p99 µs | relays busy |")
    print("|---|---|---|---|---|---|---|")
    for shape in SHAPES:
        for setting in settings:
            rounds = figures[setting.title, shape]
            ratio = median(
                mine["rate"] / other["rate"]
                for mine, other in zip(rounds, figures[first, shape], strict=True)
            )
            rate, p50, p99, busy = (
                median(each[name] for each in rounds) for name in ("rate", "p50", "p99", "busy")
            )
            print(
                f"| {shape} | {setting.title} | {rate:,.0f} | {ratio:.2f} | {p50:,.0f} |"
                f" {p99:,.0f} | {busy:.2f} |"
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
