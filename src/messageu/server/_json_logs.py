"""Logs for programs to read: JSON, an object a line. It says what the text would say, and no more."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from string import Formatter
from typing import Any, Final, Protocol

from twisted.application.service import IService, MultiService
from twisted.logger import ILogObserver, LogEvent, extractField, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

RESERVED: Final = frozenset({"time", "level", "system", "text", "traceback"})
"""What we say of every event, under names that no field of one takes."""

_PLAIN: Final = (str, int, bool, type(None))


class Stream(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> object:
        """Write it."""

    def flush(self) -> object:
        """Keep nothing back."""


@implementer(ILogObserver)
class JsonLogObserver:
    """Writes a line for each event: time, level, system and text, the traceback of a failure, and the
    fields that the text is made of, by their names."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __call__(self, event: LogEvent) -> None:
        """Write it down."""
        text = formatEvent(event)
        failure = event.get("log_failure")
        if text or failure:
            self._stream.write(json.dumps(_described(event, text, failure)) + "\n")
            self._stream.flush()


class JsonLogged(MultiService):
    """A relay of which twistd logs JSON.

    twistd asks the application for its observer, which is there before that begins to log, and a
    service knows it first when it is put into it.

    :param stream: makes where lines go.
    """

    def __init__(self, relay: IService, stream: Callable[[], Stream]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._new_stream = stream
        relay.setServiceParent(self)

    def setServiceParent(self, parent: Any) -> None:
        """Go into an application."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        parent.setComponent(ILogObserver, JsonLogObserver(self._new_stream()))


def _described(event: LogEvent, text: str, failure: Failure | None) -> Mapping[str, Any]:
    level = event.get("log_level")
    described = {
        "time": datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat(
            timespec="milliseconds"
        ),
        "level": "info" if level is None else level.name,
        "system": str(event.get("log_system") or event.get("log_namespace") or "-"),
        "text": text,
    }
    if failure is not None:
        described["traceback"] = failure.getTraceback()
    return {**_fields(event), **described}


def _fields(event: LogEvent) -> Mapping[str, Any]:
    """What the text was made of. Other fields of an event may hold anything, and are not told."""
    form = event.get("log_format")
    fields: dict[str, Any] = {}
    if not isinstance(form, str):
        return fields
    try:
        for _, name, _, _ in Formatter().parse(form):
            if name and name.isidentifier() and not (name in RESERVED or name.startswith("log_")):
                value = extractField(name, event)
                fields[name] = value if isinstance(value, _PLAIN) else str(value)
    except Exception:  # noqa: BLE001 - the text says already that it cannot be formatted
        return {}
    return fields
