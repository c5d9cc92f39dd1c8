"""Record ``make demo`` as a terminal session: docs/demo.cast, in the form of asciinema, version 2, and the
same as text in docs/demo.md.

asciinema records; what is kept is what was seen, with pauses that somebody can read in, and without
what belongs to the machine: its environment, its time, and the name of the demonstration's folder.
``python -m tools.record`` needs the extra ``docs``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CAST: Final = ROOT / "docs" / "demo.cast"
PAGE: Final = ROOT / "docs" / "demo.md"
COLUMNS: Final = 100
ROWS: Final = 30

LEAST_PAUSE: Final = 0.12
"""Seconds before a new line: what programs print in no time has to be read."""

MOST_PAUSE: Final = 1.0
"""Seconds of nothing."""

DRAWN: Final = 0.1
"""Seconds between two states of a bar."""

_COLOUR: Final = re.compile(r"\x1b\[[\d;]*m")

Event = tuple[float, str]
"""A time, and what is written to the terminal then."""


def main() -> int:
    """Record the demonstration; the exit status."""
    with tempfile.TemporaryDirectory(prefix="messageu-record-") as folder:
        raw = Path(folder) / "raw.cast"
        environment = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
        environment["ASCIINEMA_CONFIG_HOME"] = folder
        command = [sys.executable, str(ROOT / "tools" / "demo.py")]
        recorded = subprocess.run(
            [
                *(sys.executable, "-m", "asciinema", "rec", "--quiet", "--overwrite"),
                *("--cols", str(COLUMNS), "--rows", str(ROWS)),
                *("--command", " ".join(command), str(raw)),
            ],
            check=False,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        cast = write_cast(tidy(read_events(raw.read_text("utf-8"))))
    # asciinema does not tell how what it has recorded has ended.
    if recorded.returncode or "\nShown: " not in seen_in(cast):
        print(f"the demonstration was not shown:\n{seen_in(cast)}", file=sys.stderr)
        return 1
    CAST.write_text(cast, "utf-8")
    PAGE.write_text(_with_seen(PAGE.read_text("utf-8"), seen_in(cast)), "utf-8")
    print(f"{CAST.relative_to(ROOT)}: {CAST.stat().st_size:,} bytes")
    return 0


def read_events(text: str) -> Iterator[Event]:
    """What a recording wrote to its terminal."""
    for line in text.splitlines()[1:]:
        when, kind, data = json.loads(line)
        if kind == "o":
            yield when, data


def tidy(events: Iterable[Event]) -> Iterator[Event]:
    """Line by line, at a pace at which it can be read; of the states of a bar, some, and the last."""
    before = now = 0.0
    skipped = ""
    for when, piece in _pieces(events):
        pause = min(max(when - before, 0.0), MOST_PAUSE)
        is_bar = piece.startswith("\r") and not piece.endswith("\n")
        if is_bar and pause < DRAWN:
            skipped = piece
            continue
        if skipped and not is_bar:
            yield now, skipped
        before, skipped = when, ""
        now += pause if is_bar else max(pause, LEAST_PAUSE)
        yield now, re.sub(r"messageu-demo-\w+", "messageu-demo", piece)


def _pieces(events: Iterable[Event]) -> Iterator[Event]:
    """Pieces that end with a line, or are a bar that is drawn anew."""
    rest = ""
    for when, data in events:
        *whole, rest = re.split(r"(?<=\n)|(?=\r(?!\n))", rest + data)
        for piece in whole:
            if piece:
                yield when, piece
        if rest.startswith("\r"):
            yield when, rest
            rest = ""
    if rest:
        yield when, rest


def write_cast(events: Iterable[Event]) -> str:
    """An asciicast, version 2."""
    header = {"version": 2, "width": COLUMNS, "height": ROWS, "title": "make demo"}
    lines = [json.dumps(header)]
    lines += [json.dumps([round(when, 3), "o", data]) for when, data in events]
    return "".join(f"{line}\n" for line in lines)


def seen_in(cast: str) -> str:
    """The lines that are left on the terminal at the end, of a bar its last state, without colours."""
    written = "".join(data for _, data in read_events(cast)).replace("\r\n", "\n")
    written = _COLOUR.sub("", written)
    return "".join(line.rpartition("\r")[2].rstrip() + "\n" for line in written.split("\n") if line)


def _with_seen(page: str, seen: str) -> str:
    return re.sub(
        r"(?<=<!-- seen -->\n```text\n).*?(?=```\n<!-- end)", lambda _: seen, page, flags=re.DOTALL
    )


if __name__ == "__main__":
    sys.exit(main())
