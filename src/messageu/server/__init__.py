"""The relay: what it answers, to whom it still listens, and when mail has been delivered."""

from ._factory import RelayFactory
from ._limits import Limits, LimitSettings
from ._postmaster import Postmaster
from ._protocol import RelayProtocol
from ._service import Door, Expiry, RelayService, StartFailed

__all__ = [
    "Door",
    "Expiry",
    "LimitSettings",
    "Limits",
    "Postmaster",
    "RelayFactory",
    "RelayProtocol",
    "RelayService",
    "StartFailed",
]
