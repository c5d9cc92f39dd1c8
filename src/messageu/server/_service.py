"""The relay as a Twisted service: bind, open, serve, drain, close."""

from __future__ import annotations

import os
import resource
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, TextIO

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from messageu import __version__
from messageu.store import IMailboxStore, News, Sharers, StoreError, StoreUnusable

from ._balancing import Balancing
from ._census import Census
from ._control_socket import ControlSocket, ControlUnusable
from ._doors import Door
from ._drain import Drain
from ._factory import RelayFactory
from ._health import HealthFactory
from ._http import HttpFactory
from ._limits import Limits
from ._metrics import NOBODY_ASKS, IMetrics
from ._monitoring import Inside, MetricsFactory, Monitoring
from ._probe import probe_of, proxied_probe_of
from ._proxied import ProxiedFactory
from ._readiness import Readiness
from .v3 import CertificateUnusable, Offer, Relay, TlsFactory

_log = Logger()

EXPIRY_INTERVAL: Final = 3600.0
"""Seconds between two looks for mail that has waited for too long."""

SPARE_DESCRIPTORS: Final = 64
"""Descriptors that are not for connections: the database, the log, the ports."""


class StartFailed(Exception):
    """The relay cannot start; the text says why in one line."""


@frozen
class Expiry:
    """Mail that has waited for longer than ``age`` seconds is deleted; ``now`` is the time."""

    age: float
    now: Callable[[], float]


@frozen
class _Listener:
    """A door; what makes the connections that come in there, and what those are served by."""

    door: Door
    factory: IProtocolFactory
    served_by: IProtocolFactory


@frozen
class _Bound:
    """A port, and what was to listen there."""

    port: IListeningPort
    listener: _Listener

    def close(self) -> Deferred[Any]:
        """Listen no more."""
        return maybeDeferred(self.port.stopListening)


class RelayService(Service):
    """Listens at its doors while its store is open.

    Under ``twistd`` the ports are bound by :meth:`privilegedStartService`, perhaps as root, and
    the store is opened by :meth:`startService`; ``twist`` calls only the latter. Nobody is served
    between the two, because the reactor does not run yet.

    :ivar limits: what its connections may use.

    :ivar v3: what it serves over v3, if it does.

    :param offer: what that is to be.
    :param control: where the operator's commands come in, if anywhere.
    :param balancing: what is agreed with a load balancer in front.
    :param monitoring: where it is asked for its metrics, if anywhere.
    :param stderr: where the child of a daemon says why it cannot start; closed when it has started.
    """

    def __init__(
        self,
        doors: Sequence[Door],
        store: IMailboxStore,
        clock: IReactorTime,
        limits: Limits,
        expiry: Expiry | None = None,
        stderr: TextIO | None = None,
        control: ControlSocket | None = None,
        offer: Offer | None = None,
        balancing: Balancing | None = None,
        monitoring: Monitoring | None = None,
    ) -> None:
        balancing = balancing or Balancing()
        self.limits = limits
        self._doors = doors
        self._store = store
        self._expiry = expiry
        self._stderr = stderr
        self._control = control
        metrics: IMetrics = NOBODY_ASKS if monitoring is None else monitoring.metrics
        believes = balancing.networks is None or balancing.goodbyes
        self._factory = RelayFactory(
            store, clock, limits, probe_of if believes else proxied_probe_of, metrics
        )
        exchange = self._factory.exchange
        self.v3 = (
            None
            if offer is None
            else Relay(offer, clock, limits, exchange.peer_name, exchange.notices, metrics)
        )
        self._health = None if balancing.health is None else HealthFactory(balancing.health, clock)
        self._readiness = None if self._health is None else self._health.readiness
        self._listeners = self._make_listeners(balancing, clock)
        if monitoring is not None:
            self._listeners.append(self._watched(monitoring, clock))
        self._drain_time = Drain(balancing.drain, clock, balancing.heed)
        self._expiring = LoopingCall(self._expire)
        self._expiring.clock = clock
        self._ports: list[_Bound] | None = None
        self._failure: str | None = None
        # A failure is told to whoever started us: as an exit if that is this process, and as an
        # ordinary exception in the child of a daemon, whose parent would wait for ever otherwise.
        self._maker = os.getpid()

    def privilegedStartService(self) -> None:
        """Bind the ports, and nothing else: this may still run as root.

        :raises SystemExit: or :class:`StartFailed`, when a port cannot be had.
        """
        self._listen()

    def startService(self) -> None:
        """Open the store, bind what is not bound yet, and serve.

        :raises SystemExit: or :class:`StartFailed`, when the store or a port cannot be had.
        """
        try:
            self._store.open()
        except StoreUnusable as error:
            self._fail(str(error))
        self._store.watch(self._hear)
        if self.v3 is not None:
            self._open_v3(self.v3)
        if self._ports is None:
            self._listen()
        if self._control is not None:
            self._open_control(self._control)
        if self._expiry is not None or self.v3 is not None:
            self._expiring.start(EXPIRY_INTERVAL)
        if self._stderr is not None:
            self._stderr.close()
        super().startService()  # type: ignore[no-untyped-call]
        if self._readiness is not None:
            self._readiness.serve()
        for address in self.addresses:
            _log.info("clients of v3 are given the address {address}", address=address)
        _log.info(
            "messageu {version} serves {doors}",
            version=__version__,
            doors=" and ".join(listener.door.description for listener in self._listeners),
        )

    def stopService(self) -> Deferred[None]:
        """Wait until balancers have noticed, listen no more, finish what is being answered, then
        close the store."""
        serving = self.running
        super().stopService()  # type: ignore[no-untyped-call]
        if self._readiness is not None:
            self._readiness.drain()
        if not serving:
            return self._stop()
        return self._drain_time.begin().addCallback(lambda _: self._stop())

    def _stop(self) -> Deferred[None]:
        if self._expiring.running:
            self._expiring.stop()
        ports, self._ports = self._ports or [], None
        asked = [bound for bound in ports if isinstance(bound.listener.factory, HttpFactory)]
        closing = [bound.close() for bound in ports if bound not in asked]
        if self._control is not None:
            closing.append(self._control.close())
        closed = gatherResults(closing)
        closed.addCallback(lambda _: gatherResults(self._drain()))
        closed.addCallback(lambda _: self._store.close())
        # Until the end somebody may ask whether it is alive.
        closed.addCallback(lambda _: gatherResults([bound.close() for bound in asked]))
        return closed.addCallback(lambda _: _log.info("the relay has stopped"))

    @property
    def addresses(self) -> Sequence[str]:
        """What clients of v3 are given, a line for each door; none while it does not listen."""
        if self.v3 is None:
            return ()
        return [
            address_of(bound.port.getHost(), self.v3.pin)
            for bound in self._ports or ()
            if isinstance(bound.listener.served_by, TlsFactory)
        ]

    def _make_listeners(self, balancing: Balancing, clock: IReactorTime) -> list[_Listener]:
        doors: list[tuple[Door, IProtocolFactory]] = [(door, self._factory) for door in self._doors]
        if self.v3 is not None:
            doors += [(door, self.v3.listener) for door in self.v3.offer.doors]
        listeners = [
            _Listener(door, self._in_front(factory, balancing, clock), factory)
            for door, factory in doors
        ]
        if balancing.health is not None and self._health is not None:
            listeners.append(_Listener(balancing.health.door, self._health, self._health))
        return listeners

    def _watched(self, monitoring: Monitoring, clock: IReactorTime) -> _Listener:
        if self._readiness is None:
            self._readiness = Readiness(monitoring.store.check, clock)
        census = Census(monitoring.surveys, clock)
        factory = MetricsFactory(monitoring.metrics, self._readiness, self._look, census, clock)
        return _Listener(monitoring.door, factory, factory)

    def _look(self) -> Inside:
        connections = {"v2": self._factory.connections}
        if self.v3 is None:
            return Inside(self.limits, connections)
        return Inside(
            self.limits,
            {**connections, "v3": self.v3.connections},
            self.v3.subscriptions,
            self.v3.counts,
        )

    def _in_front(
        self, factory: IProtocolFactory, balancing: Balancing, clock: IReactorTime
    ) -> IProtocolFactory:
        if balancing.networks is None:
            return factory
        exchange = self._factory.exchange
        return ProxiedFactory(
            factory,
            balancing.networks,
            clock,
            self.limits,
            lambda host, what: exchange.notices.note(exchange.peer_name(host), what),
        )

    def _listen(self) -> None:
        self.limits.lower_connections(descriptors_for(self.limits.connection_limit))
        self._ports = ports = list[_Bound]()
        for listener in self._listeners:
            bound: Deferred[IListeningPort] = listener.door.endpoint.listen(listener.factory)
            bound.addCallback(_Bound, listener).addCallback(ports.append)
            bound.addErrback(self._keep_failure, listener.door)
            # Twisted's own endpoints have bound, or failed to, by now.
            if self._failure is not None:
                self._fail(self._failure)

    def _open_v3(self, relay: Relay) -> None:
        try:
            relay.open()
        except CertificateUnusable as error:
            self._fail(str(error))

    def _drain(self) -> list[Deferred[None]]:
        for listener in self._listeners:
            if isinstance(listener.factory, ProxiedFactory):
                listener.factory.close()
        draining = [self._factory.drain()]
        if self.v3 is not None:
            draining.append(self.v3.drain())
        return draining

    def _open_control(self, control: ControlSocket) -> None:
        try:
            control.open()
        except ControlUnusable as error:
            if control.required:
                self._fail(str(error))
            _log.warn("{reason}; messageu-admin cannot speak to this relay", reason=str(error))

    def _keep_failure(self, failure: Failure, door: Door) -> None:
        error = failure.value
        reason = error.socketError if isinstance(error, CannotListenError) else error
        self._failure = f"cannot listen on {door.description}: {reason}"
        if self.running:  # it took its time, and nobody waits for it any more
            _log.critical("{line}", line=self._failure)

    def _fail(self, line: str) -> NoReturn:
        _log.error("{line}", line=line)  # what is critical goes to stderr until there is a log
        if os.getpid() == self._maker:
            # The log may have taken sys.stderr.
            print(f"messageu: {line}", file=sys.__stderr__)
            raise SystemExit(1)
        if self._stderr is not None:
            print(f"messageu: {line}", file=self._stderr, flush=True)
        raise StartFailed(line)

    def _hear(self, news: News) -> None:
        if isinstance(news, Sharers):
            self.limits.share_among(news.count)
        elif self.v3 is not None:
            self.v3.hear(news)

    def _expire(self) -> Deferred[Any]:
        expired: list[Deferred[int]] = []
        if self._expiry is not None:
            expired.append(self._store.expire(self._expiry.now() - self._expiry.age))
        if self.v3 is not None:
            expired.append(self.v3.expire())
        return gatherResults(
            [each.addCallbacks(_log_expired, _log_not_expired) for each in expired]
        )


def _log_expired(count: int) -> None:
    if count:
        _log.info("{count} messages have waited for too long and are gone", count=count)


def _log_not_expired(failure: Failure) -> None:
    failure.trap(StoreError)
    _log.warn("old mail could not be deleted: {reason}", reason=str(failure.value))


def address_of(host: IAddress, pin: str) -> str:
    """The address of a door of v3, as a client is given it: with the name of this machine, unless
    the door is at an address of its own."""
    name = str(getattr(host, "host", ""))
    if name in _ANYWHERE:
        name = socket.gethostname()
    if ":" in name:
        name = f"[{name}]"
    return f"messageu://{name}:{getattr(host, 'port', '')}#{pin}"


_ANYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - it is looked for, not bound


def descriptors_for(connections: int) -> int:
    """Raise the soft limit of descriptors to the hard one; how many connections there can be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY or hard - SPARE_DESCRIPTORS >= connections:
        return connections
    fitting = max(1, hard - SPARE_DESCRIPTORS)
    _log.warn(
        "only {fitting} connections instead of {connections}: the limit of open files is {hard}",
        fitting=fitting,
        connections=connections,
        hard=hard,
    )
    return fitting
