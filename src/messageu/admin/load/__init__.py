"""A load for a relay of v2, and what it measures: ``messageu-admin load``, and the benchmarks."""

from ._frames import PREFIX, Frames, names, registration
from ._histogram import Histogram
from ._pace import Pace
from ._page import duration, page
from ._plan import (
    CONNECTIONS_LIMIT,
    IN_FLIGHT_LIMIT,
    MAILBOXES_LIMIT,
    RATE_LIMIT,
    SECONDS_LIMIT,
    SIZE_LIMIT,
    Plan,
)
from ._run import LoadFailed, LoadUnreachable, Run
from ._timeline import PERCENTILES, Interval, Measured, Timeline

__all__ = [
    "CONNECTIONS_LIMIT",
    "IN_FLIGHT_LIMIT",
    "MAILBOXES_LIMIT",
    "PERCENTILES",
    "PREFIX",
    "RATE_LIMIT",
    "SECONDS_LIMIT",
    "SIZE_LIMIT",
    "Frames",
    "Histogram",
    "Interval",
    "LoadFailed",
    "LoadUnreachable",
    "Measured",
    "Pace",
    "Plan",
    "Run",
    "Timeline",
    "duration",
    "names",
    "page",
    "registration",
]
