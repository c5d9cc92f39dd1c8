"""``messageu``: the command line is read, and given to what does it.

What the work needs is imported when it is known what the work is: a screen wants another reactor
than commands do, and ``--help`` and a press of TAB want none.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from messageu.commands import PROGRAM, Exit, Invocation, command_line, completion_script, read


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says. Returns the exit code."""
    try:
        said = read(arguments, _contact_names)
    except click.ClickException as error:
        return _explain(error)
    except click.Abort:
        return Exit.INTERRUPTED
    if isinstance(said, int):
        return said
    return _PLACES.get(said.command, _run_command)(said)


def _explain(error: click.ClickException) -> int:
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        click.echo(context.get_usage(), err=True)
    click.echo(f"{PROGRAM}: error: {error.format_message()}", err=True)
    return Exit.USAGE


def _run_command(said: Invocation) -> int:
    from messageu.cli.root import run

    return run(said)


def _run_screen(said: Invocation) -> int:
    # It installs a reactor of its own: nothing before it may import one.
    from messageu.tui.root import run

    return int(
        run(said.folder.absolute(), passphrase_file=said.passphrase_file, timeout=said.timeout)
    )


def _print_completion(said: Invocation) -> int:
    click.echo(completion_script(command_line(), PROGRAM, said.options.shell))
    return Exit.DONE


def _contact_names(folder: Path) -> Iterable[str]:
    from messageu.cli import contact_names

    return contact_names(folder)


_PLACES: Final[Mapping[str, Callable[[Invocation], int]]] = {
    "chat": _run_screen,
    "completion": _print_completion,
}
"""The commands that are not messageu.cli's."""


if __name__ == "__main__":
    sys.exit(main())
