"""Where a balancer asks over HTTP how the relay is. It tells one word, and names nobody."""

from __future__ import annotations

from typing import Final

from attrs import frozen
from twisted.internet.defer import succeed
from twisted.internet.interfaces import IReactorTime
from twisted.web import http

from messageu.store import IChecked

from ._doors import Door
from ._http import HttpFactory, WebPage
from ._readiness import Condition, Readiness

HEALTH_CONNECTIONS: Final = 24
"""Questions at once, for which there are spare descriptors; whoever comes then is not heard."""


@frozen
class Health:
    """Where the relay is asked how it is, and the store whose state is a part of that."""

    door: Door
    store: IChecked


class HealthFactory(HttpFactory):
    """Answers ``/healthz`` with 200 as long as it can, ``/readyz`` with 200 or 503, and the word for
    it.

    :ivar readiness: what is answered.
    """

    def __init__(self, health: Health, clock: IReactorTime) -> None:
        self.readiness = Readiness(health.store.check, clock)
        super().__init__(
            {
                b"/healthz": lambda: succeed(_page(Condition.READY)),
                b"/readyz": lambda: self.readiness.ask().addCallback(_page),
            },
            HEALTH_CONNECTIONS,
            clock,
        )


def _page(condition: Condition) -> WebPage:
    good = condition is Condition.READY
    return WebPage(
        f"{condition.value}\n".encode("ascii"), http.OK if good else http.SERVICE_UNAVAILABLE
    )
