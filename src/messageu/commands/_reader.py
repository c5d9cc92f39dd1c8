"""The command line, read: click takes it apart, and what was said comes out as a value."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, TypeAlias

import click
from attrs import frozen

from messageu import __version__

from ._exits import DEFAULT_TIMEOUT, MEANINGS
from ._params import PATH, SECONDS, Operand
from ._rows import COMMANDS, ENVIRONMENT, FILES, Row

PROGRAM: Final = "messageu"
NO_COMMAND: Final = "menu"
"""What is meant when no command is given."""

Complete: TypeAlias = Callable[[Path], Iterable[str]]


@frozen
class Invocation:
    """What was said.

    :ivar command: its name, one of those in ``COMMANDS``.
    :ivar options: what follows it, by the names of its parameters.
    """

    command: str
    folder: Path
    passphrase_file: Path | None
    timeout: float
    options: SimpleNamespace


def read(
    arguments: Sequence[str] | None = None, complete: Complete | None = None
) -> Invocation | int:
    """Read the command line. Help and versions are printed here, and give an exit code.

    :param arguments: those behind the program's name; None: the process's.
    :param complete: the names of the contacts in a folder; it may raise, and must not ask.
    :raises click.ClickException: when it is not understood.
    """
    said: Invocation | int = command_line().main(
        args=None if arguments is None else list(arguments),
        prog_name=PROGRAM,
        standalone_mode=False,
        obj=complete,
    )
    return said


def command_line() -> click.Group:
    """All of it, as click sees it."""
    rows: dict[str, click.Command] = {name: _command(name, row) for name, row in COMMANDS.items()}
    version = click.version_option(__version__, message="%(prog)s %(version)s")
    group = _Group(
        name=PROGRAM,
        callback=click.pass_context(_said),
        commands=rows,
        params=_shared(),
        help="A client of MessageU: exchanges texts and files through a relay. "
        "Without a command there is the menu.",
        epilog=_EPILOG,
        invoke_without_command=True,
        subcommand_metavar="[COMMAND] …",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    return version(group)


class _Group(click.Group):
    """Commands in the order of their table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class _Command(click.Command):
    """A command whose help explains its operands, too, and that shows how it is said.

    :param example: of what is to be typed.
    """

    def __init__(self, *args: Any, example: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._example = example

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.MissingParameter as error:
            if not self._example:
                raise
            words = f"{error.format_message()} For example: {self._example}"
            raise click.UsageError(words, ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        operands = [
            (param.make_metavar(ctx), param.text)
            for param in self.get_params(ctx)
            if isinstance(param, Operand)
        ]
        if operands:
            with formatter.section("Arguments"):
                formatter.write_dl(operands)
        super().format_options(ctx, formatter)


def _command(name: str, row: Row) -> click.Command:
    return _Command(
        name,
        callback=click.pass_context(partial(_said, command=name)),
        params=[*row.params, *_shared()],
        help=f"{row.text[:1].upper()}{row.text[1:]}.\n\n{row.details}".strip(),
        short_help=row.text,
        epilog=_examples(row),
        example=next(iter(row.examples), ""),
    )


def _shared() -> list[click.Parameter]:
    """What can be said before a command and behind it; behind it counts."""
    return [
        click.Option(
            ["--dir", "--folder", "folder"],
            type=PATH,
            metavar="DIR",
            help="The client's folder.  [default: the current one]",
        ),
        click.Option(
            ["--passphrase-file"],
            type=PATH,
            metavar="FILE",
            help="A file that holds the passphrase.",
        ),
        click.Option(
            ["--timeout"],
            type=SECONDS,
            metavar="SECONDS",
            help=f"How long the relay may give no sign.  [default: {DEFAULT_TIMEOUT:g}]",
        ),
    ]


def _said(context: click.Context, command: str = NO_COMMAND, **options: Any) -> Invocation | None:
    """The value of a context: the callback of every command."""
    if context.invoked_subcommand is not None:
        return None  # the command itself answers
    folder = _nearest(context, "folder") or Path()
    if not folder.is_dir() and not (command in _MAKES_FOLDER and _may_be_made(folder)):
        raise click.UsageError(_no_folder(folder), context)
    given = {name: value for name, value in options.items() if name not in _SHARED}
    return Invocation(
        command,
        folder,
        _nearest(context, "passphrase_file"),
        _nearest(context, "timeout") or DEFAULT_TIMEOUT,
        SimpleNamespace(**given),
    )


_MAKES_FOLDER: Final = frozenset({"register", "import"})
"""Commands that make the folder, if only that is missing."""


def _may_be_made(folder: Path) -> bool:
    return not os.path.lexists(folder) and folder.absolute().parent.is_dir()


def _no_folder(folder: Path) -> str:
    name = os.fspath(folder)
    wrong = f"{name} is not a directory"
    if os.path.lexists(folder):
        return wrong
    return f"{wrong}: make it first, with: mkdir -m 700 {shlex.quote(name)}"


_SHARED: Final = frozenset({"folder", "passphrase_file", "timeout"})


def _nearest(context: click.Context, name: str) -> Any:
    """What was said behind the command, or else before it."""
    value = context.params.get(name)
    if value is None and context.parent is not None:
        return _nearest(context.parent, name)
    return value


def _examples(row: Row) -> str | None:
    if not row.examples:
        return None
    return "\n".join(["\b", "Examples:", *(f"  {example}" for example in row.examples)])


def _table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Lines that click leaves as they are."""
    width = 2 + max(len(name) for name, _ in rows)
    return "\n".join(["\b", f"{title}:", *(f"  {name:{width}}{text}" for name, text in rows)])


_FOLDERS: Final = (
    "A folder whose server.info is a line of messageu://host:port#pin is a profile of MessageU v3: "
    "the commands work there. Any other folder is one of MessageU v2, with the menu and doctor only."
)

_EPILOG: Final = "\n\n".join(
    (
        _FOLDERS,
        _table("Files", tuple(FILES.items())),
        _table("Environment", tuple(ENVIRONMENT.items())),
        _table("Exit codes", [(str(code.value), text) for code, text in MEANINGS.items()]),
    )
)
