"""Two ends of a transfer and the relay between them, without the rest of a client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlcipher3.dbapi2 as sqlcipher

from messageu.client.v3._database import Connection, transaction
from messageu.client.v3._events import Event
from messageu.client.v3._file_receiver import FileReceiver
from messageu.client.v3._file_sender import FileSender
from messageu.client.v3._file_tables import FILE_TABLES
from messageu.crypto.v3 import FileOffer
from messageu.model import ClientId
from messageu.model.v3 import PIECE_KEY_ID, Delivery, EnvelopeId, Identity, SealedEnvelope

CONTACT = Identity(bytes(range(32)))
ACCOUNT = ClientId(bytes(16))
MESSAGE = b"m" * 16
NOW = 1_800_000_000.0
MIB = 2**20


def database(path: Path | str = ":memory:") -> Connection:
    """A database with the tables of files. Its disk is not waited for: nothing loses power."""
    connection: Connection = sqlcipher.connect(str(path), isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA foreign_keys = ON")
    if not connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        with transaction(connection):
            for statement in FILE_TABLES:
                connection.execute(statement)
    return connection


def delivery(envelope: SealedEnvelope, sequence: int = 1) -> Delivery:
    """What the recipient gets."""
    return Delivery(sequence, envelope.envelope_id, PIECE_KEY_ID, envelope.sealed)


class Crash(Exception):
    """The process is gone."""


class End:
    """A database, and a place for crashes at each of its commits.

    :ivar crash_at: of commits, counted from 0; the process is gone before it, or after it.
    """

    def __init__(self) -> None:
        self.connection = database()
        self.commits = 0
        self.crash_at: tuple[int, bool] | None = None

    @contextmanager
    def unit(self) -> Iterator[Connection]:
        """One input of the core's."""
        with transaction(self.connection):
            yield self.connection
            if self.crash_at == (self.commits, False):
                raise Crash
        self.commits += 1
        if self.crash_at == (self.commits - 1, True):
            raise Crash


class Transfer:
    """One file from a path to a folder, as two cores and a relay would carry it.

    :ivar relay: what the relay keeps, by envelope id; ``seen``: what it has had, with its bytes.
    :ivar events: of both ends.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder
        self.sending, self.receiving = End(), End()
        self.sender, self.receiver = FileSender(), FileReceiver(folder)
        self.relay: dict[EnvelopeId, SealedEnvelope] = {}
        self.seen: dict[EnvelopeId, bytes] = {}
        self.events: list[Event] = []
        self.offer: FileOffer | None = None
        self.offered = False
        self.now = NOW

    def restart(self) -> None:
        """Both processes begin anew: what is in memory is gone."""
        self.receiver.close()
        self.sender, self.receiver = FileSender(), FileReceiver(self.folder)

    def tell(self, events: Sequence[Event]) -> None:
        self.events.extend(events)

    def send(self) -> None:
        """The sender's user."""
        if self.offer is None:
            prepared = self.sender.prepare(self.path)
            with self.sending.unit() as connection:
                offer = self.sender.add(connection, MESSAGE, ACCOUNT, prepared)
            self.offer = offer

    def run(self) -> None:
        """All that is left to do, from wherever both ends are."""
        self.send()
        with self.sending.unit() as connection:
            self.sender.start(connection, MESSAGE)
        while self.upload(8):
            pass
        self.download()
        self.rest()
        self.receipt()

    def receipt(self) -> None:
        """The sender hears it, if the recipient has the file."""
        if self.receiver.outcome(self.receiving.connection, CONTACT, MESSAGE):
            with self.sending.unit() as connection:
                events = self.sender.delivered(connection, MESSAGE)
            self.tell(events)

    def upload(self, room: int) -> int:
        """One window of pieces; how many."""
        with self.sending.unit() as connection:
            sealed = self.sender.pieces(connection, room, (), self.now)
        for envelope in sealed:
            known = self.seen.setdefault(envelope.envelope_id, envelope.sealed)
            assert known == envelope.sealed, "conflict"
            if known is envelope.sealed:
                self.relay[envelope.envelope_id] = envelope
            with self.sending.unit() as connection:
                events = self.sender.stored(connection, envelope.envelope_id)
            self.tell(events)
        self.tick(self.sending, self.sender.tick)
        return len(sealed)

    def download(self) -> None:
        """The mailbox is emptied."""
        if not self.offered:
            assert self.offer is not None
            with self.receiving.unit() as connection:
                events = self.receiver.offered(connection, CONTACT, MESSAGE, self.offer)
            self.offered = True
            self.tell(events)
        for envelope in list(self.relay.values()):
            self.deliver(envelope)
            del self.relay[envelope.envelope_id]

    def deliver(self, envelope: SealedEnvelope) -> bool:
        """One piece; whether it was wanted."""
        with self.receiving.unit() as connection:
            wanted = self.receiver.wants(connection, envelope.envelope_id)
            events = self.receiver.take(connection, delivery(envelope)) if wanted else ()
        self.tell(events)
        return wanted

    def rest(self) -> None:
        """The receiver's ticks, until it has nothing to do now."""
        while self.receiver.next_tick(self.receiving.connection) == 0:
            self.tick(self.receiving, self.receiver.tick)

    def tick(self, end: End, tick: Callable[[Connection, float], Sequence[Event]]) -> None:
        with end.unit() as connection:
            events = tick(connection, self.now)
        self.tell(events)
