"""Where accounts of v3, their prekeys and their mailboxes are kept."""

from . import _statements as sqlite_statements
from ._interface import Admission, Claimed, IAccountStore, PutOutcome, Stored
from ._memory import MemoryAccountStore
from ._operations import AccountOperation, PutMail
from ._rules import hour_of
from ._sql import SqlAccountStore
from ._work import AccountRow, AccountStatements, AccountWork, MailboxRow, MailRow, TombstoneRow

__all__ = [
    "AccountOperation",
    "AccountRow",
    "AccountStatements",
    "AccountWork",
    "Admission",
    "Claimed",
    "IAccountStore",
    "MailRow",
    "MailboxRow",
    "MemoryAccountStore",
    "PutMail",
    "PutOutcome",
    "SqlAccountStore",
    "Stored",
    "TombstoneRow",
    "hour_of",
    "sqlite_statements",
]
