"""Where clients, public keys and mailboxes are kept. It cannot open what it keeps."""

from ._engine import SqliteEngine
from ._interface import (
    NO_QUOTA,
    START,
    Directory,
    DirectoryPage,
    IMailboxStore,
    Lease,
    Page,
    Piece,
    Position,
    PutOutcome,
    Quota,
    StoreError,
    StoreUnavailable,
    StoreUnusable,
)
from ._memory import MemoryStore
from ._sqlite import SqliteStore
from ._transactor import ConnectionPool, Engine, connection_pool

__all__ = [
    "NO_QUOTA",
    "START",
    "ConnectionPool",
    "Directory",
    "DirectoryPage",
    "Engine",
    "IMailboxStore",
    "Lease",
    "MemoryStore",
    "Page",
    "Piece",
    "Position",
    "PutOutcome",
    "Quota",
    "SqliteEngine",
    "SqliteStore",
    "StoreError",
    "StoreUnavailable",
    "StoreUnusable",
    "connection_pool",
]
