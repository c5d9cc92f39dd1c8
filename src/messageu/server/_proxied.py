"""Connections that a balancer passes on: each begins with a header that says whose it is (ADR 14)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from attrs import frozen
from twisted.internet.address import IPv4Address as TcpAddress4
from twisted.internet.address import IPv6Address as TcpAddress6
from twisted.internet.interfaces import IAddress, ILoggingContext, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from ._limits import Limits
from ._proxy_header import BadHeader, Header, HeaderReader


class BadNetworks(Exception):
    """These are no networks; the text says why in one line."""


@frozen
class Networks:
    """Where balancers are."""

    networks: tuple[IPv4Network | IPv6Network, ...]

    def __contains__(self, host: str) -> bool:
        """Whether a host, by its address, is in one of them."""
        try:
            address = ip_address(host)
        except ValueError:  # a Unix socket, or nothing
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self.networks)


def read_networks(text: str) -> Networks:
    """Networks and addresses as an operator writes them, with commas between.

    :raises BadNetworks: when one of them is none.
    """
    try:
        return Networks(tuple(ip_network(word.strip()) for word in text.split(",")))
    except ValueError as error:
        raise BadNetworks(str(error)) from None


@implementer(ILoggingContext)
class ProxiedFactory(ServerFactory):
    """Lets only balancers in, and reads the header of each of their connections. Then the connection
    is another factory's, as if its client had dialled: the same transport, and nothing between.

    :param served: makes the protocols of connections, by the addresses of their clients.
    :param note: is told what balancers, and those who are none, do wrong: an address, and what.
    """

    noisy = False

    def __init__(
        self,
        served: IProtocolFactory,
        networks: Networks,
        clock: IReactorTime,
        limits: Limits,
        note: Callable[[str, str], None],
    ) -> None:
        self.served = served
        self.clock = clock
        self.limits = limits
        self._networks = networks
        self._note = note
        self._waiting: dict[_HeaderProtocol, None] = {}
        self._closed = False

    def logPrefix(self) -> str:
        """As the factory whose connections they will be."""
        return type(self.served).__name__

    def doStart(self) -> None:
        super().doStart()  # type: ignore[no-untyped-call]
        self.served.doStart()

    def doStop(self) -> None:
        self.served.doStop()
        super().doStop()  # type: ignore[no-untyped-call]

    def buildProtocol(self, addr: IAddress | None) -> _HeaderProtocol | None:
        """Wait for the header of a new connection; or None: it is refused, and closed at once."""
        host = str(getattr(addr, "host", addr))
        if host not in self._networks:
            self.complain("not_a_balancer", host, "is refused, because it is no balancer")
            return None
        if self._closed or not self.limits.admit_unknown(host):
            return None
        waiting = _HeaderProtocol(self, addr, host)
        self._waiting[waiting] = None
        return waiting

    def complain(self, matter: str, host: str, what: str) -> None:
        """Count a matter, and log what it is."""
        self.limits.hits[matter] += 1
        self._note(host, what)

    def forget(self, waiting: _HeaderProtocol) -> None:
        """This one waits no more: its client is known, or it is gone."""
        if waiting in self._waiting:
            del self._waiting[waiting]
            self.limits.leave_unknown()

    def close(self) -> None:
        """Give up those whose header is not there, and let nobody in."""
        self._closed = True
        for waiting in tuple(self._waiting):
            waiting.abort()


class _HeaderProtocol(Protocol):
    """Reads the header of one connection, and makes way for what the connection is for."""

    __slots__ = ("_addr", "_deadline", "_host", "_owner", "_reader", "connected", "transport")

    transport: Any

    def __init__(self, owner: ProxiedFactory, addr: Any, host: str) -> None:
        self._owner = owner
        self._addr = addr
        self._host = host
        self._reader = HeaderReader()
        self._deadline = owner.clock.callLater(
            owner.limits.settings.proxy_deadline, self._give_up_waiting
        )

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the balancer."""
        try:
            read = self._reader.feed(data)
        except BadHeader as error:
            self._owner.complain(
                "bad_proxy_header", self._host, f"sent a PROXY header that is refused: {error}"
            )
            self.abort()
            return
        if read is not None:
            self._make_way(*read)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over before it has begun."""
        self._end()

    def abort(self) -> None:
        """Give up the connection."""
        self._end()
        self.transport.abortConnection()

    def _make_way(self, header: Header, rest: bytes) -> None:
        self._end()
        served = self._owner.served.buildProtocol(_address(header.host, self._addr))
        transport = self.transport
        if served is None:
            transport.abortConnection()
            return
        # As startTLS of Twisted does it. From now on the transport tells the other all that happens,
        # the end of a half included, and is to be had as it is: its socket can be asked.
        transport.protocol = served
        served.makeConnection(transport)
        if rest:
            served.dataReceived(rest)

    def _give_up_waiting(self) -> None:
        self._owner.limits.hit("proxy_deadline", self._host)
        self.abort()

    def _end(self) -> None:
        self._owner.forget(self)
        if self._deadline.active():
            self._deadline.cancel()


def _address(host: str | None, dialled: Any) -> Any:
    if host is None:
        return dialled
    return (TcpAddress6 if ":" in host else TcpAddress4)("TCP", host, 0)
