"""The two parsers of v2: any bytes, cut anywhere, are events and our own errors."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any, Final
from zlib import crc32

from attrs import evolve, frozen

from messageu.model import Envelope, ListedClient
from messageu.wire import NEED_DATA, Codec, LocalProtocolError, Parser, RemoteProtocolError, v2

CONTENT_LIMIT: Final = 256
"""Bytes of a message's content: small, so that an input of some KiB goes beyond it."""

REQUEST_CODEC: Final = v2.RequestCodec(CONTENT_LIMIT)
RESPONSE_CODEC: Final = v2.ResponseCodec(CONTENT_LIMIT)

_PIECE: Final = 3
"""Bytes of a piece where an input is cut evenly."""

_CUTS: Final = 8
"""Places at which it is cut elsewhere."""


@frozen
class Answer:
    """What a parser gave: an event, or an error's text, and where its frame began."""

    outcome: Any
    offset: int
    fatal: bool = False


def requests(data: bytes) -> None:
    """What a relay reads."""
    whole = check_splits(REQUEST_CODEC, data, max_payload=REQUEST_CODEC.payload_limit)
    assert _in_runs(data) == whole, "next_run and next_event disagree"
    for answer in whole:
        if isinstance(answer.outcome, v2.Request):
            frame = answer.outcome.encode()
            assert answers_to(REQUEST_CODEC, [frame]) == [evolve(answer, offset=0)]
            if not isinstance(answer.outcome.body, v2.Register):  # garbage behind the name goes
                assert data.startswith(frame, answer.offset), "a frame that was not sent"


def responses(data: bytes) -> None:
    """What a client reads."""
    whole = check_splits(RESPONSE_CODEC, data, max_payload=max(271, CONTENT_LIMIT))
    for answer in whole:
        _check_response(answer.outcome)


def _check_response(event: Any) -> None:
    """An event that is sent anew is read as the same."""
    match event:
        case ListedClient():
            try:
                frame = v2.ClientsList((event,)).encode()
            except LocalProtocolError:
                assert len(event.name) == 255, "a name that could be read cannot be sent"
                return
            expected = [event, v2.EndOfClients()]
        case v2.WaitingMessage():
            frame = v2.WaitingMessages((event,)).encode()
            expected = [event, v2.EndOfMessages()]
        case v2.Registered() | v2.PublicKeyOf() | v2.Stored() | v2.GeneralError():
            frame, expected = event.encode(), [event]
        case _:
            return
    assert [answer.outcome for answer in answers_to(RESPONSE_CODEC, [frame])] == expected


def check_splits(codec: Codec[Any], data: bytes, *, max_payload: int) -> list[Answer]:
    """The answers to the whole, which are those to the same bytes in pieces."""
    whole = answers_to(codec, [data], max_payload)
    for pieces in (_evenly(data), _anyhow(data)):
        assert answers_to(codec, pieces, max_payload) == whole, "the split makes a difference"
    return whole


def _evenly(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]


def _anyhow(data: bytes) -> Iterator[bytes]:
    """In a few pieces, some of them empty: the same for the same input."""
    chance = random.Random(crc32(data))  # noqa: S311 - it only has to be the same again
    cuts = sorted(chance.randint(0, len(data)) for _ in range(_CUTS))
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        yield data[start:end]


def answers_to(
    codec: Codec[Any], pieces: Iterable[bytes], max_payload: int = 2**32
) -> list[Answer]:
    """All that a new parser answers, up to a fatal error."""
    parser: Parser[Any] = Parser(codec)
    answers: list[Answer] = []
    given = 0
    for piece in pieces:
        parser.receive_data(piece)
        given += len(piece)
        for answer in _drained(parser):
            answers.append(answer)
            if answer.fatal:
                _check_failed(parser)
                return answers
        assert parser.received == given, "bytes have been lost"
        assert parser.buffered < codec.header_size + max_payload, "more is kept than can be needed"
    return answers


def _drained(parser: Parser[Any]) -> Iterator[Answer]:
    while True:
        try:
            event = parser.next_event()
        except RemoteProtocolError as error:
            yield Answer(str(error), parser.frame_offset, error.fatal)
            if error.fatal:
                return
            continue
        if event is NEED_DATA:
            return
        yield Answer(event, parser.frame_offset)


def _check_failed(parser: Parser[Any]) -> None:
    """After a fatal error nothing is stored, and nothing else is said."""
    parser.receive_data(bytes(100))
    assert not parser.buffered, "something is stored after a fatal error"
    try:
        parser.next_event()
    except RemoteProtocolError as error:
        assert error.fatal, "a fatal error has become another one"
        return
    raise AssertionError("an event after a fatal error")


def _in_runs(data: bytes) -> list[Answer]:
    """The answers to requests, where runs are taken in turn with single events."""
    parser = Parser(REQUEST_CODEC)
    parser.receive_data(data)
    answers: list[Answer] = []
    for limit in _one_two_three():
        start = parser.received - parser.buffered
        run = parser.next_run(limit)
        assert len(run) <= limit, "a run is longer than was asked for"
        for envelope in run:
            answers.append(Answer(_request_of(envelope, data[start + 16]), start))
            start += v2.REQUEST_HEADER_SIZE + v2.SendMessage.min_size + len(envelope.content)
        assert not run or parser.frame_offset == answers[-1].offset
        answer = next(_drained(parser), None)
        if answer is None:
            return answers
        answers.append(answer)
        if answer.fatal:
            return answers
    raise AssertionError("unreachable")


def _one_two_three() -> Iterator[int]:
    while True:
        yield from (1, 2, 3)


def _request_of(envelope: Envelope, version: int) -> v2.Request:
    body = v2.SendMessage(envelope.recipient, envelope.type, envelope.content)
    return v2.Request(envelope.sender, body, version)
