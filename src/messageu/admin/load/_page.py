"""What a load has found, as a page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from messageu import __version__

from ._plan import Plan
from ._plot import LOW, Plot, Series, draw, legend
from ._timeline import PERCENTILES, Interval, Measured

MANY: Final = 0.01
"""The part of what was sent from which on it matters what was not."""

_SHADES: Final = {
    "a": ("#1667b7", "#6cb2ff"),
    "b": ("#8a8f98", "#8a8f98"),
    "p50": ("#2a7f4f", "#63c793"),
    "p95": ("#1667b7", "#6cb2ff"),
    "p99": ("#b8660b", "#f0a54a"),
    "max": ("#b3263a", "#ff7a8a"),
    "refused": ("#b8660b", "#f0a54a"),
    "lost": ("#b3263a", "#ff7a8a"),
}
"""The colour of each line on a light page, and on a dark one."""

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1c2128;--dim:#5c6570;--page:#fff;--card:#f4f6f8;--line:#d9dee4}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ee;--dim:#9aa4b0;--page:#14171c;--card:#1e232a;--line:#363d47}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:820px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em;margin:0}h2{font-size:1.1em;margin:1.8em 0 .2em}p{margin:.3em 0}.dim{color:var(--dim)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(7.6em,1fr));gap:.6em;margin:1.2em 0}
.card{background:var(--card);border-radius:8px;padding:.6em .9em}
.card b{display:block;font-size:1.35em;font-weight:600;font-variant-numeric:tabular-nums}
.bad{border-left:4px solid #b3263a;background:var(--card);padding:.5em .9em;border-radius:4px}
svg{width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:var(--dim)}
.end{text-anchor:end}.middle{text-anchor:middle}.grid{stroke:var(--line)}
polyline{fill:none;stroke-width:2;stroke-linejoin:round}
.legend{font-size:.9em}.key{margin-right:1.4em}
.key::before{content:"";display:inline-block;width:1em;height:.25em;border-radius:2px;margin-right:.45em;vertical-align:.2em;background:currentColor}

table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9em;width:100%}
td,th{text-align:right;padding:.2em .6em;border-bottom:1px solid var(--line)}th{font-weight:600}
td:first-child,th:first-child{text-align:left}
details{margin:1.5em 0}summary{cursor:pointer}
"""


def page(plan: Plan, measured: Measured, when: str) -> str:
    """HTML, which is well-formed XML as well; ``when`` is written at its top."""
    plots = "".join(
        f"<h2>{escape(plot.title)} <span class='dim'>{escape(plot.unit)}</span></h2>"
        f"{legend(plot)}{draw(plot, _length(measured))}"
        for plot in _plots(plan, measured)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width"/>'
        f"<title>Load of {escape(plan.address)}</title>"
        f"<style>{_STYLE}{_colours()}</style></head><body>"
        f"<h1>Load of {escape(plan.address)}</h1>"
        f'<p class="dim">{escape(when)} · messageu {__version__} · {escape(_asked(plan))}</p>'
        f"{_warnings(measured)}{_cards(measured)}{plots}"
        f"{_table(measured)}{_notes(plan, measured)}</body></html>\n"
    )


def duration(microseconds: float) -> str:
    """A time, in the unit that suits it."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3g} {unit}"
    return f"{microseconds:.3g} µs"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _asked(plan: Plan) -> str:
    how = (
        "as fast as it answers"
        if plan.rate is None
        else f"{plan.rate:,g} messages a second, due whatever it does"
    )
    return (
        f"{plan.connections:,} connections, {plan.in_flight:,} in flight on each, {plan.size:,} bytes, "
        f"{plan.mailboxes:,} mailboxes, {plan.seconds:g} s after {plan.warmup:g} s of warm-up, {how}"
    )


def _length(measured: Measured) -> float:
    return (
        max([measured.seconds, *(at + measured.timeline.width / 2 for at, _ in measured.timeline)])
        or measured.timeline.width
    )


def _warnings(measured: Measured) -> str:
    said = list(measured.complaints)
    if measured.interrupted:
        said.insert(0, "It was ended early.")
    if measured.unsent:
        said.append(
            f"{measured.unsent:,} messages were due, and still waited for a connection at the end."
            " Their waiting is in no figure."
        )
    if measured.unsent > measured.everything.sent * MANY:
        said.append("The rate is more than the relay, or this load, can do.")
    return "".join(f'<p class="bad">{escape(each)}</p>' for each in said)


def _cards(measured: Measured) -> str:
    whole = measured.whole
    found = [
        ("stored / s", _number(measured.rate)),
        *((name, duration(whole.latencies.percentile(part))) for name, part in PERCENTILES.items()),
        ("max", duration(whole.latencies.maximum)),
        ("errors", _number(whole.refused + whole.lost)),
    ]
    cards = "".join(
        f'<div class="card"><b>{escape(value)}</b><span class="dim">{escape(name)}</span></div>'
        for name, value in found
    )
    return f'<div class="cards">{cards}</div>'


def _plots(plan: Plan, measured: Measured) -> Sequence[Plot]:
    timeline = measured.timeline
    rows = [(at, _width(at, measured), each) for at, each in timeline]
    middles = [(at + wide / 2, wide, each) for at, wide, each in rows if wide > 0]
    throughput = [
        Series(
            "stored", "a", [(x, each.stored / wide) for x, wide, each in middles] or [(0.0, 0.0)]
        )
    ]
    if plan.rate is not None:
        ends = (0.0, measured.seconds)
        throughput.insert(0, Series("due", "b", [(x, plan.rate) for x in ends]))
    return [
        Plot("Throughput", "messages a second", throughput, _number),
        Plot("Latency", "logarithmic", _latencies(rows), duration, logarithmic=True),
        Plot(
            "Errors",
            "in each stretch",
            [
                Series(
                    name,
                    name,
                    [(x + timeline.width / 2, getattr(each, name)) for x, _, each in rows]
                    or [(0.0, 0.0)],
                )
                for name in ("refused", "lost")
            ],
            _number,
            height=LOW,
        ),
    ]


def _width(at: float, measured: Measured) -> float:
    """Seconds of a stretch that were measured: the last one may be cut, and none after the end."""
    wide = min(measured.timeline.width, measured.seconds - at)
    return wide if wide > measured.timeline.width / 4 else 0.0


def _latencies(rows: Sequence[tuple[float, float, Interval]]) -> Sequence[Series]:
    found = [(at + max(wide, 0.0) / 2, each.numbers()) for at, wide, each in rows if each.stored]
    return [
        Series(name, name, [(x, float(each[name])) for x, each in found] or [(0.0, 0.0)])
        for name in (*PERCENTILES, "max")
    ]


def _table(measured: Measured) -> str:
    names = ("sent", "stored", "refused", "lost", *PERCENTILES, "max")
    head = "".join(f"<th>{name}</th>" for name in ("from second", *names))
    rows = "".join(
        f"<tr><td>{at:g}</td>{_cells(each.numbers())}</tr>" for at, each in measured.timeline
    )
    whole = f"<tr><th>all</th>{_cells(measured.whole.numbers())}</tr>"
    return (
        "<details><summary>All figures</summary>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{whole}{rows}</tbody></table></details>"
    )


def _cells(numbers: dict[str, int]) -> str:
    return "".join(
        f"<td>{duration(value) if name in (*PERCENTILES, 'max') else f'{value:,}'}</td>"
        for name, value in numbers.items()
    )


def _notes(plan: Plan, measured: Measured) -> str:
    everything = measured.everything
    since = (
        "is sent; on each connection the next one waits for it"
        if plan.rate is None
        else "was due, also if it had to wait to be sent,"
    )
    return (
        f'<p class="dim">A latency is from when a message {since} until its answer has been read: '
        "then it is on the relay's disk. Buckets are off by 1.6 % at the most. With the warm-up "
        f"{everything.sent:,} messages were sent, {everything.stored:,} stored, and "
        f"{measured.taken_back:,} taken back. What stays are {plan.mailboxes:,} users whose names "
        f"begin with {escape(measured.users)}.</p>"
    )


def _colours() -> str:
    def of(place: int) -> str:
        return "".join(
            f"polyline.{name}{{stroke:{shades[place]}}}circle.{name}{{fill:{shades[place]}}}"
            f".key.{name}{{color:{shades[place]}}}"
            for name, shades in _SHADES.items()
        )

    return f"{of(0)}@media(prefers-color-scheme:dark){{{of(1)}}}polyline.b{{stroke-dasharray:5 4}}"
