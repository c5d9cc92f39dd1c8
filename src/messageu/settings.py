"""The settings of a relay: one table, from which come the options of the command line, the variables
of the environment, and the keys of a file. Nothing here touches a disk or the environment itself.

The command line counts before the environment, that before the file, and that before the defaults.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum, auto
from itertools import chain
from typing import Any, Final

from attrs import frozen

CONFIG_SIZE_LIMIT: Final = 2**20
"""Bytes of a file of settings."""

PREFIX: Final = "MESSAGEU_"

CONFIG: Final = "config"
"""The option, and in capitals the variable, that names the file; in the file it is no key."""

POSTGRES_SCHEMES: Final = ("postgresql://", "postgres://")

COMMAND_LINE: Final = "command line"
DEFAULT: Final = "default"


class BadSetting(Exception):
    """A setting that cannot be; the text says why in one line."""


class Kind(Enum):
    """What a setting holds."""

    TEXT = auto()
    COUNT = auto()
    NUMBER = auto()
    SWITCH = auto()
    LIST = auto()


@frozen
class Setting:
    """One thing that can be set.

    :ivar name: as an option, and as a key of a file.
    :ivar meaning: for ``--help``.
    :ivar default: what it is, if nobody says anything.
    :ivar unless: how the default is told, if that does not say it.
    :ivar short: its other option, of one letter.
    :ivar adds_up: what a source says of a list comes behind what those say that count less.
    """

    name: str
    kind: Kind
    meaning: str
    default: Any = None
    unless: str = ""
    short: str = ""
    adds_up: bool = False

    @property
    def variable(self) -> str:
        """The variable of the environment."""
        return PREFIX + self.name.upper().replace("-", "_")

    @property
    def help(self) -> str:
        """What ``--help`` says: the meaning, and the default."""
        default = self.unless or ("" if self.default in (None, False, ()) else str(self.default))
        return f"{self.meaning} [default: {default}]" if default else self.meaning


SETTINGS: Final[Mapping[str, Setting]] = {
    setting.name: setting
    for setting in (
        Setting(
            "endpoint",
            Kind.LIST,
            "Where to listen for v2, perhaps several times.",
            (),
            "tcp: and the port in the file",
            "e",
        ),
        Setting(
            "v3",
            Kind.LIST,
            "Where to listen for v3, perhaps several times: a tcp: or systemd: endpoint.",
            (),
            "tcp:1358",
        ),
        Setting(
            "v3-certificate",
            Kind.TEXT,
            "File that holds the certificate for v3 and its key; made when it is missing.",
            None,
            "the name of the database and .tls.pem",
        ),
        Setting(
            "registration",
            Kind.TEXT,
            "Who may register over v3: open, token (those whom messageu-admin has made a token for)"
            " or closed.",
            "open",
        ),
        Setting("no-v2", Kind.SWITCH, "Serve v3 only.", False),
        Setting("no-v3", Kind.SWITCH, "Serve v2 only.", False),
        Setting(
            "port-file",
            Kind.TEXT,
            "File that holds the TCP port as decimal text; used when no endpoint is given. If it is"
            " missing or invalid, the port is 1357.",
            "myport.info",
        ),
        Setting(
            "database",
            Kind.TEXT,
            "What keeps users and messages: an SQLite file, made when it is missing; or"
            " postgresql://user@host/database, which several relays may share.",
            "defensive.db",
            short="d",
        ),
        Setting(
            "database-connections",
            Kind.COUNT,
            "Connections to PostgreSQL that store and read; there are two more.",
            4,
        ),
        Setting(
            "expire-after",
            Kind.NUMBER,
            "Days after which a message that nobody has fetched is deleted.",
            None,
            "never",
        ),
        Setting(
            "control",
            Kind.TEXT,
            "Unix socket for messageu-admin, which makes backups.",
            None,
            "the name of the database and .control",
        ),
        Setting("no-control", Kind.SWITCH, "Make no socket for messageu-admin.", False),
        Setting(
            "health",
            Kind.TEXT,
            "Where to answer /healthz and /readyz over HTTP, as a load balancer asks.",
            None,
            "nowhere",
        ),
        Setting(
            "metrics",
            Kind.TEXT,
            "Where to answer /metrics over HTTP, as Prometheus asks.",
            None,
            "nowhere",
        ),
        Setting(
            "json-logs",
            Kind.SWITCH,
            "Log JSON, an object a line, to where twistd would log text.",
            False,
        ),
        Setting(
            "proxy-protocol",
            Kind.TEXT,
            "Networks of load balancers, such as 10.0.0.0/8,127.0.0.1: every connection must come"
            " from there, and begin with a PROXY header (v1 or v2).",
        ),
        Setting(
            "proxied-goodbyes",
            Kind.SWITCH,
            "Behind a balancer, too, a client of v2 that ends its half has its mail.",
            False,
        ),
        Setting(
            "drain",
            Kind.NUMBER,
            "Seconds for which it still serves, and is not ready, after SIGTERM or SIGINT.",
            0.0,
            "0",
        ),
        Setting(
            "limit",
            Kind.LIST,
            "Set a limit, as NAME=VALUE; may be given several times.",
            (),
            "see --limits",
            adds_up=True,
        ),
    )
}
"""All that there are, by name, in the order in which they are told."""


@frozen
class Given:
    """What somebody has said of a setting, and where."""

    value: Any
    source: str


def read_switch(text: str) -> bool:
    """Yes or no.

    :raises BadSetting: when it is neither.
    """
    word = text.strip().lower()
    if word not in _SWITCHES:
        raise BadSetting("wants yes or no")
    return _SWITCHES[word]


def _read_count(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadSetting("wants a whole number") from None


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadSetting("wants a number") from None


_SWITCHES: Final = {
    **dict.fromkeys(("1", "yes", "true", "on"), True),
    **dict.fromkeys(("0", "no", "false", "off"), False),
}

_READERS: Final[Mapping[Kind, Callable[[str], Any]]] = {
    Kind.TEXT: str,
    Kind.COUNT: _read_count,
    Kind.NUMBER: _read_number,
    Kind.SWITCH: read_switch,
    Kind.LIST: lambda text: tuple(text.split()),
}
"""How a text is read, which stands on the command line or in the environment."""

_TYPES: Final[Mapping[Kind, tuple[type, ...]]] = {
    Kind.TEXT: (str,),
    Kind.COUNT: (int,),
    Kind.NUMBER: (int, float),
    Kind.SWITCH: (bool,),
    Kind.LIST: (list,),
}
"""What stands in a file."""


def from_command_line(words: Mapping[str, Sequence[str]]) -> Mapping[str, Given]:
    """What options say, by name: all words of one, of which for most the last one counts.

    :raises BadSetting: when one cannot be.
    """
    given: dict[str, Given] = {}
    for name, said in words.items():
        setting = SETTINGS[name]
        if setting.kind is Kind.LIST:
            value: Any = tuple(said)
        else:
            value = _read(f"--{name}", setting, said[-1])
        given[name] = Given(value, COMMAND_LINE)
    return given


def from_environment(environment: Mapping[str, str]) -> Mapping[str, Given]:
    """What variables say. The parts of a list have blanks between them.

    Of others that begin in the same way nothing is said: they belong to clients, or are made by what
    the relay runs in.

    :raises BadSetting: when one cannot be.
    """
    return {
        setting.name: Given(
            _read(setting.variable, setting, environment[setting.variable]), setting.variable
        )
        for setting in SETTINGS.values()
        if setting.variable in environment
    }


def _read(where: str, setting: Setting, text: str) -> Any:
    try:
        return _READERS[setting.kind](text)
    except BadSetting as error:
        raise BadSetting(f"{where} {error}") from None


def from_file(name: str, content: bytes) -> Mapping[str, Given]:
    """What a file of TOML says.

    :raises BadSetting: when it is none, or has a key that there is not, or one cannot be.
    """
    if len(content) > CONFIG_SIZE_LIMIT:
        raise BadSetting(f"{name}: it is too large")
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, tomllib.TOMLDecodeError) else ""
        raise BadSetting(f"{name}: this is no TOML{reason and f': {reason}'}") from None
    return {key: Given(_from_toml(name, key, value), name) for key, value in document.items()}


def _from_toml(file: str, key: str, value: Any) -> Any:
    setting = SETTINGS.get(key)
    if setting is None:
        raise BadSetting(f"{file}: there is no setting {key!r}")
    if setting.adds_up and isinstance(value, dict):
        value = [f"{name}={each}" for name, each in value.items()]
    if setting.kind is Kind.LIST and isinstance(value, str):
        value = [value]
    kind = setting.kind
    parts: Sequence[object] = value if isinstance(value, list) else ()
    fits = (
        isinstance(value, _TYPES[kind])
        and isinstance(value, bool) == (kind is Kind.SWITCH)
        and all(isinstance(each, str) for each in parts)
    )
    if not fits:
        raise BadSetting(f"{file}: {key} wants {_WANTED[kind]}")
    return tuple(value) if kind is Kind.LIST else value


_WANTED: Final = {
    Kind.TEXT: "a text",
    Kind.COUNT: "a whole number",
    Kind.NUMBER: "a number",
    Kind.SWITCH: "true or false",
    Kind.LIST: "a list of texts",
}


def settle(*sources: Mapping[str, Given]) -> Mapping[str, Given]:
    """What counts of every setting. The sources come in order, the one that counts most last."""
    settled: dict[str, Given] = {}
    for name, setting in SETTINGS.items():
        said = [source[name] for source in sources if name in source]
        if not said:
            settled[name] = Given(setting.default, DEFAULT)
        elif setting.adds_up:
            parts = tuple(chain.from_iterable([each.value for each in said]))
            settled[name] = Given(parts, ", ".join(each.source for each in said))
        else:
            settled[name] = said[-1]
    return settled


def show(settled: Mapping[str, Given]) -> Iterator[str]:
    """What counts, and where it comes from, as lines of TOML."""
    for name, given in settled.items():
        if given.value is None:
            yield f"# {name} is not set: {SETTINGS[name].unless or 'it is off'}"
        else:
            yield f"{name} = {_to_toml(given.value)}  # {given.source}"


def _to_toml(value: Any) -> str:
    # JSON is TOML for all that there is here.
    if isinstance(value, str):
        value = without_secrets(value)
    return json.dumps(value)


def without_secrets(text: str) -> str:
    """The address of a database without its password and its parameters, of which one may be one; any
    other text as it is."""
    if not text.startswith(POSTGRES_SCHEMES):
        return text
    known = _ADDRESS.fullmatch(text)
    # Of what libpq may read otherwise than we do, nothing is left.
    if known is None:
        return "postgresql://…"
    scheme, user, places, database = (part or "" for part in known.groups())
    return f"{scheme}://{user and f'{user}@'}{places}{database}"


_PLACE: Final = r"(?:[\w.%-]*|\[[\w:.%]*\])(?::\d*)?"

_ADDRESS: Final = re.compile(
    r"(\w+)://(?:([\w.~%-]*)(?::[^@/?#]*)?@)?"
    rf"({_PLACE}(?:,{_PLACE})*)(/[\w.~%-]*)?(?:\?[^@]*)?",
)
