"""Telling a person that something has come, and nothing of what it says: a locked screen shows it."""

from __future__ import annotations

import html
import shutil
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from messageu.client.v3 import Contact, Standing

from ._hook import without_ours
from ._words import name_of

NOTIFY_PAUSE: Final = 30.0
"""Seconds for which a contact is not notified of again."""

NOTIFY_TIMEOUT: Final = 5.0
"""Seconds for which a notification may take to be shown; until then there is no other."""

NOTIFIED_LIMIT: Final = 10_000
"""Contacts that are remembered for that."""

TITLE: Final = "messageu"


@frozen
class Way:
    """A way to notify.

    :ivar program: what has to be on the path.
    :ivar needs: variables of the environment, of which there has to be one.
    :ivar arguments: those before the words.
    """

    program: str
    needs: tuple[str, ...]
    arguments: tuple[str, ...]


WAYS: Final = (
    Way(
        "notify-send",
        ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"),
        (f"--app-name={TITLE}", "--", TITLE),
    ),
)
"""In the order in which they are preferred; where there is none the terminal's bell is rung."""


def find_way(
    environment: Mapping[str, str], which: Callable[..., str | None] = shutil.which
) -> tuple[str, Way] | None:
    """The first way that works here, and where its program is."""
    for way in WAYS:
        program = which(way.program, path=environment.get("PATH"))
        if program is not None and any(environment.get(name) for name in way.needs):
            return program, way
    return None


class Notifier:
    """Notifies of messages, of each contact only so often.

    :param reactor: of IReactorProcess and IReactorTime.
    :param ring: rings the bell of the terminal.
    """

    def __init__(
        self,
        reactor: Any,
        environment: Mapping[str, str],
        ring: Callable[[], None],
        which: Callable[..., str | None] = shutil.which,
    ) -> None:
        self._reactor = reactor
        self._environment = without_ours(environment)
        self._ring = ring
        self._way = find_way(environment, which)
        self._last: dict[bytes, float] = {}
        self._showing: _Showing | None = None

    def notify(self, contact: Contact) -> None:
        """Something of a contact has come. Of those who ask to write to us nobody is told."""
        if contact.standing is not Standing.ACCEPTED or not self._is_due(contact.identity.raw):
            return
        if self._way is None:
            self._ring()
            return
        if self._showing is not None and not self._showing.ended:
            return
        program, way = self._way
        words = html.escape(f"message from {name_of(contact)}", quote=False)
        showing = _Showing(self._reactor)
        try:
            self._reactor.spawnProcess(
                showing, program, [way.program, *way.arguments, words], self._environment
            )
        except OSError:
            self._ring()
        else:
            self._showing = showing

    def close(self) -> None:
        """Leave nothing behind."""
        if self._showing is not None:
            self._showing.give_up()

    def _is_due(self, who: bytes) -> bool:
        now = self._reactor.seconds()
        last = self._last.pop(who, None)
        due = last is None or now - last >= NOTIFY_PAUSE
        self._last[who] = now if last is None or due else last
        if len(self._last) > NOTIFIED_LIMIT:
            del self._last[next(iter(self._last))]
        return due


class _Showing(ProcessProtocol):
    """A notification that is being shown. What its program says is dropped."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._timer: IDelayedCall | None = None
        self.ended = False

    def connectionMade(self) -> None:
        assert self.transport is not None  # noqa: S101 - for the type checker
        self.transport.closeStdin()
        self._timer = self._reactor.callLater(NOTIFY_TIMEOUT, self.give_up)

    def processEnded(self, reason: Failure) -> None:
        self.ended = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def give_up(self) -> None:
        if not self.ended and self.transport is not None:
            if self._timer is not None and self._timer.active():
                self._timer.cancel()
            self.transport.signalProcess("KILL")
