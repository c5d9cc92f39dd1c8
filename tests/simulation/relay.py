"""A relay in a world: its service, from the start of its process to the end."""

from __future__ import annotations

from typing import Any, Final

from attrs import define, evolve, field, frozen
from twisted.internet.address import IPv4Address
from twisted.internet.defer import succeed
from twisted.internet.interfaces import IListeningPort, IReactorTime, IStreamServerEndpoint
from twisted.internet.task import Clock
from zope.interface import implementer

from messageu.server import Door, Limits, RelayService
from messageu.server._probe import BlindProbe
from messageu.testing.transport import LineEnd


@implementer(IReactorTime)
@define(eq=False)
class ProcessTime:
    """The clock as one process sees it: when it is dead, nothing of what it planned happens.

    It watches nothing by itself.

    :ivar readers: what it is to watch.
    """

    clock: Clock
    alive: bool = True
    readers: list[Any] = field(factory=list)

    def seconds(self):
        return self.clock.seconds()

    def callLater(self, delay, function, *args, **kwargs):
        return self.clock.callLater(delay, self._call, function, args, kwargs)

    def getDelayedCalls(self):
        return self.clock.getDelayedCalls()

    def addReader(self, reader):  # noqa: N802
        self.readers.append(reader)

    def removeReader(self, reader):  # noqa: N802
        if reader in self.readers:
            self.readers.remove(reader)

    def _call(self, function, args, kwargs):
        if self.alive:
            function(*args, **kwargs)


@frozen
class Socket:
    """The probe of a line's end with a plain socket under it, to which the relay writes by itself."""

    end: LineEnd

    @property
    def handle(self):
        return self

    def send(self, data):
        return self.end.send(data)

    def unread(self):
        return self.end.unread()

    def unacknowledged(self):
        return self.end.unacknowledged()

    def failed(self):
        return self.end.failed()


PROBES: Final = {"socket": Socket, "transport": lambda end: end, "blind": lambda _: BlindProbe()}
"""What a relay can ask of its kernel, and whether it writes past its transport."""


@implementer(IStreamServerEndpoint, IListeningPort)
class RelayProcess:
    """The relay's service from its start to its end, and its only door.

    :ivar ended: it has stopped in good order.
    :ivar listener: makes a protocol for each of its clients; None: it does not listen.
    """

    def __init__(self, world):
        self.time = ProcessTime(world.clock)
        self.ended = False
        self.listener = None
        self._world = world
        self._protocols = []
        self.store = world.database.make_store(self)
        self.service = self._new_service(world)
        self.service.startService()

    def _new_service(self, world):
        return RelayService([Door("memory", self)], self.store, self.time, Limits(world.settings))

    def listen(self, protocolFactory):  # noqa: N803
        self.factory = protocolFactory
        self.factory.exchange = evolve(self.factory.exchange, probe_of=self._world.probe_of)
        self.factory.doStart()
        self.listener = self.factory
        return succeed(self)

    def accept(self, address):
        """The protocol for a client, or None."""
        protocol = self.listener.buildProtocol(address)
        self._protocols.append(protocol)
        return protocol

    def has(self, line):
        """Whether a connection is one of its own."""
        return line.server.protocol in self._protocols

    def startListening(self):  # noqa: N802
        """It does."""

    def stopListening(self):  # noqa: N802
        self.listener = None
        return succeed(None)

    def getHost(self):
        return IPv4Address("TCP", "192.0.2.2", 1357)

    def stop(self):
        """SIGTERM."""

        def end(_):
            self.ended = True
            self.time.alive = False

        self.service.stopService().addCallback(end)

    def die(self):
        """It was killed, and the database is as that has left it."""
        self.time.alive = False
        self.listener = None
        self._world.database.let_go(self)

    def holdings(self):
        """What is held for clients, by name."""
        limits, streams = self.service.limits, self.factory.exchange.streams
        return {
            "connections": limits.connections,
            "input": limits.input_bytes,
            "output": limits.output_bytes,
            "streams": streams.limit - streams.tokens + len(streams.waiting),
            "leases": self._world.database.leases(self),
        }
