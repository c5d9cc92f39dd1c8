"""A client of MessageU v2 for an application with its own reactor.

::

    client = Client(reactor, Path("."))
    bob = await client.find(b"bob")
    await client.send_key(bob.client_id)
    await client.send_text(bob.client_id, "hello")
    await client.fetch(print)
"""

from ._address import ADDRESS_FILE, RelayAddress, parse_address, read_address
from ._api import CONTENT_SIZE_LIMIT, LISTING_LIMIT, Client, Listing, Settings
from ._errors import (
    AddressInvalid,
    AlreadyRegistered,
    AnswerBroken,
    AnswerCut,
    AnswerNonsense,
    ClientError,
    ContentTooLarge,
    FileMissing,
    FileNotSaved,
    FileRefused,
    IdentityInvalid,
    KeyringInvalid,
    NoSharedKey,
    NotRegistered,
    OutcomeUnknown,
    PeerKeyInvalid,
    RelayError,
    RelayRefused,
    RelaySilent,
    RelayUnreachable,
    TooManyRequests,
    UnknownPeer,
)
from ._fetch import Fetched, OnMessage
from ._identity import IDENTITY_FILES, Identity, identity_file, read_identity
from ._keyring import KEYRING_FILE, Keyring, Peer
from ._messages import (
    FileReceived,
    KeyReceived,
    KeyRequest,
    Message,
    Sender,
    SentMessage,
    Text,
    TooLarge,
    Undecipherable,
    Why,
)
from ._protocol import Patience

__all__ = [
    "ADDRESS_FILE",
    "CONTENT_SIZE_LIMIT",
    "IDENTITY_FILES",
    "KEYRING_FILE",
    "LISTING_LIMIT",
    "AddressInvalid",
    "AlreadyRegistered",
    "AnswerBroken",
    "AnswerCut",
    "AnswerNonsense",
    "Client",
    "ClientError",
    "ContentTooLarge",
    "Fetched",
    "FileMissing",
    "FileNotSaved",
    "FileReceived",
    "FileRefused",
    "Identity",
    "IdentityInvalid",
    "KeyReceived",
    "KeyRequest",
    "Keyring",
    "KeyringInvalid",
    "Listing",
    "Message",
    "NoSharedKey",
    "NotRegistered",
    "OnMessage",
    "OutcomeUnknown",
    "Patience",
    "Peer",
    "PeerKeyInvalid",
    "RelayAddress",
    "RelayError",
    "RelayRefused",
    "RelaySilent",
    "RelayUnreachable",
    "Sender",
    "SentMessage",
    "Settings",
    "Text",
    "TooLarge",
    "TooManyRequests",
    "Undecipherable",
    "UnknownPeer",
    "Why",
    "identity_file",
    "parse_address",
    "read_address",
    "read_identity",
]
