"""What people, files and errors are called on a terminal; all of it is harmless there."""

from __future__ import annotations

from messageu.client import ClientError
from messageu.client.v3 import Contact, ContactUnknown, Messenger, StoredMessage
from messageu.crypto import CryptoError
from messageu.crypto.v3 import FileOffer, Kind
from messageu.model.v3 import Identity

from ._text import visible


def name_of(contact: Contact) -> str:
    """What a contact is called, harmless."""
    return visible(contact.label)


def name_in(messenger: Messenger, who: Identity) -> str:
    """What somebody is called, harmless: also of one who was removed meanwhile."""
    try:
        return name_of(messenger.core.contact(who))
    except ContactUnknown:
        return who.raw.hex()


def offer_of(message: StoredMessage) -> FileOffer | None:
    """What a message says of its file; None: it has none."""
    if message.kind != Kind.FILE:
        return None
    try:
        return FileOffer.decode(message.body)
    except CryptoError:
        return None


def describe(error: ClientError) -> str:
    """An error in one harmless line."""
    return visible(str(error))
