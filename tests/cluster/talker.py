"""Clients of v3 in a process of their own, who write to each other: ``talker.py FOLDER RELAY NAME…``.

What they see goes to standard output, a line of JSON for each event. ``leave NAME`` on standard input
closes the profile of one of them, and ``return NAME`` opens it again. ``rest`` lets them say nothing more;
when all that was said has come to its end, they look at everything once more, and the process ends.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, Final

from twisted.internet import reactor, stdio
from twisted.internet.defer import DeferredQueue
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.protocols.basic import LineOnlyReceiver

from messageu.client.v3 import (
    MessageDelivered,
    MessageReceived,
    MessagesMissing,
    MessageStored,
    MessageUndelivered,
    Messenger,
    Offline,
    RelayLink,
    RequestReceived,
    Status,
    Unopened,
    create_profile,
    open_profile,
    parse_relay,
)

PAUSE: Final = 0.4
"""Seconds between two texts of one of them."""

WAITING_LIMIT: Final = 200
"""Texts of one of them without an end; more are not said while it is so."""


def tell(who: str, what: str, **more: object) -> None:
    """Let the test know."""
    line = json.dumps({"time": monotonic(), "who": who, "what": what, **more})
    print(line, flush=True)  # noqa: T201 - this is how it speaks


class Talker:
    """One of them.

    :ivar waiting: his texts, by their ids, of which he does not know what became.
    :ivar is_away: his profile is closed, and he says nothing.
    """

    messenger: Messenger

    def __init__(self, folder: Path, relay: RelayLink, name: str) -> None:
        self.name = name
        self.names: Mapping[Any, str] = {}
        self.waiting: dict[bytes, str] = {}
        self._texts: dict[bytes, str] = {}
        self._shown: set[bytes] = set()
        self._numbers = count(1)
        self._folder = folder / name
        create_profile(self._folder, relay, None)
        self._open()

    def _open(self) -> None:
        self.messenger = open_profile(reactor, self._folder, None)
        self.messenger.observe(self._hear)
        self.messenger.start()
        self.is_away = False

    async def leave(self) -> None:
        """Be gone: what is said to him waits at the relay."""
        self.is_away = True
        await self.messenger.close()
        tell(self.name, "away")

    async def come_back(self) -> None:
        """Go on with what the profile has."""
        self._open()
        self._show_all()
        tell(self.name, "back")

    def say(self) -> None:
        """Write something to somebody."""
        if len(self.waiting) < WAITING_LIMIT and not self.is_away:
            other = random.choice([name for name in self.names.values() if name != self.name])
            text = f"{self.name} {next(self._numbers)} to {other}"
            message_id = self.messenger.send_text(other, text).message_id
            self.waiting[message_id] = self._texts[message_id] = text
            tell(self.name, "accepted", to=other, text=text)

    def look(self) -> None:
        """See what no event has told of."""
        self._show_all()
        for message in self.messenger.messages(limit=10**7):
            if message.mine and message.status not in (Status.DELIVERED, Status.UNDELIVERED):
                tell(self.name, "left", text=message.text)
        for contact in self.messenger.core.contacts():
            if contact.missing:
                tell(self.name, "missing", of=contact.label, count=contact.missing)

    def _hear(self, event: object) -> None:
        hear = _HEARD.get(type(event))
        if hear is not None:
            hear(self, event)

    def _show_all(self) -> None:
        for message in self.messenger.messages(limit=10**7):
            if not message.mine:
                self._show(message)

    def _show(self, message: Any) -> None:
        if message.message_id not in self._shown:
            self._shown.add(message.message_id)
            tell(self.name, "shown", of=self.names[message.contact], text=message.text)

    def _hear_received(self, event: MessageReceived) -> None:
        if event.message.message_id in self._shown:
            tell(self.name, "shown", of=self.names[event.message.contact], text=event.message.text)
        self._show(event.message)

    def _hear_stored(self, event: MessageStored) -> None:
        tell(self.name, "stored", text=self._texts[event.message_id])

    def _hear_delivered(self, event: MessageDelivered) -> None:
        self.waiting.pop(event.message_id, None)
        tell(self.name, "delivered", text=self._texts[event.message_id])

    def _hear_undelivered(self, event: MessageUndelivered) -> None:
        self.waiting.pop(event.message_id, None)
        tell(self.name, "undelivered", text=self._texts[event.message_id], why=event.why.name)

    def _hear_missing(self, event: MessagesMissing) -> None:
        tell(self.name, "missing", of=self.names[event.contact], count=event.count)

    def _hear_unopened(self, event: Unopened) -> None:
        tell(self.name, "unopened", count=event.count)

    def _hear_stranger(self, event: RequestReceived) -> None:
        tell(self.name, "stranger", of=self.names.get(event.contact, "?"))

    def _hear_offline(self, event: Offline) -> None:
        tell(self.name, "offline", why=str(event.why))


_HEARD: Final[Mapping[type, Callable[[Talker, Any], None]]] = {
    MessageDelivered: Talker._hear_delivered,
    MessageReceived: Talker._hear_received,
    MessageStored: Talker._hear_stored,
    MessageUndelivered: Talker._hear_undelivered,
    MessagesMissing: Talker._hear_missing,
    Offline: Talker._hear_offline,
    RequestReceived: Talker._hear_stranger,
    Unopened: Talker._hear_unopened,
}


class Orders(LineOnlyReceiver):
    """What the test wants."""

    delimiter = b"\n"

    def __init__(self) -> None:
        self.queue: DeferredQueue[bytes] = DeferredQueue()

    def lineReceived(self, line: bytes) -> None:
        """It wants one more thing."""
        self.queue.put(line)


async def obey(orders: Orders, talkers: Sequence[Talker]) -> None:
    """Let them leave and come back, one order after the other, until they are to rest."""
    by_name = {talker.name: talker for talker in talkers}
    while (order := (await orders.queue.get()).decode("ascii")) != "rest":
        what, name = order.split(" ", 1)
        await _ORDERS[what](by_name[name])


_ORDERS: Final[Mapping[str, Callable[[Talker], Awaitable[None]]]] = {
    "leave": Talker.leave,
    "return": Talker.come_back,
}


async def meet(talkers: Sequence[Talker]) -> None:
    """All have accounts, and know each other."""
    for talker in talkers:
        await talker.messenger.register(talker.name)
    known = {talker.messenger.link.identity: talker.name for talker in talkers}
    for talker in talkers:
        talker.names = known
        for other in talkers:
            if other is not talker:
                await talker.messenger.add(str(other.messenger.link), other.name)


async def take_leave(talkers: Sequence[Talker]) -> None:
    """Wait until all that was said has come to its end, and go."""
    while any(talker.waiting for talker in talkers):
        await deferLater(reactor, PAUSE)
    for talker in talkers:
        talker.look()
        await talker.messenger.close()


async def main(reactor: Any, folder: str, relay: str, *names: str) -> None:
    """All of it."""
    orders = Orders()
    stdio.StandardIO(orders)
    link = parse_relay(relay)
    talkers = [Talker(Path(folder), link, name) for name in names]
    await meet(talkers)
    tell("all", "begun")
    saying = [LoopingCall(talker.say) for talker in talkers]
    for each in saying:
        each.start(PAUSE)
    await obey(orders, talkers)
    for each in saying:
        each.stop()
    await take_leave(talkers)
    tell("all", "ended")


if __name__ == "__main__":
    react(main, sys.argv[1:])
