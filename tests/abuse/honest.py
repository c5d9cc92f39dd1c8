"""Somebody who uses the relay as it is meant, and notices how long that takes."""

from __future__ import annotations

import time
from collections.abc import Iterable

from tests.sockets.client import Answer, SocketClient, fetch, message, messages_in


class Ledger:
    """What was acknowledged, and what has been found since."""

    def __init__(self) -> None:
        self._acknowledged: set[bytes] = set()
        self._found: set[bytes] = set()

    def acknowledge(self, content: bytes) -> None:
        """The relay has said that it has this one."""
        self._acknowledged.add(content)

    def find(self, contents: Iterable[bytes]) -> None:
        """The relay has handed out these. Some may have come before."""
        self._found.update(contents)

    @property
    def lost(self) -> int:
        """How many were acknowledged and have never been found."""
        return len(self._acknowledged - self._found)

    @property
    def invented(self) -> int:
        """How many were found and never acknowledged."""
        return len(self._found - self._acknowledged)


class HonestClient:
    """Sends a message and fetches it, one after the other, on a connection that is kept.

    Each answer comes within the patience of its socket, or the test ends.

    :ivar refused: how often it was answered with anything but what it has asked for.
    :ivar rounds: how often it has sent and fetched.
    """

    def __init__(self, port: int, label: str = "honest") -> None:
        self._client = SocketClient(port)
        self._anna = self._client.register(f"{label} anna".encode())
        self.bern = self._client.register(f"{label} bern".encode())
        self._latencies: list[float] = []
        self.ledger = Ledger()
        self.refused = 0
        self.rounds = 0

    def send_and_fetch(self) -> None:
        """One 603, and one 604."""
        self.send_only()
        answer = self._ask(fetch(self.bern), 2104)
        if answer is not None:
            self.ledger.find(waiting.content for waiting in messages_in(answer))

    def send_only(self) -> None:
        """One 603."""
        self.rounds += 1
        content = b"round %d" % self.rounds
        if self._ask(message(self._anna, self.bern, content), 2103) is not None:
            self.ledger.acknowledge(content)

    def _ask(self, request: bytes, code: int) -> Answer | None:
        began = time.perf_counter()
        answer = self._client.ask(request)
        self._latencies.append(time.perf_counter() - began)
        if answer.code == code:
            return answer
        self.refused += 1
        return None

    def fetch_rest(self) -> None:
        """Fetch until nothing comes."""
        self.ledger.find(waiting.content for waiting in self._client.fetch_all(self.bern))

    @property
    def lost(self) -> int:
        """How many were acknowledged and have never been found."""
        return self.ledger.lost

    @property
    def invented(self) -> int:
        """How many were found and never acknowledged."""
        return self.ledger.invented

    def take_latencies(self) -> list[float]:
        """How long its requests took since this was last asked, in seconds, the shortest first."""
        latencies, self._latencies = sorted(self._latencies), []
        return latencies

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def percentile(latencies: list[float], part: float) -> float:
    """The latency that so many, as a part of 1, do not exceed; they are in order."""
    return latencies[min(len(latencies) - 1, int(len(latencies) * part))]
