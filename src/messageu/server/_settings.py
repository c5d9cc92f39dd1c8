"""The limits that an operator may set: one table of defaults, units, ranges and meanings.

Times are seconds, sizes are bytes. The defaults fit together: about 200 MiB at the worst.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import asdict, evolve, field, fields_dict, frozen

from messageu.wire import v2, v3

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
DAY: Final = 86_400.0

READ_WITH: Final = 128 * KIB
"""Bytes that may be read together with the end of a large frame, and its head."""

LEAST_LEASE: Final = 256
"""Messages that an answer may hold however many the others hold."""


class BadLimit(Exception):
    """Limits cannot be set so; the text says why in one line."""


@frozen
class Unit:
    """How values of a kind are written.

    :ivar read: raises ValueError for what is none.
    :ivar show: writes a value so that ``read`` reads it again.
    :ivar wanted: what an operator is told to write.
    """

    read: Callable[[str], float]
    show: Callable[[float], str]
    wanted: str


_FACTORS: Final = {"GiB": GIB, "MiB": MIB, "KiB": KIB, "": 1}


def _read(pattern: str, text: str) -> re.Match[str]:
    found = re.fullmatch(pattern, text, re.ASCII)
    if found is None:
        raise ValueError
    return found


def _read_size(text: str) -> int:
    digits, suffix = _read(r"(\d{1,15})(|KiB|MiB|GiB)", text).groups()
    return int(digits) * _FACTORS[suffix]


def _show_size(size: float) -> str:
    for suffix, factor in _FACTORS.items():
        if size >= factor and not size % factor:
            return f"{size // factor:.0f}{suffix}"
    return f"{size:.0f}"


COUNT: Final = Unit(
    lambda text: int(_read(r"\d{1,15}", text)[0]), lambda count: f"{count:.0f}", "a whole number"
)
BYTES: Final = Unit(_read_size, _show_size, "a whole number, perhaps with KiB, MiB or GiB")
SECONDS: Final = Unit(
    lambda text: float(_read(r"\d{1,9}(\.\d{1,9})?", text)[0]),
    lambda seconds: f"{seconds:.9f}".rstrip("0").rstrip("."),
    "a number of seconds",
)


@frozen
class Limit:
    """One line of the table.

    :ivar least: the least that can be set, ``most`` the most.
    """

    name: str
    default: float
    unit: Unit
    least: float
    most: float
    meaning: str

    @property
    def range(self) -> str:
        """From where to where it can be set."""
        return f"{self.unit.show(self.least)} to {self.unit.show(self.most)}"

    def read(self, text: str) -> float:
        """The value that an operator has written.

        :raises BadLimit: when it cannot be set.
        """
        try:
            value = self.unit.read(text)
        except ValueError:
            raise BadLimit(f"{self.name} wants {self.unit.wanted}, not {text!r}") from None
        if not self.least <= value <= self.most:
            raise BadLimit(f"{self.name}={text} is out of range: {self.range}")
        return value


def _limit(default: float, unit: Unit, range_: tuple[float, float], meaning: str) -> Any:
    return field(default=default, metadata={"row": (unit, *range_, meaning)})


@frozen(kw_only=True)
class LimitSettings:
    """How much of everything there may be.

    Ranges, and how limits fit together, are only checked by :func:`read_limits`.
    """

    connections: int = _limit(
        10_000,
        COUNT,
        (1, 1_000_000),
        "connections at once; lowered to fit the limit of open files, which is raised as far as it "
        "may be. Above 80 % the address that holds most is refused",
    )
    content: int = _limit(
        v2.DEFAULT_CONTENT_LIMIT,
        BYTES,
        (512, GIB),
        "content of one message; the default is that of a file of 16 MiB, with its padding",
    )
    unreserved: int = _limit(
        512,
        BYTES,
        (438, 64 * KIB),
        "input of a connection that is not counted: a header and a 600",
    )
    input_bytes: int = _limit(
        64 * MIB,
        BYTES,
        (256 * KIB, 1024 * GIB),
        "requests in memory, from their arrival to their commit; when full, the oldest incomplete "
        "one is given up",
    )
    output_bytes: int = _limit(
        32 * MIB,
        BYTES,
        (64 * KIB, 1024 * GIB),
        "answers in memory; when full, the slowest reader is cut off",
    )
    connection_output: int = _limit(
        64 * KIB,
        BYTES,
        (KIB, 16 * MIB),
        "unsent answers above which a connection's next request waits",
    )
    streams: int = _limit(
        256,
        COUNT,
        (1, 65_536),
        "answers to 601 and 604 in progress; beyond them what fits into one piece is answered, "
        "and more waits",
    )
    chunk: int = _limit(
        64 * KIB,
        BYTES,
        (KIB, 16 * MIB),
        "piece in which such an answer is read from the store",
    )
    read_ahead: int = _limit(
        64,
        COUNT,
        (1, 4_096),
        "requests of one connection in progress",
    )
    requests: int = _limit(
        16_384,
        COUNT,
        (1, 10_000_000),
        "requests of all connections in progress, above which each has only one",
    )
    answer_bytes: int = _limit(
        32 * MIB,
        BYTES,
        (64 * KIB, GIB),
        "one answer to 604, which holds at least one message; the rest comes with the next",
    )
    answer_messages: int = _limit(
        16 * KIB,
        COUNT,
        (1, 65_536),
        "the same, in messages",
    )
    leased_messages: int = _limit(
        131_072,
        COUNT,
        (1, 10_000_000),
        f"messages of all such answers in progress, above which one holds {LEAST_LEASE} at most; "
        "at twice as many, the oldest answer is given up",
    )
    discarded_bytes: int = _limit(
        64 * MIB,
        BYTES,
        (64 * KIB, 1024 * GIB),
        "what a refused connection may still send until it is cut off",
    )
    frame_deadline: float = _limit(
        60.0,
        SECONDS,
        (1, DAY),
        "seconds for one request to arrive, however slowly",
    )
    idle_deadline: float = _limit(
        600.0,
        SECONDS,
        (1, DAY),
        "seconds without a request, after which a connection is closed",
    )
    progress_deadline: float = _limit(
        30.0,
        SECONDS,
        (1, DAY),
        "seconds without the client reading any of its answer",
    )
    crowded_deadline: float = _limit(
        3.0,
        SECONDS,
        (1, DAY),
        "the same, while all places for streams are taken and others wait for one",
    )
    discard_deadline: float = _limit(
        10.0,
        SECONDS,
        (1, DAY),
        "seconds that a refused connection has to go",
    )
    drain_deadline: float = _limit(
        10.0,
        SECONDS,
        (1, DAY),
        "seconds in which a client that has half-closed may acknowledge its mail",
    )
    proxy_deadline: float = _limit(
        5.0,
        SECONDS,
        (1, DAY),
        "behind a balancer: seconds for the PROXY header of a connection to arrive",
    )
    stop_grace: float = _limit(
        10.0,
        SECONDS,
        (0, DAY),
        "seconds to finish answers after SIGTERM",
    )
    registrations_a_minute: int = _limit(
        600,
        COUNT,
        (0, 1_000_000),
        "new clients from one address; with 0, nobody new",
    )
    mailbox_messages: int = _limit(
        1_000_000,
        COUNT,
        (1, 10**12),
        "messages that may wait for one client; whoever sends more gets 9000, and what is there "
        "stays",
    )
    mailbox_bytes: int = _limit(
        2 * GIB,
        BYTES,
        (64 * KIB, 1024 * GIB),
        "the same, in bytes of content",
    )
    sealed_size: int = _limit(
        v3.DEFAULT_SEALED_LIMIT,
        BYTES,
        (512 * KIB, 256 * MIB),
        "v3: one envelope",
    )
    window_messages: int = _limit(
        1_024,
        COUNT,
        (1, 65_535),
        "v3: messages that a client may let be pushed before it acknowledges one",
    )
    window_bytes: int = _limit(
        8 * MIB,
        BYTES,
        (64 * KIB, GIB),
        "v3: the same, in bytes",
    )
    mail_life: float = _limit(
        30 * DAY,
        SECONDS,
        (DAY, 3_650 * DAY),
        "v3: seconds after which mail that nobody has acknowledged is deleted",
    )
    prekeys_low: int = _limit(
        10,
        COUNT,
        (0, 50),
        "v3: one-time keys of an account below which its owner is told",
    )
    v3_connections: int = _limit(
        4_000,
        COUNT,
        (1, 1_000_000),
        "v3: connections at once, each of which takes more memory than one of v2; when all places "
        "are taken, the oldest that has not authenticated makes way",
    )
    handshake_deadline: float = _limit(
        10.0,
        SECONDS,
        (1, DAY),
        "v3: seconds for TLS to begin",
    )
    handshake_bytes: int = _limit(
        16 * KIB,
        BYTES,
        (4 * KIB, 128 * KIB),
        "v3: what a client may send until TLS has begun",
    )
    authentication_deadline: float = _limit(
        90.0,
        SECONDS,
        (1, DAY),
        "v3: seconds to authenticate, once TLS has begun; longer than whoever has tried too often is "
        "told to wait",
    )
    authentications_a_minute: int = _limit(
        600,
        COUNT,
        (1, 1_000_000),
        "v3: attempts from one address to authenticate",
    )
    resolves_a_minute: int = _limit(
        60,
        COUNT,
        (1, 1_000_000),
        "v3: names that one account may look up",
    )
    publishes_a_minute: int = _limit(
        30,
        COUNT,
        (1, 1_000_000),
        "v3: bundles that one account may publish",
    )
    claims_a_minute: int = _limit(
        120,
        COUNT,
        (1, 1_000_000),
        "v3: prekeys that one account may claim",
    )
    claims_of_one_a_minute: int = _limit(
        10,
        COUNT,
        (1, 1_000_000),
        "v3: the same, of one other account",
    )
    sends_a_minute: int = _limit(
        60_000,
        COUNT,
        (1, 100_000_000),
        "v3: envelopes of one account, of whatever size",
    )


LIMITS: Final[Mapping[str, Limit]] = {
    name: Limit(name, default, *fields_dict(LimitSettings)[name].metadata["row"])
    for name, default in asdict(LimitSettings()).items()
}
"""The table, in its order."""


@frozen
class _Fit:
    """Limits that must fit together, and what is said when they do not."""

    holds: Callable[[LimitSettings], bool]
    complaint: str


_FITS: Final = (
    _Fit(
        lambda it: it.content + READ_WITH <= it.input_bytes,
        "{content} does not fit into {input_bytes}, which needs another "
        + BYTES.show(READ_WITH)
        + " for what is read with it",
    ),
    _Fit(
        lambda it: it.streams * it.chunk <= it.output_bytes,
        "{streams} pieces of {chunk} do not fit into {output_bytes}",
    ),
    _Fit(
        lambda it: it.connection_output <= it.output_bytes,
        "{connection_output} does not fit into {output_bytes}",
    ),
    _Fit(
        lambda it: it.answer_messages * v2.WAITING_HEAD_SIZE < it.answer_bytes,
        "{answer_messages} messages without content do not fit into {answer_bytes}",
    ),
    _Fit(
        lambda it: it.content <= it.mailbox_bytes,
        "{content} does not fit into {mailbox_bytes}",
    ),
    _Fit(
        lambda it: it.sealed_size + READ_WITH <= it.input_bytes,
        "{sealed_size} does not fit into {input_bytes}, which needs another "
        + BYTES.show(READ_WITH)
        + " for what is read with it",
    ),
    _Fit(
        lambda it: it.sealed_size <= it.output_bytes,
        "{sealed_size} does not fit into {output_bytes}",
    ),
    _Fit(
        lambda it: it.sealed_size <= it.mailbox_bytes,
        "{sealed_size} does not fit into {mailbox_bytes}",
    ),
    _Fit(
        lambda it: it.crowded_deadline <= it.progress_deadline,
        "{crowded_deadline} is never reached: {progress_deadline} comes first",
    ),
)


def read_limits(words: Iterable[str]) -> LimitSettings:
    """The limits that ``NAME=VALUE`` of an operator make of the defaults; the last of a name counts.

    :raises BadLimit: when they are none, or do not fit together.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise BadLimit(f"{word!r} is not NAME=VALUE")
        if name not in LIMITS:
            raise BadLimit(f"there is no limit {name!r}")
        values[name] = LIMITS[name].read(text)
    settings = evolve(LimitSettings(), **values)
    for fit in _FITS:
        if not fit.holds(settings):
            raise BadLimit(fit.complaint.format_map(_shown(settings)))
    return settings


def _shown(settings: LimitSettings) -> Mapping[str, str]:
    return {
        name: f"{name}={LIMITS[name].unit.show(value)}" for name, value in asdict(settings).items()
    }
