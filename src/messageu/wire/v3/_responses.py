"""What a relay of v3 answers and pushes (docs/protocol/v3.md): a class and a row each."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Final, Protocol, Self

from attrs import field, frozen

from messageu.model import InvalidValue
from messageu.model.v3 import (
    BUNDLE_SIZE,
    CURVE25519_SIZE,
    ED25519_SIZE,
    ENVELOPE_ID_SIZE,
    NONCE_SIZE,
    ONE_TIME_KEY_SIZE,
    Bundle,
    Delivery,
    EnvelopeId,
    IdentityKeys,
    OneTimeKey,
    Reason,
    Registration,
    Terms,
)

from .._errors import LocalProtocolError
from . import _fields as fields
from ._bodies import Body, Empty, KeyCount
from ._requests import one_time_keys


class ResponseCode(IntEnum):
    """The code in the header of an answer or a push."""

    WELCOME = 2700
    AUTHENTICATED = 2701
    REGISTERED = 2702
    RESOLVED = 2703
    PUBLISHED = 2704
    CLAIMED = 2705
    STORED = 2706
    SUBSCRIBED = 2707
    ACKNOWLEDGED = 2708
    ACCOUNT_DELETED = 2709
    PONG = 2710
    DELIVER = 2720
    DISPLACED = 2721
    PREKEYS_LOW = 2722
    GOING_AWAY = 2723
    ERROR = 9001


class ResponseBody(Body, Protocol):
    """The body of an answer or a push."""

    code: ClassVar[ResponseCode]


@frozen
class Welcome:
    """2700: sign this, and know my terms. 74 bytes; ``time`` is in seconds since the epoch."""

    code: ClassVar = ResponseCode.WELCOME
    min_size: ClassVar[int] = fields.WELCOME.size
    max_size: ClassVar[int | None] = fields.WELCOME.size

    nonce: bytes = field(repr=False)
    time: int
    terms: Terms

    def encode(self) -> bytes:
        terms = self.terms
        return fields.pack(
            fields.WELCOME,
            fields.sized(NONCE_SIZE, self.nonce),
            self.time,
            terms.sealed_size,
            terms.mailbox_messages,
            terms.mailbox_bytes,
            terms.window_messages,
            terms.window_bytes,
            terms.one_time_keys,
            terms.mail_life,
            terms.idle,
            terms.registration.value,
            0,
        )

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        nonce, time, *numbers, registration, _reserved = fields.WELCOME.unpack(raw)
        return cls(nonce, time, Terms(*(*numbers, _registration(registration))))


def _registration(number: int) -> Registration:
    try:
        return Registration(number)
    except ValueError:
        raise InvalidValue("a mode of registration that is not known") from None


@frozen
class Authenticated:
    """2701: you are; this many one-time keys of yours are left. 3 bytes."""

    code: ClassVar = ResponseCode.AUTHENTICATED
    min_size: ClassVar[int] = fields.AUTHENTICATED.size
    max_size: ClassVar[int | None] = fields.AUTHENTICATED.size

    registered: bool
    one_time_keys: int

    def encode(self) -> bytes:
        return fields.pack(fields.AUTHENTICATED, self.registered, self.one_time_keys)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        registered, left = fields.AUTHENTICATED.unpack(raw)
        if registered > 1:
            raise InvalidValue("neither registered nor not")
        return cls(bool(registered), left)


@frozen
class Registered(Empty):
    """2702: the name is yours."""

    code: ClassVar = ResponseCode.REGISTERED


@frozen
class Resolved:
    """2703: it is theirs. 64 bytes."""

    code: ClassVar = ResponseCode.RESOLVED
    min_size: ClassVar[int] = ED25519_SIZE + CURVE25519_SIZE
    max_size: ClassVar[int | None] = min_size

    keys: IdentityKeys

    def encode(self) -> bytes:
        return self.keys.ed25519 + self.keys.curve25519

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        return cls(IdentityKeys(raw[:ED25519_SIZE], raw[ED25519_SIZE:]))


@frozen
class Published(KeyCount):
    """2704: I have so many one-time keys of yours. 2 bytes."""

    code: ClassVar = ResponseCode.PUBLISHED


@frozen
class Claimed:
    """2705: somebody's prekeys, and a one-time key if there was one left."""

    code: ClassVar = ResponseCode.CLAIMED
    min_size: ClassVar[int] = Resolved.min_size + BUNDLE_SIZE + 1
    max_size: ClassVar[int | None] = min_size + ONE_TIME_KEY_SIZE

    keys: IdentityKeys
    bundle: Bundle
    one_time_key: OneTimeKey | None

    def encode(self) -> bytes:
        keys = [] if self.one_time_key is None else [self.one_time_key.encode()]
        return b"".join(
            (
                self.keys.ed25519,
                self.keys.curve25519,
                self.bundle.encode(),
                bytes((len(keys),)),
                *keys,
            )
        )

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        start = Resolved.min_size
        keys = one_time_keys(
            fields.exactly(raw[cls.min_size - 1] * ONE_TIME_KEY_SIZE, raw[cls.min_size :])
        )
        return cls(
            Resolved.decode(raw[:start]).keys,
            Bundle.decode(raw[start : cls.min_size - 1]),
            keys[0] if keys else None,
        )


@frozen
class Stored:
    """2706: it is on my disk. 16 bytes."""

    code: ClassVar = ResponseCode.STORED
    min_size: ClassVar[int] = ENVELOPE_ID_SIZE
    max_size: ClassVar[int | None] = ENVELOPE_ID_SIZE

    envelope_id: EnvelopeId

    def encode(self) -> bytes:
        return self.envelope_id.raw

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        return cls(EnvelopeId(raw))


@frozen
class Subscribed(Empty):
    """2707: your mail comes to this connection."""

    code: ClassVar = ResponseCode.SUBSCRIBED


@frozen
class Acknowledged(Empty):
    """2708: I have deleted it."""

    code: ClassVar = ResponseCode.ACKNOWLEDGED


@frozen
class AccountDeleted(Empty):
    """2709: I know you no more."""

    code: ClassVar = ResponseCode.ACCOUNT_DELETED


@frozen
class Pong(Empty):
    """2710: I am here."""

    code: ClassVar = ResponseCode.PONG


@frozen
class Deliver:
    """2720: mail for you. 28 bytes and what is sealed."""

    code: ClassVar = ResponseCode.DELIVER
    min_size: ClassVar[int] = fields.DELIVER_HEAD.size
    max_size: ClassVar[int | None] = None

    delivery: Delivery

    def encode(self) -> bytes:
        delivery = self.delivery
        head = fields.pack(
            fields.DELIVER_HEAD,
            delivery.sequence,
            delivery.envelope_id.raw,
            delivery.hpke_key_id,
        )
        return head + delivery.sealed

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        sequence, envelope_id, key_id = fields.DELIVER_HEAD.unpack_from(raw)
        sealed = raw[fields.DELIVER_HEAD.size :]
        return cls(Delivery(sequence, EnvelopeId(envelope_id), key_id, sealed))


@frozen
class Displaced(Empty):
    """2721: your mail goes to another connection of yours from now on."""

    code: ClassVar = ResponseCode.DISPLACED


@frozen
class PrekeysLow(KeyCount):
    """2722: publish one-time keys, I have only so many. 2 bytes."""

    code: ClassVar = ResponseCode.PREKEYS_LOW


@frozen
class GoingAway:
    """2723: I close; come back after so many seconds. 4 bytes."""

    code: ClassVar = ResponseCode.GOING_AWAY
    min_size: ClassVar[int] = fields.U32.size
    max_size: ClassVar[int | None] = fields.U32.size

    retry_after: int

    def encode(self) -> bytes:
        return fields.pack(fields.U32, self.retry_after)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        return cls(*fields.U32.unpack(raw))


@frozen
class Error:
    """9001: no, and why; try again after so many seconds, if that is known. 6 bytes.

    :ivar reason: a number that this client does not know stands for itself.
    """

    code: ClassVar = ResponseCode.ERROR
    min_size: ClassVar[int] = fields.ERROR.size
    max_size: ClassVar[int | None] = fields.ERROR.size

    reason: Reason | int
    retry_after: int = 0

    def encode(self) -> bytes:
        return fields.pack(fields.ERROR, self.reason, self.retry_after)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        number, retry_after = fields.ERROR.unpack(raw)
        return cls(_REASONS.get(number, number), retry_after)


_REASONS: Final = {reason.value: reason for reason in Reason}

RESPONSES: Final[dict[int, type[ResponseBody]]] = {
    body.code: body
    for body in (
        Welcome,
        Authenticated,
        Registered,
        Resolved,
        Published,
        Claimed,
        Stored,
        Subscribed,
        Acknowledged,
        AccountDeleted,
        Pong,
        Deliver,
        Displaced,
        PrekeysLow,
        GoingAway,
        Error,
    )
}
"""Every answer and push there is, by its code."""

PUSHES: Final = frozenset({Deliver.code, Displaced.code, PrekeysLow.code, GoingAway.code})
"""Codes of what is not asked for, and bears no correlation."""


def fits(code: ResponseCode, correlation: int) -> bool:
    """Whether a code can have this correlation: a push has none, and an answer has one.

    An error has none when the relay could not read which request it is about.
    """
    return code is ResponseCode.ERROR or (code in PUSHES) == (correlation == fields.PUSH)


@frozen
class Response:
    """An answer, and the number of its request; or a push, and zero."""

    correlation: int
    body: ResponseBody

    def encode(self) -> bytes:
        """The frame, header and payload.

        :raises LocalProtocolError: when the protocol cannot carry it.
        """
        body = self.body
        if not fits(body.code, self.correlation):
            raise LocalProtocolError("a correlation that the code cannot have")
        payload = fields.payload(body.min_size, body.max_size, body.encode())
        size = fields.CORRELATION_SIZE + len(payload)
        header = fields.pack(fields.RESPONSE_HEADER, fields.VERSION, body.code, size)
        return b"".join((header, fields.pack(fields.CORRELATION, self.correlation), payload))


def push(body: ResponseBody) -> bytes:
    """The frame of a push.

    :raises LocalProtocolError: for an answer.
    """
    return Response(fields.PUSH, body).encode()
