"""v3's two directions, as the parser wants them: a frame is judged by its header alone.

Whatever is wrong with a frame is fatal. What may be refused without ending the connection is no
matter of the wire: such a frame is read, and answered by its correlation.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import ClassVar, Final

from attrs import frozen

from messageu.model import NOBODY, InvalidValue

from .._codec import Frame, Segment, Whole
from .._errors import RemoteProtocolError
from . import _fields as fields
from ._requests import REQUESTS, Request, RequestBody, Send, UnknownRequest
from ._responses import RESPONSES, Deliver, Response, ResponseBody, fits

DEFAULT_SEALED_LIMIT: Final = 2**20
"""Bytes of one envelope."""


@frozen
class RequestCodec:
    """Reads requests, on the relay.

    :ivar sealed_limit: the most that one envelope may have, in bytes.
    """

    sealed_limit: int = DEFAULT_SEALED_LIMIT

    header_size: ClassVar[int] = fields.REQUEST_HEADER_SIZE

    def read_header(self, stored: Segment, start: int) -> Frame[Request]:
        """Judge a request by its header."""
        client_id, _, code, size = fields.REQUEST_HEADER.unpack_from(stored, start)
        if client_id != NOBODY.raw:
            raise RemoteProtocolError("a client id in the header", fatal=True)
        size_of_body = size - fields.CORRELATION_SIZE
        body = REQUESTS.get(code)
        if body is None:
            if not fields.CORRELATION_SIZE <= size <= fields.UNKNOWN_SIZE_LIMIT:
                raise RemoteProtocolError("a size that no code can have", fatal=True)
            return Whole(size, _unknown_request)
        max_size = body.max_size
        if max_size is None:
            max_size = body.min_size + self.sealed_limit
        if not body.min_size <= size_of_body <= max_size:
            raise RemoteProtocolError("a size that the code cannot have", fatal=True)
        return Whole(size, partial(_request, body))

    def read_run(self, _stored: Segment, _start: int, _limit: int) -> None:
        """Requests are read one by one."""


def _request(body: type[RequestBody], stored: Segment, start: int, end: int) -> Request:
    correlation, raw = _payload(stored, start, end)
    if correlation == fields.PUSH:
        raise RemoteProtocolError("a request without a correlation", fatal=True)
    try:
        return Request(correlation, body.decode(raw))
    except (InvalidValue, struct.error):
        raise RemoteProtocolError("a payload that contradicts itself", fatal=True) from None


def _unknown_request(stored: Segment, start: int, end: int) -> Request:
    correlation, _ = _payload(stored, start, end)
    if correlation == fields.PUSH:
        raise RemoteProtocolError("a request without a correlation", fatal=True)
    return Request(correlation, UnknownRequest())


def _payload(stored: Segment, start: int, end: int) -> tuple[int, bytes]:
    (correlation,) = fields.CORRELATION.unpack_from(stored, start)
    with memoryview(stored) as view:
        return correlation, bytes(view[start + fields.CORRELATION_SIZE : end])


@frozen
class ResponseCodec:
    """Reads answers and pushes, on the client.

    :ivar sealed_limit: the most that one envelope may have, in bytes.
    """

    sealed_limit: int = DEFAULT_SEALED_LIMIT

    header_size: ClassVar[int] = fields.RESPONSE_HEADER_SIZE

    def read_header(self, stored: Segment, start: int) -> Frame[Response]:
        """Judge an answer by its header: an unknown code or a wrong size is fatal."""
        _, code, size = fields.RESPONSE_HEADER.unpack_from(stored, start)
        body = RESPONSES.get(code)
        if body is None:
            raise RemoteProtocolError("an unknown code", fatal=True)
        max_size = body.max_size
        if max_size is None:
            max_size = body.min_size + self.sealed_limit
        if not body.min_size <= size - fields.CORRELATION_SIZE <= max_size:
            raise RemoteProtocolError("a size that the code cannot have", fatal=True)
        return Whole(size, partial(_response, body))

    def read_run(self, _stored: Segment, _start: int, _limit: int) -> None:
        """Answers are read one by one."""


def _response(body: type[ResponseBody], stored: Segment, start: int, end: int) -> Response:
    correlation, raw = _payload(stored, start, end)
    if not fits(body.code, correlation):
        raise RemoteProtocolError("a correlation that the code cannot have", fatal=True)
    try:
        return Response(correlation, body.decode(raw))
    except (InvalidValue, struct.error):
        raise RemoteProtocolError("a payload that contradicts itself", fatal=True) from None


SEND_FRAME_OVERHEAD: Final = fields.REQUEST_HEADER_SIZE + fields.CORRELATION_SIZE + Send.min_size
DELIVER_FRAME_OVERHEAD: Final = (
    fields.RESPONSE_HEADER_SIZE + fields.CORRELATION_SIZE + Deliver.min_size
)
"""Bytes of a frame around what is sealed."""
