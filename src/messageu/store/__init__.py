"""Where clients, public keys and mailboxes are kept. It cannot open what it keeps."""

from ._batches import Engine
from ._engine import SqliteEngine
from ._export import Left
from ._interface import (
    NO_QUOTA,
    START,
    BackupFailed,
    Directory,
    DirectoryPage,
    IBackedUp,
    IChecked,
    IMailboxStore,
    Lease,
    Page,
    Piece,
    Position,
    Progress,
    PutOutcome,
    Quota,
    StoreError,
    StoreUnavailable,
    StoreUnusable,
)
from ._memory import MemoryStore
from ._news import Arrived, Hear, Missed, News, PrekeysTaken, Sharers, Subscribed
from ._opening import beside
from ._restore import Checked, Restored, check_backup, restore_backup
from ._schema import SCHEMA_VERSION
from ._sqlite import SqliteStore
from ._survey import Depth, ISurvey, MailboxSize, SurveyPage, User
from ._transactor import Committed, ConnectionPool, connection_pool

__all__ = [
    "NO_QUOTA",
    "SCHEMA_VERSION",
    "START",
    "Arrived",
    "BackupFailed",
    "Checked",
    "Committed",
    "ConnectionPool",
    "Depth",
    "Directory",
    "DirectoryPage",
    "Engine",
    "Hear",
    "IBackedUp",
    "IChecked",
    "IMailboxStore",
    "ISurvey",
    "Lease",
    "Left",
    "MailboxSize",
    "MemoryStore",
    "Missed",
    "News",
    "Page",
    "Piece",
    "Position",
    "PrekeysTaken",
    "Progress",
    "PutOutcome",
    "Quota",
    "Restored",
    "Sharers",
    "SqliteEngine",
    "SqliteStore",
    "StoreError",
    "StoreUnavailable",
    "StoreUnusable",
    "Subscribed",
    "SurveyPage",
    "User",
    "beside",
    "check_backup",
    "connection_pool",
    "restore_backup",
]
