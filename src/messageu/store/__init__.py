"""Where clients, public keys and mailboxes are kept. It cannot open what it keeps."""

from ._interface import (
    Directory,
    DirectoryPage,
    IMailboxStore,
    Lease,
    Span,
    StoreError,
    StoreUnavailable,
    StoreUnusable,
)
from ._memory import MemoryStore
from ._sqlite import SqliteStore

__all__ = [
    "Directory",
    "DirectoryPage",
    "IMailboxStore",
    "Lease",
    "MemoryStore",
    "Span",
    "SqliteStore",
    "StoreError",
    "StoreUnavailable",
    "StoreUnusable",
]
