"""``twistd messageu`` and ``twist messageu``: the relay's options, and where its parts are joined."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, ClassVar, Final, TextIO, cast

from attrs import frozen
from twisted.application.service import IService
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from messageu import __version__
from messageu.model.v3 import Registration
from messageu.server import (
    LIMITS,
    BadLimit,
    BadNetworks,
    Balancing,
    ControlFactory,
    ControlSocket,
    Door,
    Expiry,
    Health,
    Limits,
    Metrics,
    Monitoring,
    Networks,
    RelayService,
    control_path,
    heed_signals,
    read_limits,
    read_networks,
)
from messageu.server.v3 import Offer
from messageu.store import SCHEMA_VERSION, Committed, IChecked, Quota, SqliteStore, beside

if TYPE_CHECKING:
    from messageu.store.postgres import PostgresStore

_log = Logger()

DEFAULT_PORT: Final = 1357
POSTGRES_SCHEMES: Final = ("postgresql://", "postgres://")
POSTGRES_CONNECTIONS: Final = 4
POSTGRES_CONNECTIONS_LIMIT: Final = 64
DEFAULT_V3_PORT: Final = 1358
REGISTRATIONS: Final = {mode.name.lower(): mode for mode in Registration}
EXCLUDE_EACH_OTHER: Final = (("control", "no-control"), ("v3", "no-v3"), ("no-v2", "no-v3"))
PORT_FILE_SIZE_LIMIT: Final = 64
DAY: Final = 86_400.0
INDENT: Final = " " * 4

BACKLOG: Final = 1024
"""Connections that the kernel holds until they are accepted. With Twisted's 50, some of those that
come all at once, as after a restart, have to try again after a second."""

YOUNG_OBJECTS: Final = 5_000
"""Objects that come into being before the collector looks for cycles among them."""


class Options(UsageOptions):
    """What ``--help`` explains."""

    synopsis = "[options]"
    # Without line breaks of ours: usage wraps the text for the terminal, and keeps their indents.
    longdesc = (
        "A relay for MessageU v2 and v3: it registers users, hands out their public keys and keeps "
        "their encrypted messages until they are fetched. It runs until it is sent SIGTERM or SIGINT; "
        "then it finishes what it is answering. An endpoint is such as "
        "tcp:1357:interface=127.0.0.1."
    )

    optParameters: ClassVar[list[list[Any]]] = [
        [
            "port-file",
            None,
            "myport.info",
            (
                "File that holds the TCP port as decimal text; used when no endpoint is given. "
                f"If it is missing or invalid, the port is {DEFAULT_PORT}."
            ),
        ],
        [
            "database",
            "d",
            "defensive.db",
            (
                "What keeps users and messages: an SQLite file, made when it is missing; or "
                "postgresql://user@host/database, which several relays may share."
            ),
        ],
        [
            "database-connections",
            None,
            POSTGRES_CONNECTIONS,
            "Connections to PostgreSQL that store and read; there are two more.",
            int,
        ],
        [
            "expire-after",
            None,
            None,
            "Days after which a message that nobody has fetched is deleted. [default: never]",
            float,
        ],
        [
            "v3-certificate",
            None,
            None,
            (
                "File that holds the certificate for v3 and its key; made when it is missing. "
                "[default: the name of the database and .tls.pem]"
            ),
        ],
        [
            "registration",
            None,
            "open",
            (
                "Who may register over v3: open, token (those whom messageu-admin has made a "
                "token for) or closed."
            ),
        ],
        [
            "control",
            None,
            None,
            (
                "Unix socket for messageu-admin, which makes backups. "
                "[default: the name of the database and .control]"
            ),
        ],
        [
            "proxy-protocol",
            None,
            None,
            (
                "Networks of load balancers, such as 10.0.0.0/8,127.0.0.1: every connection must "
                "come from there, and begin with a PROXY header (v1 or v2)."
            ),
        ],
        [
            "drain",
            None,
            0.0,
            "Seconds for which it still serves, and is not ready, after SIGTERM or SIGINT.",
            float,
        ],
    ]

    optFlags: ClassVar[list[list[Any]]] = [
        ["no-control", None, "Make no socket for messageu-admin."],
        ["no-v2", None, "Serve v3 only."],
        ["no-v3", None, "Serve v2 only."],
        [
            "proxied-goodbyes",
            None,
            "Behind a balancer, too, a client of v2 that ends its half has its mail.",
        ],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["endpoints"] = []
        self["v3"] = []
        self["health"] = None
        self["metrics"] = None
        self["limits"] = []

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the options; one line says what is wrong with them.

        :raises SystemExit: when something is. After a UsageError ``twistd`` 26.4 ends with 0.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except UsageError as error:
            raise SystemExit(f"messageu: {error} (--help explains the options)") from None

    def opt_endpoint(self, description: str) -> None:
        """Where to listen for v2, perhaps several times. [default: tcp: and the port in the file]"""
        _check_endpoint(description)
        self["endpoints"].append(description)

    opt_e = opt_endpoint

    def opt_v3(self, description: str) -> None:
        """Where to listen for v3, perhaps several times: a tcp: endpoint. [default: tcp:1358]"""
        _check_endpoint(description)
        if not description.startswith("tcp:"):
            raise UsageError(f"--v3 wants a tcp: endpoint, not {description!r}")
        self["v3"].append(description)

    def opt_health(self, description: str) -> None:
        """Where to answer /healthz and /readyz over HTTP, as a load balancer asks. [default: nowhere]"""
        _check_endpoint(description)
        self["health"] = description

    def opt_metrics(self, description: str) -> None:
        """Where to answer /metrics over HTTP, as Prometheus asks. [default: nowhere]"""
        _check_endpoint(description)
        self["metrics"] = description

    def opt_limit(self, setting: str) -> None:
        """Set a limit, as NAME=VALUE; may be given several times. [default: see --limits]"""
        self["limits"].append(setting)

    def opt_limits(self) -> None:
        """Print the limits that --limit can set, and exit."""
        print(limits_table())  # noqa: T201 - as --help does
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Check what can be checked without touching anything."""
        try:
            self["settings"] = read_limits(self["limits"])
        except BadLimit as error:
            raise UsageError(f"--limit: {error}") from None
        days = self["expire-after"]
        if days is not None and not 0 < days < float("inf"):
            raise UsageError("--expire-after wants a number of days above 0")
        if not 0 < self["database-connections"] <= POSTGRES_CONNECTIONS_LIMIT:
            raise UsageError(f"--database-connections is 1 to {POSTGRES_CONNECTIONS_LIMIT}")
        try:
            self["registration"] = REGISTRATIONS[self["registration"]]
        except KeyError:
            raise UsageError("--registration is open, token or closed") from None
        if not 0 <= self["drain"] < float("inf"):
            raise UsageError("--drain wants a number of seconds")
        self["networks"] = self._read_networks()
        for one, other in EXCLUDE_EACH_OTHER:
            if self[one] and self[other]:
                raise UsageError(f"--{one} and --{other} exclude each other")

    def _read_networks(self) -> Networks | None:
        if self["proxy-protocol"] is None:
            if self["proxied-goodbyes"]:
                raise UsageError("--proxied-goodbyes is for relays with --proxy-protocol")
            return None
        try:
            return read_networks(self["proxy-protocol"])
        except BadNetworks as error:
            raise UsageError(f"--proxy-protocol: {error}") from None


def _check_endpoint(description: str) -> None:
    try:
        serverFromString(None, description)
    except Exception as error:  # noqa: BLE001 - a parser may be a plugin of anybody
        raise UsageError(f"{description!r} is not an endpoint: {error}") from None


def limits_table() -> str:
    """What ``--limits`` prints: each limit with its default and its range, and what it means."""
    return "\n".join(
        f"{limit.name}={limit.unit.show(limit.default)} ({limit.range})\n"
        + fill(limit.meaning, 80, initial_indent=INDENT, subsequent_indent=INDENT)
        for limit in LIMITS.values()
    )


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
    committed = None if metrics is None else metrics.committed
    database = _database(options, reactor, quota, committed)
    service = RelayService(
        _doors(options, reactor),
        database.store,
        clock,
        limits,
        None if days is None else Expiry(days * DAY, time.time),
        _keep_stderr(),
        _control(options, database, reactor, lambda: _status(database, service)),
        _offer(options, database, reactor),
        _balancing(options, database.store, reactor),
        None if metrics is None else _monitoring(options, metrics, database, reactor),
    )
    return service


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


def _database(
    options: Options, reactor: Any, quota: Quota, committed: Committed | None
) -> _Database:
    text = options["database"]
    if text.startswith(POSTGRES_SCHEMES):
        return _postgres(text, options["database-connections"], reactor, quota, committed)
    path = Path(text).absolute()
    store = SqliteStore(
        path, reactor, now=time.time, quota=quota, account_quota=quota, committed=committed
    )
    return _Database(store, path, str(path), SCHEMA_VERSION)


def _postgres(
    text: str, connections: int, reactor: Any, quota: Quota, committed: Committed | None
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
        committed=committed,
    )
    return _Database(store, Path("messageu").absolute(), address.shown, postgres.SCHEMA_VERSION)


def _doors(options: Options, reactor: Any) -> Sequence[Door]:
    if options["no-v2"]:
        return ()
    doors = [Door(text, serverFromString(reactor, text)) for text in options["endpoints"]]
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
    return Offer(doors, certificate, database.store.accounts, options["registration"], time.time)


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
    factory = ControlFactory(store, status, reactor, accounts=accounts)
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
