"""How a command ends, and how long it waits."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

DEFAULT_TIMEOUT: Final = 30.0
"""Seconds without a sign of the relay after which it is away."""


class Exit(IntEnum):
    """How a command has ended.

    DONE: as it should. FAILED: not; one line says why. USAGE: it was not understood. QUEUED: what
    was to be sent is kept, and goes out when the relay can be reached. AWAY: the relay cannot be
    reached, or gave no answer in time.
    """

    DONE = 0
    FAILED = 1
    USAGE = 2
    QUEUED = 3
    AWAY = 4
    INTERRUPTED = 130


MEANINGS: Final[dict[Exit, str]] = {
    Exit.DONE: "done",
    Exit.FAILED: "failed; a line on standard error says why",
    Exit.USAGE: "not understood: the command line is wrong",
    Exit.QUEUED: "kept, and sent when the relay can be reached; or sent, and not delivered in time",
    Exit.AWAY: "the relay cannot be reached, or does not answer in time",
    Exit.INTERRUPTED: "interrupted",
}
"""What each means to a script."""
