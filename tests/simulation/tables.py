"""Tables on a PostgreSQL server for one world after another, in which the time is the world's."""

from __future__ import annotations

import atexit
from functools import cache
from itertools import count
from typing import Any, Final
from uuid import uuid4

from messageu.store.postgres import PostgresAddress
from messageu.store.postgres._schema import TABLES, open_database
from tests.store.postgres.fixtures import make_schema

WORLDS_A_VACUUM: Final = 50

TIME: Final = """
    CREATE UNLOGGED TABLE simulation_time (at double precision NOT NULL);
    INSERT INTO simulation_time VALUES (0);
    CREATE FUNCTION now() RETURNS timestamptz LANGUAGE sql STABLE
        AS $$ SELECT to_timestamp(at) FROM simulation_time $$;
    CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
        AS $$ SELECT to_timestamp(at) FROM simulation_time $$;
"""


AUDIT: Final = {
    "mailboxes that do not hold what they say": """
        SELECT count(*) FROM mailbox FULL JOIN (
            SELECT recipient, count(*) AS count, sum(size) AS size, max(sequence) AS last
            FROM mailbox_message GROUP BY 1
        ) AS mail ON recipient = client
        WHERE messages IS DISTINCT FROM coalesce(count, 0) OR content <> coalesce(size, 0)
            OR last_sequence < greatest(last, settled)""",
    "messages with other sizes than they say": """
        SELECT count(*) FROM mailbox_message WHERE size <> length(content)""",
    "messages that are to go, of whose mailbox nobody knows it": """
        SELECT count(*) FROM mailbox_message JOIN mailbox ON client = recipient
        WHERE (sequence <= settled OR expired IS NOT NULL)
            AND client NOT IN (SELECT client FROM mailbox_rubbish)""",
    "accounts' mailboxes that do not hold what they say": """
        SELECT count(*) FROM account_mailbox FULL JOIN (
            SELECT account, count(*) AS count, sum(length(sealed)) AS size, max(sequence) AS last
            FROM account_mail GROUP BY 1
        ) AS mail USING (account)
        WHERE messages IS DISTINCT FROM coalesce(count, 0) OR content <> coalesce(size, 0)
            OR last_sequence < last""",
    "mail of accounts that is not known to have come": """
        SELECT count(*) FROM account_mail LEFT JOIN account_tombstone
            USING (account, sequence, envelope_id) WHERE digest IS NULL""",
}
"""Questions whose answer is 0."""


class Tables:
    """Those of one world after another.

    :ivar address: of their database.
    """

    def __init__(self) -> None:
        self._schema = make_schema()
        atexit.register(self._schema.remove)
        # A schema that is named before it comes before the server's own functions.
        self.address = PostgresAddress.parse(f"{self._schema.address}%2Cpg_catalog")
        open_database(self.address, uuid4().hex)
        self._meta = self.execute("SELECT name, value FROM relay_meta")
        self.execute(TIME)
        # Whoever has left a transaction open is found.
        self.execute("SET lock_timeout = '30s'")
        # The locks of autovacuum would come at moments of their own.
        off = "autovacuum_enabled = false, toast.autovacuum_enabled = false"
        for table in (*TABLES, "simulation_time"):
            self.execute(f"ALTER TABLE {table} SET ({off})")
        self._worlds = count(1)

    def execute(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """What an operator sees, or does."""
        return self._schema.execute(statement, *arguments)

    def show_time(self, now: float) -> None:
        """It is so many seconds after the epoch."""
        self.execute("UPDATE simulation_time SET at = %s", now)

    def announce(self, line: str) -> None:
        """Say something to all who listen."""
        self.execute("SELECT pg_notify('messageu_' || 'relay_meta'::regclass::oid, %s)", line)

    def crash(self) -> None:
        """What is not in a server's log is gone when it has crashed."""
        self.execute("DELETE FROM mailbox_lease")

    def audit(self) -> list[tuple[str, int]]:
        """What does not agree with what else is there: what, and how many of it."""
        return [(what, self.execute(sql)[0][0]) for what, sql in AUDIT.items()]

    def renew(self) -> None:
        """Nothing is in them."""
        rows = ", ".join(f"('{name}', {value})" for name, value in self._meta)
        self.execute(
            "; ".join(
                [
                    *(f"DELETE FROM {table}" for table in TABLES),
                    f"INSERT INTO relay_meta (name, value) VALUES {rows}",
                    "ALTER TABLE account ALTER COLUMN key RESTART",
                ]
            )
        )
        if next(self._worlds) % WORLDS_A_VACUUM == 0:
            self.execute(f"VACUUM {', '.join((*TABLES, 'simulation_time'))}")


tables: Final = cache(Tables)
