"""Accounts and sessions of Olm, as vodozemac has it: 3DH and the double ratchet."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Final, Protocol, Self, cast

import vodozemac
from attrs import define, field, frozen

from messageu.model import v3

from .._errors import CryptoError
from ._fields import between
from ._refusal import refused

PRE_KEY: Final = 0
NORMAL: Final = 1
"""The types of a ciphertext."""

_DUMP_KEY: Final = bytes(32)
"""A constant: the database around the dumps is encrypted as a whole."""

_DUMP_VERSION: Final = "1"


class _FallbackKeys(Protocol):
    """What vodozemac's Account has, and its stubs do not tell of."""

    @property
    def fallback_key(self) -> Mapping[str, vodozemac.Curve25519PublicKey]: ...

    def generate_fallback_key(self) -> None: ...


@frozen
class Ciphertext:
    """What a session made of a message.

    :ivar type: 0 for a pre-key message, which can begin a session, 1 for all others.
    :raises CryptoError: for any other type.
    """

    type: int = field(validator=between(PRE_KEY, NORMAL, "the type of a ciphertext"))
    raw: bytes = field(repr=False)

    @property
    def session_id(self) -> str | None:
        """Which session a pre-key message begins; of others it is not told.

        :raises CryptoError: when it is no pre-key message.
        """
        return _pre_key_message(self).session_id() if self.type == PRE_KEY else None


@define(eq=False, repr=False)
class Session:
    """One ratchet with one contact. After ``encrypt`` and ``decrypt`` it has to be dumped anew."""

    _olm: vodozemac.Session

    @classmethod
    def restore(cls, dump: str) -> Self:
        """The session of a dump.

        :raises CryptoError: when it is none.
        """
        with refused("the dump of a session cannot be read"):
            return cls(vodozemac.Session.from_pickle(dump, _DUMP_KEY))

    def dump(self) -> str:
        """All of it, secrets included: a constant is the key. Some 1,400 characters."""
        return self._olm.pickle(_DUMP_KEY)

    @property
    def id(self) -> str:
        """The same on both sides: 43 characters."""
        return self._olm.session_id

    def encrypt(self, plaintext: bytes) -> Ciphertext:
        """The next message of this session. A state encrypts once: what is dumped is newer."""
        with refused("the session cannot encrypt"):
            return Ciphertext(*self._olm.encrypt(plaintext).to_parts())

    def decrypt(self, ciphertext: Ciphertext) -> bytes:
        """What the other side encrypted, once.

        The last 40 messages that were skipped still open, and a gap has at most 2,000.

        :raises CryptoError: when it does not open; the session is then as it was.
        """
        with refused("a message does not open in its session"):
            return self._olm.decrypt(_message(ciphertext))


@define(eq=False, repr=False)
class Account:
    """The long-lived keys of a client, and its prekeys. After a change it has to be dumped anew."""

    _olm: vodozemac.Account
    _era: int
    _fallback_key: tuple[int, bytes]

    @classmethod
    def create(cls) -> Self:
        """New keys, and a first fallback key, in era 0."""
        olm = vodozemac.Account()
        return cls(olm, 0, _new_fallback_key(olm, 0))

    @classmethod
    def restore(cls, dump: str) -> Self:
        """The account of a dump.

        :raises CryptoError: when it is none.
        """
        with refused("the dump of an account cannot be read"):
            version, era, key_id, key, pickle = dump.split(" ")
            if version != _DUMP_VERSION:
                raise CryptoError("the dump of an account is of another version")
            olm = vodozemac.Account.from_pickle(pickle, _DUMP_KEY)
            return cls(olm, int(era), (int(key_id), bytes.fromhex(key)))

    def dump(self) -> str:
        """All of it, secrets included: a constant is the key. Some 100 characters a prekey."""
        key_id, key = self._fallback_key
        # vodozemac forgets to tell which fallback key is published.
        fields = _DUMP_VERSION, self._era, key_id, key.hex(), self._olm.pickle(_DUMP_KEY)
        return " ".join(map(str, fields))

    @property
    def keys(self) -> v3.IdentityKeys:
        """The public keys that are this account."""
        ed25519 = _bytes(self._olm.ed25519_key.to_base64())
        return v3.IdentityKeys(ed25519, self._olm.curve25519_key.to_bytes())

    def sign(self, text: bytes) -> bytes:
        """The account's Ed25519 signature, 64 bytes."""
        return _bytes(self._olm.sign(text).to_base64())

    @property
    def era(self) -> int:
        """The upper half of the ids of new prekeys."""
        return self._era

    def begin_era(self, era: int) -> None:
        """Give ids of a later era, a u32, to all prekeys that are made or unpublished from now on.

        vodozemac counts prekeys in its own state: one that is restored from before would give ids
        away a second time, and a relay takes none twice.

        :raises CryptoError: when it is not later.
        """
        if not self._era < era < v3.U32_LIMIT:
            raise CryptoError("an era does not come after the one before")
        self._era = era

    def make_one_time_keys(self, count: int) -> None:
        """So many more, up to 50 at once; they are told of until ``mark_published``.

        :raises CryptoError: for more.
        """
        if not 0 <= count <= v3.ONE_TIME_KEYS_LIMIT:
            raise CryptoError("so many one-time keys are not made at once")
        self._olm.generate_one_time_keys(count)

    def unpublished_one_time_keys(self) -> Sequence[v3.OneTimeKey]:
        """Those that are new since ``mark_published``, signed, by their ids."""
        keys = (
            (_key_id(name, self._era), key.to_bytes())
            for name, key in self._olm.one_time_keys.items()
        )
        return [self._signed(*pair) for pair in sorted(keys)]

    def _signed(self, key_id: int, key: bytes) -> v3.OneTimeKey:
        text = v3.one_time_key_text(self.keys.identity, key_id, key)
        return v3.OneTimeKey(key_id, key, self.sign(text))

    def rotate_fallback_key(self) -> None:
        """Make a new one. The one before it still opens, the one before that no more."""
        self._fallback_key = _new_fallback_key(self._olm, self._era)

    def fallback_key(self) -> tuple[int, bytes]:
        """The id and the 32 public bytes of the newest."""
        return self._fallback_key

    def mark_published(self) -> None:
        """The relay has all one-time keys that are there now."""
        self._olm.mark_keys_as_published()

    def make_bundle(
        self, sequence: int, not_after: int, hpke_key_id: int, hpke_public: bytes
    ) -> v3.Bundle:
        """A signed bundle with the newest fallback key.

        :raises InvalidValue: for numbers or a key that do not fit.
        """
        key_id, key = self._fallback_key
        fields = self.keys.identity, sequence, not_after, hpke_key_id, hpke_public, key_id, key
        unsigned = v3.Bundle(*fields, bytes(v3.SIGNATURE_SIZE))
        return v3.Bundle(*fields, self.sign(unsigned.signed_text))

    def begin(self, their_keys: v3.IdentityKeys, their_key: bytes) -> Session:
        """A session with the owner of a one-time key or fallback key that was claimed.

        Its messages are pre-key messages until he has answered.

        :raises CryptoError: for a key that gives no secret.
        """
        with refused("no session can begin with these keys"):
            identity_key = vodozemac.Curve25519PublicKey.from_bytes(their_keys.curve25519)
            prekey = vodozemac.Curve25519PublicKey.from_bytes(their_key)
            return Session(self._olm.create_outbound_session(identity_key, prekey))

    def accept(self, their_keys: v3.IdentityKeys, ciphertext: Ciphertext) -> tuple[Session, bytes]:
        """The session that a pre-key message begins, and what it says.

        A one-time key is gone after it. A fallback key is not: the same message opens again, so
        that whoever calls this remembers the ids of sessions.

        :raises CryptoError: when it does not open for this account, or is from somebody else.
        """
        message = _pre_key_message(ciphertext)
        with refused("a first message does not open"):
            their_key = vodozemac.Curve25519PublicKey.from_bytes(their_keys.curve25519)
            session, plaintext = self._olm.create_inbound_session(their_key, message)
        return Session(session), plaintext


def _new_fallback_key(olm: vodozemac.Account, era: int) -> tuple[int, bytes]:
    account = cast(_FallbackKeys, olm)
    account.generate_fallback_key()
    ((name, key),) = account.fallback_key.items()
    return _key_id(name, era), key.to_bytes()


def _message(ciphertext: Ciphertext) -> vodozemac.AnyOlmMessage:
    return vodozemac.AnyOlmMessage.from_parts(ciphertext.type, ciphertext.raw)


def _pre_key_message(ciphertext: Ciphertext) -> vodozemac.PreKeyMessage:
    with refused("a message is no first message"):
        message = _message(ciphertext).to_pre_key()
    if message is None:
        raise CryptoError("a message is no first message")
    return message


def _key_id(name: str, era: int) -> int:
    """Era and the number that vodozemac names a key by: a u64 in base64, which counts from 0."""
    return era << v3.ERA_SHIFT | int.from_bytes(_bytes(name), "big")


def _bytes(text: str) -> bytes:
    """Of base64 without padding."""
    return b64decode(text + "=" * (-len(text) % 4))
