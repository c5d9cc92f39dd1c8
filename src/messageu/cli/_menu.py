"""The menu: lines in, text out (docs/protocol/v2.md, "The client")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred

from messageu.client import (
    CONTENT_SIZE_LIMIT,
    Client,
    ClientError,
    FileMissing,
    FileReceived,
    KeyReceived,
    KeyRequest,
    Message,
    NoSharedKey,
    NotRegistered,
    Peer,
    RelayRefused,
    Sender,
    SentMessage,
    Text,
    TooLarge,
    UnknownPeer,
    identity_file,
)
from messageu.model import InvalidValue, UserName
from messageu.terminal import visible, visible_name, visible_text

from ._loop import MenuLoop

_MIB: Final = 2**20


class Menu(MenuLoop):
    """The menu of v2.

    :param folder: the client's.
    :param next_line: answers a line, or fails with EndOfInput or LineTooLong.
    :param write: shows text. What a peer sent has been made harmless before.
    """

    def __init__(
        self,
        client: Client,
        folder: Path,
        next_line: Callable[[], Deferred[bytes]],
        write: Callable[[str], None],
    ) -> None:
        super().__init__(MENU, next_line, write)
        self._client = client
        self._folder = folder

    def find(self, choice: str) -> Callable[[], Awaitable[None]] | None:
        entry = ENTRIES.get(choice)
        return None if entry is None else partial(self._serve, entry)

    def words_of(self, error: ClientError) -> str:
        return _words_of(error)

    async def _serve(self, entry: Entry) -> None:
        if entry.for_registered:
            _ = self._client.identity  # raises when there is none
        await entry.serve(self)

    # The entries.

    async def register(self) -> None:
        """110."""
        existing = identity_file(self._folder)
        if existing is not None:
            self._say(f"error: you are registered already, {existing.name} exists")
            return
        typed = await self._ask("Your name:")
        try:
            name = UserName(typed)
        except InvalidValue as error:
            self._say(f"error: {error}")
            return
        await self._client.register(name)
        self._say(f"registered as {name}")

    async def list_clients(self) -> None:
        """120."""
        listing = await self._client.list_clients()
        for client in listing.clients:
            self._say(visible_name(client.name))
        if listing.left_out:
            self._say(f"and {listing.left_out} more")
        elif not listing.clients:
            self._say("nobody else is registered")

    async def get_public_key(self) -> None:
        """130."""
        name = await self._ask("Whose public key?")
        peer = await self._find(name)
        key = await self._client.public_key(peer.client_id)
        self._say(f"the public key of {visible_name(name)} is known now")
        if peer.public_key not in (None, key):
            self._say("warning: it is not the one that the server gave before")

    async def fetch(self) -> None:
        """140."""
        fetched = await self._client.fetch(self._show)
        if not fetched.count:
            self._say("no messages are waiting")
        if not fetched.complete:
            self._say("more may be waiting: ask again")

    async def send_text(self) -> None:
        """150."""
        name = await self._ask("To whom?")
        text = await self._ask("Your message:")
        peer = await self._find(name, key=True)
        await self._client.send_text(peer.client_id, text.decode("utf-8", "surrogateescape"))
        self._say("sent")

    async def request_key(self) -> None:
        """151."""
        peer = await self._find(await self._ask("From whom?"))
        await self._client.request_key(peer.client_id)
        self._say("sent")

    async def send_key(self) -> None:
        """152."""
        peer = await self._find(await self._ask("To whom?"))
        await self._client.send_key(peer.client_id)
        self._say("sent")

    async def send_file(self) -> None:
        """153."""
        name = await self._ask("To whom?")
        path = Path((await self._ask("Which file?")).decode("utf-8", "surrogateescape"))
        if not _exists(path):
            raise FileMissing("file not found")
        peer = await self._find(name, key=True)
        await self._client.send_file(peer.client_id, path)
        self._say("sent")

    async def _find(self, name: bytes, *, key: bool = False) -> Peer:
        """The client of that name; with ``key``, one with whom a key is shared."""
        try:
            peer = await self._client.find(name)
        except UnknownPeer:
            raise UnknownPeer(f"nobody is registered as {visible_name(name)}") from None
        if key and peer.symmetric_key is None:
            raise NoSharedKey(
                f"no symmetric key is shared with {visible_name(name)}: "
                "152 sends yours, 151 asks for theirs"
            )
        return peer

    def _show(self, message: Message) -> None:
        if isinstance(message, TooLarge):
            self._say(f"a message of more than {CONTENT_SIZE_LIMIT // _MIB} MiB was skipped")
            return
        self._write(
            f"From: {_name_of(message.sender)}\nContent:\n{_content_of(message)}\n"
            "-----<EOM>-----\n\n"
        )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # it is too long, or leads through a folder that we may not enter
        return False


def _name_of(sender: Sender) -> str:
    return visible_name(sender.name) if sender.name else sender.client_id.hex


def _content_of(message: SentMessage) -> str:
    match message:
        case KeyRequest():
            return "Request for symmetric key"
        case KeyReceived():
            return "symmetric key received"
        case Text():
            return visible_text(message.text)
        case FileReceived():
            return visible(str(message.path))
    return "can't decrypt message"


_WORDS: Final[dict[type[ClientError], str]] = {
    RelayRefused: "server responded with an error",
    FileMissing: "file not found",
    NotRegistered: "you are not registered yet: register first, with 110",
}
"""What is said instead of an error's own text."""


def _words_of(error: ClientError) -> str:
    return _WORDS.get(type(error)) or visible(str(error))


@frozen
class Entry:
    """A line of the menu.

    :ivar for_registered: it needs an identity.
    """

    title: str
    serve: Callable[[Menu], Awaitable[None]]
    for_registered: bool = True


ENTRIES: Final[dict[str, Entry]] = {
    "110": Entry("Register", Menu.register, for_registered=False),
    "120": Entry("Request for clients list", Menu.list_clients),
    "130": Entry("Request for public key", Menu.get_public_key),
    "140": Entry("Fetch waiting messages", Menu.fetch),
    "150": Entry("Send a text message", Menu.send_text),
    "151": Entry("Send a request for symmetric key", Menu.request_key),
    "152": Entry("Send your symmetric key", Menu.send_key),
    "153": Entry("Send a file", Menu.send_file),
}

MENU: Final = "\n".join(
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
