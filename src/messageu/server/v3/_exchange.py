"""What the connections of v3 of one relay have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from messageu.wire import v3

from .._limits import Limits
from .._metrics import NOBODY_ASKS, IMetrics
from .._notices import Notices
from ._handlers import HANDLERS
from ._measured import Handlers
from ._postmaster import Postmaster
from ._turns import Turns

TOO_LARGE_READ: Final = 64 * 1024
"""Bytes above the limit that an envelope may have to be read, and answered with ``too_large``."""


@frozen
class Exchange:
    """What all connections of v3 of one relay share.

    :ivar peer_name: what a peer is called in the log, by its address.
    :ivar notices: logs what peers do.
    :ivar turns: who waits for his turn.
    :ivar handlers: one for each request, which may be measured.
    :ivar metrics: is told of what is no request.
    """

    postmaster: Postmaster
    limits: Limits
    clock: IReactorTime
    codec: v3.RequestCodec
    peer_name: Callable[[str], str]
    notices: Notices
    turns: Turns
    handlers: Handlers = HANDLERS
    metrics: IMetrics = NOBODY_ASKS
