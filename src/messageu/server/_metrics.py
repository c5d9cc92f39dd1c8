"""What is counted and measured for whoever watches the relay. Nothing here names a user or an
address: labels are words of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from zope.interface import Attribute, Interface, implementer

from ._exposition import Family, Histogram, Kind, Samples, write

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of the buckets for times."""

OPERATIONS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Bounds of the buckets for batches; the last is the largest batch."""

FAMILIES: Final[Mapping[str, Family]] = {
    family.name: family
    for family in (
        Family("messageu_build_info", Kind.GAUGE, "1, and the version of the relay.", ("version",)),
        Family(
            "messageu_condition",
            Kind.GAUGE,
            "1 for how the relay is, as /readyz tells it, and 0 for all else that it might be.",
            ("condition",),
        ),
        Family("messageu_connections", Kind.GAUGE, "Connections that are open.", ("protocol",)),
        Family("messageu_connections_limit", Kind.GAUGE, "How many there may be in all."),
        Family(
            "messageu_requests_total",
            Kind.COUNTER,
            "Requests that were answered: answered, refused, failed, or with v3 the reason.",
            ("protocol", "code", "outcome"),
        ),
        Family(
            "messageu_request_seconds",
            Kind.HISTOGRAM,
            "Seconds from a request to its answer, or to the first piece of a long one.",
            ("protocol", "code"),
            SECONDS,
        ),
        Family(
            "messageu_refused_frames_total",
            Kind.COUNTER,
            "Frames that were no requests.",
            ("protocol",),
        ),
        Family("messageu_requests_in_progress", Kind.GAUGE, "Requests that wait for an answer."),
        Family("messageu_input_bytes", Kind.GAUGE, "Bytes of requests that are in memory."),
        Family("messageu_input_bytes_limit", Kind.GAUGE, "How many there may be."),
        Family("messageu_output_bytes", Kind.GAUGE, "Bytes of answers that are in memory."),
        Family("messageu_output_bytes_limit", Kind.GAUGE, "How many there may be."),
        Family("messageu_limit_hits_total", Kind.COUNTER, "How often a limit was met.", ("limit",)),
        Family(
            "messageu_store_batch_operations",
            Kind.HISTOGRAM,
            "Operations that were committed together.",
            (),
            OPERATIONS,
        ),
        Family(
            "messageu_store_commit_seconds",
            Kind.HISTOGRAM,
            "Seconds from the beginning of a transaction to the end of its commit.",
            (),
            SECONDS,
        ),
        Family(
            "messageu_store_background_seconds",
            Kind.HISTOGRAM,
            "Seconds of a transaction with what nobody waits for, which only PostgreSQL has apart.",
            (),
            SECONDS,
        ),
        Family("messageu_v3_subscriptions", Kind.GAUGE, "Mailboxes of v3 that are pushed."),
        Family(
            "messageu_v3_envelopes_total",
            Kind.COUNTER,
            "Envelopes of v3: stored, known (stored before), pushed, acknowledged.",
            ("happening",),
        ),
        Family(
            "messageu_waiting_mailboxes",
            Kind.GAUGE,
            "Mailboxes in which something waits, as counted last.",
            ("protocol",),
        ),
        Family(
            "messageu_waiting_messages",
            Kind.GAUGE,
            "Messages that wait in all mailboxes together, as counted last.",
            ("protocol",),
        ),
        Family(
            "messageu_waiting_bytes",
            Kind.GAUGE,
            "Bytes of their content, as counted last.",
            ("protocol",),
        ),
    )
}
"""All that there is, by name, in the order in which it is written."""


class IMetrics(Interface):
    """Is told what happens. It is called by the reactor's thread alone."""

    on = Attribute("Whether anybody wants to know: who would have to measure asks this first.")

    def answered(protocol: str, code: str, outcome: str, seconds: float, count: int = 1) -> None:
        """So many requests were answered after this time."""

    def refused_frame(protocol: str) -> None:
        """Somebody has sent what is no request."""

    def committed(operations: int, seconds: float) -> None:
        """The store has committed so many operations, which took this time."""

    def committed_behind(operations: int, seconds: float) -> None:
        """The same, of operations that nobody waits for."""


@implementer(IMetrics)
class NoMetrics:
    """Nobody wants to know."""

    on = False

    def answered(
        self, protocol: str, code: str, outcome: str, seconds: float, count: int = 1
    ) -> None:
        """Nothing."""

    def refused_frame(self, protocol: str) -> None:
        """Nothing."""

    def committed(self, operations: int, seconds: float) -> None:
        """Nothing."""

    def committed_behind(self, operations: int, seconds: float) -> None:
        """Nothing."""


NOBODY_ASKS: Final = NoMetrics()


@implementer(IMetrics)
class Metrics:
    """Keeps what was told, and writes it down with what somebody else knows."""

    on = True

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, ...]] = Counter()
        self._refused: Counter[tuple[str, ...]] = Counter()
        self._times: dict[tuple[str, ...], Histogram] = {}
        self._operations = Histogram(OPERATIONS)
        self._commits = Histogram(SECONDS)
        self._behind = Histogram(SECONDS)

    def answered(
        self, protocol: str, code: str, outcome: str, seconds: float, count: int = 1
    ) -> None:
        self._requests[protocol, code, outcome] += count
        times = self._times.get((protocol, code))
        if times is None:
            times = self._times[protocol, code] = Histogram(SECONDS)
        times.observe(seconds, count)

    def refused_frame(self, protocol: str) -> None:
        self._refused[protocol,] += 1

    def committed(self, operations: int, seconds: float) -> None:
        self._operations.observe(operations)
        self._commits.observe(seconds)

    def committed_behind(self, operations: int, seconds: float) -> None:
        self._behind.observe(seconds)

    def page(self, others: Mapping[str, Samples]) -> bytes:
        """All that is known, with samples of other families by their names."""
        known: Mapping[str, Samples] = {
            **others,
            "messageu_requests_total": sorted(self._requests.items()),
            "messageu_request_seconds": sorted(self._times.items(), key=lambda item: item[0]),
            "messageu_refused_frames_total": sorted(self._refused.items()),
            "messageu_store_batch_operations": [((), self._operations)],
            "messageu_store_commit_seconds": [((), self._commits)],
            "messageu_store_background_seconds": [((), self._behind)],
        }
        return write(_in_order(known))


def _in_order(known: Mapping[str, Samples]) -> Iterable[tuple[Family, Samples]]:
    return [(family, known[name]) for name, family in FAMILIES.items() if name in known]
