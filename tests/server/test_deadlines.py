"""Every deadline, in every state of a connection in which something can take too long: also while
nothing is read from it, and while it is half-closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from messageu.server import LIMITS
from messageu.testing.transport import Faults
from messageu.wire import v2

from .relay import MemoryRelay, SlowStore
from .test_protocol import header

SETTINGS: Final = {
    "frame_deadline": 11.0,
    "idle_deadline": 12.0,
    "drain_deadline": 13.0,
    "discard_deadline": 14.0,
    "progress_deadline": 15.0,
}
"""All different, so that what ends a connection is known by when it does."""

LONG_AFTER: Final = 40
"""Seconds in which all of them are over."""


class Stage:
    """A relay, and one client whose kernel gets none of its answers."""

    def __init__(self) -> None:
        memory = MemoryRelay()
        anna = memory.register("anna")
        memory.send(anna, anna, b"x" * 200_000)
        self.store = SlowStore(memory.store)
        self.relay = MemoryRelay(self.store, read_ahead=2, connection_output=1000, **SETTINGS)
        self.client = self.relay.dial(from_server=Faults(window=500))
        self.end = self.client.line.server
        self.end.held = True
        self.list = v2.Request(anna, v2.ListClients()).encode()
        self.key = v2.Request(anna, v2.GetPublicKey(anna)).encode()
        self.mail = v2.Request(anna, v2.FetchMessages()).encode()
        self.message = v2.Request(anna, v2.SendMessage(anna, 3, b"x")).encode()

    @property
    def session(self) -> Any:
        """What serves the client."""
        return self.end.protocol._session  # type: ignore[attr-defined]

    def send(self, data: bytes, *, last: bool = False) -> None:
        """Send, and perhaps shut down this half."""
        self.client.line.client.write(data)
        if last:
            self.client.line.client.loseWriteConnection()
        self.client.line.run()

    def send_small_mail(self, *, last: bool) -> None:
        """Ask for mail of which the kernel takes all."""
        self.end.faults = Faults(window=1_000_000)
        self.send(self.mail, last=last)

    def stop(self, data: bytes, *, last: bool = False) -> None:
        """Send, and have the relay stop."""
        self.send(data, last=last)
        self.session.stop()
        self.client.line.run()

    def evict(self, data: bytes, *, last: bool = False) -> None:
        """Send, and have the relay give up the connection's frame."""
        self.send(data, last=last)
        self.session.evict()
        self.client.line.run()

    def read(self, data: bytes) -> None:
        """Send, and get what is answered."""
        self.end.held = False
        self.send(data)
        self.client.take()


FRAME: Final = header(603, 10_000) + b"x" * 5_000
"""A frame of which a half is missing."""

GARBAGE: Final = header(601, 1)


@frozen
class Row:
    """A connection that stands still, in a state of the lifecycle.

    :ivar deadline: which one it meets; None: it waits for the store, which is not its fault.
    :ivar reads: whether the relay reads what still comes; if not, it sees no end of the input.
    """

    what: str
    arrange: Callable[[Stage], None]
    state: str
    deadline: str | None
    reads: bool = True


ROWS: Final = (
    Row("nothing", lambda it: it.read(it.list), "open", "idle_deadline"),
    Row("a message", lambda it: it.send(it.message), "open", None),
    Row("many messages", lambda it: it.send(it.message * 9), "open", None, reads=False),
    Row("half a frame", lambda it: it.send(FRAME), "open", "frame_deadline"),
    Row(
        "half a frame behind an answer in the kernel",
        lambda it: it.send(it.list + FRAME),
        "open",
        "frame_deadline",
    ),
    Row(
        "half a frame behind a message",
        lambda it: it.send(it.message + FRAME),
        "open",
        "frame_deadline",
    ),
    Row("unread answers", lambda it: it.send(it.key * 5), "open", "progress_deadline"),
    Row(
        "many unread answers",
        lambda it: it.send(it.key * 99),
        "open",
        "progress_deadline",
        reads=False,
    ),
    Row(
        "half a frame behind many unread answers",
        lambda it: it.send(it.key * 99 + FRAME),
        "open",
        "progress_deadline",
        reads=False,
    ),
    Row("unread mail", lambda it: it.send(it.mail), "open", "progress_deadline"),
    Row(
        "half a frame behind unread mail",
        lambda it: it.send(it.mail + FRAME),
        "open",
        "progress_deadline",
        reads=False,
    ),
    Row("a last message", lambda it: it.send(it.message, last=True), "half closed", None),
    Row(
        "many last messages",
        lambda it: it.send(it.message * 9, last=True),
        "open",
        None,
        reads=False,
    ),
    Row(
        "many last unread answers",
        lambda it: it.send(it.key * 99, last=True),
        "open",
        "progress_deadline",
        reads=False,
    ),
    Row(
        "last mail, unread",
        lambda it: it.send(it.mail, last=True),
        "half closed",
        "progress_deadline",
    ),
    Row(
        "last mail, unread, and half a frame behind it",
        lambda it: it.send(it.mail + FRAME, last=True),
        "open",
        "progress_deadline",
        reads=False,
    ),
    Row(
        "last mail, in the kernel",
        lambda it: it.send_small_mail(last=True),
        "draining",
        "drain_deadline",
    ),
    Row(
        "few last unread answers",
        lambda it: it.send(it.key * 5, last=True),
        "closing",
        "progress_deadline",
    ),
    Row("garbage", lambda it: it.send(GARBAGE), "discarding", "discard_deadline"),
    Row(
        "garbage behind unread answers",
        lambda it: it.send(it.key * 5 + GARBAGE),
        "discarding",
        "discard_deadline",
    ),
    Row("a message when the relay stops", lambda it: it.stop(it.message), "condemned", None),
    Row(
        "unread mail when the relay stops",
        lambda it: it.stop(it.mail),
        "condemned",
        "progress_deadline",
    ),
    Row(
        "many unread answers when there is no room",
        lambda it: it.evict(it.key * 99),
        "discarding",
        "discard_deadline",
    ),
    Row(
        "half a frame when there is no room",
        lambda it: it.evict(FRAME),
        "discarding",
        "discard_deadline",
    ),
    Row(
        "a last message when the relay stops",
        lambda it: it.stop(it.message, last=True),
        "finishing",
        None,
    ),
    Row(
        "last mail, unread when the relay stops",
        lambda it: it.stop(it.mail, last=True),
        "finishing",
        "progress_deadline",
    ),
)


class DeadlineTests(SynchronousTestCase):
    """The table."""

    def test_deadline_of_each_state(self) -> None:
        """Each connection that stands still meets its deadline and no other before it; one that
        waits for the store meets none, and ends as well when it is answered. Afterwards every
        counter is at zero."""
        for row in ROWS:
            self.check(row)

    def check(self, row: Row) -> None:
        """One row."""
        stage = Stage()
        row.arrange(stage)
        self.assertEqual(
            (stage.session._state, stage.session._reading), (row.state, row.reads), row.what
        )
        hits = stage.relay.limits.hits
        if row.deadline is None:
            stage.client.wait(LONG_AFTER)
            self.assertEqual(dict(hits), {}, row.what)
            self.assertFalse(stage.end.closed, row.what)
            stage.end.held = False
        else:
            stage.client.wait(int(SETTINGS[row.deadline]) - 1)
            self.assertEqual(dict(hits), {}, row.what)
            self.assertFalse(stage.end.closed, row.what)
            stage.client.wait(3)
            self.assertEqual(dict(hits), {row.deadline: 1}, row.what)
        while stage.store.waiting:
            stage.store.finish(0)
            stage.client.line.run()
        stage.client.wait(LONG_AFTER)
        self.assertTrue(stage.end.closed, row.what)
        limits = stage.relay.limits
        self.assertEqual((limits.connections, limits.input_bytes, limits.output_bytes), (0, 0, 0))
        self.assertEqual(limits.requests, 0)
        self.assertEqual(stage.relay.factory.exchange.streams.tokens, limits.settings.streams)

    def test_table_is_whole(self) -> None:
        """Each state that a connection can be in is in the table, each deadline, and each way in
        which nothing is read."""
        self.assertEqual(
            {row.state for row in ROWS},
            {"open", "half closed", "condemned", "finishing", "discarding", "draining", "closing"},
        )
        self.assertEqual({row.deadline for row in ROWS}, {*SETTINGS, None})
        # Those of whoever keeps others waiting, and of connections that are none of v2 yet.
        others = {
            "authentication_deadline",
            "crowded_deadline",
            "handshake_deadline",
            "proxy_deadline",
        }
        deadlines = {name for name in LIMITS if name.endswith("_deadline")}
        self.assertEqual(deadlines - others, set(SETTINGS))
        self.assertEqual(
            {(row.state, row.deadline) for row in ROWS if not row.reads},
            {("open", None), ("open", "progress_deadline")},
        )
