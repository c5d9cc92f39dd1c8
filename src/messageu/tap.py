"""``twistd messageu`` and ``twist messageu``: the relay's options, and where its parts are joined."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from attrs import frozen
from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.logfile import LogFile
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
    Inspection,
    JsonLogged,
    Limits,
    Metrics,
    Monitoring,
    Networks,
    RelayService,
    Stream,
    control_path,
    heed_signals,
    read_limits,
    read_networks,
)
from messageu.server.v3 import Offer
from messageu.settings import (
    COMMAND_LINE,
    CONFIG,
    CONFIG_SIZE_LIMIT,
    DEFAULT,
    POSTGRES_SCHEMES,
    PREFIX,
    SETTINGS,
    BadSetting,
    Given,
    Kind,
    from_command_line,
    from_environment,
    from_file,
    settle,
    show,
)
from messageu.store import SCHEMA_VERSION, Committed, IChecked, Quota, SqliteStore, beside

if TYPE_CHECKING:
    from messageu.store.postgres import PostgresStore

_log = Logger()

DEFAULT_PORT: Final = 1357
POSTGRES_CONNECTIONS_LIMIT: Final = 64
DEFAULT_V3_PORT: Final = 1358
REGISTRATIONS: Final = {mode.name.lower(): mode for mode in Registration}
V3_ENDPOINTS: Final = ("tcp:", "systemd:")
EXCLUDE_EACH_OTHER: Final = (
    ("control", "no-control"),
    ("v3", "no-v3"),
    ("no-v2", "no-v3"),
)
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

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._words: dict[str, list[str]] = {}
        self._config: str | None = None
        self._shows = False

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the options; one line says what is wrong with them.

        :raises SystemExit: when something is. After a UsageError ``twistd`` 26.4 ends with 0.
        """
        self._words.clear()
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except UsageError as error:
            raise SystemExit(f"messageu: {error} (--help explains the options)") from None

    def say(self, name: str, word: str) -> None:
        """The command line says this of a setting."""
        self._words.setdefault(name, []).append(word)

    def opt_config(self, path: str) -> None:
        """File of settings, in TOML: its keys are the names of the other options. [default: none]"""
        self._config = path

    def opt_show_config(self) -> None:
        """Print what counts of all settings, and where each comes from, and exit."""
        self._shows = True

    def opt_limits(self) -> None:
        """Print the limits that --limit can set, and exit."""
        print(limits_table())  # noqa: T201 - as --help does
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Put together what was said, and check what can be checked without touching anything."""
        settled = self._settle()
        for name, given in settled.items():
            value = given.value
            self[name] = list(value) if isinstance(value, tuple) else value
        try:
            self._check()
        except UsageError as error:
            raise UsageError(f"{error}{_origin(str(error), settled)}") from None
        if self._shows:
            print("\n".join(show(settled)))  # noqa: T201 - as --help does
            raise SystemExit(0)

    def _settle(self) -> Mapping[str, Given]:
        path = self._config or os.environ.get(PREFIX + CONFIG.upper())
        try:
            return settle(
                from_file(path, _content(path)) if path else {},
                from_environment(os.environ),
                from_command_line(self._words),
            )
        except BadSetting as error:
            raise UsageError(str(error)) from None

    def _check(self) -> None:
        self._check_endpoints()
        self._check_numbers()
        self._check_logs()
        try:
            self["settings"] = read_limits(self["limit"])
        except BadLimit as error:
            raise UsageError(f"--limit: {error}") from None
        if self["registration"] not in REGISTRATIONS:
            raise UsageError("--registration is open, token or closed")
        self["networks"] = self._read_networks()
        for one, other in EXCLUDE_EACH_OTHER:
            if self[one] and self[other]:
                raise UsageError(f"--{one} and --{other} exclude each other")

    def _check_endpoints(self) -> None:
        for name in ("endpoint", "v3", "health", "metrics"):
            given = self[name] or ()
            for description in (given,) if isinstance(given, str) else given:
                _check_endpoint(description)
        for description in self["v3"]:
            if not description.startswith(V3_ENDPOINTS):
                raise UsageError(f"--v3 wants a tcp: or systemd: endpoint, not {description!r}")

    def _check_logs(self) -> None:
        above: Mapping[str, Any] = self.parent or {}
        if not self["json-logs"]:
            return
        if above and "nodaemon" not in above:
            raise UsageError("--json-logs is for twistd; twist has --log-format=json")
        for other in ("logger", "syslog"):
            if above.get(other):
                raise UsageError(f"--json-logs and --{other} of twistd exclude each other")
        if above.get("logfile") == "-" and not above.get("nodaemon"):
            raise UsageError("daemons cannot log to stdout")

    def _check_numbers(self) -> None:
        days = self["expire-after"]
        if days is not None and not 0 < days < float("inf"):
            raise UsageError("--expire-after wants a number of days above 0")
        if not 0 < self["database-connections"] <= POSTGRES_CONNECTIONS_LIMIT:
            raise UsageError(f"--database-connections is 1 to {POSTGRES_CONNECTIONS_LIMIT}")
        if not 0 <= self["drain"] < float("inf"):
            raise UsageError("--drain wants a number of seconds")

    def _read_networks(self) -> Networks | None:
        if self["proxy-protocol"] is None:
            if self["proxied-goodbyes"]:
                raise UsageError("--proxied-goodbyes is for relays with --proxy-protocol")
            return None
        try:
            return read_networks(self["proxy-protocol"])
        except BadNetworks as error:
            raise UsageError(f"--proxy-protocol: {error}") from None


def _add_options() -> None:
    """Make an option of every setting, as Twisted looks for them."""
    for setting in SETTINGS.values():
        if setting.kind is Kind.SWITCH:
            option: Any = _switch(setting.name)
        else:
            option = _parameter(setting.name)
        option.__doc__ = setting.help
        for name in filter(None, (setting.name, setting.short)):
            setattr(Options, f"opt_{name.replace('-', '_')}", option)


def _parameter(name: str) -> Callable[[Options, str], None]:
    def option(options: Options, word: str) -> None:
        options.say(name, word)

    return option


def _switch(name: str) -> Callable[[Options], None]:
    def option(options: Options) -> None:
        options.say(name, "yes")

    return option


_add_options()


def _origin(complaint: str, settled: Mapping[str, Given]) -> str:
    """Where settings come from that a complaint names, if they are not on the command line."""
    named = re.findall(r"--([\w-]+)", complaint)
    sources = {settled[name].source for name in named if name in settled}
    others = sorted(sources - {COMMAND_LINE, DEFAULT})
    return f" (from {', '.join(others)})" if others else ""


def _content(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(CONFIG_SIZE_LIMIT + 1)
    except OSError as error:
        raise BadSetting(f"{path}: {error.strerror}") from None


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
