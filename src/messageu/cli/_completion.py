"""What we call our contacts, for a shell that completes names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twisted.internet.task import Clock

from messageu.client.v3 import needs_passphrase, open_profile


def contact_names(folder: Path) -> Sequence[str]:
    """The labels of a profile's contacts, and of those who ask; none where a passphrase is needed.

    Nothing is asked, nothing is waited for, and nothing is connected.

    :raises ClientError: when there is no profile, or another program has it open.
    """
    if needs_passphrase(folder):
        return ()
    messenger = open_profile(Clock(), folder, None)
    try:
        core = messenger.core
        return [contact.label for contact in (*core.contacts(), *core.message_requests())]
    finally:
        messenger.close()
