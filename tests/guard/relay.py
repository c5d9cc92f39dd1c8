"""A relay whose work can be counted: real SQL without threads, real frames without sockets."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from attrs import evolve, frozen
from twisted.internet.task import Clock

from messageu.model import NOBODY, ClientId, PublicKey, UserName
from messageu.server import Limits, RelayFactory, RelayProtocol
from messageu.store import SqliteEngine, SqliteStore
from messageu.testing.threadpool import threadless_pool
from messageu.testing.transport import HalfCloseableRecorder, Line, LineEnd
from messageu.wire import v2
from tests.server.relay import answers_in

KEY = PublicKey(bytes(160))


class CountingEngine(SqliteEngine):
    """SQLite, and the statements that it was given.

    :ivar statements: the beginnings of their texts, one for each time that one was run; None:
        they are not wanted.
    """

    def __init__(self, path):
        super().__init__(path)
        self.statements = None

    def prepare(self, connection):
        super().prepare(connection)
        connection.set_trace_callback(self.note)

    def note(self, text):
        if self.statements is not None:
            self.statements.append(text[:40])


@frozen
class Kernel:
    """The probe of a line's end. Its socket takes all that it is given, as one mostly does."""

    end: LineEnd

    @property
    def handle(self):
        return self

    def send(self, data):
        self.end.write(data)
        return len(data)

    def unread(self):
        return self.end.unread()

    def unacknowledged(self):
        return self.end.unacknowledged()

    def failed(self):
        return self.end.failed()


class GuardedRelay:
    """A relay on an empty database, as a context manager, with Alice and Bob, who are registered.

    :ivar engine: what SQL was run.
    """

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="messageu-"))
        self.clock = Clock()
        path = self.folder / "relay.db"
        self.engine = CountingEngine(path)
        self.store = SqliteStore(
            path,
            self.clock,
            now=self.clock.seconds,
            engine=self.engine,
            new_pool=threadless_pool,
        )
        self.store.open()
        self.factory = RelayFactory(self.store, self.clock, Limits())
        self.factory.exchange = evolve(self.factory.exchange, probe_of=Kernel)
        self.alice, self.bob = (self.register(name) for name in ("Alice", "Bob"))
        return self

    def __exit__(self, *_):
        closed = self.store.close()
        while not closed.called:
            self.clock.advance(0)
        shutil.rmtree(self.folder)

    def build(self) -> RelayProtocol:
        """A protocol without a transport."""
        return self.factory.buildProtocol(None)

    def dial(self) -> Line:
        """A line whose client remembers what it was answered."""
        return Line(HalfCloseableRecorder(), self.build())

    def register(self, name: str) -> ClientId:
        """A new client."""
        (answer,) = self.ask(
            self.dial(), v2.Request(NOBODY, v2.Register(UserName.from_text(name), KEY))
        )
        return answer.client_id

    def frames(self, count: int, content: bytes = bytes(300)) -> bytes:
        """So many sends from Alice to Bob, as bytes."""
        return v2.Request(self.alice, v2.SendMessage(self.bob, 3, content)).encode() * count

    def ask(self, line: Line, request: v2.Request) -> list[v2.ResponseEvent]:
        """Send a request, and wait for all that is answered."""
        line.client.write(request.encode())
        self.settle(line)
        return self.take(line)

    def settle(self, *lines: Line) -> None:
        """Let everything happen that happens at this time."""
        moved = True
        while moved:
            moved = sum(line.step() for line in lines) > 0  # all of them
            while any(
                call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()
            ):
                self.clock.advance(0)
                moved = True

    def take(self, line: Line) -> list[v2.ResponseEvent]:
        """What has been answered since the last time."""
        received = line.client.protocol.received
        events = answers_in(bytes(received))
        received.clear()
        return events

    def send(self, line: Line, frames: bytes, count: int) -> None:
        """Send frames together, and see that each is acknowledged."""
        line.client.write(frames)
        self.settle(line)
        assert [type(each) for each in self.take(line)] == [v2.Stored] * count

    def fetch(self, line: Line, count: int) -> None:
        """Fetch so many messages, and ask again, which settles them."""
        request = v2.Request(self.bob, v2.FetchMessages())
        fetched = self.ask(line, request)
        assert sum(isinstance(each, v2.WaitingMessage) for each in fetched) == count
        again = self.ask(line, request)
        assert not any(isinstance(each, v2.WaitingMessage) for each in again)
