"""What a profile keeps of files that are on their way. The files themselves lie outside of it."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

FILE_SIZE_LIMIT: Final = 4 * 2**30
"""Bytes of the largest file that is sent or accepted: 16,384 pieces."""

STEP_SIZE: Final = 8 * 2**20
"""Bytes of a file that are read before others have their turn: some ten milliseconds."""

PATIENCE: Final = 40 * 86400
"""Seconds after which a file is given up of which nothing more has come.

The life of mail, and the week that its sender's outbox has.
"""

SENDING_LIFE: Final = 7 * 86400
"""Seconds for which pieces are offered to the relay."""


class Stage(IntEnum):
    """How far a file has come that is received; the value is what the database holds."""

    COMING = 0
    CHECKING = 1
    PLACING = 2
    RECEIVED = 3
    FAILED = 4


FILE_TABLES: Final = (
    """
    CREATE TABLE outgoing_files (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        message_id BLOB NOT NULL UNIQUE,
        recipient BLOB NOT NULL, -- account id
        path BLOB NOT NULL,
        key BLOB NOT NULL,
        spent INTEGER NOT NULL DEFAULT 0, -- whether an offer with this key may have been sealed
        size INTEGER NOT NULL,
        pieces INTEGER NOT NULL,
        remaining INTEGER NOT NULL, -- which the relay is not known to have
        started INTEGER NOT NULL DEFAULT 0, -- whether the relay has the message
        began REAL, -- when a piece could be sent first
        retry_at REAL NOT NULL DEFAULT 0
    ) STRICT
    """,
    """
    CREATE TABLE outgoing_pieces ( -- of what its recipient is not known to have
        file INTEGER NOT NULL REFERENCES outgoing_files,
        number INTEGER NOT NULL,
        envelope_id BLOB UNIQUE, -- NULL: the relay has it
        digest BLOB NOT NULL, -- SHA-256 of what was read, without what it is filled with
        PRIMARY KEY (file, number)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX outgoing_left ON outgoing_pieces (file, number) WHERE envelope_id IS NOT NULL",
    """
    CREATE TABLE incoming_files (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        contact BLOB NOT NULL, -- identity
        message_id BLOB NOT NULL,
        size INTEGER NOT NULL,
        digest BLOB NOT NULL,
        pieces INTEGER NOT NULL,
        remaining INTEGER NOT NULL, -- which have not come, under whichever key
        name TEXT NOT NULL, -- as the sender has it
        stage INTEGER NOT NULL,
        part TEXT NOT NULL, -- a name in the folder for files
        began INTEGER NOT NULL DEFAULT 0, -- whether there is such a file
        heard REAL, -- when it was seen first that nothing came since the last piece
        path BLOB, -- where it goes, or is
        UNIQUE (contact, message_id)
    ) STRICT
    """,
    "CREATE INDEX incoming_open ON incoming_files (stage) WHERE stage < 3",
    """
    CREATE TABLE incoming_keys ( -- under which a file was offered, and not received yet
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        file INTEGER NOT NULL REFERENCES incoming_files,
        key BLOB NOT NULL,
        UNIQUE (file, key)
    ) STRICT
    """,
    """
    CREATE TABLE incoming_pieces ( -- which have not come
        envelope_id BLOB NOT NULL,
        key INTEGER NOT NULL REFERENCES incoming_keys,
        number INTEGER NOT NULL,
        PRIMARY KEY (envelope_id, key)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX incoming_pieces_of ON incoming_pieces (key, number)",
)
"""Statements that make the tables, for the profile's schema."""
