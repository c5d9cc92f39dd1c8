"""The values of v3 (docs/protocol/v3.md): who somebody is, and what travels for whom."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, IntEnum, auto
from hashlib import sha256
from struct import Struct
from typing import Final, Self

from attrs import field, frozen

from ._v2 import CLIENT_ID_SIZE, ClientId, InvalidValue

IDENTITY_SIZE: Final = 32
ED25519_SIZE: Final = 32
CURVE25519_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64
HPKE_KEY_SIZE: Final = 1216
ENVELOPE_ID_SIZE: Final = 16
TOKEN_SIZE: Final = 16
NONCE_SIZE: Final = 32
CHANNEL_BINDING_SIZE: Final = 32
HPKE_OVERHEAD: Final = 1136
"""Bytes by which a seal is longer than its content: the encapsulated key and the tag."""

U16_LIMIT: Final = 2**16
U32_LIMIT: Final = 2**32
U64_LIMIT: Final = 2**64

GENERATION_BITS: Final = 16
"""Bits of a generation that are random; those above them count."""

ONE_TIME_KEYS_LIMIT: Final = 50
"""One-time keys that an account may have at the relay."""

BUNDLE_LIFE: Final = 14 * 86400
"""Seconds after which a bundle is of no use any more, at the most."""

PIECE_SIZE: Final = 256 * 2**10
"""Bytes of a file in one envelope."""

SEALED_PIECE_SIZE: Final = PIECE_SIZE + 16

PIECE_KEY_ID: Final = 0
"""What stands for the id of an HPKE key where a piece of a file is."""


def label(purpose: str) -> bytes:
    """What every signed, hashed or sealed text of v3 begins with, so that none stands for another."""
    return b"messageu/3 " + purpose.encode("ascii") + b"\0"


_IDENTITY_LABEL: Final = label("identity")


def _size(size: int, what: str) -> Callable[[object, object, bytes], None]:
    def check(_: object, __: object, raw: bytes) -> None:
        if len(raw) != size:
            raise InvalidValue(f"{what} has {size} bytes, not {len(raw)}")

    return check


def _below(limit: int, what: str) -> Callable[[object, object, int], None]:
    def check(_: object, __: object, number: int) -> None:
        if not 0 <= number < limit:
            raise InvalidValue(f"{what} is out of range")

    return check


@frozen(repr=False, order=True)
class Identity:
    """Who somebody is: the 32 bytes that his two keys hash to.

    :raises InvalidValue: for any other size.
    """

    raw: bytes = field(repr=False, validator=_size(IDENTITY_SIZE, "an identity"))

    @property
    def account_id(self) -> ClientId:
        """The first 16 bytes, which route and prove nothing."""
        return ClientId(self.raw[:CLIENT_ID_SIZE])

    def __repr__(self) -> str:
        return f"Identity({self.raw[:4].hex()}…)"


@frozen(repr=False)
class IdentityKeys:
    """The two public keys that are somebody.

    :raises InvalidValue: when one of them has not 32 bytes.
    """

    ed25519: bytes = field(repr=False, validator=_size(ED25519_SIZE, "an Ed25519 key"))
    curve25519: bytes = field(repr=False, validator=_size(CURVE25519_SIZE, "a Curve25519 key"))

    @property
    def identity(self) -> Identity:
        """Whose they are."""
        return Identity(sha256(_IDENTITY_LABEL + self.ed25519 + self.curve25519).digest())

    def __repr__(self) -> str:
        return f"IdentityKeys({self.identity!r})"


_HANDLE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{2,31}", re.ASCII)
_LOOK_ALIKE: Final = str.maketrans(
    {".": "", "_": "", "-": "", "0": "o", "1": "l", "i": "l", "5": "s"}
)

RESERVED_HANDLES: Final = frozenset(
    {
        "abuse", "admin", "administrator", "anonymous", "everybody", "everyone", "help", "hostmaster",
        "mailer-daemon", "messageu", "moderator", "nobody", "operator", "postmaster", "relay", "root",
        "security", "server", "service", "support", "system", "webmaster",
    }
)  # fmt: skip
"""Names that only the operator could mean."""


@frozen(order=True)
class Handle:
    """A name at a relay: 3 to 32 of a–z, 0–9 and, but for the first, ``.``, ``_`` and ``-``.

    :raises InvalidValue: for anything else, capitals included.
    """

    text: str = field()

    @text.validator
    def _check(self, _: object, text: str) -> None:
        if _HANDLE.fullmatch(text) is None:
            raise InvalidValue(
                "a name has 3 to 32 of a-z, 0-9, '.', '_', '-', and begins with a letter or digit"
            )

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The name that a person typed; capitals become small letters.

        :raises InvalidValue: when it can be nobody's.
        """
        return cls(text.strip().lower() if text.isascii() else text)

    @classmethod
    def from_raw(cls, raw: bytes) -> Self:
        """The name in a frame.

        :raises InvalidValue: when it can be nobody's.
        """
        return cls(raw.decode("latin-1"))

    @property
    def raw(self) -> bytes:
        """Its bytes in a frame."""
        return self.text.encode("ascii")

    @property
    def skeleton(self) -> str:
        """The same for all names that look alike."""
        plain = self.text.translate(_LOOK_ALIKE)
        return plain.replace("rn", "m").replace("vv", "w")

    @property
    def reserved(self) -> bool:
        """Whether it is, or looks like, a name that only the operator could mean."""
        return self.skeleton in _RESERVED_SKELETONS

    def __str__(self) -> str:
        return self.text


_RESERVED_SKELETONS: Final = frozenset(Handle(text).skeleton for text in RESERVED_HANDLES)


@frozen(order=True, repr=False)
class EnvelopeId:
    """The 16 random bytes by which its sender names an envelope.

    :raises InvalidValue: for any other size.
    """

    raw: bytes = field(repr=False, validator=_size(ENVELOPE_ID_SIZE, "an envelope id"))

    def __repr__(self) -> str:
        return f"EnvelopeId({self.raw[:4].hex()}…)"


@frozen
class SealedEnvelope:
    """What a relay keeps for a recipient: bytes that it cannot open, from nobody that it knows."""

    recipient: ClientId
    envelope_id: EnvelopeId
    hpke_key_id: int = field(validator=_below(U32_LIMIT, "an HPKE key id"))
    sealed: bytes = field(repr=False)


@frozen
class Delivery:
    """An envelope in its recipient's mailbox; ``sequence`` is its place there."""

    sequence: int
    envelope_id: EnvelopeId
    hpke_key_id: int
    sealed: bytes = field(repr=False)


ERA_SHIFT: Final = 32
"""Bits of a prekey's id below its era."""


def lowest_of_era(key_id: int) -> int:
    """The lowest id in the era of a prekey's."""
    return key_id >> ERA_SHIFT << ERA_SHIFT


_ONE_TIME_KEY: Final = Struct("<Q32s64s")
ONE_TIME_KEY_SIZE: Final = _ONE_TIME_KEY.size


@frozen
class OneTimeKey:
    """A public key for the beginning of one session, signed by its owner. 104 bytes."""

    key_id: int = field(validator=_below(U64_LIMIT, "a key id"))
    key: bytes = field(repr=False, validator=_size(CURVE25519_SIZE, "a one-time key"))
    signature: bytes = field(repr=False, validator=_size(SIGNATURE_SIZE, "a signature"))

    def encode(self) -> bytes:
        """Its bytes in a frame."""
        return _ONE_TIME_KEY.pack(self.key_id, self.key, self.signature)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read 104 bytes.

        :raises InvalidValue: for any other size.
        """
        if len(raw) != ONE_TIME_KEY_SIZE:
            raise InvalidValue("a one-time key has another size")
        return cls(*_ONE_TIME_KEY.unpack(raw))

    def signed_text(self, identity: Identity) -> bytes:
        """What ``signature`` signs."""
        return one_time_key_text(identity, self.key_id, self.key)


def one_time_key_text(identity: Identity, key_id: int, key: bytes) -> bytes:
    """What the owner of a one-time key signs."""
    return label("one-time key") + identity.raw + key_id.to_bytes(8, "little") + key


_BUNDLE: Final = Struct("<32sQQI1216sQ32sI64s")
BUNDLE_SIZE: Final = _BUNDLE.size


@frozen
class Bundle:
    """The prekeys that an account publishes, signed by their owner. 1,376 bytes.

    :ivar sequence: grows with each bundle of an account.
    :ivar not_after: in seconds since the epoch.
    """

    identity: Identity
    sequence: int = field(validator=_below(U64_LIMIT, "a sequence"))
    not_after: int = field(validator=_below(U64_LIMIT, "a time"))
    hpke_key_id: int = field(validator=_below(U32_LIMIT, "an HPKE key id"))
    hpke_key: bytes = field(repr=False, validator=_size(HPKE_KEY_SIZE, "an HPKE key"))
    fallback_key_id: int = field(validator=_below(U64_LIMIT, "a key id"))
    fallback_key: bytes = field(repr=False, validator=_size(CURVE25519_SIZE, "a fallback key"))
    signature: bytes = field(repr=False, validator=_size(SIGNATURE_SIZE, "a signature"))

    def encode(self) -> bytes:
        """Its bytes in a frame."""
        return _BUNDLE.pack(
            self.identity.raw,
            self.sequence,
            self.not_after,
            self.hpke_key_id,
            self.hpke_key,
            self.fallback_key_id,
            self.fallback_key,
            0,
            self.signature,
        )

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read 1,376 bytes.

        :raises InvalidValue: for any other size, or when what is reserved is not zero.
        """
        if len(raw) != BUNDLE_SIZE:
            raise InvalidValue("a bundle has another size")
        identity, sequence, *keys, reserved, signature = _BUNDLE.unpack(raw)
        if reserved:
            raise InvalidValue("what is reserved in a bundle is not zero")
        not_after, hpke_key_id, hpke_key, fallback_key_id, fallback_key = keys
        return cls(
            Identity(identity),
            sequence,
            not_after,
            hpke_key_id,
            hpke_key,
            fallback_key_id,
            fallback_key,
            signature,
        )

    @property
    def signed_text(self) -> bytes:
        """What ``signature`` signs."""
        return label("bundle") + self.encode()[:-SIGNATURE_SIZE]


def authentication_text(
    nonce: bytes, identity: Identity, generation: int, channel_binding: bytes
) -> bytes:
    """What a client signs to authenticate itself."""
    number = generation.to_bytes(8, "little")
    return label("authenticate") + nonce + identity.raw + number + channel_binding


class Registration(Enum):
    """Who may register; the value is its number on the wire."""

    OPEN = 0
    TOKEN = 1
    CLOSED = 2


@frozen
class Terms:
    """What a relay tells of itself before anybody is authenticated: its limits.

    Sizes are in bytes, times in seconds. ``idle`` is how long a connection may be silent.
    """

    sealed_size: int
    mailbox_messages: int
    mailbox_bytes: int
    window_messages: int
    window_bytes: int
    one_time_keys: int
    mail_life: int
    idle: int
    registration: Registration


class Reason(IntEnum):
    """Why a request was not carried out; the value is its number on the wire."""

    MALFORMED = 1
    UNKNOWN_REQUEST = auto()
    NOT_AUTHENTICATED = auto()
    NOT_REGISTERED = auto()
    INTERNAL = auto()
    BUSY = auto()
    RATE_LIMITED = auto()
    OUT_OF_TURN = auto()
    AUTH_FAILED = auto()
    STALE_STATE = auto()
    NAME_INVALID = auto()
    NAME_TAKEN = auto()
    REGISTRATION_CLOSED = auto()
    TOKEN_INVALID = auto()
    NOT_FOUND = auto()
    BAD_SIGNATURE = auto()
    STALE_BUNDLE = auto()
    TOO_MANY = auto()
    CONFLICT = auto()
    MAILBOX_FULL = auto()
    TOO_LARGE = auto()
    BAD_WINDOW = auto()
    NOT_SUBSCRIBED = auto()
    ALREADY_REGISTERED = auto()
