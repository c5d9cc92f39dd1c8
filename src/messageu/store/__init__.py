"""Where clients, public keys and mailboxes are kept. It cannot open what it keeps."""

from ._engine import SqliteEngine
from ._interface import (
    Directory,
    DirectoryPage,
    IMailboxStore,
    Lease,
    PutOutcome,
    Span,
    StoreError,
    StoreUnavailable,
    StoreUnusable,
)
from ._memory import MemoryStore
from ._sqlite import SqliteStore
from ._transactor import ConnectionPool, Engine, connection_pool

__all__ = [
    "ConnectionPool",
    "Directory",
    "DirectoryPage",
    "Engine",
    "IMailboxStore",
    "Lease",
    "MemoryStore",
    "PutOutcome",
    "Span",
    "SqliteEngine",
    "SqliteStore",
    "StoreError",
    "StoreUnavailable",
    "StoreUnusable",
    "connection_pool",
]
