"""``messageu-admin load``: what is asked before, shown meanwhile, and written afterwards."""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from attrs import asdict
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ._operands import Command, Operand, Option, above, between
from .load import (
    CONNECTIONS_LIMIT,
    IN_FLIGHT_LIMIT,
    MAILBOXES_LIMIT,
    PERCENTILES,
    PREFIX,
    RATE_LIMIT,
    SECONDS_LIMIT,
    SIZE_LIMIT,
    Measured,
    Plan,
    Run,
    duration,
    page,
)

_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+):(\d{1,5})", re.ASCII)


class WrongLoad(Exception):
    """Not what can be done, or not what was meant; the text says so."""


class WentWrong(Exception):
    """Not all was answered as it should be; the text says what was."""


def _address(text: str) -> tuple[str, int]:
    if text.startswith("messageu:"):
        raise argparse.ArgumentTypeError("a load speaks v2: it wants HOST:PORT")
    found = _ADDRESS.fullmatch(text)
    if found is None or not 0 < int(found[2]) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return found[1].strip("[]"), int(found[2])


def _load(options: argparse.Namespace) -> None:
    host, port = options.address
    plan = Plan(
        host,
        port,
        connections=options.connections,
        in_flight=getattr(options, "in-flight"),
        mailboxes=options.mailboxes,
        size=options.size,
        seconds=options.duration,
        warmup=options.warmup,
        rate=options.rate,
    )
    report: Path | None = options.report
    if report is not None and not os.access(report.absolute().parent, os.W_OK):
        raise WrongLoad(f"{report}: its folder is not there, or cannot be written to")
    if not options.yes:
        _confirm(plan)
    measured = _run(plan)
    if report is not None:
        when = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
        try:
            report.write_text(page(plan, measured, when), "utf-8")
        except OSError as error:
            raise WentWrong(f"{report}: {error.strerror}") from None
    if options.json:
        print(json.dumps({"plan": asdict(plan), **measured.as_json()}))
    else:
        _print(measured, report)
    if measured.interrupted:
        raise KeyboardInterrupt
    if not measured.clean:
        raise WentWrong(_what_went_wrong(measured))


def _confirm(plan: Plan) -> None:
    """Say what it will do, and ask."""
    how_many = (
        "as many messages as it answers"
        if plan.rate is None
        else f"{plan.rate:,g} messages a second"
    )
    said = (
        f"This sends {plan.address} {how_many}, of {plan.size:,} bytes, for"
        f" {plan.warmup + plan.seconds:g} seconds: whoever uses the relay will feel it.\n"
        f"It registers {plan.mailboxes:,} users named {PREFIX}-…, who stay: v2 cannot delete them.\n"
        "The messages are kept on the relay's disk until the end, and then taken back.\n"
    )
    if not sys.stdin.isatty():
        raise WrongLoad("a load has to be confirmed: nobody can be asked here, so give --yes")
    print(said + "Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise WrongLoad("nothing was done")


def _run(plan: Plan) -> Measured:
    """Run the reactor for as long as the load takes."""
    # This is a program of its own; for all other commands no reactor is made.
    from twisted.internet import reactor as installed

    reactor: Any = installed
    # Each connection is a descriptor, and the shell's limit is often 1,024.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    outcome: list[Measured | Failure] = []
    run = Run(plan, reactor, time.perf_counter, _teller())

    def begin() -> None:
        # After the reactor's own, which would end it without a report.
        signal.signal(signal.SIGINT, lambda *_: reactor.callFromThread(run.interrupt))
        working = Deferred.fromCoroutine(run.go())
        working.addBoth(outcome.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if not outcome:
        raise KeyboardInterrupt
    (found,) = outcome
    if isinstance(found, Failure):
        found.raiseException()
    return found


def _teller() -> Callable[[str], None]:
    """Shows where it is, on one line of a terminal; elsewhere nothing."""
    if not sys.stderr.isatty():
        return lambda _: None
    return lambda line: print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)


def _print(measured: Measured, report: Path | None) -> None:
    whole = measured.whole
    times = {name: duration(whole.latencies.percentile(part)) for name, part in PERCENTILES.items()}
    lines = {
        "seconds": f"{measured.seconds:.1f}",
        "stored": f"{whole.stored} ({measured.rate:.0f} a second)",
        "refused": str(whole.refused),
        "lost": str(whole.lost),
        **({"unsent": str(measured.unsent)} if measured.unsent else {}),
        **times,
        "max": duration(whole.latencies.maximum),
        "taken back": f"{measured.taken_back} of {measured.everything.stored}, with the warm-up",
        "users": f"{measured.users}-…",
        **({} if report is None else {"report": str(report)}),
    }
    for name, text in lines.items():
        print(f"{name}: {text}")


def _what_went_wrong(measured: Measured) -> str:
    everything = measured.everything
    counted = [f"{everything.refused} messages were refused"] if everything.refused else []
    if everything.lost:
        counted.append(f"{everything.lost} were not answered")
    return "; ".join([*counted, *measured.complaints])


_PLAN: Final = Plan("", 1)

LOAD: Final = Command(
    _load,
    "put a load of v2 on a relay, and draw what it did",
    [
        Operand("address", _address, "the relay: HOST:PORT", "ADDRESS"),
        Option("duration", above(SECONDS_LIMIT), "seconds to measure (10)", _PLAN.seconds),
        Option("warmup", above(SECONDS_LIMIT, zero=True), "seconds before (1)", _PLAN.warmup),
        Option("connections", between(1, CONNECTIONS_LIMIT), "so many (50)", _PLAN.connections),
        Option(
            "in-flight",
            between(1, IN_FLIGHT_LIMIT),
            "requests without an answer on each (1)",
            _PLAN.in_flight,
        ),
        Option(
            "rate",
            above(RATE_LIMIT),
            "messages a second, due whatever the relay does (default: as many as it answers)",
        ),
        Option("size", between(0, SIZE_LIMIT), "bytes of a message (300)", _PLAN.size),
        Option(
            "mailboxes",
            between(1, MAILBOXES_LIMIT),
            "users to register, who send to each other (50)",
            _PLAN.mailboxes,
        ),
        Option("report", Path, "write a page of plots to this file", shown="FILE.html"),
        Option("yes", None, "do not ask"),
        Option("json", None, "print JSON"),
    ],
)
