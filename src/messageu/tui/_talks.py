"""Going from one conversation to another, and through one."""

from __future__ import annotations

from typing import Final

from textual.widgets import OptionList

from messageu.client import ClientError

from ._frame import Frame
from ._widgets import Messages

DRAFTS_LIMIT: Final = 100
"""Texts that were begun and are kept while another conversation is open."""


class Talks(Frame):
    """The conversations that are opened and scrolled."""

    async def _open(self, key: bytes, number: int | None = None) -> None:
        composer = self._composer
        await composer.typed()  # or it would go to somebody else
        previous = self._book.current
        if previous is not None:
            self._keep_draft(previous.person.key)
        try:
            if number is None:
                self._book.open(key)
            else:
                self._book.open_at(key, number)
        except ClientError as error:
            self._complain(error)
            return
        self._found = number
        self._book.watch(attentive=self.app_focus)
        await self.catch_up()
        composer.turn_to(key, self._book.drafts.pop(key, ""))
        if composer.display:
            composer.focus()
        elif buttons := self._main.query("#choice Button"):
            buttons.first().focus()

    def _keep_draft(self, key: bytes) -> None:
        drafts = self._book.drafts
        if self._composer.text.strip():
            if len(drafts) >= DRAFTS_LIMIT:
                del drafts[next(iter(drafts))]
            drafts[key] = self._composer.text

    async def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """One of the list."""
        if event.option_list is self._people and event.option_id is not None:
            await self._open(bytes.fromhex(event.option_id))

    async def action_beside(self, step: int) -> None:
        """The one above or below."""
        key = self._book.beside(step)
        if key is not None and self._is_bare:
            await self._open(key)

    async def on_messages_at_edge(self, event: Messages.AtEdge) -> None:
        """Another page."""
        window = self._book.window
        if window is None:
            return
        try:
            more = window.older() if event.up else (not window.at_end and window.newer())
        except ClientError as error:
            self._complain(error)
            return
        if more:
            await self._messages.show(self._book, self._port.now())
        if not event.up:
            self._attend()

    def action_scroll_messages(self, step: int) -> None:
        """By a page."""
        messages = self._messages
        if step < 0:
            if messages.scroll_y <= 0:
                messages.post_message(Messages.AtEdge(up=True))
            messages.scroll_page_up(animate=False)
        else:
            messages.scroll_page_down(animate=False)
