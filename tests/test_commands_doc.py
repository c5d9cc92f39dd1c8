"""docs/commands.md: every command is there, with examples that are understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
from twisted.trial.unittest import SynchronousTestCase

from messageu.commands import COMMANDS, MEANINGS, Invocation, command_line, read

DOCUMENT = (Path(__file__).resolve().parent.parent / "docs/commands.md").read_text("utf-8")


def examples(text: str) -> list[list[str]]:
    """What follows ``messageu`` in lines of a shell."""
    found: list[list[str]] = []
    for line in text.splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars="|&>")
        words.whitespace_split, words.commenters = True, ""
        commands = "\0".join(words)
        for command in re.split("\0?(?:[|]|&&|>>?)\0?", commands):
            name, *arguments = command.split("\0")
            if name == "messageu":
                found.append(arguments)
    return found


class CommandsTests(SynchronousTestCase):
    """The page, and the table."""

    def understand(self, arguments: list[str]) -> Invocation:
        """An example, in a folder that exists."""
        if arguments[:1] == ["--dir"]:
            arguments = arguments[2:]
        said = read([argument.replace("…", "x") for argument in arguments])
        self.assertIsInstance(said, Invocation)
        return said

    def test_every_command(self) -> None:
        """Each command has a heading, and examples of it that are understood."""
        sections = dict(
            re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", DOCUMENT, re.DOTALL | re.MULTILINE)
        )
        self.assertEqual(set(sections), set(COMMANDS))
        for name, section in sections.items():
            blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE))
            said = [self.understand(arguments).command for arguments in examples(blocks)]
            self.assertEqual(set(said), {name})

    def test_examples_of_the_table(self) -> None:
        """So are those of --help and the manual pages; the menu's second one is no command."""
        for name, row in COMMANDS.items():
            for arguments in examples("\n".join(row.examples)):
                self.assertIn(self.understand(arguments).command, (name, "menu"))

    def test_exit_codes(self) -> None:
        """Exit codes are told as --help tells them."""
        for code, text in MEANINGS.items():
            self.assertIn(f"\n| {code.value} | {text} |\n", DOCUMENT)

    def test_shared_options(self) -> None:
        """What all commands share is explained."""
        for param in command_line().params:
            if isinstance(param, click.Option) and not param.is_flag:
                self.assertIn(f"\n| `{param.opts[0]} {param.metavar}` | ", DOCUMENT)
