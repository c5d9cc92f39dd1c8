"""``python -m tools.pages``: which blocks of the documents are run; with a page, runs its own."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from . import BadPage, PageFailed, all_pages, read_page, run_page


def main() -> int:
    """List the pages, or run some of them; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.pages", description=__doc__)
    parser.add_argument("page", nargs="*", type=Path, help="which one to run")
    options = parser.parse_args()
    try:
        pages = [read_page(path.resolve()) for path in options.page] or list(all_pages())
    except BadPage as error:
        print(error, file=sys.stderr)
        return 1
    for page in pages:
        for line, why in page.not_run.items():
            print(f"{page.name}:{line}: not run: {why}")
        if not page.steps or not options.page:
            continue
        began = time.monotonic()
        try:
            run_page(page)
        except PageFailed as failed:
            print(failed, file=sys.stderr)
            return 1
        print(f"{page.name}: {len(page.steps)} steps, {time.monotonic() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
