"""Connections: what an idle one costs in memory, and how fast they come and go."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

from attrs import frozen

from benchmarks import candidates
from benchmarks.candidates import Candidate
from benchmarks.effort import Effort, say
from benchmarks.figures import Findings, Goal, Row, percent, ratios
from benchmarks.processes import Outcome, Server, load_command, run_load

SECTION = "5 connections"
IDLE = 10_000


@frozen
class Look:
    """One look at a server: KiB of an idle connection, and connections without and with a 603."""

    memory: float
    accepts: Outcome
    requests: Outcome


def measure(effort: Effort, findings: Findings) -> None:
    """Ours and bare Twisted, one after the other in each round."""
    ours, bare = candidates.relay(), candidates.bare_twisted()
    count = 2_000 if effort.quick else IDLE
    found = _interleave(effort, ours, bare, lambda server: _look(effort, server, count))
    mine, theirs = found[ours.title], found[bare.title]
    busy = max(each.accepts.server_busy for each in mine)
    findings.rows += [
        Row(
            SECTION,
            f"resident memory of an idle connection, of {count:,}, each from its own address",
            "KiB",
            [each.memory for each in mine],
            Goal(at_most=1.5),
            "Twisted's own part is what bare Twisted takes",
        ),
        Row(SECTION, "the same of bare Twisted", "KiB", [each.memory for each in theirs]),
        Row(
            SECTION,
            "connections accepted and closed, to bare Twisted",
            "ratio",
            ratios(
                [each.accepts["rate"] for each in mine], [each.accepts["rate"] for each in theirs]
            ),
            Goal(at_least=0.5),
            f"processor: server up to {percent(busy)}",
        ),
        Row(
            SECTION,
            "connections accepted and closed",
            "/s",
            [each.accepts["rate"] for each in mine],
        ),
        Row(
            SECTION,
            "connections with one 603 each, to bare Twisted",
            "ratio",
            ratios(
                [each.requests["rate"] for each in mine],
                [each.requests["rate"] for each in theirs],
            ),
        ),
    ]


def _interleave(
    effort: Effort, ours: Candidate, bare: Candidate, look: Callable[[Server], Look]
) -> dict[str, list[Look]]:
    found: dict[str, list[Look]] = {ours.title: [], bare.title: []}
    for number in range(effort.rounds):
        say(f"connections, round {number + 1} of {effort.rounds}")
        for candidate in (ours, bare):
            with Server(candidate.recipe, effort.scratch) as server:
                found[candidate.title].append(look(server))
    return found


def _look(effort: Effort, server: Server, count: int) -> Look:
    memory = _measure_idle(server, count)
    common = {"connections": 50, "seconds": effort.seconds, "spread": True}
    return Look(
        memory,
        run_load(server, "connect", **common),
        run_load(server, "connect", request=True, **common),
    )


def _measure_idle(server: Server, count: int) -> float:
    run_load(server, "send", connections=50, count=2000)
    before = server.memory()
    command = load_command(server.port, "idle", {"connections": count, "spread": True})
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as idle:
        assert idle.stdin is not None  # noqa: S101 - both are pipes
        assert idle.stdout is not None  # noqa: S101
        if not idle.stdout.readline():
            raise SystemExit(f"bench: {count} connections cannot be opened")
        grown = server.memory() - before
        idle.stdin.close()
        if json.loads(idle.stdout.readline())["open"] != count:
            raise SystemExit("bench: idle connections were closed")
    return grown / count / 1024
