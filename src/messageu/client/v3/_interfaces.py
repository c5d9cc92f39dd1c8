"""What the core asks of those who send and receive files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

from messageu.crypto.v3 import FileOffer
from messageu.model import ClientId
from messageu.model.v3 import Delivery, EnvelopeId, Identity, Reason, SealedEnvelope

from ._database import Connection
from ._events import Event

Prepared = Any
"""A file that was read, as its sender keeps it: nobody else looks into it."""


class FileSender(Protocol):
    """Reads files and hands out their pieces, until their recipients have them.

    A file that fails is told of by ``FileFailed``, and by ``MessageUndelivered``, which the core
    makes good on.

    Every method with a connection is called within a transaction of the core's, which also holds
    what has led to the call. Nothing that is kept in memory may run ahead of it: what is in
    flight is the core's to know.
    """

    def prepare(self, path: Path) -> Prepared:
        """Read a file once. Outside of any transaction, and it may take long.

        :raises FileMissing: when it is not there.
        :raises FileRefused: when it cannot be sent.
        """
        ...

    def add(
        self, connection: Connection, message_id: bytes, recipient: ClientId, prepared: Prepared
    ) -> FileOffer:
        """Keep what was read. Its pieces wait until :meth:`start`.

        :raises FileRefused: when too many files wait.
        """
        ...

    def offer(
        self, connection: Connection, message_id: bytes, offer: FileOffer
    ) -> FileOffer | None:
        """What is to be sealed as the message: under a fresh key, if it may have been sealed before.

        None: the file cannot be sent any more.
        """
        ...

    def start(self, connection: Connection, message_id: bytes) -> None:
        """The relay has the message: pieces may follow it. It may be said again."""
        ...

    def pieces(
        self, connection: Connection, room: int, in_flight: Collection[EnvelopeId], now: float
    ) -> Sequence[SealedEnvelope]:
        """The next pieces, at most so many, none that is in flight. It writes nothing.

        A file that cannot be read on is found here and told of by :meth:`tick`.
        """
        ...

    def stored(self, connection: Connection, envelope_id: EnvelopeId) -> Sequence[Event]:
        """The relay has a piece."""
        ...

    def refused(
        self,
        connection: Connection,
        envelope_id: EnvelopeId,
        reason: Reason | int,
        retry_after: int,
        now: float,
    ) -> Sequence[Event]:
        """The relay has not taken a piece: it is tried again later, or the file is given up."""
        ...

    def hold(self, connection: Connection, recipient: ClientId) -> None:
        """All messages to somebody are sealed again: no piece is sent before its message is."""
        ...

    def reset(self, connection: Connection) -> None:
        """This state is an old one: any message may have been sealed since."""
        ...

    def withdraw(self, connection: Connection, message_id: bytes) -> None:
        """The message was not delivered: no piece of it is sent any more."""
        ...

    def delivered(self, connection: Connection, message_id: bytes) -> Sequence[Event]:
        """Its recipient has all of it: nothing of it is needed any more."""
        ...

    def tick(self, connection: Connection, now: float) -> Sequence[Event]:
        """Time has passed."""
        ...

    def next_tick(self, connection: Connection) -> float | None:
        """When it has something to do that waits for nothing but the time."""
        ...


class FileReceiver(Protocol):
    """Puts pieces together. Every method is called within a transaction of the core's."""

    def offered(
        self, connection: Connection, contact: Identity, message_id: bytes, offer: FileOffer
    ) -> Sequence[Event]:
        """An accepted contact sends a file, maybe again; the message is shown already."""
        ...

    def outcome(self, connection: Connection, contact: Identity, message_id: bytes) -> bool | None:
        """Whether a file has come, checked and under its name. None: it is on its way."""
        ...

    def wants(self, connection: Connection, envelope_id: EnvelopeId) -> bool:
        """Whether an envelope is a piece that is looked for."""
        ...

    def take(self, connection: Connection, delivery: Delivery) -> Sequence[Event]:
        """A piece that is wanted. It is acknowledged when the transaction is committed.

        :raises OSError: when it cannot be kept now; it then comes again later.
        """
        ...

    def refuse(self, connection: Connection, contact: Identity) -> Sequence[Event]:
        """A contact was blocked or removed: nothing of his that has not come is taken."""
        ...

    def cancelled(
        self, connection: Connection, contact: Identity, message_id: bytes
    ) -> Sequence[Event]:
        """A contact does not send a file any more."""
        ...

    def reset(self, connection: Connection) -> None:
        """This state is an old one: what it says of pieces on the disk may not be so."""
        ...

    def tick(self, connection: Connection, now: float) -> Sequence[Event]:
        """Time has passed."""
        ...

    def next_tick(self, connection: Connection) -> float | None:
        """When it has something to do that waits for nothing but the time; 0: now."""
        ...
