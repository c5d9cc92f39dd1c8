"""What Prometheus reads: its text format, version 0.0.4, without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from math import isinf
from typing import Final, TypeAlias

from attrs import frozen

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

Labels: TypeAlias = tuple[str, ...]
"""The values of a family's labels, in its order."""


class Kind(Enum):
    """What the numbers of a family are."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@frozen
class Family:
    """Numbers of one name, which labels tell apart.

    :ivar help: what they are, in one line.
    :ivar bounds: of the buckets of a histogram, rising.
    """

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    bounds: Sequence[float] = ()


class Histogram:
    """How often something was at most so much, for the bounds of a family."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """It was this, so many times."""
        place = next(
            (place for place, bound in enumerate(self._bounds) if value <= bound), len(self._bounds)
        )
        self._counts[place] += count
        self._sum += value * count

    def lines(self, family: Family, labels: Labels) -> Iterator[str]:
        """Its samples."""
        names, below = (*family.labels, "le"), 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            below += count
            yield _line(f"{family.name}_bucket", names, (*labels, _number(bound)), below)
        yield _line(f"{family.name}_sum", family.labels, labels, self._sum)
        yield _line(f"{family.name}_count", family.labels, labels, below)


Samples: TypeAlias = Iterable[tuple[Labels, float | Histogram]]


def write(families: Iterable[tuple[Family, Samples]]) -> bytes:
    """A page with all of these."""
    return "".join(
        f"{line}\n" for family, samples in families for line in _lines(family, samples)
    ).encode("utf-8", "backslashreplace")


def _lines(family: Family, samples: Samples) -> Iterator[str]:
    yield f"# HELP {family.name} {_escape(family.help)}"
    yield f"# TYPE {family.name} {family.kind.value}"
    for labels, value in samples:
        if isinstance(value, Histogram):
            yield from value.lines(family, labels)
        else:
            yield _line(family.name, family.labels, labels, value)


def _line(name: str, names: Labels, values: Labels, number: float) -> str:
    quoted = ",".join(
        f'{label}="{_escape(value, quoted=True)}"'
        for label, value in zip(names, values, strict=True)
    )
    return f"{name}{{{quoted}}} {_number(number)}" if quoted else f"{name} {_number(number)}"


def _number(value: float) -> str:
    if isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def _escape(text: str, *, quoted: bool = False) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quoted else escaped
