"""Where a balancer asks over HTTP how the relay is. It tells one word, and names nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

from messageu.store import IChecked

from ._doors import Door
from ._readiness import Condition, Readiness

HEALTH_CONNECTIONS: Final = 24
"""Questions at once, for which there are spare descriptors; whoever comes then is not heard."""

HEALTH_DEADLINE: Final = 10.0
"""Seconds for a question, its answer, and the way of both."""

HEAD_SIZE_LIMIT: Final = 4_096
"""Bytes of a question, with all its headers."""


@frozen
class Health:
    """Where the relay is asked how it is, and the store whose state is a part of that."""

    door: Door
    store: IChecked


class HealthFactory(http.HTTPFactory):
    """Answers GET and HEAD: ``/healthz`` with 200 as long as it can, ``/readyz`` with 200 or 503, and
    the word for it. One connection is for one question.

    :ivar readiness: what is answered.
    """

    noisy = False

    def __init__(self, health: Health, clock: IReactorTime) -> None:
        super().__init__(reactor=clock)
        self.readiness = Readiness(health.store.check, clock)
        self._channels: dict[_Channel, None] = {}
        self.answers: Mapping[bytes, Callable[[], Deferred[Condition]]] = {
            b"/healthz": lambda: succeed(Condition.READY),
            b"/readyz": self.readiness.ask,
        }

    # What it inherits keeps a log of who asks, and a timer for that.

    def startFactory(self) -> None:
        """Keep no log."""

    def stopFactory(self) -> None:
        """With the last port all connections end."""
        for channel in tuple(self._channels):
            channel.drop()

    def log(self, request: http.Request) -> None:
        """Keep none."""

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A channel for a new connection, or None: there are too many."""
        if len(self._channels) >= HEALTH_CONNECTIONS:
            return None
        channel = _Channel(self)
        self._channels[channel] = None
        return channel

    def forget(self, channel: _Channel) -> None:
        """This one is over."""
        self._channels.pop(channel, None)


class _Question(http.Request):
    """One question. What it carries beside its head is not kept."""

    channel: Any

    def gotLength(self, length: int | None) -> None:
        super().gotLength(0)  # type: ignore[no-untyped-call]

    def handleContentChunk(self, data: bytes) -> None:
        pass

    def process(self) -> None:
        ask = self.channel.factory.answers.get(self.path)
        if ask is None:
            self._say(http.NOT_FOUND, "there is nothing here")
        elif self.method not in (b"GET", b"HEAD"):
            self.responseHeaders.setRawHeaders(b"allow", [b"GET, HEAD"])
            self._say(http.NOT_ALLOWED, "this can only be read")
        else:
            ask().addCallback(self._tell)

    def _tell(self, condition: Condition) -> None:
        good = condition is Condition.READY
        self._say(http.OK if good else http.SERVICE_UNAVAILABLE, condition.value)

    def _say(self, code: int, text: str) -> None:
        if self.channel is None:  # nobody waits any more
            return
        body = f"{text}\n".encode("ascii")
        self.setResponseCode(code)
        for name, value in (
            (b"cache-control", b"no-store"),
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"text/plain; charset=us-ascii"),
        ):
            self.responseHeaders.setRawHeaders(name, [value])
        self.write(body)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]


class _Channel(http.HTTPChannel):
    """One connection."""

    requestFactory = _Question
    totalHeadersSize = HEAD_SIZE_LIMIT
    # Its own deadline begins anew with each byte, and logs who has met it.
    timeOut = None

    def __init__(self, factory: HealthFactory) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.factory = factory
        self._deadline = factory.reactor.callLater(HEALTH_DEADLINE, self.drop)

    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        """It ends with the answer."""
        request.responseHeaders.setRawHeaders(b"connection", [b"close"])
        return False

    def drop(self) -> None:
        """End it at once."""
        transport: Any = self.transport
        transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        if self._deadline.active():
            self._deadline.cancel()
        self.factory.forget(self)
