"""Read what trial printed and say it in one line: ``N passed, N failed, N skipped``.

``tally.py trial.log …`` takes the last summary in each file, and adds them up. Without one, nothing
was run.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

SUMMARY = re.compile(
    r"^(?:PASSED|FAILED)(?: \(([a-zA-Z]+=\d+(?:, [a-zA-Z]+=\d+)*)\))?\s*$", re.MULTILINE
)

PASSED = ["successes"]
FAILED = ["failures", "errors", "unexpectedSuccesses"]
SKIPPED = ["skips", "expectedFailures"]
"""The words of trial. What fails as expected has not passed, and is no failure."""


def tally(*logs: str) -> str:
    """The line for the last summary in each log.

    :raises ValueError: when trial counts something that this module does not know.
    """
    counts: Counter[str] = Counter()
    for log in logs:
        summaries = SUMMARY.findall(log)
        for pair in filter(None, summaries[-1].split(", ") if summaries else []):
            word, _, number = pair.partition("=")
            counts[word] += int(number)
    unknown = counts.keys() - {*PASSED, *FAILED, *SKIPPED}
    if unknown:
        raise ValueError(f"trial counts what is not known here: {sorted(unknown)}")
    passed, failed, skipped = (
        sum(counts[word] for word in words) for words in (PASSED, FAILED, SKIPPED)
    )
    return f"{passed} passed, {failed} failed, {skipped} skipped"


if __name__ == "__main__":
    print(tally(*(Path(name).read_text("utf-8", "replace") for name in sys.argv[1:])))
