"""Looking at a database before it is used, making its tables, and saying what is wrong with it."""

from __future__ import annotations

import contextlib
import copy
import threading
from typing import Any

import psycopg
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import ListedClient, UserName
from messageu.model.v3 import Handle
from messageu.store import StoreUnusable
from messageu.store.postgres import SCHEMA_VERSION, PostgresAddress, _schema
from messageu.store.postgres._schema import TABLES, TEXT_LIMIT, explain, open_database
from messageu.testing.postgres import Schema
from tests.store.contract import key
from tests.store.v3.contract import keys

from .fixtures import PATIENCE, PostgresFixture, make_schema

SECRET = "hunter2"
RELAY = "0" * 32


class DatabaseCase(SynchronousTestCase):
    """An empty set of tables."""

    def setUp(self) -> None:
        self.schema = make_schema()
        self.addCleanup(self.schema.remove)

    def address(self, **changes: str) -> PostgresAddress:
        address = PostgresAddress.parse(self.schema.address)
        return PostgresAddress({**address.parameters, **changes}, "postgresql://shown/db")

    def open(self, **changes: str) -> None:
        open_database(self.address(**changes), RELAY)

    def refused(self, **changes: str) -> str:
        """Why it cannot be opened; what is there stays as it was."""
        before = self.everything()
        error = self.assertRaises(StoreUnusable, self.open, **changes)
        self.assertEqual(self.everything(), before)
        self.assertTrue(str(error).isprintable())
        return str(error)

    def everything(self) -> list[tuple[Any, ...]]:
        """Tables, views and columns, and what relay_meta says."""
        found = self.schema.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = %s ORDER BY 1, ordinal_position",
            self.schema.name,
        )
        with contextlib.suppress(psycopg.errors.UndefinedTable):
            found += self.schema.execute("SELECT * FROM relay_meta ORDER BY 1")
        return found

    def version(self) -> int:
        ((version,),) = self.schema.execute(
            "SELECT value FROM relay_meta WHERE name = 'schema_version'"
        )
        return int(version)


class OpeningTests(DatabaseCase):
    def test_made(self) -> None:
        """In an empty database the tables are made, all that are named."""
        self.open()
        self.assertEqual(self.version(), SCHEMA_VERSION)
        found = self.schema.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = %s::regnamespace",
            self.schema.name,
        )
        self.assertEqual({name for (name,) in found}, set(TABLES))

    def test_opened_again(self) -> None:
        """What is there is left as it is."""
        self.open()
        before = self.everything()
        self.open()
        self.assertEqual(self.everything(), before)

    def test_two_at_once(self) -> None:
        """Of relays that open an empty database at once one makes the tables, and all can use them."""
        errors: list[Exception] = []

        def open_one() -> None:
            try:
                self.open()
            except Exception as error:  # noqa: BLE001 - it is missed below
                errors.append(error)

        relays = [threading.Thread(target=open_one) for _ in range(4)]
        for relay in relays:
            relay.start()
        for relay in relays:
            relay.join(PATIENCE)
        self.assertEqual(errors, [])
        self.assertEqual(self.version(), SCHEMA_VERSION)

    def test_waits_for_who_migrates(self) -> None:
        """While another relay migrates one waits, and gives up with a word after a bounded time."""
        self.patch(_schema, "MIGRATION_PATIENCE", 10)
        with psycopg.connect(self.schema.address) as other:
            other.execute("SELECT pg_advisory_lock(%s)", (_schema.MIGRATION_LOCK,))
            self.assertIn("lock of migrations", self.refused())
        self.open()

    def test_interrupted(self) -> None:
        """A database in which making the tables has failed is as empty as before."""
        self.patch(_schema, "_TABLES", (*_schema._TABLES, "SELECT 1 / 0"))
        self.assertIn("division by zero", self.refused())
        self.assertEqual(self.everything(), [])

    def test_newer_and_compatible(self) -> None:
        """What a newer messageu has made is used, if it says that this one can."""
        self.open()
        self.schema.execute("UPDATE relay_meta SET value = 99 WHERE name = 'schema_version'")
        self.open()
        self.assertEqual(self.version(), 99)

    def test_newer(self) -> None:
        """Otherwise it is refused."""
        self.open()
        self.schema.execute("UPDATE relay_meta SET value = 99 WHERE name = 'schema_version'")
        self.schema.execute("UPDATE relay_meta SET value = 2 WHERE name = 'compat_version'")
        self.assertIn("version 99", self.refused())
        self.schema.execute("DELETE FROM relay_meta WHERE name = 'compat_version'")
        self.assertIn("newer messageu", self.refused())

    def test_older(self) -> None:
        """An older version is brought up to date, step by step, and all of it or nothing."""
        self.open()
        steps: list[int] = []

        def step(number: int, *statements: str) -> Any:
            def migrate(cursor: Any) -> None:
                steps.append(number)
                for statement in statements:
                    cursor.execute(statement)

            return migrate

        add = "ALTER TABLE relay ADD COLUMN place text"
        self.patch(_schema, "SCHEMA_VERSION", SCHEMA_VERSION + 2)
        broken = {SCHEMA_VERSION: step(1, add), SCHEMA_VERSION + 1: step(2, "SELECT 1 / 0")}
        self.patch(_schema, "_MIGRATIONS", broken)
        self.assertIn("division by zero", self.refused())
        self.assertEqual(self.version(), SCHEMA_VERSION)
        self.patch(_schema, "_MIGRATIONS", {**broken, SCHEMA_VERSION + 1: step(2)})
        self.open()
        self.assertEqual((self.version(), steps), (SCHEMA_VERSION + 2, [1, 2, 1, 2]))

    def test_foreign_tables(self) -> None:
        """Tables of others are left alone, and said to be in the way."""
        for table in ("account (id text)", "mailbox_message (x int)", "relay (x int)"):
            with self.subTest(table=table):
                self.schema.execute(f"CREATE TABLE {table}")
                self.assertIn("tables of others", self.refused())
                self.schema.execute(f"DROP TABLE {table.split()[0]}")

    def test_foreign_meta(self) -> None:
        """So is another's table of the name in which versions are kept."""
        for columns, values in (
            ("other text", "('x')"),
            ("name text, value text", "('schema_version', 'x')"),
            ("name text, value bigint", "('schema_version', NULL)"),
            ("name text, value bigint", "('other', 1)"),
            ("name bigint, value bigint", "(1, 1)"),
        ):
            with self.subTest(columns=columns):
                self.schema.execute(f"CREATE TABLE relay_meta ({columns})")
                self.schema.execute(f"INSERT INTO relay_meta VALUES {values}")
                self.refused()
                self.schema.execute("DROP TABLE relay_meta")

    def test_incomplete(self) -> None:
        """A database in which one of the tables is missing is refused, and not found out later."""
        self.open()
        self.schema.execute("DROP TABLE account_mail")
        self.assertIn("table account_mail is missing", self.refused())

    def test_old_server(self) -> None:
        """A server that is too old is told by its version."""
        self.patch(_schema, "SERVER_VERSION", 990_000)
        self.assertIn("PostgreSQL 99 or newer", self.refused())

    def test_nobody_there(self) -> None:
        """A server that is not there is said to be away, in one line, without the password."""
        error = self.refused(host="/nowhere", password=SECRET, connect_timeout="2")
        self.assertIn("postgresql://shown/db: ", error)
        self.assertIn("/nowhere", error)
        self.assertNotIn(SECRET, error)

    def test_hot_standby(self) -> None:
        """A server that may only be read is none to use."""
        self.assertIn("read-only", self.refused(options="-cdefault_transaction_read_only=on"))


def at(schema: Schema, address: str) -> Schema:
    """The same tables, by another address."""
    other = copy.copy(schema)
    other.address = address
    return other


class RightsTests(DatabaseCase):
    """A user who is not the owner."""

    def setUp(self) -> None:
        super().setUp()
        self.user = f"user_{self.schema.name}"
        self.schema.execute(f"CREATE ROLE {self.user} LOGIN PASSWORD '{SECRET}'")
        self.schema.execute(f"GRANT USAGE ON SCHEMA {self.schema.name} TO {self.user}")
        self.addCleanup(self.drop)

    def drop(self) -> None:
        self.schema.execute(f"DROP OWNED BY {self.user} CASCADE")
        self.schema.execute(f"DROP ROLE {self.user}")

    def may_not(self) -> str:
        error = self.refused(user=self.user, password=SECRET)
        self.assertNotIn(SECRET, error)
        return error

    def test_no_right_to_make_tables(self) -> None:
        """Who may not make tables hears that it is a right that he lacks, and where."""
        self.assertIn(
            f"lacks a right (permission denied for schema {self.schema.name}", self.may_not()
        )

    def test_no_right_to_tables(self) -> None:
        """Who may not use the tables of another hears of which."""
        self.open()
        self.assertIn("lacks a right (permission denied for table relay_meta", self.may_not())

    def test_only_reader(self) -> None:
        """Who may only read is refused before anybody is served."""
        self.open()
        every = f"ON ALL TABLES IN SCHEMA {self.schema.name}"
        self.schema.execute(f"GRANT SELECT {every} TO {self.user}")
        self.assertIn("table relay_meta is missing, or", self.may_not())
        self.schema.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE {every} TO {self.user}")
        self.schema.execute(f"REVOKE DELETE ON account_mail FROM {self.user}")
        self.assertIn("table account_mail is missing, or", self.may_not())

    def test_user_of_the_tables(self) -> None:
        """Who may use the tables need not own them: that is enough for a relay."""
        self.open()
        every = f"IN SCHEMA {self.schema.name} TO {self.user}"
        self.schema.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES {every}")
        self.schema.execute(f"GRANT USAGE ON ALL SEQUENCES {every}")
        address = f"{self.schema.address}&user={self.user}&password={SECRET}"
        fixture = PostgresFixture(schema=at(self.schema, address))
        result = fixture.result(fixture.store.register(UserName(b"Alice"), key()))
        accounts = fixture.store.accounts
        self.assertIsNone(
            fixture.result(accounts.register(keys(1), 1 << 16, Handle("alice"), None))
        )
        self.assertIsNone(fixture.result(accounts.delete_account(keys(1).identity.account_id)))
        self.assertEqual(fixture.result(fixture.store.directory(result)).count, 0)
        fixture.result(fixture.store.close())


class WarningTests(DatabaseCase):
    def warnings(self) -> list[LogEvent]:
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.open()
        return [event for event in events if event["log_level"].name == "warn"]

    def test_careless_server(self) -> None:
        """A server that does not wait for its disk is warned of."""
        ((careful,),) = self.schema.execute("SELECT current_setting('fsync') = 'on'")
        self.assertEqual(len(self.warnings()), 0 if careful else 1)


class ExplainTests(SynchronousTestCase):
    """What a server says, as an operator reads it."""

    def test_control_characters(self) -> None:
        """Nothing that it says reaches a terminal as more than text, or is longer than a line."""
        error = psycopg.OperationalError("one\n\ttwo \x1b[31mred\x07 \u202eback \x00" + "x" * 9_999)
        said = explain(error)
        self.assertTrue(said.startswith("one two ?[31mred? ?back ?xxx"), said[:50])
        self.assertTrue(said.isprintable())
        self.assertEqual(len(said), TEXT_LIMIT)

    def test_nothing_said(self) -> None:
        """An error that says nothing is called by its name."""
        self.assertEqual(explain(psycopg.InterfaceError()), "InterfaceError")


class EncodingTests(SynchronousTestCase):
    """A database as an older initdb makes it where no language is set."""

    def test_names(self) -> None:
        """Names are text all the same."""
        schema = make_schema()
        self.addCleanup(schema.remove)
        name = f"ascii_{schema.name}"
        schema.execute(
            f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
            " TEMPLATE template0"
        )
        self.addCleanup(schema.execute, f"DROP DATABASE {name} WITH (FORCE)")
        other = at(schema, f"{schema.address}&dbname={name}&options=")
        fixture = PostgresFixture(schema=other)
        alice, bob = (
            fixture.result(fixture.store.register(UserName(name), key()))
            for name in (b"Alice", b"Bob")
        )
        directory = fixture.result(fixture.store.directory(alice))
        page = fixture.result(fixture.store.directory_page(directory, 0, 9))
        self.assertEqual(page.clients, (ListedClient(bob, b"Bob"),))
        accounts = fixture.store.accounts
        for _ in range(2):
            registered = accounts.register(keys(1), 1 << 16, Handle("alice"), None)
            self.assertIsNone(fixture.result(registered))
        fixture.result(fixture.store.close())
