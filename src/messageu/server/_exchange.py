"""What the connections of one relay have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import DeferredSemaphore
from twisted.internet.interfaces import (
    IConsumer,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
    ITransport,
)
from zope.interface import Attribute

from messageu.wire import v2

from ._handlers import HANDLERS, Handler
from ._limits import Limits
from ._measured import Send
from ._metrics import NOBODY_ASKS, IMetrics
from ._notices import Notices
from ._postmaster import Postmaster
from ._probe import BlindProbe, SocketProbe, probe_of
from ._recent import Recent


class IRelayTransport(ITCPTransport, IPushProducer, IConsumer):
    """What a connection needs of its transport."""

    bufferSize = Attribute("Bytes that are read at once.")  # noqa: N815 - Twisted's name


@frozen
class Exchange:
    """What all connections of one relay share.

    :ivar streams: places for answers in pieces; who finds none waits for one.
    :ivar briefs: places for brief answers that are being looked for when there is none of those;
        nobody waits for one.
    :ivar peer_name: what a peer is called in the log, by its address.
    :ivar notices: logs what peers do.
    :ivar recent: the connections that were busy last.
    :ivar send: the postmaster's, which may be measured, as ``handlers`` may be.
    :ivar metrics: is told of what is no request.
    """

    postmaster: Postmaster
    send: Send
    limits: Limits
    clock: IReactorTime
    codec: v2.RequestCodec
    streams: DeferredSemaphore
    briefs: DeferredSemaphore
    peer_name: Callable[[str], str]
    notices: Notices
    recent: Recent[Any]
    probe_of: Callable[[ITransport], SocketProbe | BlindProbe] = probe_of
    handlers: Mapping[type[v2.RequestBody], Handler] = HANDLERS
    metrics: IMetrics = NOBODY_ASKS
