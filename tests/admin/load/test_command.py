"""What is asked before a load, and what is refused."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.admin import _load
from messageu.admin.__main__ import Exit, main
from messageu.admin.load import Measured, Plan, Timeline
from tests.admin.test_relay import Terminal

ADDRESS = "127.0.0.1:1357"


class CommandTests(SynchronousTestCase):
    """``messageu-admin load`` up to the first connection.

    :ivar plans: the loads that were begun.
    """

    def setUp(self) -> None:
        self.plans: list[Plan] = []
        self.found = Measured(1.0, Timeline(1.0), Timeline(1.0).sum(), 0, 0, False, "load")

    def run_load(self, plan: Plan) -> Measured:
        """In place of one."""
        self.plans.append(plan)
        return self.found

    def run_main(self, *words: str, typed: io.StringIO | None = None) -> tuple[int, str, str]:
        """The exit code, and what was said."""
        output, errors = io.StringIO(), io.StringIO()
        with (
            redirect_stdout(output),
            redirect_stderr(errors),
            mock.patch("sys.stdin", typed if typed is not None else io.StringIO()),
            mock.patch.object(_load, "_run", self.run_load),
        ):
            try:
                code = main(["load", *words])
            except SystemExit as error:
                code = error.code
        return code, output.getvalue(), errors.getvalue()

    def test_asked(self) -> None:
        """Who confirms it is told before what will happen and what will stay."""
        code, _, asked = self.run_main(ADDRESS, "--mailboxes", "7", typed=Terminal("y\n"))
        self.assertEqual(code, Exit.DONE)
        self.assertEqual(self.plans, [Plan("127.0.0.1", 1357, mailboxes=7)])
        for said in (ADDRESS, "7 users named messageu-load-", "who stay", "11 seconds"):
            self.assertIn(said, asked)

    def test_not_confirmed(self) -> None:
        """Any other answer does nothing, and so does nobody who could answer."""
        for typed in (Terminal("\n"), Terminal("n\n"), Terminal(""), io.StringIO("y\n")):
            code, _, _ = self.run_main(ADDRESS, typed=typed)
            self.assertEqual(code, Exit.USAGE)
        self.assertEqual(self.plans, [])

    def test_wrong(self) -> None:
        """What cannot be done is refused before anything is."""
        for words in (
            ["messageu://127.0.0.1:1358#pin"],
            ["127.0.0.1"],
            ["127.0.0.1:0"],
            [ADDRESS, "--duration", "0"],
            [ADDRESS, "--duration", "nan"],
            [ADDRESS, "--rate", "-1"],
            [ADDRESS, "--connections", "0"],
            [ADDRESS, "--size", str(2**30)],
            [ADDRESS, "--report", "none/of/these/load.html"],
        ):
            code, _, errors = self.run_main(*words, "--yes")
            self.assertEqual(code, Exit.USAGE, words)
            self.assertIn("messageu-admin", errors)
        self.assertEqual(self.plans, [])

    @given(st.integers(0, 10**6))
    def test_plan(self, number: int) -> None:
        """Every option reaches the plan."""
        size = str(number)
        self.plans.clear()
        words = ["--size", size, "--in-flight", "3", "--rate", "2.5", "--warmup", "0", "--json"]
        code, _, _ = self.run_main("[::1]:1357", "--yes", *words)
        expected = Plan("::1", 1357, size=number, in_flight=3, rate=2.5, warmup=0.0)
        self.assertEqual((code, self.plans), (Exit.DONE, [expected]))
        self.assertEqual(expected.address, "[::1]:1357")

    def test_not_written(self) -> None:
        """A page that cannot be written is one line, and a failure."""
        folder = Path(self.mktemp())
        folder.mkdir()
        code, _, errors = self.run_main(ADDRESS, "--yes", "--report", str(folder))
        self.assertEqual(code, Exit.FAILED)
        self.assertIn("Is a directory", errors)

    def test_serve_stands_first(self) -> None:
        """``serve`` after an option says where it has to stand."""
        output = io.StringIO()
        with redirect_stderr(output), self.assertRaises(SystemExit) as caught:
            main(["-d", "mail.db", "serve"])
        self.assertIn("serve stands before all options", str(caught.exception))
