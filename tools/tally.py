"""Read what trial printed and say it in one line: ``N passed, N failed, N skipped``.

``tally.py trial.log`` takes the last summary in the file. Without one, nothing was run.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

SUMMARY = re.compile(
    r"^(?:PASSED|FAILED)(?: \(([a-zA-Z]+=\d+(?:, [a-zA-Z]+=\d+)*)\))?\s*$", re.MULTILINE
)

PASSED = ["successes"]
FAILED = ["failures", "errors", "unexpectedSuccesses"]
SKIPPED = ["skips", "expectedFailures"]
"""The words of trial. What fails as expected has not passed, and is no failure."""


def tally(log: str) -> str:
    """The line for the last summary in a log.

    :raises ValueError: when trial counts something that this module does not know.
    """
    summaries = SUMMARY.findall(log)
    counts: dict[str, int] = {}
    for pair in filter(None, summaries[-1].split(", ") if summaries else []):
        word, _, number = pair.partition("=")
        counts[word] = int(number)
    unknown = counts.keys() - {*PASSED, *FAILED, *SKIPPED}
    if unknown:
        raise ValueError(f"trial counts what is not known here: {sorted(unknown)}")
    passed, failed, skipped = (
        sum(counts.get(word, 0) for word in words) for words in (PASSED, FAILED, SKIPPED)
    )
    return f"{passed} passed, {failed} failed, {skipped} skipped"


if __name__ == "__main__":
    print(tally(Path(sys.argv[1]).read_text("utf-8", "replace")))
