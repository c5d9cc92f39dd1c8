"""How a relay gets on with a load balancer in front of it (ADR 14)."""

from __future__ import annotations

from attrs import frozen

from ._drain import Heed
from ._health import Health
from ._proxied import Networks


@frozen
class Balancing:
    """What is agreed with a balancer; by default, that there is none.

    :ivar networks: where every connection must come from and begin with a PROXY header, if any must.
    :ivar goodbyes: whether the end of a client's half, which such a balancer tells, can prove that
        its mail of v2 has arrived.
    :ivar health: where the relay is asked how it is.
    :ivar drain: seconds for which it serves after it was told to stop.
    :ivar heed: how it hears that these are too long.
    """

    networks: Networks | None = None
    goodbyes: bool = False
    health: Health | None = None
    drain: float = 0.0
    heed: Heed = lambda _: None
