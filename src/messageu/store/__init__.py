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

__all__ = [
    "Directory",
    "DirectoryPage",
    "IMailboxStore",
    "Lease",
    "Span",
    "StoreError",
    "StoreUnavailable",
    "StoreUnusable",
]
