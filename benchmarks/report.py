"""A run as text: a table in Markdown, and a page of plots that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import groupby

from benchmarks.figures import Findings, Plot, Row, readable

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 14, 44
COLOURS = ("#1b6ca8", "#d1622b", "#3c8d40", "#8a4fa3", "#b03a48", "#6b6b6b", "#b8860b", "#2a9d9d")


def markdown(findings: Findings) -> str:
    """The table, with the conditions above and the notes below."""
    lines = [f"- {name}: {value}" for name, value in findings.conditions.items()]
    for section, rows in groupby(findings.rows, lambda row: row.section):
        lines += [
            "",
            f"**{section}**",
            "",
            "| | median | range | | goal | met | limited by |",
            "|---|--:|--:|---|--:|---|---|",
        ]
        lines += [_line(row) for row in rows]
    if findings.notes:
        lines += ["", *(f"- Note: {note}" for note in findings.notes)]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    met = {True: "yes", False: "**no**", None: ""}[row.met]
    goal = "" if row.goal is None else str(row.goal)
    between = f"{readable(min(row.values))} – {readable(max(row.values))}"
    cells = [row.title, readable(row.median), between, row.unit, goal, met, row.limit]
    return f"| {' | '.join(cells)} |"


def page(findings: Findings) -> str:
    """HTML with the plots as SVG, and the table."""
    plots = "".join(
        f"<h2>{escape(plot.title)}</h2>{_svg(plot)}{_legend(plot)}" for plot in findings.plots
    )
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _line(row)[2:-2].split(" | "))
        for row in findings.rows
    )
    conditions = "".join(
        f"<li>{escape(name)}: {escape(value)}" for name, value in findings.conditions.items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>messageu, measured</title>'
        "<style>body{font:15px sans-serif;max-width:60em;margin:2em auto}"
        "td{padding:.1em .6em;border-bottom:1px solid #ddd}svg{max-width:100%}"
        ".key{display:inline-block;width:.8em;height:.8em;margin:0 .4em 0 1em}</style>"
        f"<h1>messageu, measured</h1><ul>{conditions}</ul>{plots}"
        f"<h2>All figures</h2><table>{rows}</table>\n"
    )


def _legend(plot: Plot) -> str:
    return "<p>" + "".join(
        f'<span class="key" style="background:{_colour(index)}"></span>{escape(series.name)}'
        for index, series in enumerate(plot.series)
    )


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _svg(plot: Plot) -> str:
    values = [y for series in plot.series for _, y in series.points if y > 0]
    low, high = _decades(values)
    body = [_axis(plot, low, high)]
    named = isinstance(plot.series[0].points[0][0], str)
    body.append(_bars(plot, low, high) if named else _curves(plot, low, high))
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-size="11">{"".join(body)}</svg>'


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low = math.floor(math.log10(min(values)))
    return low, max(low + 1, math.ceil(math.log10(max(values))))


def _height(value: float, low: int, high: int) -> float:
    part = (math.log10(max(value, 10.0**low)) - low) / (high - low)
    return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)


def _axis(plot: Plot, low: int, high: int) -> str:
    lines = []
    for power in range(low, high + 1):
        y = _height(10.0**power, low, high)
        lines.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ccc"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{readable(10.0**power)}</text>'
        )
    lines.append(
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(plot.x)}</text>'
        f'<text x="4" y="11">{escape(plot.y)}</text>'
    )
    return "".join(lines)


def _bars(plot: Plot, low: int, high: int) -> str:
    groups = [name for name, _ in plot.series[0].points]
    wide = (WIDTH - LEFT - RIGHT) / len(groups)
    bar = wide * 0.8 / len(plot.series)
    drawn = []
    for place, name in enumerate(groups):
        left = LEFT + place * wide
        drawn.append(
            f'<text x="{left + wide / 2:.1f}" y="{HEIGHT - BOTTOM + 16}" '
            f'text-anchor="middle">{escape(str(name))}</text>'
        )
        for index, series in enumerate(plot.series):
            value = series.points[place][1]
            top = _height(value, low, high)
            drawn.append(
                f'<rect x="{left + wide * 0.1 + index * bar:.1f}" y="{top:.1f}" '
                f'width="{bar * 0.9:.1f}" height="{HEIGHT - BOTTOM - top:.1f}" '
                f'fill="{_colour(index)}"><title>{escape(series.name)}: {readable(value)}'
                "</title></rect>"
            )
    return "".join(drawn)


def _curves(plot: Plot, low: int, high: int) -> str:
    places = sorted({float(x) for series in plot.series for x, _ in series.points})
    first, last = math.log10(places[0]), math.log10(places[-1])

    def across(x: float) -> float:
        return LEFT + 20 + (math.log10(x) - first) / (last - first) * (WIDTH - LEFT - RIGHT - 60)

    drawn = [
        f'<text x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
        f"{readable(x)}</text>"
        for x in places
    ]
    for index, series in enumerate(plot.series):
        points = [(across(float(x)), _height(y, low, high), y) for x, y in series.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        drawn.append(
            f'<polyline points="{path}" fill="none" stroke="{_colour(index)}" stroke-width="2"/>'
        )
        drawn += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_colour(index)}">'
            f"<title>{escape(series.name)}: {readable(value)}</title></circle>"
            f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle">{readable(value)}</text>'
            for x, y, value in points
        ]
    return "".join(drawn)
