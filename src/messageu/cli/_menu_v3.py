"""The menu in a profile of v3: the entries of v2's, with what v3 has for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

from attrs import frozen

from messageu.client import ClientError, FileMissing
from messageu.client.v3 import (
    ContactUnknown,
    Messenger,
    NoProfile,
    Sending,
    create_profile,
    is_link,
    profile_exists,
    read_relay,
)
from messageu.terminal import Desk, describe, name_of, safety_lines, visible

from ._letters import Letters
from ._loop import MenuLoop
from ._people import contact_line


class MenuV3(MenuLoop):
    """The menu of a profile, which is connected as soon as something is asked of the relay.

    :param desk: its folder, and who sits there.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__(MENU_V3, desk.console.next_line, desk.console.write)
        self._desk = desk
        self._messenger: Messenger | None = None

    def find(self, choice: str) -> Callable[[], Awaitable[None]] | None:
        entry = ENTRIES.get(choice)
        return None if entry is None else partial(entry.serve, self)

    def words_of(self, error: ClientError) -> str:
        if isinstance(error, NoProfile) and not profile_exists(self._desk.folder):
            return "you are not registered yet: register first, with 110"
        return describe(error)

    async def close(self) -> None:
        """Close the profile, if it was opened."""
        messenger, self._messenger = self._messenger, None
        if messenger is not None:
            await messenger.close()

    async def _open(self) -> Messenger:
        if self._messenger is None:
            desk = self._desk
            if not profile_exists(desk.folder):
                raise NoProfile("there is no profile in this folder")
            self._messenger = desk.open(await desk.passphrase())
        return self._messenger

    async def _ask_text(self, question: str) -> str:
        return (await self._ask(question)).decode("utf-8", "surrogateescape").strip()

    # The entries.

    async def register(self) -> None:
        """110."""
        desk = self._desk
        name = await self._ask_text("Your name:")
        if not profile_exists(desk.folder):
            relay = read_relay(desk.folder)
            if relay is None:
                raise NoProfile("server.info names no relay of v3")
            create_profile(desk.folder, relay, await desk.new_passphrase())
        messenger = await self._open()
        registered = await desk.sign_up(messenger, name)
        self._say(f"registered as {visible(registered)}")

    async def list_contacts(self) -> None:
        """120."""
        core = (await self._open()).core
        everybody = (*core.contacts(), *core.message_requests())
        for contact in everybody:
            self._say(contact_line(contact))
        if not everybody:
            self._say("you have no contacts yet: 151 adds one")

    async def show_identity(self) -> None:
        """130."""
        who = await self._ask_text("Whose? (empty: yours)")
        core = (await self._open()).core
        if not who:
            self._say(f"{visible(core.profile.name or 'not registered')}")
            self._say(core.profile.identity.raw.hex())
            return
        contact = core.contact(who)
        self._say(contact_line(contact))
        self._say(contact.identity.raw.hex())

    async def fetch(self) -> None:
        """140."""
        messenger = await self._open()
        letters = Letters(messenger, self._desk.folder)
        shown = self._show(letters)
        try:
            await self._desk.fetch(messenger)
        finally:
            shown += self._show(letters)
        if not shown:
            self._say("no messages are waiting")

    async def send_text(self) -> None:
        """150."""
        to = await self._ask_text("To whom?")
        text = await self._ask("Your message:")
        messenger = await self._open()
        sending = messenger.send_text(to, text.decode("utf-8", "surrogateescape"))
        await self._see_off(messenger, sending, to)

    async def exchange_links(self) -> None:
        """151."""
        messenger = await self._open()
        self._say(f"your link: {messenger.link}")
        who = await self._ask_text("Whom do you add? (a link, a name, or somebody who asks)")
        if not who:
            return
        label = None
        if is_link(who):
            label = await self._ask_text("What do you call them?")
        else:
            try:
                contact = messenger.do(lambda core: core.accept(who))
            except ContactUnknown:
                pass
            else:
                self._say(f"accepted {name_of(contact)}")
                return
        contact = await self._desk.reach(messenger, messenger.add(who, label or None))
        self._say(f"added {name_of(contact)}: compare safety numbers with 152")

    async def compare(self) -> None:
        """152."""
        who = await self._ask_text("Whose safety number?")
        core = (await self._open()).core
        contact = core.contact(who)
        for line in safety_lines(core.safety_number(contact.identity)):
            self._say(line)
        if contact.verified:
            self._say(f"{name_of(contact)} was verified before")
        elif await self._ask_text(f"Does {name_of(contact)} see the same? (yes or no)") == "yes":
            core.verify(contact.identity)
            self._say(f"{name_of(contact)} is verified")

    async def send_file(self) -> None:
        """153."""
        to = await self._ask_text("To whom?")
        path = Path((await self._ask("Which file?")).decode("utf-8", "surrogateescape"))
        messenger = await self._open()
        try:
            sending = await messenger.send_file(to, path)
        except FileMissing:
            raise FileMissing("file not found") from None
        await self._see_off(messenger, sending, to, path.name)

    async def _see_off(
        self, messenger: Messenger, sending: Sending, to: str, title: str = ""
    ) -> None:
        await self._desk.see_off(messenger, sending, to=to, wait_delivered=False, title=title)

    def _show(self, letters: Letters) -> int:
        count = 0
        for text in letters.unshown():
            self._write(text)
            count += 1
        return count


@frozen
class _Entry:
    """A line of the menu."""

    title: str
    serve: Callable[[MenuV3], Awaitable[None]]


ENTRIES: Final[dict[str, _Entry]] = {
    "110": _Entry("Register", MenuV3.register),
    "120": _Entry("List contacts", MenuV3.list_contacts),
    "130": _Entry("Show an identity", MenuV3.show_identity),
    "140": _Entry("Fetch waiting messages", MenuV3.fetch),
    "150": _Entry("Send a text message", MenuV3.send_text),
    "151": _Entry("Show your link, and add a contact", MenuV3.exchange_links),
    "152": _Entry("Compare a safety number", MenuV3.compare),
    "153": _Entry("Send a file", MenuV3.send_file),
}

MENU_V3: Final = "\n".join(
    (
        "MessageU client at your service.",
        "",
        *(f"{code}) {entry.title}" for code, entry in ENTRIES.items()),
        "0) Exit client",
        "?",
        "",
    )
)
"""What is shown before each choice."""
