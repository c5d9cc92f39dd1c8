"""How hard the tests of faults and abuse are: small in every run, at full size for `make torture`.

What such a test has found goes into a line of JSON in ``build/torture``, from which
docs/reliability.md was written.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

FULL: Final = os.environ.get("TORTURE") == "1"
RESULTS: Final = Path(__file__).parent.parent / "build" / "torture"


def scaled(small: T, full: T) -> T:
    """What a test uses of something: the first in every run, the second at full size."""
    return full if FULL else small


def report(fault: str, **figures: object) -> None:
    """Keep what a run of a fault has given: how many runs, how much was lost, latencies.

    Only at full size: the figures of small runs say nothing.
    """
    if FULL:
        RESULTS.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"fault": fault, **figures})
        with (RESULTS / "results.jsonl").open("a") as file:
            file.write(line + "\n")
        print(line)  # noqa: T201 - whoever waits for it wants to see something
