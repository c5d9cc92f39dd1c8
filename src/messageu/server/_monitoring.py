"""Where Prometheus asks how the relay is: what the metrics keep, and what is read when it asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from messageu import __version__
from messageu.store import Depth, IChecked, ISurvey

from ._census import Census
from ._doors import Door
from ._exposition import CONTENT_TYPE, Samples
from ._http import HttpFactory, WebPage
from ._limits import Limits
from ._metrics import Metrics
from ._readiness import Condition, Readiness

METRICS_CONNECTIONS: Final = 4
"""Questions at once, for which there are spare descriptors; whoever comes then is not heard."""


@frozen
class Monitoring:
    """Where the relay is asked for its metrics, what keeps them, and the store whose state is a part
    of them, as is what waits there.

    :ivar surveys: of the protocols, by their names.
    """

    door: Door
    metrics: Metrics
    store: IChecked
    surveys: Mapping[str, ISurvey]


@frozen
class Inside:
    """What there is to be read of a relay.

    :ivar connections: how many are open, by protocol.
    :ivar subscriptions: how many mailboxes of v3 are pushed.
    :ivar envelopes: how often what has happened to envelopes of v3.
    """

    limits: Limits
    connections: Mapping[str, int]
    subscriptions: int = 0
    envelopes: Mapping[str, int] = {}


class MetricsFactory(HttpFactory):
    """Answers ``/metrics``.

    :param readiness: how the relay is.
    :param look: reads what there is to be read.
    :param census: counts what waits. Nobody waits for that: it is told the next time.
    """

    def __init__(
        self,
        metrics: Metrics,
        readiness: Readiness,
        look: Callable[[], Inside],
        census: Census,
        clock: IReactorTime,
    ) -> None:
        self._metrics = metrics
        self._look = look
        self._census = census
        super().__init__(
            {b"/metrics": lambda: readiness.ask().addCallback(self._page)},
            METRICS_CONNECTIONS,
            clock,
        )

    def _page(self, condition: Condition) -> WebPage:
        self._census.refresh()
        samples = {
            **samples_of(self._look(), condition),
            **_waiting(self._census.depths),
        }
        body = self._metrics.page(samples)
        return WebPage(body, content_type=CONTENT_TYPE)


def samples_of(inside: Inside, condition: Condition) -> Mapping[str, Samples]:
    """What was read, as samples of the families by their names."""
    limits = inside.limits
    one: Mapping[str, float] = {
        "messageu_connections_limit": limits.connection_limit,
        "messageu_requests_in_progress": limits.requests,
        "messageu_input_bytes": limits.input_bytes,
        "messageu_input_bytes_limit": limits.settings.input_bytes,
        "messageu_output_bytes": limits.output_bytes,
        "messageu_output_bytes_limit": limits.settings.output_bytes,
        "messageu_v3_subscriptions": inside.subscriptions,
    }
    return {
        **{name: [((), value)] for name, value in one.items()},
        "messageu_build_info": [((__version__,), 1)],
        "messageu_condition": [((each.value,), int(each is condition)) for each in Condition],
        "messageu_connections": _by_label(inside.connections),
        "messageu_limit_hits_total": _by_label(limits.hits),
        "messageu_v3_envelopes_total": _by_label(inside.envelopes),
    }


def _waiting(depths: Mapping[str, Depth]) -> Mapping[str, Samples]:
    return {
        "messageu_waiting_mailboxes": [((name,), each.mailboxes) for name, each in depths.items()],
        "messageu_waiting_messages": [((name,), each.messages) for name, each in depths.items()],
        "messageu_waiting_bytes": [((name,), each.content) for name, each in depths.items()],
    }


def _by_label(numbers: Mapping[str, float]) -> Samples:
    return [((label,), number) for label, number in sorted(numbers.items())]
