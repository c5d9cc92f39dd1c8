"""One connection to the relay: what is asked on it, and what its answers do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import islice
from typing import Final, TypeVar

from attrs import Factory, define, frozen

from messageu.model.v3 import (
    PIECE_KEY_ID,
    EnvelopeId,
    Terms,
)
from messageu.wire import v3
from messageu.wire.v3 import ACKNOWLEDGEMENTS_LIMIT

from . import _account as account
from . import _outbox as outbox
from ._unit import Unit
from ._values import Verdict

REQUESTS_AT_ONCE: Final = 128
"""Requests that are not answered yet."""

CLAIMS_AT_ONCE: Final = 8
PIECES_AT_ONCE: Final = 8
"""Pieces of files, of 256 KiB, on their way at a time."""

WINDOW_MESSAGES: Final = 256
WINDOW_BYTES: Final = 8 * 2**20
"""What may be on its way to us without an acknowledgement."""

ROTATION_PAUSE: Final = 120.0
"""Seconds after which a connection rotates prekeys that are due: first comes the mail that waits,
which may need the old ones. Those whose time is over are rotated at once."""

RETRY_PAUSE: Final = 10.0
"""Seconds after which a request that a relay was too busy for is made again."""

PING_PATIENCE: Final = 30.0
"""Seconds in which a relay that is there answers."""

Body = TypeVar("Body")


class Phase(Enum):
    """How far a connection has come."""

    GREETING = "hello"
    PROVING = "authenticate"
    ADMITTED = "admitted"


@define
class Errands:
    """What the user has asked for and is not kept: it is asked again on the next connection."""

    names: dict[str, None] = Factory(dict)
    delete_account: bool = False


@frozen
class Pending:
    body: v3.RequestBody
    arrivals: tuple[EnvelopeId, ...] = ()


@define
class Link:
    """A connection, from the handshake on.

    :ivar verdict: why it is to be closed.
    """

    errands: Errands
    channel_binding: bytes
    opened_at: float
    phase: Phase = Phase.GREETING
    verdict: Verdict | None = None
    pending: dict[int, Pending] = Factory(dict)
    correlation: int = 0
    authenticate: v3.Authenticate | None = None
    terms: Terms | None = None
    left: int | None = None
    admitted_at: float = 0.0
    subscribed: bool = False
    arrived: list[tuple[int, EnvelopeId]] = Factory(list)
    not_before: dict[type[v3.RequestBody], float] = Factory(dict)
    written_at: float = 0.0
    asked_at: float | None = None

    def ready(self, unit: Unit) -> bool:
        """Whether mail can be sent."""
        return (
            self.verdict is None
            and self.phase is Phase.ADMITTED
            and account.read_own(unit).registered
        )

    # What is asked.

    def plan(self, unit: Unit) -> Sequence[v3.Request]:
        """What is to be written now. It writes nothing to the database."""
        if self.verdict is not None:
            return ()
        room = REQUESTS_AT_ONCE - len(self.pending)
        planned = [self._request(pending) for pending in islice(self._wanted(unit), max(0, room))]
        if planned:
            self.written_at = unit.now
        return planned

    def _request(self, pending: Pending) -> v3.Request:
        while True:
            self.correlation = self.correlation % (2**32 - 1) + 1
            if self.correlation not in self.pending:
                break
        self.pending[self.correlation] = pending
        return v3.Request(self.correlation, pending.body)

    def _wanted(self, unit: Unit) -> Iterator[Pending]:
        if self.phase is not Phase.ADMITTED:
            yield from self._proof()
        elif not account.read_own(unit).registered:
            yield from self._registration(unit)
        else:
            for wanted in (
                self._registration,
                self._subscription,
                self._acknowledgements,
                self._publication,
                self._user_errands,
                self._claims,
                self._sends,
                self._pieces,
            ):
                yield from wanted(unit)
        yield from self._ping(unit)

    def _may(self, unit: Unit, kind: type[v3.RequestBody]) -> bool:
        """Whether no such request waits for an answer, or for its time."""
        return not self._asked(kind) and self.not_before.get(kind, 0.0) <= unit.now

    def _asked(self, kind: type[Body]) -> list[Body]:
        bodies = (pending.body for pending in self.pending.values())
        return [body for body in bodies if isinstance(body, kind)]

    def _proof(self) -> Iterator[Pending]:
        if self.authenticate is not None:
            body, self.authenticate = self.authenticate, None
            yield Pending(body)
        elif self.phase is Phase.GREETING and not self._asked(v3.Hello):
            yield Pending(v3.Hello())

    def _registration(self, unit: Unit) -> Iterator[Pending]:
        own = account.read_own(unit)
        if own.wanted_name is not None and self._may(unit, v3.Register):
            yield Pending(v3.Register(own.wanted_name.encode("ascii"), own.wanted_token))

    def _subscription(self, unit: Unit) -> Iterator[Pending]:
        if not self.subscribed and self._may(unit, v3.Subscribe) and self.terms is not None:
            messages = min(WINDOW_MESSAGES, self.terms.window_messages)
            size = min(WINDOW_BYTES, self.terms.window_bytes)
            yield Pending(v3.Subscribe(messages, size))

    def _acknowledgements(self, unit: Unit) -> Iterator[Pending]:
        # One at a time: what comes until it is answered goes with the next.
        if self.arrived and self._may(unit, v3.Acknowledge):
            now = self.arrived[:ACKNOWLEDGEMENTS_LIMIT]
            del self.arrived[:ACKNOWLEDGEMENTS_LIMIT]
            sequences, envelope_ids = zip(*now, strict=True)
            yield Pending(v3.Acknowledge(sequences), envelope_ids)

    def _publication(self, unit: Unit) -> Iterator[Pending]:
        if self._may(unit, v3.Publish):
            prekeys = account.prekeys_to_publish(unit)
            if prekeys is not None:
                bundle, one_time_keys = prekeys
                yield Pending(v3.Publish(bundle, tuple(one_time_keys)))

    def _user_errands(self, unit: Unit) -> Iterator[Pending]:
        asked = {body.name.decode("ascii") for body in self._asked(v3.Resolve)}
        for name in self.errands.names:
            if name not in asked:
                yield Pending(v3.Resolve(name.encode("ascii")))
        if self.errands.delete_account and self._may(unit, v3.DeleteAccount):
            yield Pending(v3.DeleteAccount())

    def _claims(self, unit: Unit) -> Iterator[Pending]:
        asked = {body.account_id for body in self._asked(v3.Claim)}
        if len(asked) < CLAIMS_AT_ONCE:
            for account_id in outbox.to_claim(unit, asked, CLAIMS_AT_ONCE - len(asked)):
                yield Pending(v3.Claim(account_id))

    def in_flight(self) -> set[EnvelopeId]:
        """Envelopes that were sent and not answered."""
        return {body.envelope.envelope_id for body in self._asked(v3.Send)}

    def _sends(self, unit: Unit) -> Iterator[Pending]:
        for envelope in outbox.to_send(unit, self.in_flight(), outbox.RECIPIENTS_AT_ONCE):
            yield Pending(v3.Send(envelope))

    def _pieces(self, unit: Unit) -> Iterator[Pending]:
        sender = unit.tools.file_sender
        sends = self._asked(v3.Send)
        pieces = {
            body.envelope.envelope_id for body in sends if body.envelope.hpke_key_id == PIECE_KEY_ID
        }
        if sender is not None and len(pieces) < PIECES_AT_ONCE:
            room = PIECES_AT_ONCE - len(pieces)
            for envelope in sender.pieces(unit.connection, room, pieces, unit.now):
                yield Pending(v3.Send(envelope))

    def _ping(self, unit: Unit) -> Iterator[Pending]:
        if self.terms is not None and unit.now >= self._ping_time() and not self._asked(v3.Ping):
            self.asked_at = unit.now
            yield Pending(v3.Ping())

    def _ping_time(self) -> float:
        idle = 60 if self.terms is None else max(self.terms.idle, 3)
        return max(self.written_at, self.opened_at) + idle / 3

    # Time, and what is due.

    def see_to_prekeys(self, unit: Unit) -> None:
        """Make prekeys that are due; they are published by themselves."""
        if not account.read_own(unit).registered:
            return
        rotating = unit.now >= self.admitted_at + ROTATION_PAUSE or not account.has_bundle(unit)
        if rotating:
            account.refresh_prekeys(unit, self.left)
        elif self.left is not None:
            account.add_one_time_keys(unit, self.left)
        self.left = None

    def tick(self, unit: Unit) -> None:
        """Time has passed."""
        if self.asked_at is not None and unit.now >= self.asked_at + PING_PATIENCE:
            self.verdict = Verdict(True, "the relay is silent")
        if self.phase is Phase.ADMITTED:
            self.see_to_prekeys(unit)

    def times(self, unit: Unit) -> Iterator[float]:
        """When it has something to do."""
        if self.verdict is not None:
            return
        yield from self.not_before.values()
        if self.terms is not None:
            yield self._ping_time()
        if self.asked_at is not None:
            yield self.asked_at + PING_PATIENCE
        if self.ready(unit):
            yield max(account.rotation_time(unit), self.admitted_at + ROTATION_PAUSE)
