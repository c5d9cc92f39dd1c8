"""A bot that answers each text with the same text.

python examples/echo_bot.py FOLDER [WHO …] [--accept-all]
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react

from messageu.client import ClientError
from messageu.client.v3 import (
    ContactExists,
    ContactUnknown,
    Identity,
    Kind,
    Messenger,
    Place,
    Standing,
    StoredMessage,
    arrivals,
    needs_passphrase,
    open_profile,
    passphrase_from_environment,
)

ANSWERS: Final = 20
"""Answers to one contact in :data:`PERIOD`. What comes beyond gets none, so that a conversation
with another bot comes to its end."""

PERIOD: Final = 60.0
"""Seconds."""


class EchoBot:
    """Answers, and remembers how often."""

    def __init__(self, clock: Any, messenger: Messenger, *, accept_all: bool) -> None:
        self._clock = clock
        self._messenger = messenger
        self._accept_all = accept_all
        self._answered: dict[Identity, deque[float]] = {}

    async def run(self, place: Place) -> None:
        """Answer what has come since the place, and what comes."""
        async for message in arrivals(self._messenger, place):
            with suppress(ClientError):  # one that cannot be answered must not end the bot
                self._answer(message)

    def _answer(self, message: StoredMessage) -> None:
        if message.kind != Kind.TEXT or not self._accepts(message.contact):
            return
        if self._has_had_enough(message.contact):
            return
        # Killed before the place is written, it is here again: the name has it answered only once.
        self._messenger.send_text(message.contact, message.text, once=message.message_id)

    def _accepts(self, who: Identity) -> bool:
        try:
            standing = self._messenger.core.contact(who).standing
        except ContactUnknown:
            return False
        if standing is Standing.REQUEST and self._accept_all:
            self._messenger.do(lambda core: core.accept(who))
            return True
        return standing is Standing.ACCEPTED

    def _has_had_enough(self, who: Identity) -> bool:
        now = self._clock.seconds()
        times = self._answered.setdefault(who, deque(maxlen=ANSWERS))
        if len(times) == ANSWERS and now - times[0] < PERIOD:
            return True
        times.append(now)
        return False


async def serve(reactor: Any, options: Namespace) -> None:
    """Open the profile, and answer until the program is interrupted."""
    folder: Path = options.folder
    passphrase = passphrase_from_environment(os.environ) if needs_passphrase(folder) else None
    messenger = open_profile(reactor, folder, passphrase)
    try:
        messenger.start()
        for who in options.who:
            with suppress(ContactExists):
                await messenger.add(who)
        bot = EchoBot(reactor, messenger, accept_all=options.accept_all)
        await bot.run(Place(folder / "echo.place"))
    finally:
        await messenger.close()


async def main(reactor: Any, *arguments: str) -> None:
    """Read the command line, and serve. An interrupt closes the profile."""
    parser = ArgumentParser(description="Answer each text with the same text.")
    parser.add_argument("folder", type=Path, help="a profile, made with: messageu register")
    parser.add_argument("who", nargs="*", help="whom to answer: links, or names at the relay")
    parser.add_argument(
        "--accept-all", action="store_true", help="answer everybody who asks to write to us"
    )
    serving = Deferred.fromCoroutine(serve(reactor, parser.parse_args(arguments)))
    reactor.addSystemEventTrigger("before", "shutdown", serving.cancel)
    try:
        with suppress(CancelledError):
            await serving
    except ClientError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    react(main, sys.argv[1:])
