"""Conversations of a profile of v3."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from messageu.client.v3 import (
    AccountDeleted,
    Connected,
    Contact,
    ContactUnknown,
    Displaced,
    FileFailed,
    FileProgress,
    FileReceived,
    Heard,
    IdentityChanged,
    MessageDelivered,
    MessageReceived,
    MessagesMissing,
    MessageStored,
    MessageUndelivered,
    Messenger,
    Offline,
    Refused,
    Registered,
    RequestReceived,
    Standing,
    StateIsStale,
    Status,
    StoredMessage,
    Unopened,
    is_link,
)
from messageu.crypto.v3 import Kind
from messageu.model.v3 import Identity
from messageu.terminal import Desk, describe, offer_of, visible, visible_name

from ._port import (
    FileMoved,
    FileShown,
    Happening,
    Item,
    ItemCame,
    ItemChanged,
    Line,
    LineChanged,
    Mark,
    Notice,
    PeopleChanged,
    Person,
    State,
)
from ._texts import TEXT_LIMIT, WHOLE_LIMIT, harmless_label, harmless_text

STALE: Final = (
    "this profile is older than what the relay knows, and nothing is sent: give this copy up, "
    "or leave and say: messageu reset"
)
DISPLACED: Final = "this profile is open elsewhere, and mail goes there"
DELETED: Final = "the relay has no account for this profile any more"

_STATES: Final = {
    Status.QUEUED: State.QUEUED,
    Status.SEALED: State.QUEUED,
    Status.STORED: State.STORED,
    Status.DELIVERED: State.DELIVERED,
    Status.UNDELIVERED: State.UNDELIVERED,
    Status.RECEIVED: State.RECEIVED,
}

OFFERED_LIMIT: Final = 64
"""Characters of a name that somebody gives himself, for it to be taken without a question."""

_UNASKED: Final = {"authenticate", "publish", "subscribe", "account"}
"""What may be refused that nobody waits for an answer to."""

Observer = Callable[[Happening], None]


class V3Conversations:
    """What the screen asks, answered by a messenger.

    :param desk: how long a relay may take, and the clock.
    """

    proven = True

    def __init__(self, desk: Desk, messenger: Messenger) -> None:
        self._desk = desk
        self._messenger = messenger
        self._core = messenger.core
        self._observers: list[Observer] = []
        self._trouble = STALE if self._core.profile.stale else ""
        messenger.observe(self._hear)

    # Who we are.

    @property
    def me(self) -> str:
        return f"{visible(self._core.profile.name or 'nobody')} at {self._messenger.relay.address}"

    @property
    def link(self) -> str:
        return str(self._messenger.link)

    def now(self) -> float:
        return self._desk.settings.now()

    def observe(self, observer: Observer) -> None:
        self._observers.append(observer)

    def start(self) -> None:
        self._messenger.start()

    # What there is.

    def people(self) -> Sequence[Person]:
        contacts = (*self._core.contacts(), *self._core.message_requests())
        taken = {contact.label.casefold() for contact in contacts}
        return [_person(contact, taken) for contact in contacts]

    def last_numbers(self) -> Mapping[bytes, int]:
        return {who.raw: number for who, number in self._core.last_numbers().items()}

    def count_received(self, key: bytes, after: int, most: int) -> int:
        return self._core.count_received(Identity(key), after=after, most=most)

    def before(self, key: bytes | None, number: int | None, limit: int) -> Sequence[Item]:
        who = None if key is None else Identity(key)
        return [*map(self._item, self._core.earlier(who, before=number, limit=limit))]

    def after(self, key: bytes, number: int, limit: int) -> Sequence[Item]:
        return [*map(self._item, self._core.messages(Identity(key), after=number, limit=limit))]

    def item(self, message_id: bytes, sender: bytes | None) -> Item | None:
        message = self._core.message(message_id, None if sender is None else Identity(sender))
        return None if message is None else self._item(message)

    def whole_text(self, item: Item) -> str:
        sender = None if item.mine else Identity(item.key)
        message = self._core.message(item.message_id, sender)
        text = "" if message is None else message.text
        return harmless_text(text, WHOLE_LIMIT, WHOLE_LIMIT)[0]

    # What is done.

    async def send_text(self, key: bytes, text: str) -> None:
        sending = self._messenger.send_text(Identity(key), text)
        self._tell_mine(sending.message_id)

    async def send_file(self, key: bytes, path: Path) -> None:
        sending = await self._messenger.send_file(Identity(key), path)
        self._tell_mine(sending.message_id)

    async def add(self, who: str, label: str) -> bytes:
        adding = self._messenger.add(who, label or None)
        if not is_link(who):
            adding = self._desk.reach(self._messenger, adding)
        contact = await adding
        self._tell(PeopleChanged())
        return contact.identity.raw

    def accept(self, key: bytes, label: str) -> None:
        self._messenger.do(lambda core: core.accept(Identity(key), label or None))
        self._tell(PeopleChanged())

    def rename(self, key: bytes, label: str) -> None:
        self._messenger.do(lambda core: core.rename(Identity(key), label))
        self._tell(PeopleChanged())

    def block(self, key: bytes) -> None:
        self._messenger.do(lambda core: core.block(Identity(key)))
        self._tell(PeopleChanged())

    def decide(self, key: bytes, *, replace: bool) -> bytes:
        contact: Contact = self._messenger.do(
            lambda core: core.decide(Identity(key), replace=replace)
        )
        self._tell(PeopleChanged())
        return contact.identity.raw

    def safety_number(self, key: bytes) -> str:
        return self._core.safety_number(Identity(key))

    def verify(self, key: bytes, *, verified: bool) -> None:
        self._messenger.do(lambda core: core.verify(Identity(key), verified))
        self._tell(PeopleChanged())

    # What is heard.

    def _hear(self, heard: Heard) -> None:
        for happening in self._happenings(heard):
            self._tell(happening)

    def _happenings(self, heard: Heard) -> Sequence[Happening]:
        match heard:
            case MessageReceived(message):
                return [ItemCame(message.number, message.contact.raw, mine=False)]
            case MessageStored(message_id) | MessageDelivered(message_id):
                return [ItemChanged(message_id, None)]
            case MessageUndelivered(message_id):
                return [ItemChanged(message_id, None)]
            case FileProgress(message_id, done, total, contact):
                return [FileMoved(message_id, _raw(contact), done, total)]
            case FileReceived(message_id, _, contact):
                return [ItemChanged(message_id, contact.raw)]
            case FileFailed(message_id, why, contact):
                notice = Notice(f"a file: {visible(why)}", serious=True)
                return [ItemChanged(message_id, _raw(contact)), notice]
            case RequestReceived() | MessagesMissing() | IdentityChanged():
                return [PeopleChanged()]
        return self._of_the_line(heard)

    def _of_the_line(self, heard: Heard) -> Sequence[Happening]:
        match heard:
            case Connected():
                self._trouble = ""
                return [LineChanged(Line(online=True)), PeopleChanged()]
            case Registered():
                return [LineChanged(Line(online=self._messenger.online))]
            case Offline(why, retry_in):
                retry_at = None if retry_in is None else self.now() + retry_in
                words, serious = self._trouble or describe(why), retry_in is None
                return [LineChanged(Line(False, words, retry_at, serious))]
            case StateIsStale():
                self._trouble = STALE
            case Displaced():
                self._trouble = DISPLACED
            case AccountDeleted():
                self._trouble = DELETED
            case Unopened(count):
                return [Notice(f"{count} envelopes could not be opened")]
            case Refused(what, reason) if what in _UNASKED:
                number = "" if reason is None else f" (reason {int(reason)})"
                return [Notice(f"the relay has refused to {what}{number}", serious=True)]
            case _:
                return []
        return [LineChanged(Line(self._messenger.online, self._trouble, None, serious=True))]

    def _tell_mine(self, message_id: bytes) -> None:
        message = self._core.message(message_id)
        if message is not None:
            self._tell(ItemCame(message.number, message.contact.raw, mine=True))

    def _tell(self, happening: Happening) -> None:
        for observer in self._observers:
            observer(happening)

    # How it is shown.

    def _item(self, message: StoredMessage) -> Item:
        file = self._file(message)
        text, cut = "", 0
        if message.kind == Kind.TEXT:
            text, cut = harmless_text(message.text, TEXT_LIMIT)
        elif file is None:
            text = f"a message of kind {message.kind}, which this version does not know"
        return Item(
            message.number,
            message.contact.raw,
            message.message_id,
            message.mine,
            message.time / 1000,
            text,
            _STATES[message.status],
            "" if message.why is None else message.why.words,
            file,
            cut,
        )

    def _file(self, message: StoredMessage) -> FileShown | None:
        offer = offer_of(message)
        if offer is None:
            return None
        if message.mine:
            return FileShown(harmless_label(offer.name), offer.size)
        path = self._messenger.path_of(message)
        try:
            here = self._core.file_outcome(message.contact, message.message_id)
        except ContactUnknown:  # he was removed meanwhile
            here = False
        where = "" if path is None else visible(str(path))
        return FileShown(harmless_label(offer.name), offer.size, here, where)


def _raw(contact: Identity | None) -> bytes | None:
    return None if contact is None else contact.raw


def _person(contact: Contact, taken: Collection[str]) -> Person:
    return Person(
        contact.identity.raw,
        harmless_label(contact.label),
        _mark(contact),
        harmless_label(visible_name(contact.display_name)),
        contact.missing,
        _offered(contact, taken),
    )


def _offered(contact: Contact, taken: Collection[str]) -> str:
    """A name for somebody who is called by his key: one that passes for nobody else's."""
    if contact.identity.raw.hex().startswith(contact.label):
        for name in (contact.name or "", visible_name(contact.display_name)):
            if _may_be_called(name) and name.casefold() not in taken:
                return name
    return ""


def _may_be_called(name: str) -> bool:
    """Whether a name is a plain one: it is typed, shown and told from others as it is."""
    plain = name.isascii() and name.isprintable() and name == name.strip()
    return plain and 0 < len(name) <= OFFERED_LIMIT


def _mark(contact: Contact) -> Mark:
    if contact.standing is Standing.REQUEST:
        return Mark.ASKS
    if contact.standing is Standing.BLOCKED:
        return Mark.BLOCKED
    if contact.changed_to is not None:
        return Mark.CHANGED
    return Mark.VERIFIED if contact.verified else Mark.UNVERIFIED
