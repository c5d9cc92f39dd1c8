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
    :ivar kept: texts that were said to somebody who was away, and that the relay has taken meanwhile.
    :ivar waits: seconds that a text has taken from its sender to its reader, in their order, where the
        reader was not away.
    """

    def __init__(self, folder: Path, relay: str, names: Sequence[str], progress: Progress) -> None:
        folder.mkdir()
        self.names = names
        self.events: list[object] = []
        self.stored: list[tuple[float, float]] = []
        self.kept: list[str] = []
        self.waits: list[float] = []
        self._said_at: dict[str, float] = {}
        self._said_to: dict[str, str] = {}
        self._away_since: dict[str, float] = {}
        self._back_at: dict[str, float] = {}
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

    def leave(self, name: str) -> None:
        """Have one of them go, and wait until the relay keeps something for him."""
        before = len(self.kept)
        self._order(f"leave {name}")
        self._wait(lambda: len(self.kept) > before, f"mail waits for {name}")

    def come_back(self, name: str) -> None:
        """Have him come back, and wait until he has begun to."""
        self._order(f"return {name}")
        self._wait(lambda: name not in self._away_since, f"{name} comes back")

    def rest(self, patience: float = PATIENCE) -> None:
        """Have them say nothing more, and wait until they know what became of everything."""
        self._order("rest")
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
        take = _TAKERS.get(what)
        if take is not None:
            take(self, line)

    def _take_accepted(self, line: dict[str, Any]) -> None:
        self._said_at[line["text"]] = line["time"]
        self._said_to[line["text"]] = line["to"]

    def _take_shown(self, line: dict[str, Any]) -> None:
        said_at = self._said_at.get(line["text"], 0.0)
        if said_at > self._back_at.get(line["who"], 0.0):
            self.waits.append(line["time"] - said_at)

    def _take_stored(self, line: dict[str, Any]) -> None:
        text, time = line["text"], line["time"]
        self.stored.append((self._said_at[text], time))
        self._progress.note(line["who"], time)
        if self._said_at[text] > self._away_since.get(self._said_to[text], float("inf")):
            self.kept.append(text)

    def _take_away(self, line: dict[str, Any]) -> None:
        self._away_since[line["who"]] = line["time"]

    def _take_back(self, line: dict[str, Any]) -> None:
        del self._away_since[line["who"]]
        self._back_at[line["who"]] = line["time"]

    def _take_begun(self, _: dict[str, Any]) -> None:
        self._begun = True

    def _take_ended(self, _: dict[str, Any]) -> None:
        self._ended = True

    def _order(self, order: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n".encode("ascii"))
        self._process.stdin.flush()

    def _wait(self, is_so: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        def look() -> bool:
            self.look()
            if self._process.poll() not in (None, 0):
                raise AssertionError(self._errors.read_text("utf-8", "replace")[-2000:])
            return is_so()

        wait_until(look, what, patience)


_TAKERS: Final[Mapping[str, Callable[[Talk, dict[str, Any]], None]]] = {
    "accepted": Talk._take_accepted,
    "away": Talk._take_away,
    "back": Talk._take_back,
    "begun": Talk._take_begun,
    "ended": Talk._take_ended,
    "shown": Talk._take_shown,
    "stored": Talk._take_stored,
}
