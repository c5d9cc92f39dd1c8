"""How much a run measures, and where it may write."""

from __future__ import annotations

import sys
from pathlib import Path

from attrs import frozen


@frozen
class Effort:
    """How long everything takes.

    :ivar seconds: of one load, without its warm-up.
    :ivar references: whether other people's servers are measured.
    """

    scratch: Path
    rounds: int
    seconds: float
    warmup: float
    references: bool = True
    full: bool = False
    quick: bool = False

    @property
    def loading(self) -> dict[str, float]:
        """The options of a load that runs for a time."""
        return {"seconds": self.seconds, "warmup": self.warmup}


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr, flush=True)
