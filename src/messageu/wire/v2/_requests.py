"""What a client can ask (docs/protocol/v2.md, "Requests and answers"): a class and a row each."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Final, Protocol, Self

from attrs import field, frozen

from messageu.model import CLIENT_ID_SIZE, ClientId, InvalidValue, PublicKey, UserName

from .._codec import Segment
from .._errors import RemoteProtocolError
from . import _fields as fields


class RequestCode(IntEnum):
    """The code in a request's header."""

    REGISTER = 600
    LIST_CLIENTS = 601
    GET_PUBLIC_KEY = 602
    SEND_MESSAGE = 603
    FETCH_MESSAGES = 604


class RequestBody(Protocol):
    """The payload of one code.

    ``min_size`` and ``max_size`` bound the payload, in bytes; a ``max_size`` of None leaves it to
    the limit of the listener.
    """

    code: ClassVar[RequestCode]
    min_size: ClassVar[int]
    max_size: ClassVar[int | None]

    def encode(self) -> bytes:
        """The payload.

        :raises LocalProtocolError: when the protocol cannot carry it.
        """
        ...  # pragma: no cover

    @classmethod
    def decode(cls, stored: Segment, start: int, end: int) -> Self:
        """Read a payload, which stands from ``start`` to ``end`` and whose size has been checked.

        :raises RemoteProtocolError: not fatal, when what it holds is refused.
        """
        ...  # pragma: no cover


@frozen
class Register:
    """600: make me a client under this name, with this public key. 415 bytes."""

    code: ClassVar = RequestCode.REGISTER
    min_size: ClassVar[int] = fields.REGISTER_SIZE
    max_size: ClassVar[int | None] = fields.REGISTER_SIZE

    name: UserName
    public_key: PublicKey

    def encode(self) -> bytes:
        return fields.name_field(self.name.raw) + self.public_key.raw

    @classmethod
    def decode(cls, stored: Segment, start: int, end: int) -> Self:
        middle = start + fields.NAME_FIELD_SIZE
        name, nul, _ = fields.copy(stored, start, middle).partition(b"\0")
        if not nul:
            raise RemoteProtocolError("the name has no NUL", fatal=False)
        try:
            return cls(UserName(name), PublicKey(fields.copy(stored, middle, end)))
        except InvalidValue as error:
            raise RemoteProtocolError(str(error), fatal=False) from None


@frozen
class ListClients:
    """601: who is registered? No payload."""

    code: ClassVar = RequestCode.LIST_CLIENTS
    min_size: ClassVar[int] = 0
    max_size: ClassVar[int | None] = 0

    def encode(self) -> bytes:
        return b""

    @classmethod
    def decode(cls, stored: Segment, start: int, end: int) -> Self:
        return cls()


@frozen
class GetPublicKey:
    """602: what is this client's public key? 16 bytes."""

    code: ClassVar = RequestCode.GET_PUBLIC_KEY
    min_size: ClassVar[int] = CLIENT_ID_SIZE
    max_size: ClassVar[int | None] = CLIENT_ID_SIZE

    client_id: ClientId

    def encode(self) -> bytes:
        return self.client_id.raw

    @classmethod
    def decode(cls, stored: Segment, start: int, end: int) -> Self:
        return cls(ClientId(fields.copy(stored, start, end)))


@frozen
class SendMessage:
    """603: store this for the recipient. 21 bytes and the content."""

    code: ClassVar = RequestCode.SEND_MESSAGE
    min_size: ClassVar[int] = fields.SEND_HEAD.size
    max_size: ClassVar[int | None] = None

    recipient: ClientId
    type: int
    content: bytes = field(repr=False)

    def encode(self) -> bytes:
        size = fields.checked_payload_size(fields.SEND_HEAD.size + len(self.content))
        head = fields.SEND_HEAD.pack(
            self.recipient.raw, fields.checked_type(self.type), size - fields.SEND_HEAD.size
        )
        return head + self.content

    @classmethod
    def decode(cls, stored: Segment, start: int, end: int) -> Self:
        recipient, kind, size = fields.SEND_HEAD.unpack_from(stored, start)
        start += fields.SEND_HEAD.size
        if size != end - start:
            raise RemoteProtocolError("the content size disagrees with the payload", fatal=False)
        return cls(fields.client_id(recipient), kind, fields.copy(stored, start, end))


@frozen
class FetchMessages:
    """604: hand me what waits for me. No payload."""

    code: ClassVar = RequestCode.FETCH_MESSAGES
    min_size: ClassVar[int] = 0
    max_size: ClassVar[int | None] = 0

    def encode(self) -> bytes:
        return b""

    @classmethod
    def decode(cls, stored: Segment, start: int, end: int) -> Self:
        return cls()


REQUESTS: Final[dict[int, type[RequestBody]]] = {
    body.code: body for body in (Register, ListClients, GetPublicKey, SendMessage, FetchMessages)
}
"""Every request there is, by its code."""


@frozen
class Request:
    """A request and the header that it came with.

    :ivar client_id: who asks. Nothing proves it; in a registration it means nothing.
    :ivar version: any byte; see ``messageu.wire.v2.VERSION``.
    """

    client_id: ClientId
    body: RequestBody
    version: int = fields.VERSION

    def encode(self) -> bytes:
        """The frame, header and payload.

        :raises LocalProtocolError: when the protocol cannot carry it.
        """
        payload = self.body.encode()
        header = fields.REQUEST_HEADER.pack(
            self.client_id.raw,
            fields.checked_version(self.version),
            self.body.code,
            len(payload),
        )
        return header + payload
