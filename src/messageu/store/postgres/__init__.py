"""Clients, public keys and mailboxes in PostgreSQL, for more than one relay. It wants psycopg."""

from ._address import SCHEMES, BadAddress, PostgresAddress
from ._connection import LanePool
from ._migration import Moved, migrate
from ._schema import SCHEMA_VERSION
from ._store import CONNECTIONS, PostgresStore

__all__ = [
    "CONNECTIONS",
    "SCHEMA_VERSION",
    "SCHEMES",
    "BadAddress",
    "LanePool",
    "Moved",
    "PostgresAddress",
    "PostgresStore",
    "migrate",
]
