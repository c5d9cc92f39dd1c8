"""Where the parts of the relay are joined, from what its options say."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from attrs import frozen
from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.logfile import LogFile

from messageu import __version__
from messageu.server import (
    Balancing,
    ControlFactory,
    ControlSocket,
    Door,
    Expiry,
    Health,
    Inspection,
    JsonLogged,
    Limits,
    Metrics,
    Monitoring,
    RelayService,
    Stream,
    control_path,
    heed_signals,
)
from messageu.server.v3 import Offer
from messageu.settings import (
    POSTGRES_SCHEMES,
)
from messageu.store import SCHEMA_VERSION, IChecked, Quota, SqliteStore, beside

from ._options import REGISTRATIONS, Options

if TYPE_CHECKING:
    from messageu.store.postgres import PostgresStore

_log = Logger()

DEFAULT_PORT: Final = 1357
DEFAULT_V3_PORT: Final = 1358
PORT_FILE_SIZE_LIMIT: Final = 64
DAY: Final = 86_400.0

BACKLOG: Final = 1024
"""Connections that the kernel holds until they are accepted. With Twisted's 50, some of those that
come all at once, as after a restart, have to try again after a second."""

YOUNG_OBJECTS: Final = 5_000
"""Objects that come into being before the collector looks for cycles among them."""


def makeService(options: Options, reactor: Any = None) -> IService:
    """The relay that the options describe. It touches no port and no database yet.

    This runs before a daemon forks and before ``--rundir``, so that paths are made absolute here.
    """
    if reactor is None:
        from twisted.internet import reactor

        _calm_the_collector()
    clock = cast(IReactorTime, reactor)
    days = options["expire-after"]
    limits = Limits(options["settings"])
    quota = Quota(limits.settings.mailbox_messages, limits.settings.mailbox_bytes)
    metrics = None if options["metrics"] is None else Metrics()
    database = _database(options, reactor, quota, metrics)
    relay = RelayService(
        _doors(options, reactor),
        database.store,
        clock,
        limits,
        None if days is None else Expiry(days * DAY, time.time),
        _keep_stderr(),
        _control(options, database, reactor, lambda: _status(database, relay)),
        _offer(options, database, reactor),
        _balancing(options, database.store, reactor),
        None if metrics is None else _monitoring(options, metrics, database, reactor),
    )
    if not options["json-logs"]:
        return relay
    return JsonLogged(relay, lambda: _log_stream(options.parent or {}, reactor))


def _log_stream(above: Mapping[str, Any], reactor: Any) -> Stream:
    """Where twistd would log text, which is said before the name of the plugin."""
    path = above.get("logfile") or ("-" if above.get("nodaemon", True) else "twistd.log")
    if path == "-":
        return sys.stdout
    file: Any = LogFile.fromFullPath(path)
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(file.rotate))
    return cast(Stream, file)


@frozen
class _Database:
    """What keeps everything.

    :ivar beside: the path that files which go with it begin with.
    :ivar shown: how it is called.
    :ivar schema: the version of its tables.
    """

    store: SqliteStore | PostgresStore
    beside: Path
    shown: str
    schema: int


def _database(options: Options, reactor: Any, quota: Quota, metrics: Metrics | None) -> _Database:
    text = options["database"]
    if text.startswith(POSTGRES_SCHEMES):
        return _postgres(text, options["database-connections"], reactor, quota, metrics)
    path = Path(text).absolute()
    committed = None if metrics is None else metrics.committed
    store = SqliteStore(
        path, reactor, now=time.time, quota=quota, account_quota=quota, committed=committed
    )
    return _Database(store, path, str(path), SCHEMA_VERSION)


def _postgres(
    text: str, connections: int, reactor: Any, quota: Quota, metrics: Metrics | None
) -> _Database:
    try:
        # An extra, which a relay with an SQLite file does without.
        from messageu.store import postgres
    except ImportError:
        raise SystemExit("messageu: for a PostgreSQL database install messageu[postgres]") from None
    try:
        address = postgres.PostgresAddress.parse(text)
    except postgres.BadAddress as error:
        raise SystemExit(f"messageu: --database: {error}") from None
    store = postgres.PostgresStore(
        address,
        reactor,
        now=time.time,
        quota=quota,
        account_quota=quota,
        connections=connections,
        committed=None if metrics is None else metrics.committed,
        behind=None if metrics is None else metrics.committed_behind,
    )
    return _Database(store, Path("messageu").absolute(), address.shown, postgres.SCHEMA_VERSION)


def _doors(options: Options, reactor: Any) -> Sequence[Door]:
    if options["no-v2"]:
        return ()
    doors = [Door(text, serverFromString(reactor, text)) for text in options["endpoint"]]
    if doors:
        return doors
    text = f"tcp:{read_port(Path(options['port-file']))}"
    return [Door(text, serverFromString(reactor, f"{text}:backlog={BACKLOG}"))]


def _offer(options: Options, database: _Database, reactor: Any) -> Offer | None:
    if options["no-v3"]:
        return None
    doors = [Door(f"v3 on {text}", serverFromString(reactor, text)) for text in options["v3"]]
    if not doors:
        text = f"tcp:{DEFAULT_V3_PORT}"
        doors = [Door(f"v3 on {text}", serverFromString(reactor, f"{text}:backlog={BACKLOG}"))]
    given = options["v3-certificate"]
    certificate = beside(database.beside, ".tls.pem") if given is None else Path(given).absolute()
    return Offer(
        doors,
        certificate,
        database.store.accounts,
        REGISTRATIONS[options["registration"]],
        time.time,
    )


def _balancing(options: Options, store: IChecked, reactor: Any) -> Balancing:
    text = options["health"]
    health = text and Health(Door(f"health on {text}", serverFromString(reactor, text)), store)
    return Balancing(
        networks=options["networks"],
        goodbyes=bool(options["proxied-goodbyes"]),
        health=health,
        drain=options["drain"],
        heed=heed_signals(reactor),
    )


def _monitoring(
    options: Options, metrics: Metrics, database: _Database, reactor: Any
) -> Monitoring:
    text = options["metrics"]
    door = Door(f"metrics on {text}", serverFromString(reactor, text))
    return Monitoring(door, metrics, database.store, database.store.surveys)


def _control(
    options: Options,
    database: _Database,
    reactor: Any,
    status: Callable[[], Mapping[str, object]],
) -> ControlSocket | None:
    if options["no-control"]:
        return None
    given = options["control"]
    path = control_path(database.beside) if given is None else Path(given).absolute()
    store = database.store
    accounts = None if options["no-v3"] else store.accounts
    expire: dict[str, Callable[[float], Deferred[int]]] = {"v2": store.expire}
    if accounts is not None:
        expire["v3"] = accounts.expire
    inspection = Inspection(store.surveys, expire, time.time)
    factory = ControlFactory(store, status, reactor, accounts=accounts, inspection=inspection)
    return ControlSocket(path, factory, reactor, required=given is not None)


def _status(database: _Database, service: RelayService) -> Mapping[str, object]:
    """What messageu-admin shows of a relay: no names, no addresses of peers."""
    limits, v3 = service.limits, service.v3
    return {
        "version": __version__,
        "process": os.getpid(),
        "database": database.shown,
        "schema": database.schema,
        "connections": f"{limits.connections} of {limits.connection_limit}",
        "input_bytes": f"{limits.input_bytes} of {limits.settings.input_bytes}",
        "output_bytes": f"{limits.output_bytes} of {limits.settings.output_bytes}",
        **{f"v3_address_{i}": text for i, text in enumerate(service.addresses, 1)},
        **({} if v3 is None else v3.status()),
        **{f"met_{name}": count for name, count in sorted(limits.hits.items())},
    }


def _calm_the_collector() -> None:
    # Requests under way are many young objects and no garbage: to look through them each time that
    # 700 have come costs a fifth of all time under load. What is imported by now stays for good.
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def _keep_stderr() -> TextIO | None:
    # A daemon's own leads nowhere, and its parent repeats only the first 100 bytes of an error, of
    # which the path of a database alone can be more.
    try:
        return os.fdopen(os.dup(2), "w")
    except OSError:
        return None


def read_port(path: Path) -> int:
    """The port in a port file, or the default with a warning in the log when there is none."""
    try:
        with path.open("rb") as file:
            text = file.read(PORT_FILE_SIZE_LIMIT).decode("ascii").strip()
        if text.isdigit() and 0 < int(text) < 65536:
            return int(text)
        reason = "it holds no port"
    except FileNotFoundError:
        reason = "there is no such file"
    except UnicodeDecodeError:
        reason = "it holds no port"
    except OSError as error:
        reason = error.strerror or "it cannot be read"
    _log.warn(
        "{path}: {reason}; the port is {port}", path=str(path), reason=reason, port=DEFAULT_PORT
    )
    return DEFAULT_PORT
