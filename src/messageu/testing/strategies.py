"""Hypothesis strategies: values, v2's messages, streams good and bad, and ways to cut them.

A stream is a list of :class:`Sample`: bytes, and what a parser with a content limit of
:data:`CONTENT_LIMIT` makes of them, so that a test can compare the two.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import Enum, auto
from itertools import pairwise
from typing import Final, Generic, TypeVar

from attrs import frozen
from hypothesis import strategies as st

from messageu.model import (
    CLIENT_ID_SIZE,
    MESSAGE_ID_LIMIT,
    NAME_SIZE_LIMIT,
    PUBLIC_KEY_SIZE,
    ClientId,
    Envelope,
    ListedClient,
    MessageId,
    PublicKey,
    UserName,
)
from messageu.wire import v2

CONTENT_LIMIT: Final = 64
"""Bytes of a message's content in the samples, and what to set as the limit of a codec."""

_NAME_FIELD_SIZE: Final = NAME_SIZE_LIMIT + 1
_PAYLOAD_LIMIT: Final = v2.RequestCodec(CONTENT_LIMIT).payload_limit
_SIZE_LIMIT: Final = 2**32 - 1
_PRINTABLE: Final = bytes(range(0x20, 0x7F))

Event = TypeVar("Event")


class Verdict(Enum):
    """That a parser raises an error instead of an event."""

    REFUSED = auto()
    FATAL = auto()


@frozen
class Sample(Generic[Event]):
    """The bytes of a frame, and the events and errors that a parser answers in turn.

    A frame with a FATAL outcome need not be complete.
    """

    frame: bytes
    outcomes: tuple[Event | Verdict, ...]


def client_ids() -> st.SearchStrategy[ClientId]:
    """Any 16 bytes."""
    return st.binary(min_size=CLIENT_ID_SIZE, max_size=CLIENT_ID_SIZE).map(ClientId)


def user_names() -> st.SearchStrategy[UserName]:
    """Any name that can be registered, the longest too."""
    characters = st.sampled_from(_PRINTABLE.decode())
    longest = characters.map(lambda character: character * NAME_SIZE_LIMIT)
    shorter = st.text(characters, min_size=1, max_size=NAME_SIZE_LIMIT)
    return (shorter | longest).map(UserName.from_text)


def public_keys() -> st.SearchStrategy[PublicKey]:
    """Any 160 bytes: hardly ever a key."""
    return st.binary(min_size=PUBLIC_KEY_SIZE, max_size=PUBLIC_KEY_SIZE).map(PublicKey)


def message_ids() -> st.SearchStrategy[MessageId]:
    """Any u32."""
    return st.integers(0, MESSAGE_ID_LIMIT - 1).map(MessageId)


def message_types() -> st.SearchStrategy[int]:
    """The types that clients know, and any other byte."""
    return st.sampled_from(v2.MessageType).map(int) | st.integers(0, 255)


def contents(max_size: int = CONTENT_LIMIT) -> st.SearchStrategy[bytes]:
    """A message's content, of at most so many bytes."""
    return st.binary(max_size=max_size)


def listed_clients() -> st.SearchStrategy[ListedClient]:
    """A line of a directory, with any name that a foreign relay can send before its NUL."""
    names = st.binary(max_size=NAME_SIZE_LIMIT).map(lambda raw: raw.partition(b"\0")[0])
    return st.builds(ListedClient, client_ids(), user_names().map(lambda name: name.raw) | names)


def envelopes() -> st.SearchStrategy[Envelope]:
    """A message on its way to a store."""
    return st.builds(Envelope, client_ids(), client_ids(), message_types(), contents())


def waiting_messages() -> st.SearchStrategy[v2.WaitingMessage]:
    """A message as its recipient gets it."""
    return st.builds(v2.WaitingMessage, client_ids(), message_ids(), message_types(), contents())


def request_bodies() -> st.SearchStrategy[v2.RequestBody]:
    """The payload of any request."""
    return st.one_of(
        st.builds(v2.Register, user_names(), public_keys()),
        st.just(v2.ListClients()),
        st.builds(v2.GetPublicKey, client_ids()),
        st.builds(v2.SendMessage, client_ids(), message_types(), contents()),
        st.just(v2.FetchMessages()),
    )


def requests() -> st.SearchStrategy[v2.Request]:
    """Any request, of any version."""
    return st.builds(v2.Request, client_ids(), request_bodies(), st.integers(0, 255))


def responses() -> st.SearchStrategy[v2.Response]:
    """Any answer that our relay could give, whole."""
    return st.one_of(
        st.builds(v2.Registered, client_ids()),
        st.builds(v2.PublicKeyOf, client_ids(), public_keys()),
        st.builds(v2.Stored, client_ids(), message_ids()),
        st.just(v2.GeneralError()),
        st.builds(v2.ClientsList, st.lists(listed_clients(), max_size=3).map(tuple)),
        st.builds(v2.WaitingMessages, st.lists(waiting_messages(), max_size=3).map(tuple)),
    )


def response_events(response: v2.Response) -> tuple[v2.ResponseEvent, ...]:
    """What a client's parser makes of an answer that is whole."""
    match response:
        case v2.ClientsList(clients):
            return (*clients, v2.EndOfClients())
        case v2.WaitingMessages(messages):
            return (*messages, v2.EndOfMessages())
        case v2.Registered() | v2.PublicKeyOf() | v2.Stored() | v2.GeneralError():
            return (response,)
    raise TypeError("not an answer of v2")


def good_requests() -> st.SearchStrategy[Sample[v2.Request]]:
    """A request that is understood."""
    return requests().map(lambda request: Sample(request.encode(), (request,)))


def refused_requests() -> st.SearchStrategy[Sample[v2.Request]]:
    """A request that is refused by itself; what follows it can be read."""
    return st.one_of(
        _request_frames(_unknown_codes(v2.REQUESTS), st.binary(max_size=_PAYLOAD_LIMIT)),
        _request_frames(st.just(v2.RequestCode.SEND_MESSAGE), _disagreeing_payloads()),
        _request_frames(st.just(v2.RequestCode.REGISTER), _refused_registrations()),
    ).map(lambda frame: Sample(frame, (Verdict.REFUSED,)))


@st.composite
def fatal_requests(draw: st.DrawFn) -> Sample[v2.Request]:
    """The header of a request that nothing can follow, and bytes behind it."""
    code = draw(st.sampled_from(v2.RequestCode) | _unknown_codes(v2.REQUESTS))
    body = v2.REQUESTS.get(code)
    sizes = st.integers(_PAYLOAD_LIMIT + 1, _SIZE_LIMIT) | st.just(_SIZE_LIMIT)
    if body is not None:
        limit = body.min_size + CONTENT_LIMIT if body.max_size is None else body.max_size
        sizes |= st.integers(limit + 1, limit + CONTENT_LIMIT)
        if body.min_size:
            sizes |= st.integers(0, body.min_size - 1)
    header = draw(_request_headers(st.just(code), sizes))
    return Sample(header + draw(contents()), (Verdict.FATAL,))


def good_responses() -> st.SearchStrategy[Sample[v2.ResponseEvent]]:
    """An answer that a client understands, of ours or of a foreign relay."""
    ours: st.SearchStrategy[Sample[v2.ResponseEvent]] = responses().map(
        lambda answer: Sample(answer.encode(), response_events(answer))
    )
    return st.one_of(ours, _foreign_errors(), _foreign_lists(), _oversized_messages()).flatmap(
        _of_any_version
    )


@st.composite
def fatal_responses(draw: st.DrawFn) -> Sample[v2.ResponseEvent]:
    """An answer that nothing can follow; the messages before the fault come through."""
    if draw(st.booleans()):
        return draw(_broken_messages())
    code = draw(
        st.sampled_from([*v2.RESPONSES, v2.ResponseCode.CLIENTS_LIST])
        | _unknown_codes([*v2.ResponseCode])
    )
    sizes = st.integers(0, _SIZE_LIMIT)
    if code in v2.RESPONSES:
        body = v2.RESPONSES[code]
        sizes = (st.integers(0, 2 * body.size) | sizes).filter(lambda size: size != body.size)
    elif code == v2.ResponseCode.CLIENTS_LIST:
        sizes = sizes.filter(lambda size: size % v2.LISTED_CLIENT_SIZE)
    header = draw(_response_headers(st.just(code), sizes))
    return Sample(header + draw(contents()), (Verdict.FATAL,))


def request_streams() -> st.SearchStrategy[list[Sample[v2.Request]]]:
    """What a relay may get on a connection: good, refused, and perhaps a fatal end."""
    return streams(good_requests() | refused_requests(), fatal_requests())


def response_streams() -> st.SearchStrategy[list[Sample[v2.ResponseEvent]]]:
    """What a client may get on a connection: good, and perhaps a fatal end."""
    return streams(good_responses(), fatal_responses())


def request_noise() -> st.SearchStrategy[bytes]:
    """Any bytes at all, many of which are nearly requests."""
    codes = st.sampled_from(v2.RequestCode) | st.integers(0, 0xFFFF)
    sizes = st.sampled_from([0, 16, 21, 22, 415]) | _any_sizes()
    return noise(_request_headers(codes, sizes), request_streams())


def response_noise() -> st.SearchStrategy[bytes]:
    """Any bytes at all, many of which are nearly answers."""
    codes = st.sampled_from(v2.ResponseCode) | st.integers(0, 0xFFFF)
    sizes = st.sampled_from([0, 16, 20, 25, 176, 271, 542]) | _any_sizes()
    return noise(_response_headers(codes, sizes), response_streams())


@st.composite
def chunked(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The same bytes in pieces, as a connection may deliver them; a piece may be empty."""
    if draw(st.booleans()):
        size = draw(st.integers(1, 40))
        return [data[at : at + size] for at in range(0, len(data), size)]
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=12))
    return [data[start:end] for start, end in pairwise([0, *sorted(cuts), len(data)])]


def joined(samples: Sequence[Sample[Event]]) -> tuple[bytes, list[Event | Verdict]]:
    """The bytes of a stream, and all that a parser makes of them."""
    data = b"".join(sample.frame for sample in samples)
    return data, [outcome for sample in samples for outcome in sample.outcomes]


def _unknown_codes(known: Sequence[int] | dict[int, type]) -> st.SearchStrategy[int]:
    return st.integers(0, 0xFFFF).filter(lambda code: code not in known)


def _any_sizes() -> st.SearchStrategy[int]:
    return st.integers(0, 2 * CONTENT_LIMIT) | st.integers(0, _SIZE_LIMIT)


def _request_headers(
    codes: st.SearchStrategy[int], sizes: st.SearchStrategy[int]
) -> st.SearchStrategy[bytes]:
    return st.tuples(
        client_ids().map(lambda client_id: client_id.raw), st.integers(0, 255), codes, sizes
    ).map(lambda fields: struct.pack("<16sBHI", *fields))


def _response_headers(
    codes: st.SearchStrategy[int], sizes: st.SearchStrategy[int]
) -> st.SearchStrategy[bytes]:
    return st.tuples(st.integers(0, 255), codes, sizes).map(
        lambda fields: struct.pack("<BHI", *fields)
    )


@st.composite
def _request_frames(
    draw: st.DrawFn, codes: st.SearchStrategy[int], payloads: st.SearchStrategy[bytes]
) -> bytes:
    payload = draw(payloads)
    return draw(_request_headers(codes, st.just(len(payload)))) + payload


@st.composite
def _disagreeing_payloads(draw: st.DrawFn) -> bytes:
    """A 603 whose content size is not that of its content."""
    content = draw(contents())
    size = draw(_any_sizes().filter(lambda size: size != len(content)))
    return struct.pack("<16sBI", draw(client_ids()).raw, draw(message_types()), size) + content


@st.composite
def _refused_registrations(draw: st.DrawFn) -> bytes:
    """A 600 whose name is empty, holds a byte that it may not, or has no end."""
    unprintable = st.integers(0, 255).filter(lambda byte: byte not in _PRINTABLE and byte)
    name = draw(
        st.one_of(
            st.just(b""),
            st.tuples(unprintable, st.binary(max_size=20)).map(
                lambda parts: bytes([parts[0]]) + parts[1]
            ),
            st.sampled_from(_PRINTABLE).map(lambda byte: bytes([byte]) * _NAME_FIELD_SIZE),
        )
    )
    return name.ljust(_NAME_FIELD_SIZE, b"\0") + draw(public_keys()).raw


@st.composite
def _of_any_version(draw: st.DrawFn, sample: Sample[v2.ResponseEvent]) -> Sample[v2.ResponseEvent]:
    version = draw(st.integers(0, 255))
    return Sample(bytes([version]) + sample.frame[1:], sample.outcomes)


@st.composite
def _foreign_errors(draw: st.DrawFn) -> Sample[v2.ResponseEvent]:
    """A 9000 that says something."""
    words = draw(contents())
    header = struct.pack("<BHI", v2.VERSION, v2.ResponseCode.GENERAL_ERROR, len(words))
    return Sample(header + words, (v2.GeneralError(),))


@st.composite
def _foreign_lists(draw: st.DrawFn) -> Sample[v2.ResponseEvent]:
    """A 2101 with garbage after the NULs."""
    clients = draw(st.lists(listed_clients(), max_size=3))
    pieces = [v2.clients_list_header(len(clients))]
    for client in clients:
        room = _NAME_FIELD_SIZE - len(client.name) - 1
        garbage = draw(st.binary(max_size=room)).ljust(room, b"\0")
        pieces += [client.client_id.raw, client.name, b"\0", garbage]
    return Sample(b"".join(pieces), (*clients, v2.EndOfClients()))


@st.composite
def _oversized_messages(draw: st.DrawFn) -> Sample[v2.ResponseEvent]:
    """A 2104 in which some messages are above the limit."""
    too_long = st.binary(min_size=CONTENT_LIMIT + 1, max_size=2 * CONTENT_LIMIT)
    larger = st.builds(v2.WaitingMessage, client_ids(), message_ids(), message_types(), too_long)
    messages = draw(st.lists(waiting_messages() | larger, max_size=3))
    return Sample(
        v2.WaitingMessages(tuple(messages)).encode(),
        (
            *(m if len(m.content) <= CONTENT_LIMIT else Verdict.REFUSED for m in messages),
            v2.EndOfMessages(),
        ),
    )


@st.composite
def _broken_messages(draw: st.DrawFn) -> Sample[v2.ResponseEvent]:
    """A 2104 that ends inside a message's head, or in a message longer than what is left."""
    whole = draw(st.lists(waiting_messages(), max_size=2))
    items = v2.WaitingMessages(tuple(whole)).encode()[v2.RESPONSE_HEADER_SIZE :]
    if draw(st.booleans()):
        rest = draw(st.binary(min_size=1, max_size=v2.WAITING_HEAD_SIZE - 1))
    else:
        left = draw(contents())
        claimed = draw(st.integers(len(left) + 1, 2 * CONTENT_LIMIT) | st.just(_SIZE_LIMIT))
        head = v2.waiting_message_head(
            draw(client_ids()).raw, draw(message_ids()).number, 3, claimed
        )
        rest = head + left
    header = v2.waiting_messages_header(len(items) + len(rest))
    return Sample(header + items + rest, (*whole, Verdict.FATAL))


@st.composite
def streams(
    draw: st.DrawFn,
    samples: st.SearchStrategy[Sample[Event]],
    fatal: st.SearchStrategy[Sample[Event]],
) -> list[Sample[Event]]:
    """A few frames, and perhaps a fatal end."""
    stream = draw(st.lists(samples, max_size=5))
    if draw(st.booleans()):
        stream.append(draw(fatal))
    return stream


def noise(
    headers: st.SearchStrategy[bytes], whole: st.SearchStrategy[list[Sample[Event]]]
) -> st.SearchStrategy[bytes]:
    """Any bytes, between headers and streams."""
    pieces = st.one_of(
        headers,
        st.binary(max_size=300),
        whole.map(lambda stream: joined(stream)[0]),
    )
    return st.lists(pieces, max_size=4).map(b"".join)
