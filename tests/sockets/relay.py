"""A relay on a real port and a real database, in the reactor of the tests; clients block in threads."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from messageu.server import Balancing, Door, Limits, LimitSettings, RelayService
from messageu.store import SqliteStore

from .client import SocketClient, wait_until


def blocking(test: Callable[..., None]) -> Callable[..., Deferred[None]]:
    """A test that blocks: it runs in a thread, and the relay in the reactor."""

    @wraps(test)
    def run(*arguments: Any) -> Deferred[None]:
        return deferToThread(test, *arguments)

    return run


def free_endpoint() -> tuple[int, AdoptedStreamServerEndpoint]:
    """A port that is taken, and the endpoint that listens there."""
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    return port, AdoptedStreamServerEndpoint(reactor, listener.detach(), socket.AF_INET)


class RelayTestCase(TestCase):
    """Tests with a relay.

    :ivar limits: what the connections of the last relay use.
    :ivar service: the last relay.
    """

    timeout = 60

    def start_relay(self, **settings: float) -> int:
        """Start the relay; its port. At the end of the test it is stopped."""
        return self.start_balanced(None, **settings)

    def start_balanced(self, balancing: Balancing | None, **settings: float) -> int:
        """The same, with what is agreed with a balancer."""
        port, endpoint = free_endpoint()
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.limits = Limits(LimitSettings(**settings))
        self.service = service = RelayService(
            [Door("a free port", endpoint)],
            SqliteStore(folder / "defensive.db", reactor, now=time.time),
            reactor,
            self.limits,
            balancing=balancing,
        )
        service.startService()
        self.addCleanup(service.stopService)
        return port

    def dial(self, port: int, **options: int) -> SocketClient:
        """A connection; at the end of the test it is closed."""
        client = SocketClient(port, **options)
        self.addCleanup(client.close)
        return client

    def wait_until_alone(self, limits: Limits | None = None) -> None:
        """Until the relay, or the one with these limits, has seen every connection end."""
        limits = limits or self.limits
        wait_until(lambda: not limits.connections, "every connection has ended")
