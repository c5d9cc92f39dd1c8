"""What becomes slower when much is stored, or many are registered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from attrs import field, frozen

from benchmarks import candidates
from benchmarks.effort import Effort, say
from benchmarks.figures import Findings, Goal, Plot, Row, Series
from benchmarks.processes import Server, run_load
from benchmarks.seeding import seed, write_ids
from messageu.model import CLIENT_ID_SIZE

SECTION = "6 growth"
MIB = 2**20
SAMPLE = 100_000
MESSAGE = 300


@frozen
class Grown:
    """How a relay of some size does, one figure a round."""

    size: int
    deep: list[float] = field(factory=list)
    few: list[float] = field(factory=list)
    alone: list[float] = field(factory=list)


def measure(effort: Effort, findings: Findings) -> None:
    """More and more mail; more and more users; and the list of them all."""
    stored = (1_000, 100_000, 10_000_000) if effort.full else (1_000, 100_000)
    users = (100, 10_000) if effort.quick else (100, 10_000, 1_000_000)
    if not effort.full:
        findings.notes.append("10⁷ stored messages only with FULL=1")
    by_mail = _measure(effort, {size: (1_000, size) for size in stored})
    by_users = _measure(effort, {size: (size, 0) for size in users})
    for name, grown in (("stored messages", by_mail), ("users", by_users)):
        _report(findings, name, grown)
    _measure_list(effort, findings, users[-1])


@contextmanager
def _serve(effort: Effort, users: int, stored: int) -> Iterator[tuple[Server, Path]]:
    server = Server(candidates.relay().recipe, effort.scratch)
    ids = seed(server.database, users, ((index % users, MESSAGE) for index in range(stored)))
    step = max(1, users // SAMPLE)
    path = write_ids(server.directory / "ids", ids[::step])
    with server:
        yield server, path


def _measure(effort: Effort, sizes: Mapping[int, tuple[int, int]]) -> Sequence[Grown]:
    """One relay for each size, with so many users and messages. They take turns."""
    with ExitStack() as running:
        relays = []
        for size, (users, stored) in sizes.items():
            say(f"growth: {users:,} users, {stored:,} messages stored")
            relays.append((Grown(size), *running.enter_context(_serve(effort, users, stored))))
        for _ in range(effort.rounds):
            for grown, server, ids in relays:
                mailboxes = ids.stat().st_size // CLIENT_ID_SIZE
                common = {"ids": ids, "mailboxes": mailboxes, **effort.loading}
                grown.alone.append(run_load(server, "send", **common)["p50"])
                few = run_load(server, "send", connections=50, **common)
                grown.few.append(few["rate"])
                deep = run_load(server, "send", connections=50, in_flight=32, **common)
                grown.deep.append(deep["rate"])
    return [grown for grown, _, _ in relays]


def _report(findings: Findings, name: str, grown: Sequence[Grown]) -> None:
    small = grown[0]
    for large in grown[1:]:
        for shape, below, above in (
            ("50 × 32", small.deep, large.deep),
            ("50 × 1", small.few, large.few),
        ):
            findings.rows.append(
                Row(
                    SECTION,
                    f"{shape} at {large.size:,} {name}, to {small.size:,}",
                    "ratio",
                    _ratios(above, below),
                    Goal(at_least=0.5),
                    "pages of the index that a batch touches",
                )
            )
        findings.rows.append(
            Row(
                SECTION,
                f"median latency alone at {large.size:,} {name}, to {small.size:,}",
                "ratio",
                _ratios(large.alone, small.alone),
                Goal(at_most=2),
            )
        )
    findings.plots += [
        Plot(
            f"Sends a second by {name}",
            name,
            "a second",
            [
                Series("50 × 32", [(float(each.size), median(each.deep)) for each in grown]),
                Series("50 × 1", [(float(each.size), median(each.few)) for each in grown]),
            ],
        ),
        Plot(
            f"Median latency alone by {name}",
            name,
            "µs",
            [Series("1 × 1", [(float(each.size), median(each.alone)) for each in grown])],
        ),
    ]


def _ratios(of: Sequence[float], to: Sequence[float]) -> list[float]:
    """The ratio within each round."""
    return [one / other for one, other in zip(of, to, strict=True)]


def _measure_list(effort: Effort, findings: Findings, users: int) -> None:
    say(f"the list of {users:,} users")
    seconds: list[float] = []
    growth: list[float] = []
    with _serve(effort, users, 0) as (server, ids):
        run_load(server, "send", ids=ids, mailboxes=50, connections=50, in_flight=8, count=4000)
        for _ in range(1 if effort.quick else effort.rounds):
            server.forget_peak()
            before = server.memory()
            outcome = run_load(server, "list", ids=ids, mailboxes=1, count=1)
            if outcome["items"] != users - 1:
                raise SystemExit(f"bench: {outcome['items']} of {users - 1} users were listed")
            seconds.append(outcome["seconds"])
            growth.append((server.memory("VmHWM") - before) / MIB)
    findings.rows += [
        Row(SECTION, f"601 of {users:,} users", "s", seconds),
        Row(
            SECTION,
            f"resident memory that the list of {users:,} users adds",
            "MiB",
            growth,
            Goal(at_most=8),
        ),
    ]
