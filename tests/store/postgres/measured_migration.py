"""A migration that says how long it took and what memory it needed: a child of the tests."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

from messageu.store.postgres import PostgresAddress, migrate


def peak() -> int:
    """The most memory that this process has had so far, in KiB.

    Not what getrusage says: that may be its parent's.
    """
    (found,) = re.findall(
        r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE
    )
    return int(found)


if __name__ == "__main__":
    address = PostgresAddress.parse(sys.argv[2])
    before = peak()
    began = time.monotonic()
    moved = migrate(Path(sys.argv[1]), address, lambda *_: None)
    figures = {
        "seconds": time.monotonic() - began,
        "rows": sum(each.rows for each in moved.sums.values()),
        "grown_kib": peak() - before,
    }
    sys.stdout.write(json.dumps(figures))
