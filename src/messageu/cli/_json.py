"""What programs read: an object a line, in plain ASCII, as the files in ``schema`` say.

Fields are added here, and never renamed, removed or given another meaning: docs/json.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from messageu.client.v3 import Contact, Messenger, Sending, Status

VERSION: Final = 1
"""``v`` of every object: another number would be another schema."""

STATUSES: Final[dict[Status, str]] = {
    Status.QUEUED: "queued",
    Status.SEALED: "queued",
    Status.STORED: "stored",
    Status.DELIVERED: "delivered",
    Status.UNDELIVERED: "undelivered",
    Status.RECEIVED: "received",
}


def json_line(fields: Mapping[str, object]) -> str:
    """An object on a line."""
    return f"{json.dumps({'v': VERSION} | dict(fields))}\n"


def contact_fields(contact: Contact) -> dict[str, object]:
    """A contact. What he calls himself is raw."""
    changed = contact.changed_to
    return {
        "label": contact.label,
        "identity": contact.identity.raw.hex(),
        "name": contact.name,
        "relay": contact.relay,
        "standing": contact.standing.name.lower(),
        "verified": contact.verified,
        "changed_to": None if changed is None else changed.raw.hex(),
        "missing": contact.missing,
        "display_name": contact.display_name.decode("utf-8", "replace"),
    }


def sent_fields(messenger: Messenger, sending: Sending) -> dict[str, object]:
    """What has become of something that was just sent."""
    message = messenger.core.message(sending.message_id)
    assert message is not None  # noqa: S101 - it was kept before it was sent
    contact = messenger.core.contact(message.contact)
    status = STATUSES[message.status]
    return {
        "id": message.message_id.hex(),
        "to": contact.label,
        "identity": contact.identity.raw.hex(),
        "status": "stored" if status == "queued" and sending.is_stored else status,
        "why": None if message.why is None else message.why.words,
    }
