"""TAB: commands, options and contacts, and never a word or a question."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from click.shell_completion import BashComplete

from messageu import __main__
from messageu.cli import Exit, contact_names
from messageu.commands import PROGRAM, SHELLS, command_line

from .test_commands import CommandCase

CHECKS = {"bash": ("bash", "-n"), "zsh": ("zsh", "-n"), "fish": ("fish", "--no-execute")}


class CompletionTests(CommandCase):
    """A profile without a passphrase, and a shell."""

    def setUp(self) -> None:
        super().setUp()
        self.register_both()

    def complete(self, *words: str) -> list[str]:
        """What is offered for the last of the words; nothing is printed."""
        completing = BashComplete(
            command_line(), {"obj": contact_names}, PROGRAM, "_MESSAGEU_COMPLETE"
        )
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            found = completing.get_completions(list(words[:-1]), words[-1])
        self.assertEqual((out.getvalue(), err.getvalue()), ("", ""))
        return [item.value for item in found]

    def test_commands(self) -> None:
        """Commands and options complete."""
        self.assertEqual(self.complete("se"), ["send", "send-file"])
        self.assertEqual(self.complete("inbox", "--fol"), ["--follow", "--folder"])
        self.assertEqual(self.complete("completion", ""), list(SHELLS))

    def test_contacts(self) -> None:
        """Contacts complete, in the folder that is named before the command or behind it."""
        folder = str(self.root / "anna")
        for arguments in (("--dir", folder, "send"), ("send", "--dir", folder)):
            self.assertEqual(self.complete(*arguments, ""), ["bern"])
            self.assertEqual(self.complete(*arguments, "x"), [])
        self.assertEqual(self.complete("--dir", folder, "send", "bern", ""), [])

    def test_nothing_happens_to_the_profile(self) -> None:
        """The profile can be opened afterwards, and has the files that it had."""
        before = {path.name for path in (self.root / "anna").iterdir()}
        self.assertEqual(self.complete("--dir", str(self.root / "anna"), "verify", "b"), ["bern"])
        self.assertEqual({path.name for path in (self.root / "anna").iterdir()}, before)
        self.desk("anna").open(None).close()

    def test_dangerous_names(self) -> None:
        """A name that a shell would not leave as it is is not offered."""
        messenger = self.desk("anna").open(None)
        for number, label in enumerate(("$(reboot)", "a b", "x;y", "-rf", "`x`", "a\nb", "zoë.2")):
            messenger.core.rename("bern", label)
            messenger.close()
            offered = self.complete("--dir", str(self.root / "anna"), "send", "")
            self.assertEqual(offered, [label] if label == "zoë.2" else [], label)
            messenger = self.desk("anna").open(None)
            messenger.core.rename(label, "bern")
            self.assertLess(number, 7)
        messenger.close()

    def test_never_asks(self) -> None:
        """With a passphrase, an open profile, a folder that is none or of v2, there are no names, no
        question, and no word."""
        self.console.secrets = ["one two", "one two"]
        (self.root / "carl").mkdir()
        self.done("carl", "register", self.address, "carl")
        self.console.questions.clear()
        self.environment["MESSAGEU_PASSPHRASE"] = "one two"
        messenger = self.desk("bern").open(None)
        (self.root / "empty").mkdir()
        (self.root / "second").mkdir()
        (self.root / "second/server.info").write_text("127.0.0.1:1357\n")
        for name in ("carl", "bern", "empty", "second", "nowhere"):
            self.assertEqual(self.complete("--dir", str(self.root / name), "send", ""), [], name)
        messenger.close()
        self.assertEqual(self.console.questions, [])

    def test_scripts(self) -> None:
        """A script is printed for each shell, which finds nothing wrong with it."""
        for shell in SHELLS:
            with redirect_stdout(io.StringIO()) as printed:
                self.assertEqual(__main__.main(["completion", shell]), Exit.DONE)
            self.assertIn("_MESSAGEU_COMPLETE", printed.getvalue())
            program = shutil.which(shell)
            if program is None:
                continue
            script = self.root / f"script.{shell}"
            script.write_text(printed.getvalue())
            finished = subprocess.run(
                [program, *CHECKS[shell][1:], str(script)], capture_output=True, check=False
            )
            self.assertEqual((finished.returncode, finished.stderr), (0, b""), shell)

    def test_in_bash(self) -> None:
        """In bash itself, TAB offers what it should."""
        bash = shutil.which("bash")
        if bash is None:
            self.skipTest("there is no bash")
        folder = self.root / "bin"
        folder.mkdir()
        program = folder / "messageu"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m messageu "$@"\n')
        program.chmod(0o755)
        script = f"""
eval "$(messageu completion bash)"
COMP_WORDS=(messageu --dir "{self.root / "anna"}" send b) COMP_CWORD=4
_messageu_completion messageu
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
        path = f"{folder}{os.pathsep}{os.defpath}"
        finished = subprocess.run(
            [bash, "-c", script],
            capture_output=True,
            check=False,
            env={"PATH": path, "HOME": str(Path.home())},
            text=True,
        )
        self.assertEqual((finished.stdout, finished.stderr), ("bern\n", ""))
