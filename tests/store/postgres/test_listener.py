"""Hearing what other relays announce, and looking by oneself when that cannot be heard."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from select import select
from typing import Any
from unittest import mock

import psycopg
from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from messageu.model.v3 import Handle
from messageu.store import Arrived, Missed, News, PrekeysTaken, Sharers, Subscribed
from messageu.store.postgres._accounts import FINAL_TERM
from messageu.store.postgres._announcements import encode_arrivals
from messageu.store.postgres._connection import STUCK_AFTER, Wire
from messageu.store.postgres._engine import Connection
from messageu.store.postgres._listener import INSURANCE, POLL, RETRY, Listener, open_ear
from messageu.store.postgres._store import BEAT
from tests.store.v3.contract import account_id, bundle, envelope, keys, one_time_keys

from .fixtures import NOBODY, PATIENCE, HearingFixture

SECRET = "hunter2"
US = "0" * 32
ALICE, BOB = account_id(1), account_id(2)


def descriptors() -> set[str]:
    """The open sockets of this process."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one of this very listing
            target = str(path.readlink())
            if target.startswith("socket:"):
                found.add(f"{path} {target}")
    return found


class Notification:
    def __init__(self, line: bytes) -> None:
        self.extra = line


class FakeConnection:
    """As much of a connection as an ear uses: of a pair of sockets, whose other end is the server.

    :ivar lines: what the server has announced and is not heard yet.
    :ivar is_broken: whether to read from it fails.
    """

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.lines: list[bytes] = []
        self.is_broken = False
        self.pgconn = self

    def fileno(self) -> int:
        return self.ours.fileno()

    def consume_input(self) -> None:
        if self.is_broken:
            raise psycopg.OperationalError("the server has closed the connection")

    def notifies(self) -> Notification | None:
        return Notification(self.lines.pop(0)) if self.lines else None

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


class ListenerTests(SynchronousTestCase):
    """A listener, whose connections are of the test's making."""

    def setUp(self) -> None:
        before = descriptors()
        self.addCleanup(lambda: self.assertEqual(descriptors(), before))
        self.reactor = MemoryReactorClock()
        self.news: list[News] = []
        self.opening: list[Deferred[Any]] = []
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.listener = Listener(
            {"password": SECRET}, US, self.reactor, self.news.append, self.in_thread
        )
        self.running = True
        self.addCleanup(self.stop)

    def stop(self) -> None:
        if self.running:
            self.running = False
            self.listener.stop()
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        self.assertIs(function, open_ear)
        self.opening.append(Deferred())
        return self.opening[-1]

    def connect(self) -> FakeConnection:
        """The server is there."""
        connection = FakeConnection()
        self.opening[-1].callback(connection)
        return connection

    def said(self) -> list[News]:
        said, self.news[:] = list(self.news), []
        return said

    def announce(self, connection: FakeConnection, *lines: str) -> list[News]:
        connection.lines += [line.encode() for line in lines]
        (ear,) = self.reactor.getReaders()
        ear.doRead()
        return self.said()

    def test_interface(self) -> None:
        """An ear is what a reactor watches."""
        self.connect()
        (ear,) = self.reactor.getReaders()
        self.assertTrue(verifyObject(IReadDescriptor, ear))
        self.assertEqual(ear.logPrefix(), "announcements")

    def test_hears(self) -> None:
        """What is announced is heard, and nothing that means nothing; what was announced before
        anybody listened may be missed."""
        connection = self.connect()
        self.assertEqual(self.said(), [Missed()])
        lines = [*encode_arrivals(NOBODY, [ALICE]), *encode_arrivals(US, [BOB]), "\x1b[31m", ""]
        self.assertEqual(self.announce(connection, *lines), [Arrived(frozenset({ALICE}))])
        self.assertEqual(self.announce(connection), [])
        connection.lines.append(b"\xff\xfe")
        self.assertEqual(self.announce(connection), [])

    def test_insurance(self) -> None:
        """Who hears looks by himself all the same, now and then."""
        self.connect()
        self.said()
        self.reactor.pump([POLL / 2] * int(2 * INSURANCE / POLL - 1))
        self.assertEqual(self.said(), [])
        self.reactor.pump([POLL / 2] * 2)
        self.assertEqual(self.said(), [Missed()])

    def test_polls(self) -> None:
        """Who cannot hear looks often, and tries again to hear."""
        self.opening[-1].errback(psycopg.OperationalError(f"no {SECRET}"))
        for attempt in range(2, 5):
            self.reactor.pump([POLL])
            self.assertEqual(self.said(), [Missed()])
            self.assertEqual(len(self.opening), attempt)
            self.opening[-1].errback(psycopg.OperationalError(f"no {SECRET}"))
        self.reactor.pump([RETRY])
        self.connect()
        self.assertEqual(self.said()[-1], Missed())
        self.reactor.pump([POLL])
        self.assertEqual(self.said(), [])
        self.assertNotIn(SECRET, "".join(str(formatEvent(event)) for event in self.events))
        self.assertNotIn(SECRET, repr(self.events))

    def test_polls_while_it_connects(self) -> None:
        """And while a server says nothing."""
        self.reactor.pump([POLL] * 3)
        self.assertEqual(self.said(), [Missed()] * 3)
        self.assertEqual(len(self.opening), 1)

    def test_connects_again(self) -> None:
        """When its connection is lost it connects again, and says that it may have missed
        something."""
        for lose in (self.break_connection, self.lose_descriptor):
            connection = self.connect()
            self.assertEqual(self.said(), [Missed()])
            lose(connection)
            self.assertEqual(self.reactor.getReaders(), [])
            self.reactor.pump([RETRY])
        self.assertEqual(len(self.opening), 3)

    def break_connection(self, connection: FakeConnection) -> None:
        connection.is_broken = True
        self.assertEqual(self.announce(connection), [])

    def lose_descriptor(self, _: FakeConnection) -> None:
        (ear,) = self.reactor.getReaders()
        ear.connectionLost(Failure(CONNECTION_LOST))

    def test_no_descriptors(self) -> None:
        """When there is no descriptor left for it, it tries again later."""
        with mock.patch.object(os, "dup", side_effect=OSError(24, "too many")):
            self.connect()
        self.assertEqual(self.said(), [])
        self.reactor.pump([RETRY])
        self.connect()
        self.assertEqual(self.said(), [Missed()])

    def test_stopped(self) -> None:
        """Who has stopped hears nothing, and holds nothing."""
        connection = self.connect()
        self.said()
        self.stop()
        self.reactor.pump([POLL] * 99)
        self.assertEqual((self.said(), len(self.opening)), ([], 1))
        self.assertEqual(connection.fileno(), -1)

    def test_stopped_while_it_waits(self) -> None:
        """So it is when the next attempt was to come."""
        self.opening[-1].errback(psycopg.OperationalError())
        self.stop()

    def test_stopped_while_it_connects(self) -> None:
        """A connection that comes too late is closed, and a failure is nobody's."""
        self.stop()
        connection = self.connect()
        self.assertEqual((connection.fileno(), self.said()), (-1, []))

    def test_failed_too_late(self) -> None:
        """A failure that comes too late is nobody's."""
        self.stop()
        self.opening[-1].errback(psycopg.OperationalError())
        self.assertEqual(self.flushLoggedErrors(), [])


class StuckTests(SynchronousTestCase):
    """A server that says nothing to whoever wants to listen."""

    def open(self) -> tuple[Listener, socket.socket, MemoryReactorClock]:
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        self.addCleanup(ours.close)
        reactor = MemoryReactorClock()

        def in_thread(_: object, __: object, ___: str, wire: Wire) -> Deferred[Any]:
            wire.attach(ours.fileno())
            return self.opening

        self.opening: Deferred[Any] = Deferred()
        listener = Listener({}, US, reactor, lambda _: None, in_thread)
        theirs.setblocking(False)
        self.assertRaises(BlockingIOError, theirs.recv, 1)
        return listener, theirs, reactor

    def end(self) -> None:
        """The thread notices."""
        self.opening.errback(psycopg.OperationalError())

    def test_cut(self) -> None:
        """It is cut off after a bounded time."""
        listener, theirs, reactor = self.open()
        reactor.pump([POLL] * int(STUCK_AFTER / POLL))
        self.assertRaises(BlockingIOError, theirs.recv, 1)
        reactor.pump([POLL])
        self.assertEqual(theirs.recv(1), b"")
        self.end()
        listener.stop()

    def test_cut_when_it_stops(self) -> None:
        """And at once when nobody wants to listen any more: a thread would keep the process."""
        listener, theirs, _ = self.open()
        listener.stop()
        self.assertEqual(theirs.recv(1), b"")
        self.end()


class HearingTests(SynchronousTestCase):
    """Two stores on a real server hear each other."""

    def setUp(self) -> None:
        before = descriptors()
        self.addCleanup(lambda: self.assertEqual(descriptors(), before))
        self.fixture = HearingFixture()
        self.addCleanup(self.fixture.dispose)
        self.here = self.fixture.store
        self.there = self.make()

    def make(self) -> Any:
        store = self.fixture.make()
        store.open()
        self.addCleanup(lambda: self.fixture.result(store.close()))
        return store

    def result(self, deferred: Deferred[Any]) -> Any:
        return self.fixture.result(deferred)

    def two(self) -> None:
        for number, name in ((1, "alice"), (2, "bob")):
            registered = self.here.accounts.register(keys(number), 1 << 16, Handle(name), None)
            self.result(registered)
        self.fixture.hear()

    def test_news(self) -> None:
        """What one has done the others hear, and nobody hears what he has done himself."""
        self.two()
        here = self.here.accounts
        self.result(here.put([envelope(1, 1), envelope(2, 1), envelope(1, 2), envelope(3, 1)]))
        self.assertEqual(self.fixture.hear(), [[], [Arrived(frozenset({ALICE, BOB}))]])
        self.assertEqual(self.result(here.subscribe(ALICE)), 1)
        self.assertEqual(self.fixture.hear(), [[], [Subscribed(ALICE, 1)]])
        self.result(here.publish(ALICE, bundle(1), one_time_keys(1, 2)))
        self.result(here.claim(ALICE))
        self.assertEqual(self.fixture.hear(), [[], [PrekeysTaken(ALICE, 1)]])
        self.result(here.delete_account(ALICE))
        self.assertEqual(self.fixture.hear(), [[], [Subscribed(ALICE, FINAL_TERM)]])

    def test_nothing_new(self) -> None:
        """What was refused is no news; what was known before is: who stored it may not have lived to
        announce it."""
        self.two()
        here = self.here.accounts
        self.result(here.put([envelope(3, 1)]))
        self.result(here.subscribe(account_id(3)))
        self.result(here.claim(ALICE))
        self.assertEqual(self.fixture.hear(), [[], []])
        for _ in range(2):
            self.result(here.put([envelope(1, 1)]))
            self.assertEqual(self.fixture.hear(), [[], [Arrived(frozenset({ALICE}))]])

    def test_another_address(self) -> None:
        """Relays that have the same tables by different addresses hear each other."""
        self.two()
        schema = self.fixture.schema
        schema.address = schema.address.replace("options=-c", "options=-c%20")
        elsewhere = self.make()
        self.fixture.hear()
        self.result(elsewhere.accounts.put([envelope(1, 1)]))
        arrived = [Arrived(frozenset({ALICE}))]
        self.assertEqual(self.fixture.hear(), [arrived, arrived, []])

    def test_other_tables(self) -> None:
        """Relays that have other tables in the same database do not."""
        self.two()
        other = HearingFixture()
        self.addCleanup(other.dispose)
        other.hear()
        registered = other.store.accounts.register(keys(1), 1 << 16, Handle("alice"), None)
        other.result(registered)
        other.result(other.store.accounts.put([envelope(1, 1)]))
        other.hear()
        self.assertEqual(self.fixture.hear(), [[], []])

    def test_announced_at_the_end(self) -> None:
        """What is finished while a store closes is announced as well."""
        self.two()
        put = self.here.accounts.put([envelope(1, 1)])
        self.result(self.here.close())
        self.assertEqual(self.result(put)[0].sequence, 1)
        (_, there) = self.fixture.hear()
        self.assertEqual(there, [Arrived(frozenset({ALICE}))])

    def test_lost_ear(self) -> None:
        """When its server ends the connection a store says that it may have missed something, and
        hears again."""
        self.two()
        self.fixture.sql(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE application_name = %s",
            f"messageu ear {self.there._relay}",
        )
        while len(self.fixture.clock.getReaders()) == 2:
            (ear, *_), _, _ = select(self.fixture.clock.getReaders(), [], [], PATIENCE)
            ear.doRead()
        self.result(self.here.accounts.put([envelope(1, 1)]))
        self.fixture.clock.advance(RETRY)
        self.assertEqual(self.fixture.hear(), [[], [Missed()]])
        self.result(self.here.accounts.put([envelope(1, 2)]))
        self.assertEqual(self.fixture.hear(), [[], [Arrived(frozenset({ALICE}))]])

    def test_sharers(self) -> None:
        """Each is told how many share the database, as they come and go."""
        self.assertEqual(self.sharers(), [[Sharers(2)], [Sharers(2)]])
        third = self.make()
        self.assertEqual(self.sharers(), [[Sharers(3)], [Sharers(3)], [Sharers(3)]])
        self.result(third.close())
        self.assertEqual(self.sharers(), [[Sharers(2)], [Sharers(2)], []])

    def sharers(self) -> list[list[News]]:
        """What each is told of that, at last, with the next beat."""
        told = self.fixture.hear()
        self.fixture.clock.advance(BEAT)
        both = [[*before, *after] for before, after in zip(told, self.fixture.hear(), strict=True)]
        return [[news for news in each if isinstance(news, Sharers)][-1:] for each in both]


class EarTests(SynchronousTestCase):
    def test_opened_in_vain(self) -> None:
        """A connection on which nobody can listen is closed."""
        made: list[Connection] = []
        fixture = HearingFixture()
        self.addCleanup(fixture.dispose)
        parameters = dict(fixture.store._address.parameters)
        connect = psycopg.connect

        def remember(**named: Any) -> Connection:
            made.append(connect(**named))
            return made[-1]

        self.patch(psycopg, "connect", remember)
        parameters["options"] = "-csearch_path=nowhere"
        wire = Wire()
        failed = execute(open_ear, parameters, US, wire)
        self.failureResultOf(failed, psycopg.errors.UndefinedTable)
        self.assertTrue(made[0].closed)
        wire.detach()
