"""What a shell has to run so that TAB completes commands, options and contacts."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import ShellComplete, get_completion_class

SHELLS: Final = ("bash", "zsh", "fish")


def completion_script(command_line: click.Command, program: str, shell: str) -> str:
    """The script of a shell.

    :param shell: one of :data:`SHELLS`.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise ValueError(f"click knows no shell called {shell}")
    variable = f"_{program.upper()}_COMPLETE"
    # Not the method of the kind itself: bash's would run a bash to look at its version.
    return ShellComplete.source(kind(command_line, {}, program, variable))
