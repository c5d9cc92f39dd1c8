"""``messageu chat``: a live screen. It is started by :mod:`messageu.tui.root`."""

from ._app import ChatApp
from ._port import Conversations
from ._seen import SEEN_FILE, Seen
from ._v3 import V3Conversations
from ._words import KEYS

__all__ = ["KEYS", "SEEN_FILE", "ChatApp", "Conversations", "Seen", "V3Conversations"]
