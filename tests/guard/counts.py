"""The counts, and how high each may be.

Calls, bytes, statements and commits are the same on every machine, and nearly so with every version
of Python and Twisted; times are not, so that there are none here.
``python -m tests.guard.counts`` prints what they are now, beside what is recorded here. Who makes
something cheaper lowers ``recorded`` here, so that it stays cheap; who has a reason to make
something dearer raises it, and says why in the commit.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from unittest import mock

from attrs import frozen
from twisted.internet import task
from twisted.internet.protocol import Protocol

from messageu.server import RelayProtocol
from messageu.store import _sqlite
from messageu.testing import threadpool, transport
from messageu.wire import NEED_DATA, Parser, v2
from tests.guard import relay as relays
from tests.guard.relay import GuardedRelay
from tests.server import relay as server_relays

DATACLASSES = "<string>"
"""Automat looks through a set of them for a transition, in another order in each run."""

NOT_COUNTED = frozenset(
    {__file__, DATACLASSES}
    | {module.__file__ for module in (relays, server_relays, task, threadpool, transport)}
)
"""Files whose calls say nothing about the relay."""

PIPELINED = 32
SENDS = 256
FETCHED = 100
IDLE = 256
PIECE = 1448
MIB = 2**20


def count_calls(function: Callable[[], object]) -> int:
    """How many Python functions are called, but for those that are not counted.

    A generator or a coroutine counts each time that it goes on.
    """
    calls = 0

    def note(frame, event, _):
        nonlocal calls
        if event == "call" and frame.f_code.co_filename not in NOT_COUNTED:
            calls += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return calls


def count_kept(function: Callable[[], object]) -> int:
    """How many bytes of Python's memory are held afterwards that were not before."""
    tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        result = function()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        if not tracing:
            tracemalloc.stop()
    del result
    return after - before


def send_in_turns(relay: GuardedRelay, together: int) -> Callable[[], None]:
    """Send :data:`SENDS` messages on one connection, so many at once, after a first few."""
    line = relay.dial()
    frames = relay.frames(together)
    for _ in range(2):
        relay.send(line, frames, together)

    def send() -> None:
        for _ in range(SENDS // together):
            relay.send(line, frames, together)

    return send


def calls_a_send(together: int) -> float:
    """Calls for each acknowledged send."""
    with GuardedRelay() as relay:
        return count_calls(send_in_turns(relay, together)) / SENDS


def bytes_a_send_leaves() -> float:
    """Bytes that stay for each send when it has been acknowledged."""
    # What has arrived lately is remembered, up to a limit that these sends must go beyond.
    with mock.patch.object(_sqlite, "ARRIVALS_LIMIT", 16), GuardedRelay() as relay:
        send = send_in_turns(relay, PIPELINED)
        send()
        return max(0, count_kept(send)) / SENDS


def bytes_an_idle_connection() -> float:
    """Bytes that a connection holds before it has said anything, without its transport."""
    with GuardedRelay() as relay:
        ends = make_ends(2 * IDLE)
        first = connect(relay, ends)
        kept = count_kept(lambda: connect(relay, ends))
        assert len(first) == IDLE
        return kept / IDLE


def calls_a_connection() -> float:
    """Calls for each connection that is accepted and lost without a word."""
    with GuardedRelay() as relay:
        ends = make_ends(IDLE)

        def come_and_go() -> None:
            for connection in connect(relay, ends):
                connection.connectionLost()

        return count_calls(come_and_go) / IDLE


def calls_a_connection_that_speaks() -> float:
    """Calls for each connection that sends one message and is closed by its client."""
    with GuardedRelay() as relay:
        frame = relay.frames(1)

        def come_and_go() -> None:
            for _ in range(IDLE):
                line = relay.dial()
                relay.send(line, frame, 1)
                line.client.loseConnection()
                relay.settle(line)

        return count_calls(come_and_go) / IDLE


def calls_of_a_look() -> float:
    """Calls for each idle connection when the deadlines of all are looked at."""
    with GuardedRelay() as relay:
        connections = connect(relay, make_ends(IDLE))
        return count_calls(relay.factory.check_deadlines) / len(connections)


def make_ends(count: int) -> list[transport.LineEnd]:
    """Transports, of which one is as good as the other."""
    return [transport.Line(Protocol(), Protocol()).server for _ in range(count)]


def connect(relay: GuardedRelay, ends: list[transport.LineEnd]) -> list[RelayProtocol]:
    """:data:`IDLE` connections, each on one of the transports."""
    connections = [relay.build() for _ in range(IDLE)]
    for connection in connections:
        connection.makeConnection(ends.pop())
    return connections


def statements(relay: GuardedRelay, function: Callable[[], object]) -> list[str]:
    """The SQL that is run."""
    relay.engine.statements = run = []
    function()
    relay.engine.statements = None
    return run


def statements_of_pipelined_sends() -> float:
    """SQL statements for sends that come together."""
    with GuardedRelay() as relay:
        line = relay.dial()
        relay.send(line, relay.frames(1), 1)
        frames = relay.frames(PIPELINED)
        return len(statements(relay, lambda: relay.send(line, frames, PIPELINED)))


def statements_of_a_crowd() -> float:
    """SQL statements for one send each of many connections."""
    with GuardedRelay() as relay:
        return len(statements(relay, send_from_a_crowd(relay)))


def transactions_of_a_crowd() -> float:
    """Commits for one send each of many connections."""
    with GuardedRelay() as relay:
        return statements(relay, send_from_a_crowd(relay)).count("COMMIT")


def send_from_a_crowd(relay: GuardedRelay) -> Callable[[], None]:
    """Send one message on each of :data:`SENDS` connections, before the reactor turns."""
    lines = [relay.dial() for _ in range(SENDS)]
    frame = relay.frames(1)
    relay.send(lines[0], frame, 1)

    def send() -> None:
        for line in lines:
            line.client.write(frame)
        relay.settle(*lines)
        for line in lines:
            assert [type(each) for each in relay.take(line)] == [v2.Stored]

    return send


def full_mailbox(relay: GuardedRelay) -> Callable[[], None]:
    """Fetch and settle :data:`FETCHED` small messages."""
    line = relay.dial()
    for count in (3, FETCHED):
        relay.send(line, relay.frames(1) * count, count)
        if count != FETCHED:
            relay.fetch(line, count)
    return lambda: relay.fetch(line, FETCHED)


def calls_a_message_fetched() -> float:
    """Calls for each message that is fetched and then deleted."""
    with GuardedRelay() as relay:
        return count_calls(full_mailbox(relay)) / FETCHED


def statements_a_message_fetched() -> float:
    """SQL statements for each message that is fetched and then deleted."""
    with GuardedRelay() as relay:
        return len(statements(relay, full_mailbox(relay))) / FETCHED


def transactions_of_a_fetch() -> float:
    """Transactions in which a mailbox is fetched, found empty, and its messages are deleted."""
    with GuardedRelay() as relay:
        return statements(relay, full_mailbox(relay)).count("COMMIT")


def receive(size: int) -> Parser:
    """Have a large frame arrive in small pieces."""
    frame = v2.Request(relays.NOBODY, v2.SendMessage(relays.NOBODY, 4, bytes(size))).encode()
    pieces = [frame[start : start + PIECE] for start in range(0, len(frame), PIECE)]
    parser = Parser(v2.RequestCodec())
    tracemalloc.start()
    allocated = 0
    try:
        for piece in pieces:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            parser.receive_data(piece)
            event = parser.next_event()
            allocated += tracemalloc.get_traced_memory()[1] - before
            assert (event is NEED_DATA) == (piece is not pieces[-1])
    finally:
        tracemalloc.stop()
    return allocated


def growth_of_receiving() -> float:
    """How much more memory is asked for while a frame of twice the size arrives."""
    return receive(2 * MIB) / receive(MIB)


@frozen
class Limit:
    """How high a count may be: ``margin`` times what was recorded, and ``room`` more.

    :ivar unit: what is counted, in words.
    """

    count: Callable[[], float]
    unit: str
    recorded: float
    margin: float = 1.5
    room: float = 0

    @property
    def at_most(self) -> float:
        """The highest count that is let through."""
        return self.recorded * self.margin + self.room


LIMITS = {
    "send alone": Limit(lambda: calls_a_send(1), "calls a send", 175),
    "send pipelined": Limit(lambda: calls_a_send(PIPELINED), "calls a send", 28),
    "send leaves": Limit(bytes_a_send_leaves, "bytes a send", 5, room=16),
    "idle connection": Limit(bytes_an_idle_connection, "bytes a connection", 262),
    "connection": Limit(calls_a_connection, "calls a connection", 10),
    "brief connection": Limit(calls_a_connection_that_speaks, "calls a connection", 284),
    "look at deadlines": Limit(calls_of_a_look, "calls an idle connection", 1.1),
    "pipelined SQL": Limit(statements_of_pipelined_sends, f"statements for {PIPELINED} sends", 3),
    "crowd SQL": Limit(statements_of_a_crowd, f"statements for {SENDS} sends", 3),
    "crowd commits": Limit(transactions_of_a_crowd, f"commits for {SENDS} sends", 1, margin=1),
    "fetch": Limit(calls_a_message_fetched, "calls a message", 21),
    "fetch SQL": Limit(statements_a_message_fetched, "statements a message", 0.09),
    "fetch commits": Limit(transactions_of_a_fetch, f"commits for {FETCHED} messages", 2),
    "receiving": Limit(growth_of_receiving, "times for twice the size", 2, margin=1.2),
}


def complaint(name: str, count: float) -> str | None:
    """What is wrong with a count, and what to do about it; None when it is not too high."""
    limit = LIMITS[name]
    if count <= limit.at_most:
        return None
    return (
        f"{name}: {count:.2f} {limit.unit}, but at most {limit.at_most:.2f}, as "
        f"{limit.recorded:g} were recorded. Find what has been added with every request. If that "
        "must be, record it anew: `python -m tests.guard.counts` prints all counts for the table "
        "LIMITS in tests/guard/counts.py"
    )


def main() -> None:
    """Print the counts."""
    for name, limit in LIMITS.items():
        sys.stdout.write(
            f"{name:16} {limit.count():9.2f} {limit.unit}; recorded {limit.recorded:g}, "
            f"at most {limit.at_most:g}\n"
        )


if __name__ == "__main__":
    main()
