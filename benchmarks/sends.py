"""603 → 2103: the relay beside bare Twisted, one transaction a request, and other people's servers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

from attrs import frozen

from benchmarks import baselines, candidates
from benchmarks.candidates import Candidate
from benchmarks.effort import Effort, say
from benchmarks.figures import Findings, Goal, Plot, Row, Series, percent, ratios
from benchmarks.processes import Outcome, Server, run_load

SECTION = "2 sends"


@frozen
class Shape:
    """How many connections, and how many requests each has in flight."""

    connections: int
    in_flight: int

    def __str__(self) -> str:
        return f"{self.connections} × {self.in_flight}"


ALONE, FEW, MANY, DEEP = Shape(1, 1), Shape(50, 1), Shape(500, 1), Shape(50, 32)
SHAPES = (ALONE, FEW, MANY, DEEP)

Measured = Mapping[tuple[str, Shape], Sequence[Outcome]]

_LOCK = "two threads share the interpreter's lock: docs/performance.md says what would be needed"

_TO_BARE = {FEW: Goal(at_least=0.65), MANY: Goal(at_least=0.9), ALONE: None, DEEP: None}


def measure(effort: Effort, findings: Findings) -> None:
    """All candidates in all shapes, one after the other in each round."""
    ours, bare, single = candidates.relay(), candidates.bare_twisted(), candidates.single()
    fresh = [ours, bare, single, candidates.bare_c()]
    lasting: list[Candidate] = []
    if effort.quick:
        fresh, lasting = lasting, fresh
    if effort.references:
        for name, found, many in (
            ("Redis", candidates.redis(), fresh),
            ("NATS", candidates.nats(), fresh),
            ("RabbitMQ", candidates.rabbitmq(), lasting),
        ):
            if found is None:
                findings.notes.append(f"{name} is not installed: benchmarks/install-references.sh")
            else:
                many.append(found)
    outcomes: dict[tuple[str, Shape], list[Outcome]] = defaultdict(list)
    disk: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        running = {
            each.title: stack.enter_context(Server(each.recipe, effort.scratch)) for each in lasting
        }
        for number in range(effort.rounds):
            say(f"sends, round {number + 1} of {effort.rounds}")
            _measure_disk(effort, disk)
            for candidate in fresh:
                with Server(candidate.recipe, effort.scratch) as server:
                    _load(effort, server, candidate, outcomes)
            for candidate in lasting:
                _load(effort, running[candidate.title], candidate, outcomes)
    _report(findings, [*fresh, *lasting], outcomes, disk)


def _load(
    effort: Effort,
    server: Server,
    candidate: Candidate,
    outcomes: dict[tuple[str, Shape], list[Outcome]],
) -> None:
    for shape in SHAPES:
        outcome = run_load(
            server,
            "send",
            connections=shape.connections,
            in_flight=shape.in_flight,
            dialect=candidate.dialect,
            **effort.loading,
        )
        outcomes[candidate.title, shape].append(outcome)


def _measure_disk(effort: Effort, disk: dict[str, list[float]]) -> None:
    for name, loop in (
        ("append", baselines.append_and_sync),
        ("overwrite", baselines.overwrite_and_sync),
        ("commit", baselines.commit_rows),
    ):
        with TemporaryDirectory(dir=effort.scratch) as directory:
            disk[name].append(loop(Path(directory), effort.seconds / 2).median * 1e6)


def _report(
    findings: Findings,
    everyone: Sequence[Candidate],
    outcomes: Measured,
    disk: Mapping[str, Sequence[float]],
) -> None:
    rates = {key: [each["rate"] for each in found] for key, found in outcomes.items()}
    ours = everyone[0].title
    bare = candidates.bare_twisted().title
    single = candidates.single().title
    add = findings.rows.append
    for shape in SHAPES:
        mine = rates[ours, shape]
        limit = _limit(outcomes[ours, shape])
        for other in everyone[1:]:
            goal = None
            if other.title == bare:
                goal = _TO_BARE[shape]
            elif other.title == single and shape == DEEP:
                goal = Goal(at_least=50)
            elif other.dialect == "amqp" and shape in (FEW, DEEP):
                goal = Goal(at_least=3)
            ratio = ratios(mine, rates[other.title, shape])
            why = limit if goal is None else f"{limit}; {_LOCK}"
            add(Row(SECTION, f"{shape}: to {other.title}", "ratio", ratio, goal, why))
    alone = [each["p50"] for each in outcomes[ours, ALONE]]
    for name, title, goal in (
        ("append", "raw append and fdatasync", Goal(at_most=3)),
        ("overwrite", "raw overwrite and fdatasync", None),
        ("commit", "raw SQLite commit", None),
    ):
        add(
            Row(
                SECTION,
                f"median latency of a lone connection: to {title}",
                "ratio",
                ratios(alone, disk[name]),
                goal,
                "two threads change hands twice for each commit",
            )
        )
    for shape in SHAPES:
        for each in everyone:
            limit = _limit(outcomes[each.title, shape])
            add(Row("rates", f"{shape}: {each.title}", "/s", rates[each.title, shape], None, limit))
    for name, values in disk.items():
        add(Row("rates", f"median of one raw {name}", "µs", values))
    findings.plots.append(_plot("Acknowledged sends", everyone, outcomes, "rate", "a second"))
    findings.plots.append(_plot("Median latency", everyone, outcomes, "p50", "µs"))
    findings.plots.append(_plot("99th percentile of latency", everyone, outcomes, "p99", "µs"))


def _limit(found: Sequence[Outcome]) -> str:
    server = mean(each.server_busy for each in found)
    load = mean(each.load_busy for each in found)
    return f"processor: server {percent(server)}, load {percent(load)}"


def _plot(
    title: str, everyone: Sequence[Candidate], outcomes: Measured, figure: str, unit: str
) -> Plot:
    return Plot(
        title,
        "connections × requests in flight",
        unit,
        [
            Series(
                each.title,
                [
                    (str(shape), mean(found[figure] for found in outcomes[each.title, shape]))
                    for shape in SHAPES
                ],
            )
            for each in everyone
        ],
    )
