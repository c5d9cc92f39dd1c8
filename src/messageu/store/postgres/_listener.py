"""Hears what other relays announce, on a connection of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import psycopg
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .._complaints import Complaints
from .._news import Missed, News
from . import _statements as statements
from ._announcements import decode
from ._connection import STUCK_AFTER, Wire, connect
from ._engine import Connection

RETRY: Final = 1.0
"""Seconds until the next attempt to listen, after one that failed."""

POLL: Final = 2.0
"""Seconds between two looks at the mailboxes while nothing can be heard."""

INSURANCE: Final = 30.0
"""Seconds between two of them while it can: a relay that ends at a bad moment announces nothing."""


@implementer(IReadDescriptor)
class Ear:
    """A connection that listens, as the reactor watches it.

    :param hear: is called with each line.
    :ivar ended: fires when the connection is gone.
    """

    def __init__(self, connection: Connection, reactor: Any, hear: Callable[[str], object]) -> None:
        self._connection = connection
        self._reactor = reactor
        self._hear = hear
        self.ended: Deferred[None] = Deferred(lambda _: self.close())
        try:
            # A copy: libpq closes its own when the connection fails, and the reactor would watch
            # whatever has its number then.
            self._descriptor = os.dup(connection.fileno())
        except OSError:
            connection.close()
            raise
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "announcements"

    def doRead(self) -> None:
        """Take what has come."""
        server = self._connection.pgconn
        try:
            server.consume_input()
        except psycopg.Error:
            self._end()
            return
        while (notification := server.notifies()) is not None:
            self._hear(notification.extra.decode("utf-8", "replace"))

    def connectionLost(self, _: Failure) -> None:
        """The reactor has noticed, or ends."""
        self._end()

    def close(self) -> None:
        """Listen no more."""
        if self._descriptor >= 0:
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            self._descriptor = -1
            self._connection.close()

    def _end(self) -> None:
        self.close()
        if not self.ended.called:
            self.ended.callback(None)


class Listener:
    """Listens as long as it is not stopped, and says so when something may have been missed.

    :param relay: the id of this relay, whose own announcements are left out.
    :param hear: is told the news.
    :param in_thread: calls what waits for the server elsewhere.
    """

    _log = Logger()

    def __init__(
        self,
        parameters: Any,
        relay: str,
        reactor: Any,
        hear: Callable[[News], object],
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        self._parameters = parameters
        self._relay = relay
        self._reactor = reactor
        self._hear = hear
        self._in_thread = in_thread
        self._is_listening = False
        self._looked_at = reactor.seconds()
        self._opening_since: float | None = None
        self._wire = Wire()
        self._complaints = Complaints(reactor.seconds)
        self._polling = LoopingCall(self._poll)
        self._polling.clock = reactor
        self._polling.start(POLL, now=False)
        self._done = Deferred.fromCoroutine(self._listen())
        self._done.addErrback(lambda failure: failure.trap(CancelledError))

    def stop(self) -> None:
        """Hear nothing more."""
        self._polling.stop()
        self._done.cancel()
        # A thread may still wait for a server that says nothing.
        self._wire.cut()
        self._complaints.say_rest()

    async def _listen(self) -> None:
        while True:
            try:
                ear = Ear(await self._open(), self._reactor, self._take)
            except (psycopg.Error, OSError) as error:
                self._complaints.complain("listening", type(error).__name__)
            else:
                self._is_listening = True
                # What was announced while nobody listened.
                self._look()
                try:
                    await ear.ended
                finally:
                    self._is_listening = False
            await deferLater(self._reactor, RETRY)

    def _open(self) -> Deferred[Connection]:
        """A connection that listens; one that comes when nobody waits for it any more is closed."""
        opened: Deferred[Connection] = Deferred()
        self._opening_since = self._reactor.seconds()

        def end(result: Any) -> None:
            self._opening_since = None
            self._wire.detach()
            if not opened.called:
                opened.callback(result)
            elif not isinstance(result, Failure):
                result.close()

        opening = self._in_thread(open_ear, self._parameters, self._relay, self._wire)
        opening.addBoth(end)
        return opened

    def _take(self, line: str) -> None:
        news = decode(self._relay, line)
        if news is not None:
            self._hear(news)

    def _poll(self) -> None:
        now = self._reactor.seconds()
        if self._opening_since is not None and now - self._opening_since > STUCK_AFTER:
            self._wire.cut()
        if not self._is_listening or now - self._looked_at >= INSURANCE:
            self._look()

    def _look(self) -> None:
        self._looked_at = self._reactor.seconds()
        self._hear(Missed())


def open_ear(parameters: Any, relay: str, wire: Wire) -> Connection:
    """A connection that listens.

    :param wire: by which it can be cut meanwhile.
    :raises psycopg.Error: when there is none to be had.
    """
    connection = connect(parameters, f"messageu ear {relay}")
    try:
        wire.attach(connection.fileno())
        channel = statements.find_channel(connection.cursor())
        connection.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel)))
    except BaseException:
        connection.close()
        raise
    return connection
