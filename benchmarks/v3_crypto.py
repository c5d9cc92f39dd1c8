"""What v3's cryptography costs a client: ``python -m benchmarks.v3_crypto [SECONDS]``.

One core, no disk and no network. Each figure is the median of three rounds, of so many seconds each.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from time import perf_counter
from typing import Final

from attrs import field, frozen

from messageu.crypto.v3 import (
    DEFAULT_COST,
    Account,
    HpkeKey,
    Kind,
    Message,
    Session,
    derive_key,
    open_piece,
    safety_number,
    seal,
    seal_piece,
    unseal,
)
from messageu.model import v3

ROUNDS: Final = 3
SECONDS: Final = 0.5
BATCH: Final = 100
"""Messages that are made before the clock runs: the other side is not measured with them."""

_KEY_ID: Final = 1
_TEXT_SIZE: Final = 100
_KEY: Final = bytes(32)
_PIECE: Final = bytes(v3.PIECE_SIZE)


def main(seconds: float = SECONDS) -> None:
    """Measure, and print a line for each figure."""
    for title, work, unit in _works():
        rate = median(_rate(work, seconds) for _ in range(ROUNDS))
        print(f"{rate:>10,.1f} {unit:<9} {title}")


def _rate(work: Callable[[], tuple[float, int]], seconds: float) -> float:
    """How many a second: ``work`` says how long it took, and how many were done."""
    taken, done = 0.0, 0
    while taken < seconds:
        more, count = work()
        taken, done = taken + more, done + count
    return done / taken


@frozen
class _Pair:
    """Two people who talk, and the sessions that they have."""

    anna: Account = field(factory=Account.create)
    berta: Account = field(factory=Account.create)
    hpke_key: HpkeKey = field(factory=HpkeKey.create)
    sessions: list[Session] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        ours = self.anna.begin(self.berta.keys, self.berta.fallback_key()[1])
        theirs, _ = self.berta.accept(self.anna.keys, ours.encrypt(b"hello"))
        ours.decrypt(theirs.encrypt(b"hello yourself"))
        self.sessions.extend((ours, theirs))

    def send(self, sender: int = 0) -> tuple[bytes, v3.EnvelopeId]:
        """Encrypt, dump the session, and seal: what is done before a message is committed."""
        here, there = (self.anna.keys, self.berta.keys)[:: -1 if sender else 1]
        body = b"x" * _TEXT_SIZE
        message = Message(here, there, secrets.token_bytes(16), 1, 1, 0, Kind.TEXT, body)
        session = self.sessions[sender]
        ciphertext = session.encrypt(message.encode())
        session.dump()
        envelope_id = v3.EnvelopeId(secrets.token_bytes(16))
        public = self.hpke_key.public
        return seal(here, ciphertext, there.identity, envelope_id, _KEY_ID, public), envelope_id

    def receive(self, sealed: bytes, envelope_id: v3.EnvelopeId, reader: int = 1) -> Message:
        """Unseal, decrypt, and dump the session: what is done before a message is committed."""
        identity = (self.anna.keys, self.berta.keys)[reader].identity
        unsealed = unseal(sealed, self.hpke_key, identity, envelope_id, _KEY_ID)
        session = self.sessions[reader]
        message = Message.decode(session.decrypt(unsealed.ciphertext))
        session.dump()
        return message


def _works() -> Iterator[tuple[str, Callable[[], tuple[float, int]], str]]:
    pair = _Pair()
    size = len(pair.send()[0])
    pair = _Pair()
    yield f"sent: encrypted, dumped, sealed ({size} bytes)", lambda: _sent(pair), "messages"
    other = _Pair()
    yield "received: unsealed, decrypted, dumped", lambda: _received(other), "messages"
    third = _Pair()
    yield "sent and received by turns: a ratchet step each", lambda: _turns(third), "messages"
    sealed = seal_piece(_KEY, 0, False, _PIECE)
    yield "sealed", _timed(lambda: seal_piece(_KEY, 0, False, _PIECE)), "pieces"
    yield "opened", _timed(lambda: open_piece(_KEY, 0, False, sealed)), "pieces"
    yield "first messages accepted", _accepted, "sessions"
    anna, berta = pair.anna.keys.identity, pair.berta.keys.identity
    yield "computed", _timed(lambda: safety_number(anna, berta)), "numbers"
    salt = secrets.token_bytes(16)
    yield "derived, by Argon2id", _timed(lambda: derive_key("secret", salt, DEFAULT_COST)), "keys"


def _timed(function: Callable[[], object]) -> Callable[[], tuple[float, int]]:
    def work() -> tuple[float, int]:
        begun = perf_counter()
        function()
        return perf_counter() - begun, 1

    return work


def _sent(pair: _Pair) -> tuple[float, int]:
    begun = perf_counter()
    for _ in range(BATCH):
        pair.send()
    return perf_counter() - begun, BATCH


def _received(pair: _Pair) -> tuple[float, int]:
    sent: Sequence[tuple[bytes, v3.EnvelopeId]] = [pair.send() for _ in range(BATCH)]
    begun = perf_counter()
    for sealed, envelope_id in sent:
        pair.receive(sealed, envelope_id)
    return perf_counter() - begun, BATCH


def _turns(pair: _Pair) -> tuple[float, int]:
    begun = perf_counter()
    for number in range(BATCH):
        pair.receive(*pair.send(number % 2), reader=1 - number % 2)
    return perf_counter() - begun, BATCH


def _accepted() -> tuple[float, int]:
    anna, berta = Account.create(), Account.create()
    berta.make_one_time_keys(v3.ONE_TIME_KEYS_LIMIT)
    keys = berta.unpublished_one_time_keys()
    firsts = [anna.begin(berta.keys, key.key).encrypt(b"hello") for key in keys]
    begun = perf_counter()
    for first in firsts:
        session, _ = berta.accept(anna.keys, first)
        session.dump()
        berta.dump()
    return perf_counter() - begun, len(firsts)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
