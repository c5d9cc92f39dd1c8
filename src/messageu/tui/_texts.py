"""Texts of others, harmless and of bounded length, and what the screen says of messages."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Final

from attrs import frozen

from messageu.terminal import visible

from ._port import Item, Line, Mark, State

TEXT_LIMIT: Final = 4_000
"""Characters of a message that are shown among the others."""

LINES_LIMIT: Final = 60
"""Lines of it."""

WHOLE_LIMIT: Final = 100_000
"""Characters that are shown of a message on a screen of its own."""

LABEL_LIMIT: Final = 255
"""Characters of a name."""

_TAB: Final = 4
_LAST_TIME: Final = 253_402_300_799
"""Seconds since the epoch until the end of the year 9999."""

_BAR_WIDTH: Final = 20
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB")


@frozen
class Glyphs:
    """Signs, for terminals of either kind.

    :ivar ticks: of a message of ours, by what has become of it.
    """

    ticks: dict[State, str]
    marks: dict[Mark, str]
    online: str
    offline: str
    full: str
    empty: str
    more: str


UNICODE: Final = Glyphs(
    {State.QUEUED: "…", State.STORED: "✓", State.DELIVERED: "✓✓", State.UNDELIVERED: "✗"},
    {
        Mark.VERIFIED: "✓",
        Mark.UNVERIFIED: "·",
        Mark.ASKS: "?",
        Mark.CHANGED: "!",
        Mark.BLOCKED: "✗",
        Mark.V2: "!",
    },
    "●",
    "○",
    "█",
    "░",
    "…",
)

ASCII: Final = Glyphs(
    {State.QUEUED: "...", State.STORED: "v", State.DELIVERED: "vv", State.UNDELIVERED: "x"},
    {
        Mark.VERIFIED: "+",
        Mark.UNVERIFIED: "-",
        Mark.ASKS: "?",
        Mark.CHANGED: "!",
        Mark.BLOCKED: "x",
        Mark.V2: "!",
    },
    "*",
    "o",
    "#",
    ".",
    "...",
)


def glyphs_for(encoding: str | None) -> Glyphs:
    """What a terminal of an encoding can show."""
    plain = (encoding or "").lower().replace("-", "").replace("_", "")
    return UNICODE if plain.startswith("utf") else ASCII


def harmless_text(text: str, limit: int = TEXT_LIMIT, lines: int = LINES_LIMIT) -> tuple[str, int]:
    """The beginning of a text with its lines, and how many characters more there are."""
    begun = text[:limit].replace("\r\n", "\n").split("\n")[:lines]
    # What was shortened is counted in the original: escapes make it longer, never shorter.
    taken = _length_of(text, limit, lines)
    return "\n".join(visible(line.expandtabs(_TAB)) for line in begun), len(text) - taken


def _length_of(text: str, limit: int, lines: int) -> int:
    place = -1
    for _ in range(lines):
        place = text.find("\n", place + 1, limit)
        if place < 0:
            return min(len(text), limit)
    return place


def harmless_label(text: str) -> str:
    """A name on one line, not too long."""
    return visible(text[:LABEL_LIMIT])


def moment(time: float, now: float, zone: tzinfo | None) -> str:
    """When something was, as its sender says: with the day, unless that is today."""
    then, today = _local(time, zone), _local(now, zone)
    clock = f"{then:%H:%M}"
    if then.date() == today.date():
        return clock
    day = f"{then.day} {then:%b}"
    return f"{day} {clock}" if then.year == today.year else f"{day} {then.year} {clock}"


def _local(time: float, zone: tzinfo | None) -> datetime:
    moment = datetime.fromtimestamp(min(max(time, 0), _LAST_TIME), UTC)
    try:
        return moment.astimezone(zone)
    except OverflowError:  # the last day of all, in the east
        return moment


def size_of(count: int) -> str:
    """So many bytes."""
    size, unit = float(count), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{count:,} bytes" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"


def bar(done: int, total: int, glyphs: Glyphs) -> str:
    """How far a file has come."""
    part = min(done / total, 1.0) if total > 0 else 1.0
    filled = int(part * _BAR_WIDTH)
    return f"{glyphs.full * filled}{glyphs.empty * (_BAR_WIDTH - filled)} {int(part * 100):3d} %"


def fate(item: Item, glyphs: Glyphs) -> str:
    """What has become of a message of ours; empty for another's."""
    if not item.mine:
        return ""
    words = f"{glyphs.ticks[item.state]} {item.state.value}"
    return f"{words}: {item.why}" if item.why else words


def whereabouts(item: Item) -> str:
    """Where a file is that somebody sends, or where it came from."""
    file = item.file
    if file is None or item.mine:
        return ""
    if file.here is None:
        return "it is on its way"
    return file.path if file.here else "it could not be received"


def standing(line: Line, now: float, glyphs: Glyphs, me: str) -> str:
    """How it stands with the relay, in one line."""
    if line.online:
        words = f"{glyphs.online} online as {me}"
        return f"{words} | {line.words}" if line.words else words
    words = f"{glyphs.offline} offline"
    if line.words:
        words = f"{words}: {line.words}"
    if line.retry_at is None:
        return words
    return f"{words}; again in {max(0, round(line.retry_at - now))} s"
