"""A network in memory: endpoints for clients, lines to a relay, and one clock for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError as TwistedConnectionRefused
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from zope.interface import implementer

from .transport import Faults, Line

TURN_LIMIT: Final = 100_000
"""Turns after which a network that never comes to rest is a failure."""

CLIENT_ADDRESS: Final = IPv4Address("TCP", "192.0.2.1", 40000)


@define(eq=False)
class MemoryNetwork:
    """Joins clients to whatever listens, until nothing moves any more.

    :ivar clock: everybody's time.
    :ivar listener: makes the protocol of the other side; None: nobody listens.
    :ivar lines: all connections that there were, oldest first.
    :ivar new_faults: what is wrong with the next line: from the client, and from the server.
    """

    clock: Clock
    listener: IProtocolFactory | None = None
    lines: list[Line] = field(factory=list)
    new_faults: Callable[[], tuple[Faults, Faults]] = lambda: (Faults(), Faults())

    def endpoint(self) -> MemoryEndpoint:
        """Where a client connects to."""
        return MemoryEndpoint(self)

    def run(self) -> None:
        """Let everything happen that happens at this time.

        :raises RuntimeError: when there is no end to it.
        """
        for _ in range(TURN_LIMIT):
            moved = sum(line.step() for line in self.lines)  # all of them
            due = any(
                call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()
            )
            if due:
                self.clock.advance(0)
            if not (moved or due):
                return
        raise RuntimeError("the network never comes to rest")

    def wait(self, seconds: float, step: float = 0.1) -> None:
        """Let time pass, a step at a time, and everything happen that it brings."""
        until = self.clock.seconds() + seconds
        self.run()
        while self.clock.seconds() < until:
            self.clock.advance(min(step, until - self.clock.seconds()))
            self.run()


@implementer(IStreamClientEndpoint)
@define(eq=False)
class MemoryEndpoint:
    """The way into a :class:`MemoryNetwork`."""

    network: MemoryNetwork

    def connect(
        self,
        protocolFactory: IProtocolFactory,  # noqa: N803 - Twisted's name
    ) -> Deferred[IProtocol]:
        """Make a line to the one who listens, if there is one and it does not refuse."""
        server = None
        if self.network.listener is not None:
            server = self.network.listener.buildProtocol(CLIENT_ADDRESS)
        client = protocolFactory.buildProtocol(CLIENT_ADDRESS)
        if server is None or client is None:
            return fail(TwistedConnectionRefused())
        from_client, from_server = self.network.new_faults()
        line = Line(client, server, from_client=from_client, from_server=from_server)
        self.network.lines.append(line)
        return succeed(client)
