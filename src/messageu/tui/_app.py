"""The screen. What is to be seen is decided in plain objects; here keys meet them."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from ._deeds import Deeds
from ._themes import DARK, LIGHT


class ChatApp(Deeds):
    """The live screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "Help", priority=True),
        Binding("question_mark", "help", show=False),
        Binding("f2", "verify", "Verify", priority=True),
        Binding("f3", "find", "Find", priority=True),
        Binding("ctrl+f", "find", show=False, priority=True),
        Binding("f4", "send_file", "File", priority=True),
        Binding("f5", "add", "Add", priority=True),
        Binding("f6", "link", "Link", priority=True),
        Binding("f7", "toggle_colours", "Colours", priority=True),
        Binding("f8", "answer(0)", show=False, priority=True),
        Binding("f9", "answer(1)", show=False, priority=True),
        Binding("alt+up,ctrl+p", "beside(-1)", show=False, priority=True),
        Binding("alt+down,ctrl+n", "beside(1)", show=False, priority=True),
        Binding("ctrl+o", "whole", show=False, priority=True),
        Binding("ctrl+r", "reconnect", show=False, priority=True),
        Binding("escape", "back", show=False),
        Binding("pageup", "scroll_messages(-1)", show=False),
        Binding("pagedown", "scroll_messages(1)", show=False),
        Binding("ctrl+q,ctrl+c", "quit", "Quit", priority=True, key_display="^q"),
    ]

    def action_toggle_colours(self) -> None:
        """Light or dark."""
        self.theme = DARK.name if self.theme == LIGHT.name else LIGHT.name

    def action_reconnect(self) -> None:
        """Now, and not later."""
        self._port.start()

    async def action_quit(self) -> None:
        """Leave."""
        self.exit(0)

    async def action_back(self) -> None:
        """To the list; where there is no room for both, out of the conversation."""
        self._main.remove_class("talking")
        self._book.watch(attentive=not self._main.has_class("-narrow") and self.app_focus)
        if not self._main.has_class("-narrow"):
            self._main.set_class(self._book.current is not None, "talking")
        self._people.focus()
