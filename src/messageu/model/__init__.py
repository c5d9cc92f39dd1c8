"""The values that every layer shares: frozen, checked when they are made, without I/O."""

from ._v2 import (
    CLIENT_ID_SIZE,
    MESSAGE_ID_LIMIT,
    NAME_SIZE_LIMIT,
    NOBODY,
    PUBLIC_KEY_SIZE,
    ClientId,
    Envelope,
    InvalidValue,
    ListedClient,
    MessageId,
    PublicKey,
    Refusal,
    UserName,
)

__all__ = [
    "CLIENT_ID_SIZE",
    "MESSAGE_ID_LIMIT",
    "NAME_SIZE_LIMIT",
    "NOBODY",
    "PUBLIC_KEY_SIZE",
    "ClientId",
    "Envelope",
    "InvalidValue",
    "ListedClient",
    "MessageId",
    "PublicKey",
    "Refusal",
    "UserName",
]
