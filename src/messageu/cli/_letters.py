"""Messages of v3 as they are shown, to people and programs, and which of them were."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from messageu.client.v3 import (
    Contact,
    ContactUnknown,
    Messenger,
    Place,
    Standing,
    StoredMessage,
)
from messageu.crypto.v3 import Kind
from messageu.terminal import Console, name_of, offer_of, text_of, visible, visible_text

from ._json import STATUSES, json_line

PLACE_FILE: Final = "inbox.place"
"""The number of the last message that was shown."""

_PAGE: Final = 100
_LAST_TIME: Final = 253_402_300_799_999
"""Milliseconds since the epoch until the end of the year 9999."""

_DAY: Final = 86_400_000

_STATES: Final = {
    "coming": "it is on its way",
    "failed": "it could not be received",
    "received": "it was received",
}


class Letters:
    """What has come and was not shown yet, in order.

    The place is kept in a file of its own, after what was shown: killed in between, the program
    shows something twice, and nothing never.

    :ivar place: behind what was shown.
    :ivar as_json: whether it is for a program.
    """

    def __init__(self, messenger: Messenger, folder: Path, *, as_json: bool = False) -> None:
        self._messenger = messenger
        self.place = Place(folder / PLACE_FILE)
        self.as_json = as_json

    def unshown(self) -> Iterator[str]:
        """Texts to be written, each for one message; the next is asked for when it was written."""
        place = self.place.read()
        while messages := self._messenger.messages(after=place, limit=_PAGE):
            for message in messages:
                if not message.mine:
                    yield self.shown(message)
            place = messages[-1].number
            self.place.write(place)

    def show_all(self, console: Console) -> None:
        """Show what was not shown yet."""
        for text in self.unshown():
            console.write(text)

    def encode(self, message: StoredMessage) -> bytes:
        """A message as a command reads it: its text as it came, or the object of a line."""
        return self.shown(message).encode("ascii") if self.as_json else text_of(message)

    def entry(self, message: StoredMessage) -> str:
        """A message of the history, of either side.

        All but its first line is indented, so that nothing in it passes for another message.
        """
        contact = self._contact_of(message)
        if self.as_json:
            return json_line(self._fields(message, contact))
        name = message.contact.raw.hex() if contact is None else name_of(contact)
        # A day less, for those who are behind Greenwich or ahead of it at the end of the year 9999.
        time = datetime.fromtimestamp(min(message.time, _LAST_TIME - _DAY) / 1000, UTC).astimezone()
        side = f"to {name} ({_status_of(message)})" if message.mine else f"from {name}"
        content = self._content(message).replace("\n", "\n    ")
        return f"{time:%Y-%m-%d %H:%M:%S} {side}: {content}\n"

    def _contact_of(self, message: StoredMessage) -> Contact | None:
        try:
            return self._messenger.core.contact(message.contact)
        except ContactUnknown:  # he was removed meanwhile
            return None

    def shown(self, message: StoredMessage) -> str:
        """A message as it is shown."""
        contact = self._contact_of(message)
        if self.as_json:
            return json_line(self._fields(message, contact))
        name = message.contact.raw.hex() if contact is None else name_of(contact)
        asks = contact is not None and contact.standing is Standing.REQUEST
        note = " (asks to write to you: accept or block)" if asks else ""
        return f"From: {name}{note}\nContent:\n{self._content(message)}\n-----<EOM>-----\n\n"

    def _content(self, message: StoredMessage) -> str:
        if message.kind == Kind.TEXT:
            return visible_text(message.text)
        offer = offer_of(message)
        if offer is None:
            return f"a message of kind {message.kind}, which this version does not know"
        file = f"file {visible(offer.name)}, {offer.size:,} bytes"
        if message.mine:
            return file
        path = self._messenger.path_of(message)
        where = _STATES[self._state_of(message)] if path is None else visible(str(path))
        return f"{file}: {where}"

    def _state_of(self, message: StoredMessage) -> str:
        try:
            outcome = self._messenger.core.file_outcome(message.contact, message.message_id)
        except ContactUnknown:  # he was removed meanwhile
            outcome = False
        return {None: "coming", True: "received", False: "failed"}[outcome]

    def _fields(self, message: StoredMessage, contact: Contact | None) -> dict[str, object]:
        time = datetime.fromtimestamp(min(message.time, _LAST_TIME) / 1000, UTC)
        fields: dict[str, object] = {
            "number": message.number,
            "id": message.message_id.hex(),
            "mine": message.mine,
            "from": None if contact is None or message.mine else contact.label,
            "contact": None if contact is None else contact.label,
            "identity": message.contact.raw.hex(),
            "standing": None if contact is None else contact.standing.name.lower(),
            "time": time.isoformat(timespec="milliseconds"),
            "status": STATUSES[message.status],
            "why": None if message.why is None else message.why.words,
            "kind": "unknown",
        }
        offer = offer_of(message)
        if message.kind == Kind.TEXT:
            fields |= {"kind": "text", "text": message.text}
        elif offer is not None:
            path = None if message.mine else self._messenger.path_of(message)
            fields |= {
                "kind": "file",
                "name": offer.name,
                "size": offer.size,
                "sha256": offer.digest.hex(),
                "state": None if message.mine else self._state_of(message),
                "path": None if path is None else str(path),
            }
        return fields


def _status_of(message: StoredMessage) -> str:
    """What has become of a message of ours."""
    status = STATUSES[message.status]
    return status if message.why is None else f"{status}: {message.why.words}"
