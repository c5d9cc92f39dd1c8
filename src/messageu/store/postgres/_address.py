"""Where a PostgreSQL database is, as an operator says it, and how it is called in a log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import psycopg
from attrs import field, frozen
from psycopg.conninfo import conninfo_to_dict

SCHEMES: Final = ("postgresql://", "postgres://")
"""By which an address of this kind is known."""

DEFAULTS: Final[Mapping[str, str]] = {
    # Of several hosts the one that is the primary: after a failover that is another.
    "target_session_attrs": "read-write",
    "connect_timeout": "5",
    # A host that is gone says nothing: without these a relay would wait for hours.
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""What libpq is told unless the address says otherwise: seconds, and milliseconds in the last."""


class BadAddress(Exception):
    """This is not the address of a database; the text says why in one line, without quoting it."""


@frozen
class PostgresAddress:
    """The address of a database.

    :ivar parameters: what libpq is told; there may be a password among it.
    :ivar shown: the address without anything secret.
    """

    parameters: Mapping[str, Any] = field(repr=False)
    shown: str

    @classmethod
    def parse(cls, text: str) -> PostgresAddress:
        """Read ``postgresql://user@host:port,host:port/database?parameter=value``.

        :raises BadAddress: when it is none.
        """
        _check_credentials(text)
        try:
            given = conninfo_to_dict(text)
        except psycopg.ProgrammingError:
            # libpq's own text quotes the address, in which there may be a password.
            raise BadAddress("libpq does not understand this address of a database") from None
        parameters = {**DEFAULTS, **{name: value for name, value in given.items() if value}}
        return cls(parameters, _show(given))


def _check_credentials(text: str) -> None:
    """Of a password that is not written as it has to be, libpq would take a part for a name of a host
    or a database, which are shown.

    :raises BadAddress: when it is not.
    """
    _, _, rest = text.partition("://")
    authority, _, path = rest.partition("?")[0].partition("/")
    if authority.count("@") > 1 or "@" in path:
        raise BadAddress("in a name or a password, @ has to be written as %40 and / as %2F")


def _show(given: Mapping[str, Any]) -> str:
    hosts = str(given.get("host") or given.get("hostaddr") or "").split(",")
    ports = str(given.get("port") or "").split(",")
    if len(ports) < len(hosts):
        ports = ports * len(hosts)
    places = [f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=False)]
    return f"postgresql://{','.join(places)}/{given.get('dbname') or ''}"
