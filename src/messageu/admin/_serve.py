"""A relay in the foreground, for an environment that shows no commands but ours, as pipx makes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from ._operands import Command

TWISTD: Final = ("twistd", "--nodaemon", "--pidfile=", "messageu")
"""What is run, and what the relay's options follow."""


def serve(options: Sequence[str]) -> NoReturn:
    """Be ``twistd``, with these options of the relay's."""
    # It is needed by nothing else here, and looks for all plugins that there are.
    from twisted.scripts.twistd import run

    sys.argv = [*TWISTD, *options]
    run()
    raise SystemExit(0)


def _explain(options: argparse.Namespace) -> None:
    del options
    raise SystemExit(
        "messageu-admin: serve stands before all options, and is followed by those of the relay"
    )


SERVE: Final = Command(_explain, "run a relay in the foreground; the relay's options follow")
