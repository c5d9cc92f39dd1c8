"""What a relay answers (docs/protocol/v2.md, "Requests and answers"): a class and a row each.

The two lists can be long. They are encoded a piece at a time (``clients_list_header`` and
``listed_client``, ``waiting_messages_header`` and ``waiting_message_head``) or, when they are
short, whole (``ClientsList``, ``WaitingMessages``); they are always decoded item by item.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import ClassVar, Final, Protocol, Self, TypeAlias

from attrs import field, frozen

from messageu.model import CLIENT_ID_SIZE, ClientId, ListedClient, MessageId, PublicKey

from .._codec import Segment
from .._errors import LocalProtocolError
from . import _fields as fields


class ResponseCode(IntEnum):
    """The code in a response's header."""

    REGISTERED = 2100
    CLIENTS_LIST = 2101
    PUBLIC_KEY = 2102
    STORED = 2103
    WAITING_MESSAGES = 2104
    GENERAL_ERROR = 9000


def _header(code: ResponseCode, payload_size: int) -> bytes:
    return fields.RESPONSE_HEADER.pack(
        fields.VERSION, code, fields.checked_payload_size(payload_size)
    )


class Response(Protocol):
    """An answer that can be encoded whole."""

    def encode(self) -> bytes:
        """The frame, header and payload, with our version byte.

        :raises LocalProtocolError: when the protocol cannot carry it.
        """
        ...  # pragma: no cover


@frozen
class Registered:
    """2100: you are this client. 16 bytes."""

    code: ClassVar = ResponseCode.REGISTERED
    size: ClassVar[int] = CLIENT_ID_SIZE

    client_id: ClientId

    def encode(self) -> bytes:
        return _header(self.code, self.size) + self.client_id.raw

    @classmethod
    def decode(cls, stored: Segment, start: int, end: int) -> Self:
        """Read a payload whose size has been checked."""
        return cls(ClientId(fields.copy(stored, start, end)))


@frozen
class PublicKeyOf:
    """2102: this client's public key. 176 bytes."""

    code: ClassVar = ResponseCode.PUBLIC_KEY
    size: ClassVar[int] = fields.PUBLIC_KEY_OF_SIZE

    client_id: ClientId
    public_key: PublicKey

    def encode(self) -> bytes:
        return _header(self.code, self.size) + self.client_id.raw + self.public_key.raw

    @classmethod
    def decode(cls, stored: Segment, start: int, end: int) -> Self:
        middle = start + CLIENT_ID_SIZE
        return cls(
            ClientId(fields.copy(stored, start, middle)),
            PublicKey(fields.copy(stored, middle, end)),
        )


@frozen
class Stored:
    """2103: the message is on the disk, which does not mean read. 20 bytes."""

    code: ClassVar = ResponseCode.STORED
    size: ClassVar[int] = fields.STORED.size

    recipient: ClientId
    message_id: MessageId

    def encode(self) -> bytes:
        return stored_frame(self.recipient, self.message_id)

    @classmethod
    def decode(cls, stored: Segment, start: int, end: int) -> Self:
        recipient, number = fields.STORED.unpack_from(stored, start)
        return cls(ClientId(recipient), MessageId(number))


def stored_frame(recipient: ClientId, message_id: MessageId) -> bytes:
    """A 2103, header and payload: what :class:`Stored` is encoded to."""
    return _pack_stored(
        fields.VERSION, _STORED, fields.STORED.size, recipient.raw, message_id.number
    )


_pack_stored: Final = fields.STORED_FRAME.pack
_STORED: Final = ResponseCode.STORED.value


@frozen
class GeneralError:
    """9000: anything wrong. Ours has no payload; what foreign relays put there is skipped."""

    code: ClassVar = ResponseCode.GENERAL_ERROR

    def encode(self) -> bytes:
        return _header(self.code, 0)


@frozen
class ClientsList:
    """2101, whole: the directory without the one who asks. 271 bytes a client."""

    clients: tuple[ListedClient, ...]

    def encode(self) -> bytes:
        return clients_list_header(len(self.clients)) + b"".join(map(listed_client, self.clients))


@frozen
class EndOfClients:
    """The 2101 whose :class:`~messageu.model.ListedClient` events came before is complete."""


@frozen
class WaitingMessage:
    """One message of a 2104: 25 bytes and the content."""

    sender: ClientId
    message_id: MessageId
    type: int
    content: bytes = field(repr=False)


@frozen
class WaitingMessages:
    """2104, whole: what waits for the one who asks. Nothing waiting is no error."""

    messages: tuple[WaitingMessage, ...]

    def encode(self) -> bytes:
        size = sum(fields.WAITING_HEAD_SIZE + len(message.content) for message in self.messages)
        pieces = [waiting_messages_header(size)]
        for message in self.messages:
            pieces.append(
                waiting_message_head(
                    message.sender.raw,
                    message.message_id.number,
                    message.type,
                    len(message.content),
                )
            )
            pieces.append(message.content)
        return b"".join(pieces)


@frozen
class EndOfMessages:
    """The 2104 whose :class:`WaitingMessage` events came before is complete."""


def clients_list_header(count: int) -> bytes:
    """The header of a 2101 of ``count`` clients.

    :raises LocalProtocolError: when there are more than a header can announce.
    """
    return _header(ResponseCode.CLIENTS_LIST, count * fields.LISTED_CLIENT_SIZE)


def listed_client(client: ListedClient) -> bytes:
    """One client of a 2101, 271 bytes.

    :raises LocalProtocolError: when the name does not fit.
    """
    return client.client_id.raw + fields.name_field(client.name)


def waiting_messages_header(payload_size: int) -> bytes:
    """The header of a 2104 whose messages, heads included, have ``payload_size`` bytes."""
    return _header(ResponseCode.WAITING_MESSAGES, payload_size)


def waiting_message_head(sender: bytes, number: int, kind: int, size: int) -> bytes:
    """What stands before the ``size`` bytes of a message's content in a 2104: 25 bytes.

    It takes no value objects: there is one for each message that is fetched.

    :raises LocalProtocolError: when a number does not fit into its field.
    """
    try:
        return fields.WAITING_HEAD.pack(sender, number, kind, size)
    except struct.error as error:
        raise LocalProtocolError(f"a field of a message's head does not fit: {error}") from None


RESPONSES: Final[dict[int, type[Registered | PublicKeyOf | Stored]]] = {
    Registered.code: Registered,
    PublicKeyOf.code: PublicKeyOf,
    Stored.code: Stored,
}
"""Every answer that is decoded whole, by its code."""

ResponseEvent: TypeAlias = (
    Registered
    | PublicKeyOf
    | Stored
    | GeneralError
    | ListedClient
    | EndOfClients
    | WaitingMessage
    | EndOfMessages
)
"""What a client's parser yields."""
