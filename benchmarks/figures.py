"""What a run found: rows of a table, and series for plots."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from attrs import asdict, define, field, frozen


@frozen
class Goal:
    """A bound of the median."""

    at_least: float | None = None
    at_most: float | None = None

    def is_met(self, value: float) -> bool:
        """Whether a median keeps to it."""
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )

    def __str__(self) -> str:
        if self.at_least is not None:
            return f"≥ {readable(self.at_least)}"
        return f"≤ {readable(self.at_most or 0.0)}"


@frozen
class Row:
    """A line of the table: a figure of each round.

    :ivar section: which of the goals it belongs to.
    :ivar limit: what keeps it from being better.
    """

    section: str
    title: str
    unit: str
    values: Sequence[float]
    goal: Goal | None = None
    limit: str = ""

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        return None if self.goal is None else self.goal.is_met(self.median)


@frozen
class Series:
    """A line of a plot, or a group of bars."""

    name: str
    points: Sequence[tuple[float | str, float]]


@frozen
class Plot:
    """A plot; bars when its points are named, lines over a logarithmic axis otherwise."""

    title: str
    x: str
    y: str
    series: Sequence[Series]


@define
class Findings:
    """All that a run found."""

    conditions: dict[str, str]
    rows: list[Row] = field(factory=list)
    plots: list[Plot] = field(factory=list)
    notes: list[str] = field(factory=list)

    def as_json(self) -> dict[str, Any]:
        """As plain values, with the medians."""
        plain = asdict(self)
        for row, written in zip(self.rows, plain["rows"], strict=True):
            written |= {"median": row.median, "met": row.met}
        return plain


def readable(value: float) -> str:
    """A number with the digits that mean something."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def ratios(above: Sequence[float], below: Sequence[float]) -> Sequence[float]:
    """The ratio in each round; what was measured next to each other is compared."""
    return [a / b for a, b in zip(above, below, strict=True)]


def percent(part: float) -> str:
    """A part of a processor."""
    return f"{part * 100:.0f} %"
