"""What a migration of much costs."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

from messageu.store._statements import PIECE_SIZE
from tests.torture import report, scaled

from . import measured_migration
from .moving import MovingCase

MESSAGES = scaled(2_000, 100_000)
ENVELOPES = scaled(1_000, 50_000)
LARGE = scaled(1, 8)
CLIENTS = scaled(50, 1_000)

MIB = 2**20
CONTENT = 16 * MIB

PIECE = os.urandom(PIECE_SIZE)
"""Ciphertext, as far as anybody can see."""

GROWTH = CONTENT - 4 * MIB
"""Bytes by which memory may grow: not even one large content is in it."""

PATIENCE = 600.0
"""Seconds after which a child is given up."""


class SizeTests(MovingCase):
    """Databases with much in them."""

    def setUp(self) -> None:
        super().setUp()
        self.source.path.unlink()
        self.source.store.open()
        self.source.close()
        with closing(sqlite3.connect(self.source.path)) as connection:
            self.fill(connection)

    def fill(self, connection: sqlite3.Connection) -> None:
        """Store much, as relays have stored it, but quickly."""
        connection.executemany(
            "INSERT INTO mailbox_client VALUES (?, ?, ?, ?, 1.5)",
            ((n, n.to_bytes(16, "big"), f"client {n}", bytes(160)) for n in range(1, CLIENTS + 1)),
        )
        connection.executemany(
            "INSERT INTO mailbox_message VALUES (?, ?, ?, 3, 1e9, ?, 0)",
            (
                (n, 1 + n * 7 % CLIENTS, (1).to_bytes(16, "big"), PIECE[:300])
                for n in range(1, MESSAGES + 1)
            ),
        )
        for number in range(MESSAGES + 1, MESSAGES + LARGE + 1):
            connection.execute(
                "INSERT INTO mailbox_message VALUES (?, 1, ?, 3, 1e9, x'', ?)",
                (number, bytes(16), CONTENT),
            )
            connection.executemany(
                "INSERT INTO mailbox_piece VALUES (?, ?, ?)",
                (
                    (number, start, os.urandom(PIECE_SIZE))
                    for start in range(0, CONTENT, PIECE_SIZE)
                ),
            )
        connection.executemany(
            "INSERT INTO account VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)",
            (
                (n, n.to_bytes(16, "big"), bytes(32), bytes(32), f"name{n}", bytes(8))
                for n in range(1, CLIENTS + 1)
            ),
        )
        connection.executemany(
            "INSERT INTO account_mailbox VALUES (?, ?, 0, 0, 1)",
            ((n, ENVELOPES) for n in range(1, CLIENTS + 1)),
        )
        mail = [(n, 1 + n % CLIENTS, n, n.to_bytes(16, "big")) for n in range(1, ENVELOPES + 1)]
        connection.executemany(
            "INSERT INTO account_mail VALUES (?, ?, ?, ?, 1, ?)",
            (
                (*each, PIECE * (CONTENT // PIECE_SIZE) if each[0] == 1 else PIECE[:1_000])
                for each in mail
            ),
        )
        connection.executemany(
            "INSERT INTO account_tombstone VALUES (?, ?, ?, ?, zeroblob(32), 1)", mail
        )
        connection.commit()

    def test_memory(self) -> None:
        """However much there is, and however large the contents are, it is moved in memory that not
        even one of them would fit into."""
        schema = self.make_schema()
        finished = subprocess.run(
            [sys.executable, measured_migration.__file__, str(self.source.path), schema.address],
            check=True,
            stdout=subprocess.PIPE,
            timeout=PATIENCE,
        )
        figures = json.loads(finished.stdout)
        size = self.source.path.stat().st_size
        report(
            "a database is moved",
            **figures,
            rows_a_second=figures["rows"] / figures["seconds"],
            mib=size / MIB,
        )
        self.assertEqual(figures["rows"], MESSAGES + LARGE + 4 * CLIENTS + 2 * ENVELOPES + 3)
        self.assertGreater(size, (LARGE + 1) * CONTENT)
        self.assertLess(figures["grown_kib"] * 1024, GROWTH)
