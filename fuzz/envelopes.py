"""Sealed messages and keys: they open as what was sealed, or raise the one error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred

from messageu.client import (
    FileReceived,
    KeyReceived,
    KeyRequest,
    Keyring,
    SentMessage,
    Text,
    Undecipherable,
    Why,
)
from messageu.client._inbox import Opener
from messageu.crypto.v2 import CryptoError, PrivateKey, SymmetricKey, _cbc, wrap
from messageu.model import PUBLIC_KEY_SIZE, ClientId, MessageId, PublicKey
from messageu.wire import v2
from tests.vectors import wild_peers

KEY: Final = SymmetricKey(bytes(range(16)))
SENDER: Final = ClientId(b"s" * 16)
OWNER: Final = ClientId(b"o" * 16)

PRIVATE_KEY: Final = 0xF0
PUBLIC_KEY: Final = 0xF1
"""First bytes of an input that stand for something else than a type of message."""


def envelopes(data: bytes) -> None:
    """A first byte that says what it is, and the bytes: a message, or half of a pair of keys."""
    kind, content = data[0] if data else 0, data[1:]
    if kind == PRIVATE_KEY:
        _private_key(content)
    elif kind == PUBLIC_KEY:
        _public_key(content)
    else:
        _message(kind, content)


def _private_key(der: bytes) -> None:
    try:
        key = PrivateKey.from_der(der)
    except CryptoError:
        return
    again = PrivateKey.from_der(key.to_der())
    assert (again, again.to_der()) == (key, key.to_der()), "a private key is written as another"
    assert key.unwrap(wrap(key.public_key, KEY)) == KEY, "a pair of keys that does not fit"


def _public_key(der: bytes) -> None:
    raw = der[:PUBLIC_KEY_SIZE].ljust(PUBLIC_KEY_SIZE, b"\0")
    with suppress(CryptoError):
        assert len(wrap(PublicKey(raw), KEY)) == 128, "a sealed key of another size"


def _message(kind: int, content: bytes) -> None:
    ring = Keyring(OWNER)
    ring.share(SENDER, KEY)
    message = v2.WaitingMessage(SENDER, MessageId(1), kind, content)
    with TemporaryDirectory() as folder:
        opened = _opened(Opener(private_key(), ring, _at_once, Path(folder)), message)
        _check_opened(kind, content, opened, ring)
        left = len(list(Path(folder).iterdir()))
        assert left == isinstance(opened, FileReceived), "a file that nobody knows of"


def _check_opened(kind: int, content: bytes, opened: SentMessage, ring: Keyring) -> None:
    plain = _opened_by_all(content)
    match kind:
        case v2.MessageType.KEY_REQUEST:
            assert isinstance(opened, KeyRequest)
        case v2.MessageType.SYMMETRIC_KEY if isinstance(opened, KeyReceived):
            assert ring.peer(SENDER).symmetric_key == private_key().unwrap(content)
        case v2.MessageType.SYMMETRIC_KEY:
            assert _why(opened) is Why.NOT_FOR_US
            assert ring.peer(SENDER).symmetric_key == KEY, "a key was lost"
        case v2.MessageType.TEXT | v2.MessageType.FILE if plain is None:
            assert _why(opened) is Why.WRONG_KEY
        case v2.MessageType.TEXT:
            assert isinstance(opened, Text)
            assert opened.raw == plain
        case v2.MessageType.FILE:
            assert isinstance(opened, FileReceived)
            assert opened.path.read_bytes() == plain
            assert opened.path.stat().st_mode & 0o777 == 0o600, "others can read a file"
        case _:
            assert _why(opened) is Why.UNKNOWN_TYPE


def _why(opened: SentMessage) -> Why | None:
    return opened.why if isinstance(opened, Undecipherable) else None


def _opened_by_all(content: bytes) -> bytes | None:
    """What every library makes of it; None: that it does not open."""
    try:
        plain = KEY.open(content)
    except CryptoError:
        return None
    assert KEY.seal(plain) == content, "a text is sealed as another one"
    for library in _cbc.INSTALLED:
        assert library.decrypt(KEY.raw, content).startswith(plain), "the libraries disagree"
    return plain


@cache
def private_key() -> PrivateKey:
    """Ours, which a foreign client made: some seeds are sealed for it."""
    return PrivateKey.from_der(wild_peers()[0].identities["A"].private_key)


def _at_once(function: Callable[..., Any], *arguments: object) -> Awaitable[Any]:
    """In place of a thread."""
    return maybeDeferred(function, *arguments)


def _opened(opener: Opener, message: v2.WaitingMessage) -> SentMessage:
    results: list[Any] = []
    Deferred.fromCoroutine(opener.open(message)).addBoth(results.append)
    (result,) = results
    if not isinstance(result, KeyRequest | KeyReceived | Text | FileReceived | Undecipherable):
        result.raiseException()
    opened: SentMessage = result
    return opened
