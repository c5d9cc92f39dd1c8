"""The console program: commands and menus. Only ``__main__`` knows of terminals."""

from messageu.terminal import (
    Away,
    Console,
    Desk,
    Exit,
    NoTerminal,
    visible,
    visible_name,
    visible_text,
)

from ._commands import COMMANDS, add_commands, run_command
from ._lines import LINE_LIMIT, EndOfInput, Lines, LineTooLong
from ._menu import MENU, Menu
from ._menu_v3 import MENU_V3, MenuV3

__all__ = [
    "COMMANDS",
    "LINE_LIMIT",
    "MENU",
    "MENU_V3",
    "Away",
    "Console",
    "Desk",
    "EndOfInput",
    "Exit",
    "LineTooLong",
    "Lines",
    "Menu",
    "MenuV3",
    "NoTerminal",
    "add_commands",
    "run_command",
    "visible",
    "visible_name",
    "visible_text",
]
