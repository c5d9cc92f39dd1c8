"""The console program: a menu over the library. Only ``__main__`` knows of terminals."""

from ._lines import LINE_LIMIT, EndOfInput, Lines, LineTooLong
from ._menu import MENU, Menu
from ._text import visible, visible_name, visible_text

__all__ = [
    "LINE_LIMIT",
    "MENU",
    "EndOfInput",
    "LineTooLong",
    "Lines",
    "Menu",
    "visible",
    "visible_name",
    "visible_text",
]
