"""What the commands do, and the menus. Only ``root`` takes the reactor and the process's streams."""

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

from ._completion import contact_names
from ._lines import LINE_LIMIT, EndOfInput, Lines, LineTooLong
from ._menu import MENU, Menu
from ._menu_v3 import MENU_V3, MenuV3
from ._work import WORK, run_command

__all__ = [
    "LINE_LIMIT",
    "MENU",
    "MENU_V3",
    "WORK",
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
    "contact_names",
    "run_command",
    "visible",
    "visible_name",
    "visible_text",
]
