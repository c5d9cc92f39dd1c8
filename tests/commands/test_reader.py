"""The command line: what was said comes out as a value."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from twisted.trial.unittest import SynchronousTestCase

from messageu import __main__, __version__
from messageu.cli import WORK
from messageu.commands import COMMANDS, DEFAULT_TIMEOUT, MEANINGS, Exit, Invocation, read

ELSEWHERE = {"menu", "completion"}
"""Commands that are no work at a desk."""

HEAVY = ("twisted", "rich", "textual", "OpenSSL", "cryptography", "sqlcipher3", "messageu.client")


class ReadTests(SynchronousTestCase):
    """What was said."""

    def setUp(self) -> None:
        scratch = TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = scratch.name

    def said(self, *arguments: str) -> Invocation:
        """What is understood."""
        said = read(arguments)
        assert isinstance(said, Invocation)
        return said

    def refused(self, *arguments: str) -> str:
        """Why it is not."""
        return self.assertRaises(click.UsageError, read, arguments).format_message()

    def test_folder_on_either_side(self) -> None:
        """What all commands share stands before the command or behind it, and behind it counts."""
        for name in ("--dir", "--folder"):
            self.assertEqual(self.said(name, self.folder, "link").folder, Path(self.folder))
            self.assertEqual(self.said("link", name, self.folder).folder, Path(self.folder))
        said = self.said("--dir", "/", "--timeout", "5", "link", "--dir", self.folder)
        self.assertEqual((said.folder, said.timeout), (Path(self.folder), 5.0))
        said = self.said("--passphrase-file", "one", "send", "bern", "--passphrase-file", "two")
        self.assertEqual(said.passphrase_file, Path("two"))

    def test_defaults(self) -> None:
        """Nothing at all is the menu, here."""
        self.assertEqual(
            self.said(),
            Invocation("menu", Path(), None, DEFAULT_TIMEOUT, self.said("menu").options),
        )

    def test_texts_stay(self) -> None:
        """A text is what was typed: empty, a dash, with bytes that are no UTF-8, like an option."""
        self.assertEqual(self.said("display-name", "").options.text, "")
        self.assertIsNone(self.said("display-name").options.text)
        for text in ("-", "a\udcffb", " x ", "@file", "*"):
            self.assertEqual(self.said("send", "bern", text).options.text, text)
        self.assertEqual(self.said("send", "bern", "--", "--json").options.text, "--json")
        self.assertEqual(self.said("send", "--json", "bern", "x").options.text, "x")

    def test_refusals(self) -> None:
        """What cannot be meant is refused, with a word about it."""
        for words, *arguments in (
            ("CONTACT", "send"),
            ("nowhere is not a directory", "--dir", "nowhere", "link"),
            ("nowhere/x is not a directory", "--dir", "nowhere/x", "register", "x", "y"),
            ("For example: messageu --dir ~/anna register", "register"),
            ("No such command", "sned"),
            ("--jsno", "inbox", "--jsno"),
            ("not in the range", "history", "bern", "--limit", "10001"),
            ("32 hexadecimal digits", "register", "x", "y", "--token", "00"),
            ("not one of", "completion", "tcsh"),
        ):
            self.assertIn(words, self.refused(*arguments))
        for seconds in ("0", "-1", "nan", "86401", "x"):
            self.assertIn("at most 86400", self.refused("--timeout", seconds))

    def test_new_folder(self) -> None:
        """What begins a profile makes its folder, so that it need not be there."""
        self.assertEqual(self.said("--dir", "new", "register", "x", "y").folder, Path("new"))
        self.assertEqual(self.said("--dir", "new", "import", "x").folder, Path("new"))

    def test_token(self) -> None:
        """A token is read as bytes."""
        self.assertEqual(
            self.said("register", "x", "y", "--token", "0f" * 16).options.token, b"\x0f" * 16
        )

    def test_every_row_has_work(self) -> None:
        """Each command of the table is done somewhere, and nothing is done that is not in it."""
        self.assertEqual(set(COMMANDS) - set(WORK), ELSEWHERE | set(__main__._PLACES))
        self.assertEqual(set(WORK) - set(COMMANDS), set())

    def test_help_explains_all(self) -> None:
        """--help names every command, and each one's every operand and option, with words; and the
        exit codes."""
        shown = self.help("--help")
        for name, row in COMMANDS.items():
            self.assertIn(f"  {name} ", shown)
            said = self.help(name, "--help")
            for param in row.params:
                self.assertIn(
                    param.opts[-1] if isinstance(param, click.Option) else param.text[:20], said
                )
                self.assertTrue(getattr(param, "help", None) or param.text)
        self.assertEqual(set(MEANINGS), set(Exit))
        for code, text in MEANINGS.items():
            self.assertRegex(shown, rf"\n +{code.value} +{text}\n")
        self.assertEqual(self.help("send", "-h"), self.help("send", "--help"))

    def help(self, *arguments: str) -> str:
        """What is printed."""
        with redirect_stdout(io.StringIO()) as printed:
            self.assertEqual(__main__.main(arguments), Exit.DONE)
        return printed.getvalue()

    def test_mistake(self) -> None:
        """A command line that is not understood is a usage, a line that says why, and exit code 2."""
        with redirect_stderr(io.StringIO()) as printed:
            self.assertEqual(__main__.main(["send"]), Exit.USAGE)
        usage, line = printed.getvalue().splitlines()
        self.assertEqual(usage, "Usage: messageu send [OPTIONS] CONTACT [TEXT]")
        self.assertTrue(line.startswith("messageu: error: Missing argument"))

    def test_screen(self) -> None:
        """chat gives the screen what was said, and no reactor is there before it installs its own."""
        script = f"""
import sys
from types import ModuleType
screen = ModuleType("messageu.tui.root")
def run(folder, *, passphrase_file, timeout):
    print(folder, passphrase_file, timeout, "twisted.internet.reactor" in sys.modules)
    return 4
screen.run = run
sys.modules |= {{"messageu.tui": ModuleType("messageu.tui"), "messageu.tui.root": screen}}
from messageu.__main__ import main
sys.exit(main(["--dir", {self.folder!r}, "chat", "--timeout", "5", "--passphrase-file", "secret"]))
"""
        finished = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, check=False, text=True
        )
        self.assertEqual(finished.stderr, "")
        self.assertEqual(finished.stdout, f"{self.folder} secret 5.0 False\n")
        self.assertEqual(finished.returncode, Exit.AWAY)

    def test_light(self) -> None:
        """Nothing heavy is imported to print help and versions, or to complete a command."""
        script = f"""
import sys
from messageu.__main__ import main
main(["--version"])
print([name for name in {HEAVY!r} if name in sys.modules])
"""
        finished = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, check=True, text=True
        )
        self.assertEqual(finished.stdout, f"messageu {__version__}\n[]\n")
        environment = {
            **os.environ,
            "_MESSAGEU_COMPLETE": "bash_complete",
            "COMP_WORDS": "messageu hist",
            "COMP_CWORD": "1",
        }
        finished = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "messageu"],
            capture_output=True, check=True, env=environment, text=True,
        )  # fmt: skip
        self.assertEqual(finished.stdout, "plain,history\n")
        imported = {line.rpartition("|")[2].strip() for line in finished.stderr.splitlines()}
        self.assertIn("messageu.commands", imported)
        self.assertEqual(imported & set(HEAVY), set())
