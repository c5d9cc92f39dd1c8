"""Search for inputs that break a target: ``python -m fuzz requests --seconds 60``.

Without atheris, or with ``--corpus-only``, the inputs of the corpus are run once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent
BUILD: Final = FOLDER.parent / "build" / "fuzz"
"""Where what was found goes: inputs that reach something new, and those that break something."""

MEMORY_LIMIT: Final = 2048
"""MiB of the process, above which an input is reported."""

INPUT_TIMEOUT: Final = 10
"""Seconds for one input, above which it is reported."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a target; the exit status, which is not 0 when something broke."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    names = sorted(path.name for path in (FOLDER / "corpus").iterdir())
    parser.add_argument("target", choices=names)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus-only", action="store_true", help="run the corpus once")
    options = parser.parse_args(arguments)
    if options.corpus_only:
        return _run_corpus(options.target)
    if find_spec("atheris") is None:
        print("atheris is not installed (pip install 'messageu[fuzz]'): the corpus is run once")
        return _run_corpus(options.target)
    return _search(options.target, options.seconds)


def _run_corpus(name: str) -> int:
    from .targets import TARGETS

    inputs = TARGETS[name].inputs()
    for data in inputs.values():
        TARGETS[name].run(data)
    print(f"{name}: {len(inputs)} inputs")
    return 0


def _search(name: str, seconds: int) -> int:
    import atheris

    # What is measured must be imported under its eyes, so that nothing of ours is above.
    with atheris.instrument_imports(include=["messageu"]):
        from .targets import TARGETS
    target = TARGETS[name]
    found = BUILD / name
    found.mkdir(parents=True, exist_ok=True)
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-max_len={target.max_size}",
            "-len_control=0",  # inputs of that size from the beginning
            f"-dict={target.dictionary_file}",
            f"-rss_limit_mb={MEMORY_LIMIT}",
            f"-timeout={INPUT_TIMEOUT}",
            f"-artifact_prefix={found}-",
            "-print_final_stats=1",
            str(found),
            str(target.corpus),
        ],
        target.run,
    )
    atheris.Fuzz()  # ends the process
    return 0


if __name__ == "__main__":
    sys.exit(main())
