"""v2's two directions, as the parser wants them: a frame is judged by its header alone."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Final

from attrs import frozen

from messageu.model import CLIENT_ID_SIZE, ClientId, Envelope, ListedClient, MessageId

from .._codec import Frame, Items, Run, Segment, Skipped, Whole
from .._errors import RemoteProtocolError
from . import _fields as fields
from ._requests import REQUESTS, Request, RequestBody, RequestCode, SendMessage
from ._responses import (
    RESPONSES,
    EndOfClients,
    EndOfMessages,
    GeneralError,
    ResponseCode,
    ResponseEvent,
    WaitingMessage,
)

_SEND: Final = RequestCode.SEND_MESSAGE.value
_SEND_FRAME_SIZE: Final = fields.SEND_FRAME.size

DEFAULT_CONTENT_LIMIT: Final = 16 * 1024 * 1024 + 16
"""Bytes of one message's content: a file of 16 MiB, with its padding."""


@frozen
class RequestCodec:
    """Reads requests, on the relay.

    :ivar content_limit: the most that the content of one message may have, in bytes.
    """

    content_limit: int = DEFAULT_CONTENT_LIMIT

    header_size: ClassVar[int] = fields.REQUEST_HEADER_SIZE

    @property
    def payload_limit(self) -> int:
        """The largest payload of any code, in bytes."""
        return max(fields.REGISTER_SIZE, SendMessage.min_size + self.content_limit)

    def read_header(self, stored: Segment, start: int) -> Frame[Request]:
        """Judge a request by its header: an unknown code is skipped, a wrong size is fatal."""
        client_id, version, code, size = fields.REQUEST_HEADER.unpack_from(stored, start)
        body = REQUESTS.get(code)
        if body is None:
            if size > self.payload_limit:
                raise RemoteProtocolError("a payload above the limit", fatal=True)
            return Skipped(size, RemoteProtocolError("an unknown code", fatal=False))
        max_size = body.max_size
        if max_size is None:
            max_size = body.min_size + self.content_limit
        if not body.min_size <= size <= max_size:
            raise RemoteProtocolError("a size that the code cannot have", fatal=True)
        return Whole(size, partial(_request, client_id, version, body))

    def read_run(self, stored: Segment, start: int, limit: int) -> Run[Envelope] | None:
        """Take 603s together, as envelopes: a relay hardly gets anything else."""
        envelopes: list[Envelope] = []
        head_size, min_size, content_limit = (
            _SEND_FRAME_SIZE,
            SendMessage.min_size,
            self.content_limit,
        )
        unpack, client_id = fields.SEND_FRAME.unpack_from, fields.client_id
        available = len(stored)
        last = start
        while available - start >= head_size and len(envelopes) < limit:
            sender, _, code, size, recipient, kind, content_size = unpack(stored, start)
            content, end = start + head_size, start + head_size + content_size
            if (
                code != _SEND
                or size != min_size + content_size
                or content_size > content_limit
                or end > available
            ):
                break
            envelopes.append(
                Envelope(
                    client_id(sender),
                    client_id(recipient),
                    kind,
                    fields.copy(stored, content, end),
                )
            )
            last, start = start, end
        return Run(envelopes, last, start) if envelopes else None


def _request(
    client_id: bytes, version: int, body: type[RequestBody], stored: Segment, start: int, end: int
) -> Request:
    return Request(fields.client_id(client_id), body.decode(stored, start, end), version)


@frozen
class ResponseCodec:
    """Reads answers, on the client. Any version byte will do.

    :ivar content_limit: the most that the content of one message may have, in bytes; a larger one
        is skipped with an error, and the answer goes on.
    """

    content_limit: int = DEFAULT_CONTENT_LIMIT

    header_size: ClassVar[int] = fields.RESPONSE_HEADER_SIZE

    def read_header(self, stored: Segment, start: int) -> Frame[ResponseEvent]:
        """Judge an answer by its header: an unknown code or a wrong size is fatal."""
        _, code, size = fields.RESPONSE_HEADER.unpack_from(stored, start)
        match code:
            case ResponseCode.GENERAL_ERROR:
                return Skipped(size, GeneralError())
            case ResponseCode.CLIENTS_LIST:
                if size % fields.LISTED_CLIENT_SIZE:
                    raise RemoteProtocolError("a size that the code cannot have", fatal=True)
                return Items(size, 0, _read_listed_head, EndOfClients())
            case ResponseCode.WAITING_MESSAGES:
                return Items(
                    size, fields.WAITING_HEAD_SIZE, self._read_waiting_head, EndOfMessages()
                )
        body = RESPONSES.get(code)
        if body is None:
            raise RemoteProtocolError("an unknown code", fatal=True)
        if size != body.size:
            raise RemoteProtocolError("a size that the code cannot have", fatal=True)
        return Whole(size, body.decode)

    def read_run(self, _stored: Segment, _start: int, _limit: int) -> None:
        """No answer is frequent enough."""

    def _read_waiting_head(
        self, stored: Segment, start: int
    ) -> Whole[ResponseEvent] | Skipped[ResponseEvent]:
        sender, number, kind, size = fields.WAITING_HEAD.unpack_from(stored, start)
        if size > self.content_limit:
            return Skipped(size, RemoteProtocolError("a message above the limit", fatal=False))
        return Whole(size, partial(_waiting_message, sender, number, kind))


def _waiting_message(
    sender: bytes, number: int, kind: int, stored: Segment, start: int, end: int
) -> WaitingMessage:
    content = fields.copy(stored, start, end)
    return WaitingMessage(fields.client_id(sender), MessageId(number), kind, content)


def _read_listed_head(_stored: Segment, _start: int) -> Whole[ResponseEvent]:
    return Whole(fields.LISTED_CLIENT_SIZE, _listed_client)


def _listed_client(stored: Segment, start: int, end: int) -> ListedClient:
    middle = start + CLIENT_ID_SIZE
    name, _, _ = fields.copy(stored, middle, end).partition(b"\0")
    return ListedClient(ClientId(fields.copy(stored, start, middle)), name)
