"""What every program of ours on a terminal shares: harmless texts, a passphrase, patience."""

from messageu.commands import DEFAULT_TIMEOUT, Exit

from ._console import Away, Console, NoTerminal
from ._desk import Desk, how_to_begin
from ._hook import HOOK_TIMEOUT, Hook
from ._hooks import AWAITED_FILE, AWAITED_LIMIT, Hooks, text_of
from ._notifier import NOTIFY_PAUSE, Notifier, find_way
from ._progress import Bars, Progress
from ._safety import safety_lines
from ._text import visible, visible_name, visible_text
from ._words import describe, name_in, name_of, offer_of

__all__ = [
    "AWAITED_FILE",
    "AWAITED_LIMIT",
    "DEFAULT_TIMEOUT",
    "HOOK_TIMEOUT",
    "NOTIFY_PAUSE",
    "Away",
    "Bars",
    "Console",
    "Desk",
    "Exit",
    "Hook",
    "Hooks",
    "NoTerminal",
    "Notifier",
    "Progress",
    "describe",
    "find_way",
    "how_to_begin",
    "name_in",
    "name_of",
    "offer_of",
    "safety_lines",
    "text_of",
    "visible",
    "visible_name",
    "visible_text",
]
