"""Measure the relay beside what people would put in its place, interleaved, on this machine.

``python -m benchmarks.run``, or ``make bench``: a table on stdout, and the figures and a page of
plots in benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

from benchmarks import connections, fetches, growth, machine, receiving, sends
from benchmarks.building import BUILD, HERE, PROGRAMS, build
from benchmarks.effort import Effort, say
from benchmarks.figures import Findings
from benchmarks.report import markdown, page

RESULTS = HERE / "results"
README = HERE / "README.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
IN_MEMORY = ("tmpfs", "ramfs")

SECTIONS: Mapping[str, Callable[[Effort, Findings], None]] = {
    "sends": sends.measure,
    "fetches": fetches.measure,
    "receiving": receiving.measure,
    "connections": connections.measure,
    "growth": growth.measure,
}


def main(arguments: list[str]) -> int:
    """Run what is wanted; the exit status."""
    options = parse(arguments)
    for program in PROGRAMS:
        build(program)
    scratch = make_scratch(options.scratch)
    try:
        findings = measure(options, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    table = markdown(findings)
    sys.stdout.write(table)
    write(findings, options)
    if options.write_readme:
        README.write_text(with_figures(README.read_text("utf-8"), table), "utf-8")
    return 0


def with_figures(text: str, table: str) -> str:
    """A text with another table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table}{END}{after}"


def parse(arguments: list[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    much = parser.add_mutually_exclusive_group()
    much.add_argument("--quick", action="store_true", help="a minute, with wide margins")
    much.add_argument("--full", action="store_true", help="ten million stored messages, too")
    parser.add_argument("--rounds", type=int, help="how often each is measured [5; quick: 3]")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="a section; repeatable")
    parser.add_argument("--scratch", type=Path, default=BUILD, help="a directory on a disk")
    parser.add_argument("--write-readme", action="store_true", help="renew the figures in README")
    return parser.parse_args(arguments)


def make_scratch(parent: Path) -> Path:
    """An empty directory that lies on a disk.

    :raises SystemExit: when it would lie in memory, where a sync costs nothing.
    """
    parent.mkdir(parents=True, exist_ok=True)
    if machine.file_system(parent) in IN_MEMORY:
        raise SystemExit(f"bench: {parent} lies in memory: name a directory with --scratch")
    return Path(mkdtemp(prefix="scratch-", dir=parent)).resolve()


def measure(options: argparse.Namespace, scratch: Path) -> Findings:
    """Every section that is wanted."""
    effort = Effort(
        scratch=scratch,
        rounds=options.rounds or (3 if options.quick else 5),
        seconds=0.3 if options.quick else 2.0,
        warmup=0.1 if options.quick else 0.5,
        references=not options.quick,
        full=options.full,
        quick=options.quick,
    )
    findings = Findings(
        {
            **machine.describe(scratch),
            "run": f"{effort.rounds} rounds of {effort.seconds} s, candidates interleaved",
        }
    )
    for name in options.only or SECTIONS:
        began = time.monotonic()
        SECTIONS[name](effort, findings)
        say(f"{name}: {time.monotonic() - began:.0f} s")
    return findings


def write(findings: Findings, options: argparse.Namespace) -> None:
    """Keep the figures and the page; those of a whole run are the summary, which is committed."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(findings.as_json(), indent=1, ensure_ascii=False) + "\n"
    name = time.strftime("%Y-%m-%dT%H-%M-%S")
    (RESULTS / f"{name}.json").write_text(text, "utf-8")
    (RESULTS / f"{name}.html").write_text(page(findings), "utf-8")
    if options.write_readme:
        (RESULTS / "summary.json").write_text(text, "utf-8")
    say(f"figures and plots: {RESULTS / name}.json and .html")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
