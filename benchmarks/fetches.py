"""604 → 2104: memory while much is fetched, other clients meanwhile, many small mailboxes, none."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path

from attrs import frozen

from benchmarks import candidates
from benchmarks.effort import Effort, say
from benchmarks.figures import Findings, Goal, Row, percent
from benchmarks.processes import Outcome, Server, load_command, run_load
from benchmarks.seeding import count_messages, seed, write_ids

SECTION = "3 fetches"
KIB, MIB = 2**10, 2**20

Mail = Iterator[tuple[int, int]]


@frozen
class Mailboxes:
    """Mailboxes that are full before they are fetched, each by a client of its own.

    :ivar sizes: the messages of each mailbox.
    """

    title: str
    users: int
    sizes: Callable[[], Iterator[int]]

    def mail(self) -> Mail:
        """All of it, mailbox by mailbox."""
        for user in range(self.users):
            for size in self.sizes():
                yield user, size


def many_messages() -> Iterator[int]:
    """10,000 messages of 10 KiB."""
    return repeat(10 * KIB, 10_000)


def a_gibibyte() -> Iterator[int]:
    """32 messages of 16 MiB, and as much in messages of 64 KiB."""
    return chain(repeat(16 * MIB, 32), repeat(64 * KIB, 8 * KIB))


def a_share() -> Iterator[int]:
    """What one of five clients fetches: 4 messages of 16 MiB, and 10,000 of 10 KiB."""
    return chain(repeat(16 * MIB, 4), many_messages())


def few_messages() -> Iterator[int]:
    """For a quick run: 2,000 messages of 10 KiB, and one of 16 MiB."""
    return chain(repeat(10 * KIB, 2_000), repeat(16 * MIB, 1))


def measure(effort: Effort, findings: Findings) -> None:
    """Memory and neighbours first, then speed, then what is empty."""
    if effort.quick:
        heavy = [Mailboxes("2,000 × 10 KiB and 16 MiB", 1, few_messages)]
    else:
        heavy = [
            Mailboxes("10,000 × 10 KiB", 1, many_messages),
            Mailboxes("1 GiB, with 16 MiB messages", 1, a_gibibyte),
            Mailboxes("five at once of 162 MiB, with 16 MiB messages", 5, a_share),
        ]
    for mailboxes in heavy:
        _measure_memory(effort, findings, mailboxes)
    _measure_neighbour(effort, findings, heavy[-1])
    _measure_speed(effort, findings)
    _measure_empty(effort, findings)


@contextmanager
def _serve(effort: Effort, users: int, mail: Mail) -> Iterator[tuple[Server, Path]]:
    server = Server(candidates.relay().recipe, effort.scratch)
    # One user more than there are mailboxes: somebody who sends.
    ids = write_ids(server.directory / "ids", seed(server.database, users + 1, mail)[:users])
    with server:
        _warm_up(server)
        yield server, ids


def _warm_up(server: Server) -> None:
    """What the first requests of any kind leave in memory is no part of what a fetch adds."""
    own = server.directory / "own"
    run_load(server, "send", connections=50, in_flight=8, count=4000, mailboxes=50, write_ids=own)
    run_load(server, "fetch", connections=5, ids=own)


def _measure_memory(effort: Effort, findings: Findings, mailboxes: Mailboxes) -> None:
    growth: list[float] = []
    speed: list[float] = []
    for number in range(1 if effort.quick else effort.rounds):
        say(f"fetch {mailboxes.title}, round {number + 1}")
        with _serve(effort, mailboxes.users, mailboxes.mail()) as (server, ids):
            server.forget_peak()
            before = server.memory()
            outcome = run_load(server, "fetch", connections=mailboxes.users, ids=ids)
            growth.append((server.memory("VmHWM") - before) / MIB)
            speed.append(outcome["content"] / outcome["seconds"] / MIB)
            expected = sum(1 for _ in mailboxes.mail())
            if outcome["items"] != expected:
                raise SystemExit(f"bench: {outcome['items']} of {expected} messages came")
    findings.rows.append(
        Row(
            SECTION,
            f"resident memory that {mailboxes.title} adds",
            "MiB",
            growth,
            Goal(at_most=8),
            f"chunks on their way; at {min(speed):.0f} to {max(speed):.0f} MiB/s",
        )
    )


def _measure_neighbour(effort: Effort, findings: Findings, mailboxes: Mailboxes) -> None:
    middle: list[float] = []
    high: list[float] = []
    for number in range(1 if effort.quick else effort.rounds):
        say(f"a neighbour of {mailboxes.title}, round {number + 1}")
        with _serve(effort, mailboxes.users, mailboxes.mail()) as (server, ids):
            peace = run_load(server, "send", count=1000, mailboxes=2)
            fetching = subprocess.Popen(
                load_command(server.port, "fetch", {"connections": mailboxes.users, "ids": ids}),
                stdout=subprocess.PIPE,
                text=True,
            )
            meanwhile = run_load(server, "send", seconds=0.5 if effort.quick else 1, mailboxes=2)
            overlapped = fetching.poll() is None
            output, _ = fetching.communicate()
            if json.loads(output)["wrong"]:
                raise SystemExit("bench: a fetch went wrong beside another client")
            if not overlapped:
                findings.notes.append("the fetch was over before its neighbour was")
            middle.append(meanwhile["p50"] / peace["p50"])
            high.append(meanwhile["p99"] / peace["p99"])
    limit = "the reactor's thread, and turns in the one of the database"
    for name, values in (("median", middle), ("99th percentile", high)):
        findings.rows.append(
            Row(
                SECTION,
                f"{name} of another's 603 during {mailboxes.title}, to the same in peace",
                "ratio",
                values,
                Goal(at_most=2),
                limit,
            )
        )


def _measure_speed(effort: Effort, findings: Findings) -> None:
    users, messages = (500 if effort.quick else 4000), 100
    rates: list[float] = []
    outcomes: list[Outcome] = []
    left: list[float] = []
    for number in range(effort.rounds):
        say(f"mailboxes of {messages}, round {number + 1}")
        mailboxes = Mailboxes("", users, lambda: repeat(300, messages))
        with _serve(effort, users, mailboxes.mail()) as (server, ids):
            outcome = run_load(server, "fetch", connections=50, ids=ids)
            rates.append(outcome["items"] / outcome["seconds"])
            outcomes.append(outcome)
            server.stop()
            left.append(count_messages(server.database))
    busy = max(each.server_busy for each in outcomes)
    findings.rows += [
        Row(
            SECTION,
            f"messages fetched from mailboxes of {messages} by 50 connections, delete included",
            "/s",
            rates,
            Goal(at_least=100_000),
            f"processor: server up to {percent(busy)}",
        ),
        Row(SECTION, "of these not deleted", "messages", left, Goal(at_most=0)),
    ]


def _measure_empty(effort: Effort, findings: Findings) -> None:
    rates: list[float] = []
    commits: list[float] = []
    say("empty mailboxes")
    with _serve(effort, 50, iter(())) as (server, ids):
        log = Path(f"{server.database}-wal")
        for _ in range(effort.rounds):
            before = log.stat().st_mtime_ns, log.stat().st_size
            outcome = run_load(server, "poll", connections=50, ids=ids, seconds=effort.seconds)
            commits.append(float((log.stat().st_mtime_ns, log.stat().st_size) != before))
            rates.append(outcome["rate"])
    findings.rows += [
        Row(
            SECTION,
            "rounds in which empty fetches wrote to the WAL",
            "of 1",
            commits,
            Goal(at_most=0),
        ),
        Row(SECTION, "empty fetches, 50 connections", "/s", rates),
    ]
