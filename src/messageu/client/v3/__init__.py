"""A client of MessageU v3 for an application with its own reactor.

::

    create_profile(folder, parse_relay("messageu://relay.example:1358#…"), passphrase)
    messenger = open_profile(reactor, folder, passphrase)
    messenger.observe(print)
    messenger.start()
    await messenger.register("anna")
    bern = await messenger.add("messageu://relay.example:1358/…#…", "bern")
    await messenger.send_text("bern", "hello").delivered()
    async for message in arrivals(messenger, Place(folder / "my.place")):
        print(message.text)
    await messenger.close()
"""

from messageu.crypto.v3 import Kind
from messageu.model.v3 import Identity

from .._files import read_small as read_small_file
from .._files import replace_file as replace_small_file
from ._address import (
    ContactLink,
    RelayLink,
    is_link,
    parse_contact,
    parse_relay,
    read_relay,
    write_relay,
)
from ._arrivals import Place, arrivals
from ._connection import Patience, RelayNotTrusted, RelayNotV3
from ._core import Core
from ._errors import (
    ContactExists,
    ContactInvalid,
    ContactUnknown,
    FilesUnavailable,
    IdentityHasChanged,
    NameInvalid,
    NameTaken,
    NotAccepted,
    NotVerified,
    OtherRelay,
    StaleState,
    StateFailed,
    StateInvalid,
    TextInvalid,
    TooManyContacts,
    TooMuchWaiting,
)
from ._events import (
    AccountDeleted,
    Connected,
    Displaced,
    Event,
    FileFailed,
    FileProgress,
    FileReceived,
    IdentityChanged,
    MessageDelivered,
    MessageReceived,
    MessagesMissing,
    MessageStored,
    MessageUndelivered,
    PrekeysPublished,
    Refused,
    Registered,
    RequestReceived,
    Resolved,
    StateIsStale,
    Unopened,
)
from ._export import export_profile, import_profile, take_back
from ._messenger import Heard, Messenger, MessengerSettings, Offline, RequestRefused
from ._passphrase import (
    checked as checked_passphrase,
)
from ._passphrase import passphrase_from_environment, passphrase_from_file
from ._profile import NoProfile, adopt_profile, create_profile, open_profile, profile_exists
from ._reconnect import Backoff
from ._sending import NotDelivered, Sending
from ._values import Contact, Profile, Standing, Status, StoredMessage, Trust, Why
from ._vault import needs_passphrase
from ._vault_errors import (
    ExportInvalid,
    PassphraseInvalid,
    PassphraseNeeded,
    PassphraseWrong,
    ProfileExported,
    VaultDamaged,
    VaultError,
    VaultExists,
    VaultLocked,
    VaultMissing,
    VaultUnusable,
)

__all__ = [
    "AccountDeleted",
    "Backoff",
    "Connected",
    "Contact",
    "ContactExists",
    "ContactInvalid",
    "ContactLink",
    "ContactUnknown",
    "Core",
    "Displaced",
    "Event",
    "ExportInvalid",
    "FileFailed",
    "FileProgress",
    "FileReceived",
    "FilesUnavailable",
    "Heard",
    "Identity",
    "IdentityChanged",
    "IdentityHasChanged",
    "Kind",
    "MessageDelivered",
    "MessageReceived",
    "MessageStored",
    "MessageUndelivered",
    "MessagesMissing",
    "Messenger",
    "MessengerSettings",
    "NameInvalid",
    "NameTaken",
    "NoProfile",
    "NotAccepted",
    "NotDelivered",
    "NotVerified",
    "Offline",
    "OtherRelay",
    "PassphraseInvalid",
    "PassphraseNeeded",
    "PassphraseWrong",
    "Patience",
    "Place",
    "PrekeysPublished",
    "Profile",
    "ProfileExported",
    "Refused",
    "Registered",
    "RelayLink",
    "RelayNotTrusted",
    "RelayNotV3",
    "RequestReceived",
    "RequestRefused",
    "Resolved",
    "Sending",
    "StaleState",
    "Standing",
    "StateFailed",
    "StateInvalid",
    "StateIsStale",
    "Status",
    "StoredMessage",
    "TextInvalid",
    "TooManyContacts",
    "TooMuchWaiting",
    "Trust",
    "Unopened",
    "VaultDamaged",
    "VaultError",
    "VaultExists",
    "VaultLocked",
    "VaultMissing",
    "VaultUnusable",
    "Why",
    "adopt_profile",
    "arrivals",
    "checked_passphrase",
    "create_profile",
    "export_profile",
    "import_profile",
    "is_link",
    "needs_passphrase",
    "open_profile",
    "parse_contact",
    "parse_relay",
    "passphrase_from_environment",
    "passphrase_from_file",
    "profile_exists",
    "read_relay",
    "read_small_file",
    "replace_small_file",
    "take_back",
    "write_relay",
]
