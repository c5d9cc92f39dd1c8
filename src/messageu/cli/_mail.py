"""Commands about messages: sent, read as they come, and read again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Final

from messageu.client import ClientError
from messageu.client.v3 import Messenger, Sending
from messageu.terminal import Console, Desk, Exit, Hook, Hooks, Notifier

from ._following import Following
from ._history import last_messages
from ._json import json_line, sent_fields
from ._letters import Letters
from ._lines import LINE_LIMIT, EndOfInput

_TEXT_LIMIT: Final = LINE_LIMIT


class NotFollowed(ClientError):
    """An option was given that is of no use by itself."""


async def send(desk: Desk, options: SimpleNamespace) -> Exit:
    """Send a text."""
    text = options.text
    if text in (None, "-"):
        text = (await _read_all(desk)).decode("utf-8", "surrogateescape")

    async def hand_over(messenger: Messenger) -> Exit:
        return await _see_off(desk, options, messenger, messenger.send_text(options.contact, text))

    return await desk.with_profile(hand_over)


async def send_file(desk: Desk, options: SimpleNamespace) -> Exit:
    """Send a file."""

    async def hand_over(messenger: Messenger) -> Exit:
        sending = await messenger.send_file(options.contact, options.path)
        return await _see_off(desk, options, messenger, sending, options.path.name)

    return await desk.with_profile(hand_over)


async def inbox(desk: Desk, options: SimpleNamespace) -> Exit:
    """Show what has come."""
    if not options.follow and (options.on_message is not None or options.notify):
        raise NotFollowed("--on-message and --notify need --follow")

    async def show(messenger: Messenger) -> Exit:
        letters = Letters(messenger, desk.folder, as_json=options.json)
        if options.follow:
            await _follow(desk, messenger, letters, options)
        else:
            letters.show_all(desk.console)
            await desk.fetch(messenger)
            letters.show_all(desk.console)
        return Exit.DONE

    return await desk.with_profile(show)


async def history(desk: Desk, options: SimpleNamespace) -> Exit:
    """Show what was said with somebody."""

    async def show(messenger: Messenger) -> Exit:
        letters = Letters(messenger, desk.folder, as_json=options.json)
        wanted = options.contact, options.search or ""
        for message in last_messages(messenger, *wanted, limit=options.limit):
            desk.console.write(letters.entry(message))
        return Exit.DONE

    return await desk.with_profile(show)


# Their parts.


async def _follow(
    desk: Desk, messenger: Messenger, letters: Letters, options: SimpleNamespace
) -> None:
    console = desk.console
    hooks = notifier = None
    if options.on_message is None:
        letters.show_all(console)
    else:
        hook = Hook(desk.reactor, options.on_message, desk.environment, console.complain)
        hooks = Hooks(messenger, desk.folder, hook, letters.encode)
    if options.notify:
        notifier = Notifier(desk.reactor, desk.environment, lambda: _ring(console))
    await Following(console, messenger, letters, hooks=hooks, notifier=notifier).over


def _ring(console: Console) -> None:
    if console.interactive:
        console.write("\a")


async def _see_off(
    desk: Desk, options: SimpleNamespace, messenger: Messenger, sending: Sending, title: str = ""
) -> Exit:
    ended = await desk.see_off(
        messenger,
        sending,
        to=options.contact,
        wait_delivered=options.wait_delivered,
        title=title,
        quiet=options.json,
    )
    if options.json:
        desk.console.write(json_line(sent_fields(messenger, sending)))
    return ended


async def _read_all(desk: Desk) -> bytes:
    lines: list[bytes] = []
    size = 0
    try:
        while size <= _TEXT_LIMIT:
            lines.append(await desk.console.next_line())
            size += len(lines[-1]) + 1
    except EndOfInput:
        pass
    return b"\n".join(lines)
