"""What can be said to ``messageu``: a row for each command, read by click. Nothing is done here.

It imports little, so that ``--help``, ``--version`` and a press of TAB are quick.
"""

from ._completion import SHELLS, completion_script
from ._exits import DEFAULT_TIMEOUT, MEANINGS, Exit
from ._params import ContactName, Operand, Switch
from ._reader import PROGRAM, Complete, Invocation, command_line, read
from ._rows import COMMANDS, ENVIRONMENT, FILES, Row

__all__ = [
    "COMMANDS",
    "DEFAULT_TIMEOUT",
    "ENVIRONMENT",
    "FILES",
    "MEANINGS",
    "PROGRAM",
    "SHELLS",
    "Complete",
    "ContactName",
    "Exit",
    "Invocation",
    "Operand",
    "Row",
    "Switch",
    "command_line",
    "completion_script",
    "read",
]
