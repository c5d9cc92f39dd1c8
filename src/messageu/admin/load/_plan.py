"""What a load is to do."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from messageu.wire import v2

CONNECTIONS_LIMIT: Final = 10_000
IN_FLIGHT_LIMIT: Final = 1_024
MAILBOXES_LIMIT: Final = 500
"""A relay registers 600 clients a minute from one address, unless it is told otherwise."""
SIZE_LIMIT: Final = v2.DEFAULT_CONTENT_LIMIT
SECONDS_LIMIT: Final = 86_400.0
RATE_LIMIT: Final = 1_000_000.0


@frozen
class Plan:
    """Where to, how much, for how long.

    :ivar mailboxes: users that are registered, who send to each other.
    :ivar size: bytes of a message's content.
    :ivar seconds: for which is measured, after those of ``warmup``.
    :ivar rate: messages a second on all connections together, due whatever the relay does; None
        for as many as it answers.
    :ivar in_flight: requests of one connection without an answer.
    """

    host: str
    port: int
    connections: int = 50
    in_flight: int = 1
    mailboxes: int = 50
    size: int = 300
    seconds: float = 10.0
    warmup: float = 1.0
    rate: float | None = None

    @property
    def address(self) -> str:
        """The relay, as it is written."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"
