"""Clients of v3 as a test sees them: their process, and what they have seen."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.simulation.v3 import history
from tests.sockets.client import wait_until

from .progress import Progress

PATIENCE: Final = 120.0
"""Seconds in which everything that was said has come to its end, when all is well."""

_EVENTS: Final[Mapping[str, Callable[[dict[str, Any]], object]]] = {
    "accepted": lambda line: history.Accepted(line["who"], line["to"], line["text"]),
    "shown": lambda line: history.Shown(line["who"], line["of"], line["text"]),
    "delivered": lambda line: history.Delivered(line["who"], line["text"]),
    "undelivered": lambda line: history.Undelivered(line["who"], line["text"], line["why"]),
    "missing": lambda line: history.Missing(line["who"], line["of"], line["count"]),
    "unopened": lambda line: history.Unopened(line["who"], line["count"]),
    "stranger": lambda line: history.Stranger(line["who"], line["of"]),
    "left": lambda line: history.Left(line["who"], line["text"]),
}


class Talk:
    """Some clients of v3 in a process.

    :param progress: is told when the relay has taken a text.
    :ivar events: what they have seen until now.
    :ivar stored: of each text that the relay has taken, when it was said, and when that was known.
    :ivar waits: seconds that a text has taken from its sender to its reader, in their order.
    """

    def __init__(self, folder: Path, relay: str, names: Sequence[str], progress: Progress) -> None:
        folder.mkdir()
        self.names = names
        self.events: list[object] = []
        self.stored: list[tuple[float, float]] = []
        self.waits: list[float] = []
        self._said_at: dict[str, float] = {}
        self._progress = progress
        self._begun = self._ended = False
        self._errors = folder / "errors"
        seen = folder / "seen"
        with seen.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.cluster.talker", str(folder), relay, *names],
                cwd=Path(__file__).resolve().parents[2],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
            )
        self._seen = seen.open("rb")
        self._rest = b""

    def wait_until_begun(self) -> None:
        """Wait until they are registered, and know each other."""
        self._wait(lambda: self._begun, "they talk")

    def rest(self, patience: float = PATIENCE) -> None:
        """Have them say nothing more, and wait until they know what became of everything."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"rest\n")
        self._process.stdin.flush()
        self._wait(lambda: self._ended, "all that was said has come to its end", patience)

    def close(self) -> None:
        """Make sure that they are gone."""
        self._process.kill()
        self._process.wait()
        self._seen.close()
        self._process.stdin.close()

    def look(self) -> None:
        """Take in what they have seen meanwhile."""
        *lines, self._rest = (self._rest + self._seen.read()).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    @property
    def violations(self) -> Sequence[str]:
        """What is wrong with what they have seen."""
        return history.violations(self.events)

    @property
    def accepted(self) -> int:
        """How many texts they have said."""
        return len(self._said_at)

    def _take(self, line: dict[str, Any]) -> None:
        what = line["what"]
        if what in _EVENTS:
            self.events.append(_EVENTS[what](line))
        if what == "accepted":
            self._said_at[line["text"]] = line["time"]
        if what == "shown" and line["text"] in self._said_at:
            self.waits.append(line["time"] - self._said_at[line["text"]])
        if what == "stored":
            self.stored.append((self._said_at[line["text"]], line["time"]))
            self._progress.note(line["who"], line["time"])
        self._begun = self._begun or what == "begun"
        self._ended = self._ended or what == "ended"

    def _wait(self, is_so: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        def look() -> bool:
            self.look()
            if self._process.poll() not in (None, 0):
                raise AssertionError(self._errors.read_text("utf-8", "replace")[-2000:])
            return is_so()

        wait_until(look, what, patience)
