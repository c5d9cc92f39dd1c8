"""Where accounts of v3, their prekeys and their mailboxes are kept."""

from ._interface import Admission, Claimed, IAccountStore, PutOutcome, Stored
from ._memory import MemoryAccountStore
from ._sql import SqlAccountStore

__all__ = [
    "Admission",
    "Claimed",
    "IAccountStore",
    "MemoryAccountStore",
    "PutOutcome",
    "SqlAccountStore",
    "Stored",
]
