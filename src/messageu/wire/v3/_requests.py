"""What a client of v3 can ask (docs/protocol/v3.md, "Requests and answers"): a class and a row each."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Final, Protocol, Self

from attrs import field, frozen

from messageu.model import CLIENT_ID_SIZE, NOBODY, ClientId, InvalidValue
from messageu.model.v3 import (
    BUNDLE_SIZE,
    ONE_TIME_KEY_SIZE,
    ONE_TIME_KEYS_LIMIT,
    SIGNATURE_SIZE,
    TOKEN_SIZE,
    Bundle,
    EnvelopeId,
    IdentityKeys,
    OneTimeKey,
    SealedEnvelope,
)

from .._errors import LocalProtocolError
from . import _fields as fields
from ._bodies import Body, Empty


class RequestCode(IntEnum):
    """The code in a request's header."""

    HELLO = 700
    AUTHENTICATE = 701
    REGISTER = 702
    RESOLVE = 703
    PUBLISH = 704
    CLAIM = 705
    SEND = 706
    SUBSCRIBE = 707
    ACKNOWLEDGE = 708
    DELETE_ACCOUNT = 709
    PING = 710


NAME_SIZES: Final = range(3, 33)
ACKNOWLEDGEMENTS_LIMIT: Final = 1_024
"""Sequences that one request acknowledges, at the most."""


class RequestBody(Body, Protocol):
    """The body of a request."""

    code: ClassVar[RequestCode]


@frozen
class Hello(Empty):
    """700: who are you, and what do I sign?"""

    code: ClassVar = RequestCode.HELLO


@frozen
class Authenticate:
    """701: I am the owner of these keys, on this connection. 136 bytes."""

    code: ClassVar = RequestCode.AUTHENTICATE
    min_size: ClassVar[int] = fields.AUTHENTICATE.size
    max_size: ClassVar[int | None] = fields.AUTHENTICATE.size

    keys: IdentityKeys
    generation: int
    signature: bytes = field(repr=False)

    def encode(self) -> bytes:
        keys = self.keys
        signature = fields.sized(SIGNATURE_SIZE, self.signature)
        return fields.pack(
            fields.AUTHENTICATE, keys.ed25519, keys.curve25519, self.generation, signature
        )

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        ed25519, curve25519, generation, signature = fields.AUTHENTICATE.unpack(raw)
        return cls(IdentityKeys(ed25519, curve25519), generation, signature)


@frozen
class Register:
    """702: give me this name. The name as it came: whether it can be one, the relay answers."""

    code: ClassVar = RequestCode.REGISTER
    min_size: ClassVar[int] = 2
    max_size: ClassVar[int | None] = 2 + NAME_SIZES[-1] + TOKEN_SIZE

    name: bytes
    token: bytes | None = field(default=None, repr=False)

    def encode(self) -> bytes:
        if len(self.name) > NAME_SIZES[-1]:
            raise LocalProtocolError("a name that is too long")
        token = b"" if self.token is None else fields.sized(TOKEN_SIZE, self.token)
        return b"".join((bytes((len(self.name),)), self.name, bytes((len(token),)), token))

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        end = 1 + raw[0]
        if end >= len(raw) or raw[end] not in (0, TOKEN_SIZE) or raw[0] > NAME_SIZES[-1]:
            raise InvalidValue("a registration contradicts itself")
        token = fields.exactly(raw[end], raw[end + 1 :])
        return cls(raw[1:end], token or None)


@frozen
class Resolve:
    """703: whose name is this?"""

    code: ClassVar = RequestCode.RESOLVE
    min_size: ClassVar[int] = NAME_SIZES[0]
    max_size: ClassVar[int | None] = NAME_SIZES[-1]

    name: bytes

    def encode(self) -> bytes:
        return self.name

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        return cls(raw)


@frozen
class Publish:
    """704: these are my prekeys."""

    code: ClassVar = RequestCode.PUBLISH
    min_size: ClassVar[int] = BUNDLE_SIZE + fields.U16.size
    max_size: ClassVar[int | None] = min_size + ONE_TIME_KEYS_LIMIT * ONE_TIME_KEY_SIZE

    bundle: Bundle
    one_time_keys: tuple[OneTimeKey, ...]

    def encode(self) -> bytes:
        keys = self.one_time_keys
        count = fields.pack(fields.U16, len(keys))
        return b"".join((self.bundle.encode(), count, *(key.encode() for key in keys)))

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        (count,) = fields.U16.unpack_from(raw, BUNDLE_SIZE)
        keys = fields.exactly(count * ONE_TIME_KEY_SIZE, raw[cls.min_size :])
        return cls(Bundle.decode(raw[:BUNDLE_SIZE]), one_time_keys(keys))


def one_time_keys(raw: bytes) -> tuple[OneTimeKey, ...]:
    """Read a row of one-time keys."""
    starts = range(0, len(raw), ONE_TIME_KEY_SIZE)
    return tuple(OneTimeKey.decode(raw[start : start + ONE_TIME_KEY_SIZE]) for start in starts)


@frozen
class Claim:
    """705: give me what I need to write to this account."""

    code: ClassVar = RequestCode.CLAIM
    min_size: ClassVar[int] = CLIENT_ID_SIZE
    max_size: ClassVar[int | None] = CLIENT_ID_SIZE

    account_id: ClientId

    def encode(self) -> bytes:
        return self.account_id.raw

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        return cls(ClientId(raw))


@frozen
class Send:
    """706: put this into a mailbox. 36 bytes and what is sealed."""

    code: ClassVar = RequestCode.SEND
    min_size: ClassVar[int] = fields.SEND_HEAD.size
    max_size: ClassVar[int | None] = None

    envelope: SealedEnvelope

    def encode(self) -> bytes:
        envelope = self.envelope
        head = fields.pack(
            fields.SEND_HEAD,
            envelope.recipient.raw,
            envelope.envelope_id.raw,
            envelope.hpke_key_id,
        )
        return head + envelope.sealed

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        recipient, envelope_id, key_id = fields.SEND_HEAD.unpack_from(raw)
        sealed = raw[fields.SEND_HEAD.size :]
        return cls(SealedEnvelope(ClientId(recipient), EnvelopeId(envelope_id), key_id, sealed))


@frozen
class Subscribe:
    """707: push me my mail; so many messages, and so many bytes, before I acknowledge."""

    code: ClassVar = RequestCode.SUBSCRIBE
    min_size: ClassVar[int] = fields.SUBSCRIBE.size
    max_size: ClassVar[int | None] = fields.SUBSCRIBE.size

    messages: int
    size: int

    def encode(self) -> bytes:
        return fields.pack(fields.SUBSCRIBE, self.messages, self.size)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        return cls(*fields.SUBSCRIBE.unpack(raw))


@frozen
class Acknowledge:
    """708: I have these for good."""

    code: ClassVar = RequestCode.ACKNOWLEDGE
    min_size: ClassVar[int] = fields.SEQUENCE.size
    max_size: ClassVar[int | None] = ACKNOWLEDGEMENTS_LIMIT * fields.SEQUENCE.size

    sequences: tuple[int, ...]

    def encode(self) -> bytes:
        return b"".join(fields.pack(fields.SEQUENCE, sequence) for sequence in self.sequences)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        if len(raw) % fields.SEQUENCE.size:
            raise InvalidValue("a sequence is cut off")
        return cls(tuple(sequence for (sequence,) in fields.SEQUENCE.iter_unpack(raw)))


@frozen
class DeleteAccount(Empty):
    """709: forget me, my prekeys and my mail. My name stays taken."""

    code: ClassVar = RequestCode.DELETE_ACCOUNT


@frozen
class Ping(Empty):
    """710: are you there?"""

    code: ClassVar = RequestCode.PING


REQUESTS: Final[dict[int, type[RequestBody]]] = {
    body.code: body
    for body in (
        Hello,
        Authenticate,
        Register,
        Resolve,
        Publish,
        Claim,
        Send,
        Subscribe,
        Acknowledge,
        DeleteAccount,
        Ping,
    )
}
"""Every request there is, by its code."""


@frozen
class UnknownRequest:
    """A request of a code that this relay does not know. It is not encoded."""


@frozen
class Request:
    """A request, and the number that its answer will bear.

    :ivar correlation: 1 to 2**32 - 1; no other request has it that is not answered yet.
    """

    correlation: int
    body: RequestBody | UnknownRequest

    def encode(self) -> bytes:
        """The frame, header and payload.

        :raises LocalProtocolError: when the protocol cannot carry it.
        """
        body = self.body
        if isinstance(body, UnknownRequest) or self.correlation == fields.PUSH:
            raise LocalProtocolError("there is no such request")
        payload = fields.payload(body.min_size, body.max_size, body.encode())
        size = fields.CORRELATION_SIZE + len(payload)
        header = fields.pack(fields.REQUEST_HEADER, NOBODY.raw, fields.VERSION, body.code, size)
        return b"".join((header, fields.pack(fields.CORRELATION, self.correlation), payload))
