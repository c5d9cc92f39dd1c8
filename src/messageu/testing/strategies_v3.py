"""Hypothesis strategies of v3: values, frames, and streams good and bad.

They are made as those of v2 are: a :class:`~.strategies.Sample` is a frame, and what a parser whose
sealed envelopes have at most :data:`~.strategies.CONTENT_LIMIT` bytes makes of it.
"""

from __future__ import annotations

import struct
from typing import Final

from hypothesis import strategies as st

from messageu.model import NOBODY
from messageu.model.v3 import (
    ENVELOPE_ID_SIZE,
    HPKE_KEY_SIZE,
    SIGNATURE_SIZE,
    TOKEN_SIZE,
    Bundle,
    Delivery,
    EnvelopeId,
    Handle,
    Identity,
    IdentityKeys,
    OneTimeKey,
    Reason,
    Registration,
    SealedEnvelope,
    Terms,
)
from messageu.wire import v3

from .strategies import CONTENT_LIMIT, Sample, Verdict, client_ids, contents, noise, streams

_UNKNOWN_LIMIT: Final = 65_536
_WORD: Final = 4
_FIRST: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


def u16() -> st.SearchStrategy[int]:
    """Any number of two bytes."""
    return st.integers(0, 2**16 - 1)


def u32() -> st.SearchStrategy[int]:
    """Any number of four bytes."""
    return st.integers(0, 2**32 - 1)


def u64() -> st.SearchStrategy[int]:
    """Any number of eight bytes, the largest too."""
    return st.integers(0, 2**64 - 1) | st.just(2**64 - 1)


def correlations() -> st.SearchStrategy[int]:
    """What a request may bear."""
    return st.integers(1, 2**32 - 1)


def keys_of_32() -> st.SearchStrategy[bytes]:
    """Any 32 bytes."""
    return st.binary(min_size=32, max_size=32)


def signatures() -> st.SearchStrategy[bytes]:
    """Any 64 bytes: hardly ever a signature."""
    return st.binary(min_size=SIGNATURE_SIZE, max_size=SIGNATURE_SIZE)


def identities() -> st.SearchStrategy[Identity]:
    """Any 32 bytes."""
    return keys_of_32().map(Identity)


def identity_keys() -> st.SearchStrategy[IdentityKeys]:
    """Any two keys."""
    return st.builds(IdentityKeys, keys_of_32(), keys_of_32())


def handles() -> st.SearchStrategy[Handle]:
    """Any name that can be somebody's, the shortest and the longest too."""
    rest = st.text(_FIRST + "._-", min_size=2, max_size=31)
    longest = st.sampled_from(_FIRST + "._-").map(lambda character: character * 31)
    return st.tuples(st.sampled_from(_FIRST), rest | longest).map("".join).map(Handle)


def envelope_ids() -> st.SearchStrategy[EnvelopeId]:
    """Any 16 bytes."""
    return st.binary(min_size=ENVELOPE_ID_SIZE, max_size=ENVELOPE_ID_SIZE).map(EnvelopeId)


def sealed_envelopes() -> st.SearchStrategy[SealedEnvelope]:
    """An envelope on its way to a mailbox."""
    return st.builds(SealedEnvelope, client_ids(), envelope_ids(), u32(), contents())


def deliveries() -> st.SearchStrategy[Delivery]:
    """An envelope in its mailbox."""
    return st.builds(Delivery, u64(), envelope_ids(), u32(), contents())


def one_time_keys() -> st.SearchStrategy[OneTimeKey]:
    """A one-time key that hardly anybody has signed."""
    return st.builds(OneTimeKey, u64(), keys_of_32(), signatures())


def bundles() -> st.SearchStrategy[Bundle]:
    """A bundle that hardly anybody has signed; its HPKE key repeats itself, to be made quickly."""
    word = st.binary(min_size=_WORD, max_size=_WORD)
    hpke_keys = word.map(lambda four: four * (HPKE_KEY_SIZE // _WORD))
    return st.builds(
        Bundle, identities(), u64(), u64(), u32(), hpke_keys, u64(), keys_of_32(), signatures()
    )


def terms() -> st.SearchStrategy[Terms]:
    """What a relay may tell of itself."""
    return st.builds(
        Terms,
        sealed_size=u32(),
        mailbox_messages=u32(),
        mailbox_bytes=u64(),
        window_messages=u16(),
        window_bytes=u32(),
        one_time_keys=u16(),
        mail_life=u32(),
        idle=u32(),
        registration=st.sampled_from(Registration),
    )


def request_bodies() -> st.SearchStrategy[v3.RequestBody]:
    """What follows the correlation of any request."""
    names = st.binary(min_size=3, max_size=32)
    tokens = st.none() | st.binary(min_size=TOKEN_SIZE, max_size=TOKEN_SIZE)
    few_keys = st.lists(one_time_keys(), max_size=2).map(tuple)
    sequences = st.lists(u64(), min_size=1, max_size=4).map(tuple)
    return st.one_of(
        st.just(v3.Hello()),
        st.builds(v3.Authenticate, identity_keys(), u64(), signatures()),
        st.builds(v3.Register, st.binary(max_size=32), tokens),
        st.builds(v3.Resolve, names),
        st.builds(v3.Publish, bundles(), few_keys),
        st.builds(v3.Claim, client_ids()),
        st.builds(v3.Send, sealed_envelopes()),
        st.builds(v3.Subscribe, u16(), u32()),
        st.builds(v3.Acknowledge, sequences),
        st.just(v3.DeleteAccount()),
        st.just(v3.Ping()),
    )


def requests() -> st.SearchStrategy[v3.Request]:
    """Any request."""
    return st.builds(v3.Request, correlations(), request_bodies())


def answer_bodies() -> st.SearchStrategy[v3.ResponseBody]:
    """What follows the correlation of any answer, but of an error."""
    nonces = keys_of_32()
    return st.one_of(
        st.builds(v3.Welcome, nonces, u64(), terms()),
        st.builds(v3.Authenticated, st.booleans(), u16()),
        st.just(v3.Registered()),
        st.builds(v3.Resolved, identity_keys()),
        st.builds(v3.Published, u16()),
        st.builds(v3.Claimed, identity_keys(), bundles(), st.none() | one_time_keys()),
        st.builds(v3.Stored, envelope_ids()),
        st.just(v3.Subscribed()),
        st.just(v3.Acknowledged()),
        st.just(v3.AccountDeleted()),
        st.just(v3.Pong()),
    )


def push_bodies() -> st.SearchStrategy[v3.ResponseBody]:
    """What follows the zeros of any push."""
    return st.one_of(
        st.builds(v3.Deliver, deliveries()),
        st.just(v3.Displaced()),
        st.builds(v3.PrekeysLow, u16()),
        st.builds(v3.GoingAway, u32()),
    )


def errors() -> st.SearchStrategy[v3.Error]:
    """A refusal, with a reason that is known or not."""
    unknown = u16().filter(lambda number: number not in {*Reason})
    return st.builds(v3.Error, st.sampled_from(Reason) | unknown, u32())


def responses() -> st.SearchStrategy[v3.Response]:
    """Any answer or push."""
    return st.one_of(
        st.builds(v3.Response, correlations(), answer_bodies()),
        st.builds(v3.Response, st.just(v3.PUSH), push_bodies()),
        st.builds(v3.Response, correlations() | st.just(v3.PUSH), errors()),
    )


@st.composite
def good_requests(draw: st.DrawFn) -> Sample[v3.Request]:
    """A request that is read, of any version byte, and perhaps of a code that nobody knows."""
    if draw(st.booleans()):
        request = draw(requests())
        frame = request.encode()
        return Sample(frame[:16] + bytes((draw(_bytes()),)) + frame[17:], (request,))
    number, rest = draw(correlations()), draw(contents())
    header = _request_header(draw(_unknown_codes(v3.REQUESTS)), len(rest) + 4)
    unknown = v3.Request(number, v3.UnknownRequest())
    return Sample(header + number.to_bytes(4, "little") + rest, (unknown,))


@st.composite
def fatal_requests(draw: st.DrawFn) -> Sample[v3.Request]:
    """A request that nothing can follow: by its header, or by its payload."""
    match draw(st.integers(0, 3)):
        case 0:
            code = draw(st.sampled_from(v3.RequestCode) | _unknown_codes(v3.REQUESTS))
            body = v3.REQUESTS.get(code)
            bounds = (0, _UNKNOWN_LIMIT - 4) if body is None else (body.min_size, body.max_size)
            frame = _request_header(code, draw(_wrong_sizes(*bounds))) + draw(contents())
        case 1:
            frame = draw(requests()).encode()
            frame = draw(client_ids().filter(lambda found: found != NOBODY)).raw + frame[16:]
        case 2:
            frame = draw(good_requests()).frame
            frame = frame[: v3.REQUEST_HEADER_SIZE] + bytes(4) + frame[v3.REQUEST_HEADER_SIZE + 4 :]
        case _:
            code, payload = draw(contradictory_requests())
            number = draw(correlations()).to_bytes(4, "little")
            frame = _request_header(code, 4 + len(payload)) + number + payload
    return Sample(frame, (Verdict.FATAL,))


@st.composite
def contradictory_requests(draw: st.DrawFn) -> tuple[int, bytes]:
    """The code of a request, and a payload of a size that it can have and of nonsense."""
    match draw(st.integers(0, 3)):
        case 0:  # the name and the token do not fill the payload, or are longer than they may be
            token_size = draw(st.integers(0, 255).filter(lambda size: size not in (0, TOKEN_SIZE)))
            name = draw(st.binary(max_size=32))
            token = draw(st.binary(min_size=16, max_size=16))
            payload = bytes((len(name),)) + name + bytes((token_size,)) + token
            return v3.RequestCode.REGISTER, draw(
                st.sampled_from([payload, b"\xff" + payload[1:], payload[:-17] + b"\x10"])
            )
        case 1:
            count = draw(u16().filter(bool))
            return v3.RequestCode.PUBLISH, draw(bundles()).encode() + struct.pack("<H", count)
        case 2:
            body = bytearray(v3.Publish(draw(bundles()), ()).encode())
            body[1308 + draw(st.integers(0, 3))] = draw(_bytes().filter(bool))
            return v3.RequestCode.PUBLISH, bytes(body)
        case _:
            payload = draw(st.binary(min_size=9, max_size=39).filter(lambda raw: len(raw) % 8))
            return v3.RequestCode.ACKNOWLEDGE, payload


@st.composite
def good_responses(draw: st.DrawFn) -> Sample[v3.Response]:
    """An answer or a push, of any version byte."""
    response = draw(responses())
    return Sample(bytes((draw(_bytes()),)) + response.encode()[1:], (response,))


@st.composite
def fatal_responses(draw: st.DrawFn) -> Sample[v3.Response]:
    """An answer that nothing can follow: by its header, or by its payload."""
    match draw(st.integers(0, 3)):
        case 0:
            code = draw(st.sampled_from(v3.ResponseCode))
            body = v3.RESPONSES[code]
            size = draw(_wrong_sizes(body.min_size, body.max_size))
            frame = _response_header(code, size) + draw(contents())
        case 1:
            frame = _response_header(draw(_unknown_codes(v3.RESPONSES)), draw(u32()))
        case 2:
            push = st.builds(_framed, correlations(), push_bodies())
            answer = st.builds(_framed, st.just(v3.PUSH), answer_bodies())
            frame = draw(push | answer)
        case _:
            code, payload = draw(_contradictory_answers())
            number = draw(correlations()).to_bytes(4, "little")
            frame = _response_header(code, 4 + len(payload)) + number + payload
    return Sample(frame, (Verdict.FATAL,))


@st.composite
def _contradictory_answers(draw: st.DrawFn) -> tuple[int, bytes]:
    wrong = bytes((draw(st.integers(3, 255)),))
    match draw(st.integers(0, 3)):
        case 0:
            welcome = draw(st.builds(v3.Welcome, keys_of_32(), u64(), terms())).encode()
            return v3.ResponseCode.WELCOME, welcome[:-2] + wrong + welcome[-1:]
        case 1:
            return v3.ResponseCode.AUTHENTICATED, wrong + bytes(2)
        case 2:
            claimed = draw(st.builds(v3.Claimed, identity_keys(), bundles(), st.none())).encode()
            return v3.ResponseCode.CLAIMED, claimed[:-1] + wrong
        case _:
            one = draw(st.builds(v3.Claimed, identity_keys(), bundles(), one_time_keys())).encode()
            return v3.ResponseCode.CLAIMED, one[:1440] + b"\0" + one[1441:]


def request_streams() -> st.SearchStrategy[list[Sample[v3.Request]]]:
    """What a relay may get on a connection: good, and perhaps a fatal end."""
    return streams(good_requests(), fatal_requests())


def response_streams() -> st.SearchStrategy[list[Sample[v3.Response]]]:
    """What a client may get on a connection: good, and perhaps a fatal end."""
    return streams(good_responses(), fatal_responses())


def request_noise() -> st.SearchStrategy[bytes]:
    """Any bytes at all, many of which are nearly requests."""
    codes = st.sampled_from(v3.RequestCode) | u16()
    return noise(st.builds(_request_header, codes, _sizes(v3.REQUESTS)), request_streams())


def response_noise() -> st.SearchStrategy[bytes]:
    """Any bytes at all, many of which are nearly answers."""
    codes = st.sampled_from(v3.ResponseCode) | u16()
    return noise(st.builds(_response_header, codes, _sizes(v3.RESPONSES)), response_streams())


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """The same bytes, but for a few that are others, are not there, or came in between."""
    damaged = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(damaged)))
        taken = draw(st.integers(0, 4))
        damaged[at : at + taken] = draw(st.binary(max_size=4))
    return bytes(damaged)


def _bytes() -> st.SearchStrategy[int]:
    return st.integers(0, 255)


def _unknown_codes(known: dict[int, type]) -> st.SearchStrategy[int]:
    return u16().filter(lambda code: code not in known)


def _sizes(
    table: dict[int, type[v3.RequestBody]] | dict[int, type[v3.ResponseBody]],
) -> st.SearchStrategy[int]:
    sizes = {4 + (body.max_size or body.min_size) for body in table.values()}
    return st.sampled_from(sorted(sizes)) | st.integers(0, 2 * CONTENT_LIMIT) | u32()


def _wrong_sizes(min_size: int, max_size: int | None) -> st.SearchStrategy[int]:
    """Sizes of a payload, its correlation included, that are beside the bounds of its body."""
    limit = 4 + (min_size + CONTENT_LIMIT if max_size is None else max_size)
    below = st.integers(0, 4 + min_size - 1)
    return below | st.integers(limit + 1, limit + 8) | st.integers(limit + 1, 2**32 - 1)


def _request_header(code: int, size: int) -> bytes:
    return struct.pack("<16sBHI", NOBODY.raw, v3.VERSION, code, size)


def _response_header(code: int, size: int) -> bytes:
    return struct.pack("<BHI", v3.VERSION, code, size)


def _framed(correlation: int, body: v3.ResponseBody) -> bytes:
    """A frame whose correlation need not be one that its code can have."""
    payload = body.encode()
    header = _response_header(body.code, 4 + len(payload))
    return b"".join((header, correlation.to_bytes(4, "little"), payload))
