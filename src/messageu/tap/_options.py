"""The relay's options, as ``twistd`` and ``twist`` ask for them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.endpoints import serverFromString
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from messageu.model.v3 import Registration
from messageu.server import (
    LIMITS,
    BadLimit,
    BadNetworks,
    Networks,
    read_limits,
    read_networks,
)
from messageu.settings import (
    COMMAND_LINE,
    CONFIG,
    CONFIG_SIZE_LIMIT,
    DEFAULT,
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

if TYPE_CHECKING:
    pass

POSTGRES_CONNECTIONS_LIMIT: Final = 64
REGISTRATIONS: Final = {mode.name.lower(): mode for mode in Registration}
V3_ENDPOINTS: Final = ("tcp:", "systemd:")
EXCLUDE_EACH_OTHER: Final = (
    ("control", "no-control"),
    ("v3", "no-v3"),
    ("no-v2", "no-v3"),
)
INDENT: Final = " " * 4


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
