"""Where accounts of v3, their prekeys and their mailboxes are kept."""

from . import _statements as sqlite_statements
from ._interface import Admission, Claimed, IAccountStore, PutOutcome, Stored
from ._memory import MemoryAccountStore
from ._sql import SqlAccountStore
from ._work import AccountStatements, AccountWork

__all__ = [
    "AccountStatements",
    "AccountWork",
    "Admission",
    "Claimed",
    "IAccountStore",
    "MemoryAccountStore",
    "PutOutcome",
    "SqlAccountStore",
    "Stored",
    "sqlite_statements",
]
