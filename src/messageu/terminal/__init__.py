"""What every program of ours on a terminal shares: harmless texts, a passphrase, patience."""

from ._console import Away, Console, Exit, NoTerminal
from ._desk import DEFAULT_TIMEOUT, Desk
from ._progress import Bars, Progress
from ._safety import safety_lines
from ._text import visible, visible_name, visible_text
from ._words import describe, name_in, name_of, offer_of

__all__ = [
    "DEFAULT_TIMEOUT",
    "Away",
    "Bars",
    "Console",
    "Desk",
    "Exit",
    "NoTerminal",
    "Progress",
    "describe",
    "name_in",
    "name_of",
    "offer_of",
    "safety_lines",
    "visible",
    "visible_name",
    "visible_text",
]
