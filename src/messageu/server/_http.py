"""A tiny server of HTTP for whoever watches the relay: it answers a few questions, each with one page,
and names nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

ANSWER_DEADLINE: Final = 10.0
"""Seconds for a question, its answer, and the way of both."""

HEAD_SIZE_LIMIT: Final = 4_096
"""Bytes of a question, with all its headers."""

PLAIN: Final = b"text/plain; charset=us-ascii"


@frozen
class WebPage:
    """What is answered."""

    body: bytes
    code: int = http.OK
    content_type: bytes = PLAIN


Answers: TypeAlias = Mapping[bytes, Callable[[], Deferred[WebPage]]]
"""Who answers what is asked, by the path. What they return never fails."""


class HttpFactory(http.HTTPFactory):
    """Answers GET and HEAD. One connection is for one question.

    :param answers: what is answered.
    :param connections: questions at once; whoever comes then is not heard.
    """

    noisy = False

    def __init__(self, answers: Answers, connections: int, clock: IReactorTime) -> None:
        super().__init__(reactor=clock)
        self.answers = answers
        self._limit = connections
        self._channels: dict[_Channel, None] = {}

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
        if len(self._channels) >= self._limit:
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
            self._say(WebPage(b"there is nothing here\n", http.NOT_FOUND))
        elif self.method not in (b"GET", b"HEAD"):
            self.responseHeaders.setRawHeaders(b"allow", [b"GET, HEAD"])
            self._say(WebPage(b"this can only be read\n", http.NOT_ALLOWED))
        else:
            ask().addCallback(self._say)

    def _say(self, page: WebPage) -> None:
        if self.channel is None:  # nobody waits any more
            return
        self.setResponseCode(page.code)
        for name, value in (
            (b"cache-control", b"no-store"),
            (b"content-length", b"%d" % len(page.body)),
            (b"content-type", page.content_type),
        ):
            self.responseHeaders.setRawHeaders(name, [value])
        self.write(page.body)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]


class _Channel(http.HTTPChannel):
    """One connection."""

    requestFactory = _Question
    totalHeadersSize = HEAD_SIZE_LIMIT
    # Its own deadline begins anew with each byte, and logs who has met it.
    timeOut = None

    def __init__(self, factory: HttpFactory) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.factory = factory
        self._deadline = factory.reactor.callLater(ANSWER_DEADLINE, self.drop)

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
