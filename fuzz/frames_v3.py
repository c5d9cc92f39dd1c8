"""The two parsers of v3: any bytes, cut anywhere, are events and our own errors."""

from __future__ import annotations

from typing import Any, Final

from attrs import evolve

from messageu.wire import Codec, v3

from .frames import CONTENT_LIMIT, Answer, answers_to, check_splits

REQUEST_CODEC: Final = v3.RequestCodec(CONTENT_LIMIT)
RESPONSE_CODEC: Final = v3.ResponseCodec(CONTENT_LIMIT)

_UNKNOWN_LIMIT: Final = 65_536
_CLAIMED_LIMIT: Final = 1_549


def requests(data: bytes) -> None:
    """What a relay reads."""
    for answer in check_splits(REQUEST_CODEC, data, max_payload=_UNKNOWN_LIMIT):
        if isinstance(answer.outcome, v3.Request):
            assert answer.outcome.correlation, "a request without a correlation"
            if not isinstance(answer.outcome.body, v3.UnknownRequest):
                _check_frame(REQUEST_CODEC, answer, data, version_at=16)


def responses(data: bytes) -> None:
    """What a client reads."""
    for answer in check_splits(RESPONSE_CODEC, data, max_payload=_CLAIMED_LIMIT):
        if isinstance(answer.outcome, v3.Response):
            code, correlation = answer.outcome.body.code, answer.outcome.correlation
            if code is not v3.ResponseCode.ERROR:
                assert (code in v3.PUSHES) == (correlation == v3.PUSH)
            _check_frame(RESPONSE_CODEC, answer, data, version_at=0)


def _check_frame(codec: Codec[Any], answer: Answer, data: bytes, *, version_at: int) -> None:
    """What was read is sent anew as the same bytes, but for those that nobody looks at."""
    frame = answer.outcome.encode()
    assert answers_to(codec, [frame]) == [evolve(answer, offset=0)]
    sent = bytearray(data[answer.offset : answer.offset + len(frame)])
    sent[version_at] = v3.VERSION
    if isinstance(answer.outcome.body, v3.Welcome):
        sent[-1] = 0
    assert bytes(sent) == frame, "a frame that was not sent"
