"""``messageu-admin migrate``, as its operator sees it."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

import messageu.store
from messageu.admin.__main__ import Exit, main
from messageu.store import StoreUnusable
from messageu.store.postgres import _migration
from tests.store.postgres.moving import MovingCase

from .test_relay import Terminal

SECRET = "hunter2"


class MigrateTests(MovingCase):
    """The command as a function."""

    def setUp(self) -> None:
        super().setUp()
        self.schema = self.make_schema()

    def run_main(
        self, *words: str, to: str | None = None, errors: io.StringIO | None = None
    ) -> tuple[int, str, str]:
        """Run it: the exit code, and what it prints and complains of."""
        output, errors = io.StringIO(), errors or io.StringIO()
        with redirect_stdout(output), redirect_stderr(errors):
            code = main([*words, "--to", to or self.schema.address])
        return code, output.getvalue(), errors.getvalue()

    def move(self, **options: io.StringIO) -> tuple[int, str, str]:
        """Run it with this test's database."""
        return self.run_main("migrate", "--from", str(self.source.path), **options)

    def refuse(self, to: str) -> tuple[int, str]:
        """Run it, to be told in one line why not: the code and the line."""
        code, output, errors = self.run_main("migrate", "--from", str(self.source.path), to=to)
        self.assertRegex(errors, r"\Amessageu-admin: [^\n]+\n\Z")
        self.assertNotIn(SECRET, output + errors)
        return code, errors

    def test_moved(self) -> None:
        """It says what it does in plain lines, then what each table holds, and its checksum."""
        code, output, errors = self.move()
        self.assertEqual((code, errors), (Exit.DONE, ""))
        lines = output.splitlines()
        self.assertEqual(lines[:4], ["checking", "reading", "copying", "comparing"])
        self.assertRegex(lines[4], r"\Amailbox_client: 4 rows, checksum [0-9a-f]{64}\Z")
        self.assertEqual(len(lines), 4 + 11 + 1)
        self.assertIn(str(self.source.path), lines[-1])

    def test_left(self) -> None:
        """It says how much it has left behind, and nothing when that is nothing."""
        self.sql("INSERT INTO quarantined_client VALUES (1, 2, 3, 4, 'odd')")
        _, output, _ = self.move()
        left = [line for line in output.splitlines() if line.startswith("left behind")]
        self.assertEqual(left, ["left behind: 1 clients of another server, in quarantine"])

    def test_again(self) -> None:
        """When everything was moved before it says so, and that is no failure."""
        self.move()
        code, output, errors = self.move()
        self.assertEqual((code, errors), (Exit.DONE, ""))
        self.assertIn("everything was moved here before; nothing was done", output)

    def test_terminal(self) -> None:
        """On a terminal a bar shows how far it is, of which nothing stays in the end."""
        code, output, errors = self.move(errors=Terminal())
        self.assertEqual(code, Exit.DONE)
        self.assertTrue(output.startswith("mailbox_client: "))
        shown = [each for each in errors.split("\r") if each.strip()]
        self.assertEqual(shown[0], "checking  [                    ]   0 %")
        self.assertEqual(shown[-1], "comparing [####################] 100 %")
        self.assertEqual(len({len(each) for each in shown}), 1)
        self.assertRegex(errors, rf"\r {{{len(shown[0])},}}\r\Z")
        # A percentage is shown once.
        self.assertEqual(len(shown), len(set(shown)))

    def test_terminal_of_a_failure(self) -> None:
        """The line that says why it failed stands alone."""
        self.source.store.open()
        code, _, errors = self.move(errors=Terminal())
        self.assertEqual(code, Exit.FAILED)
        before, line = errors.split("\r")[-2:]
        self.assertEqual(before.strip(), "")
        self.assertRegex(line, r"\Amessageu-admin: [^\n]+\n\Z")

    def test_default(self) -> None:
        """Without --from it is the database that is named before the command."""
        code, output, _ = self.run_main("-d", str(self.source.path), "migrate")
        self.assertEqual(code, Exit.DONE)
        self.assertIn("mailbox_client: 4 rows", output)

    def test_no_address(self) -> None:
        """What is no address of PostgreSQL is wrong usage, and is not repeated."""
        for address in (
            SECRET,
            f"sqlite:///{SECRET}",
            f"postgresql://a:{SECRET}@[b/c",
            f"postgresql://a:{SECRET}@b/c?nothing={SECRET}",
        ):
            code, line = self.refuse(address)
            self.assertEqual(code, Exit.USAGE)
            self.assertIn("--to", line)

    def test_from_postgresql(self) -> None:
        """It moves nothing out of PostgreSQL, and says so without showing a password."""
        address = f"postgresql://anna:{SECRET}@a/b"
        for words in (("migrate", "--from", address), ("-d", address, "migrate")):
            code, output, errors = self.run_main(*words)
            self.assertEqual((code, output), (Exit.USAGE, ""))
            self.assertEqual(errors, "messageu-admin: --from is the path of an SQLite database\n")

    def test_unreachable(self) -> None:
        """A server that is not there is a failure, and the password is not shown."""
        code, line = self.refuse(f"postgresql://anna:{SECRET}@127.0.0.1:1/messageu")
        self.assertEqual(code, Exit.FAILED)
        self.assertIn("postgresql://127.0.0.1:1/messageu", line)

    def test_failure(self) -> None:
        """What the store refuses is one line."""
        with mock.patch.object(_migration, "_compare", side_effect=StoreUnusable("no\x9b2J")):
            code, line = self.refuse(self.schema.address)
        self.assertEqual(code, Exit.FAILED)
        self.assertTrue(line.startswith("messageu-admin: no"))

    def test_interrupted(self) -> None:
        """Ctrl-C is no crash, and the next one goes on."""
        with mock.patch.object(_migration, "_compare", side_effect=KeyboardInterrupt):
            code, _, errors = self.move()
        self.assertEqual((code, errors), (Exit.INTERRUPTED, "messageu-admin: interrupted\n"))
        self.assertEqual(self.move()[0], Exit.DONE)

    def test_without_psycopg(self) -> None:
        """Without what speaks to PostgreSQL it says what to install; other commands do without."""
        without = mock.patch.dict(sys.modules, {"messageu.store.postgres": None})
        with without, mock.patch.object(messageu.store, "postgres"):
            del messageu.store.postgres
            code, line = self.refuse(self.schema.address)
            self.assertEqual(code, Exit.FAILED)
            self.assertIn("install messageu[postgres]", line)
            with redirect_stdout(io.StringIO()):
                self.assertEqual(main(["check", str(self.source.path)]), Exit.DONE)
