"""Where a relay listens."""

from __future__ import annotations

from attrs import frozen
from twisted.internet.interfaces import IStreamServerEndpoint


@frozen
class Door:
    """An endpoint and the words that describe it to the operator."""

    description: str
    endpoint: IStreamServerEndpoint
