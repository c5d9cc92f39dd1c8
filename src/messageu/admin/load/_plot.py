"""Plots as SVG that needs nothing else: no script, no font, no other file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from attrs import frozen

WIDTH: Final = 760
HEIGHT: Final = 280
LOW: Final = 150
"""The height of a plot that is of less account."""

LEFT: Final = 64
RIGHT: Final = 16
TOP: Final = 16
BOTTOM: Final = 40
STEPS: Final = 5
ROOM: Final = 45
"""Between two lines across, at least."""

"""About so many lines across, and about twice as many marks below."""


@frozen
class Series:
    """A line.

    :ivar style: the class by which the page gives it its colour.
    :ivar points: places across, rising, and heights; at least one.
    """

    name: str
    style: str
    points: Sequence[tuple[float, float]]


@frozen
class Plot:
    """Some lines over one axis of seconds.

    :ivar written: a height, as it is written.
    :ivar logarithmic: whether equal ratios have equal heights; 0 is then at the bottom.
    """

    title: str
    unit: str
    series: Sequence[Series]
    written: Callable[[float], str]
    logarithmic: bool = False
    height: int = HEIGHT


def draw(plot: Plot, seconds: float) -> str:
    """The plot, which ends at so many seconds."""
    heights = [y for series in plot.series for _, y in series.points]
    steps = min(STEPS, plot.height // ROOM)
    scale = _decades(heights) if plot.logarithmic else _even(heights, steps)
    body = [*_grid(plot, scale), *_seconds(plot, seconds)]
    for series in plot.series:
        body += _line(plot, series, scale, seconds)
    label = f'role="img" aria-label="{escape(plot.title)}"'
    return f'<svg viewBox="0 0 {WIDTH} {plot.height}" {label}>{"".join(body)}</svg>'


def legend(plot: Plot) -> str:
    """Which line is what."""
    keys = "".join(
        f'<span class="key {series.style}">{escape(series.name)}</span>' for series in plot.series
    )
    return f'<p class="legend">{keys}</p>'


@frozen
class _Scale:
    """Heights that have a line across, and where a height is: 0 at the bottom, 1 at the top."""

    marks: Sequence[float]
    place: Callable[[float], float]


def _even(heights: Sequence[float], steps: int) -> _Scale:
    step = _round_step(max(heights, default=0.0) / steps, least=1.0)
    count = max(1, math.ceil(max(heights, default=0.0) / step))
    return _Scale([step * each for each in range(count + 1)], lambda y: y / (step * count))


def _decades(heights: Sequence[float]) -> _Scale:
    some = [y for y in heights if y > 0] or [1.0]
    low = math.floor(math.log10(min(some)))
    high = max(low + 1, math.ceil(math.log10(max(some))))

    def place(y: float) -> float:
        return (math.log10(max(y, 10.0**low)) - low) / (high - low)

    return _Scale([10.0**power for power in range(low, high + 1)], place)


def _round_step(step: float, least: float = 0.0) -> float:
    """The next step above that people count in."""
    step = max(step, least, 1e-6)
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * each for each in (1.0, 2.0, 2.5, 5.0, 10.0) if power * each >= step * 0.999)


def _across(second: float, seconds: float) -> float:
    return LEFT + second / seconds * (WIDTH - LEFT - RIGHT)


def _up(plot: Plot, part: float) -> float:
    return plot.height - BOTTOM - part * (plot.height - TOP - BOTTOM)


def _grid(plot: Plot, scale: _Scale) -> list[str]:
    lines = []
    for mark in scale.marks:
        y = _up(plot, scale.place(mark))
        lines.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="end" x="{LEFT - 8}" y="{y + 4:.1f}">{escape(plot.written(mark))}</text>'
        )
    return lines


def _seconds(plot: Plot, seconds: float) -> list[str]:
    step = _round_step(seconds / STEPS / 2)
    marks = [step * each for each in range(int(seconds / step + 0.001) + 1)]
    written = [
        f'<text class="middle" x="{_across(mark, seconds):.1f}" y="{plot.height - BOTTOM + 18}">'
        f"{mark:g}</text>"
        for mark in marks
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    return [*written, f'<text class="middle" x="{middle:.0f}" y="{plot.height - 4}">seconds</text>']


def _line(plot: Plot, series: Series, scale: _Scale, seconds: float) -> list[str]:
    places = [(_across(x, seconds), _up(plot, scale.place(y)), x, y) for x, y in series.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in places)
    dots = [
        f'<circle class="{series.style}" cx="{x:.1f}" cy="{y:.1f}" r="2.5">'
        f"<title>{escape(series.name)}, {second:.4g} s: {escape(plot.written(height))}</title>"
        "</circle>"
        for x, y, second, height in places
    ]
    return [f'<polyline class="{series.style}" points="{path}"/>', *dots]
