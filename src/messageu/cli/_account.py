"""Commands about the profile itself and its account."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from messageu.client import ADDRESS_FILE, IDENTITY_FILES, ClientError
from messageu.client.v3 import (
    Messenger,
    NoProfile,
    adopt_profile,
    create_profile,
    export_profile,
    import_profile,
    parse_relay,
    profile_exists,
    read_relay,
)
from messageu.terminal import Desk, Exit, NoTerminal, visible

from ._json import json_line
from ._lines import EndOfInput


async def register(desk: Desk, options: SimpleNamespace) -> Exit:
    """Make a profile, and register its name."""
    relay = parse_relay(options.relay)
    there = read_relay(desk.folder)
    if there is not None and there != relay:
        raise NoProfile(f"this folder is of another relay: {there}")
    if there is None and is_of_v2(desk.folder):
        raise NoProfile("this folder is of a client of MessageU v2: take another, with --folder")
    if profile_exists(desk.folder):
        passphrase = await desk.passphrase()
    else:
        passphrase = None if options.no_passphrase else await desk.new_passphrase()
    create_profile(desk.folder, relay, passphrase)

    async def ask(messenger: Messenger) -> Exit:
        name = await desk.sign_up(messenger, options.name, options.token)
        desk.say(f"registered as {visible(name)}")
        desk.say(f"your link: {messenger.link}")
        return Exit.DONE

    return await desk.with_profile(ask, passphrase)


async def link(desk: Desk, options: SimpleNamespace) -> Exit:
    """Show what others add us with."""

    async def show(messenger: Messenger) -> Exit:
        profile = messenger.core.profile
        if options.json:
            fields = {"link": str(messenger.link), "name": profile.name}
            desk.console.write(json_line(fields | {"identity": profile.identity.raw.hex()}))
        else:
            desk.say(str(messenger.link))
        return Exit.DONE

    return await desk.with_profile(show)


async def display_name(desk: Desk, options: SimpleNamespace) -> Exit:
    """Show what we call ourselves, or call ourselves otherwise."""

    async def do(messenger: Messenger) -> Exit:
        if options.text is not None:
            messenger.do(lambda core: core.set_display_name(options.text))
        name = messenger.core.profile.display_name
        desk.say(f"your display name: {visible(name)}" if name else "you have no display name")
        return Exit.DONE

    return await desk.with_profile(do)


async def reset(desk: Desk, options: SimpleNamespace) -> Exit:
    """Go on here with a state that is older than what the relay knows."""
    await _insist(
        desk,
        options,
        "After a reset this copy of the profile goes on, and any other one must not be used.",
    )

    async def do(messenger: Messenger) -> Exit:
        messenger.do(lambda core: core.reset())
        await desk.reach(messenger, messenger.come_online())
        desk.say("reset: new sessions are begun, and what nobody has received is sent again")
        return Exit.DONE

    return await desk.with_profile(do)


async def export(desk: Desk, options: SimpleNamespace) -> Exit:
    """Move the profile into a file."""
    passphrase = await desk.passphrase()
    secret = await desk.export_passphrase(new=True)
    export_profile(desk.folder, passphrase, options.file, secret)
    desk.say(f"exported to {visible(str(options.file))}: this folder is not used any more")
    return Exit.DONE


async def import_(desk: Desk, options: SimpleNamespace) -> Exit:
    """Make a profile of such a file."""
    if is_of_v2(desk.folder):
        raise NoProfile("this folder is of a client of MessageU v2: take another, with --folder")
    secret = await desk.export_passphrase(new=False)
    passphrase = None if options.no_passphrase else await desk.new_passphrase()
    import_profile(options.file, secret, desk.folder, passphrase)
    relay = adopt_profile(desk.folder, passphrase)
    desk.say(f"imported, with the relay at {relay.address}: the file is not needed any more")
    return Exit.DONE


async def delete_account(desk: Desk, options: SimpleNamespace) -> Exit:
    """Have the relay forget us."""
    await _insist(
        desk, options, "The relay will forget you and your mail. Nobody gets your name again."
    )

    async def do(messenger: Messenger) -> Exit:
        await desk.reach(messenger, messenger.come_online())
        await desk.reach(messenger, messenger.delete_account())
        desk.say("the account is deleted; the profile in this folder is of no use any more")
        return Exit.DONE

    return await desk.with_profile(do)


async def _insist(desk: Desk, options: SimpleNamespace, warning: str) -> None:
    """Let nobody do it by mistake."""
    if options.yes:
        return
    if not desk.console.interactive:
        raise NoTerminal(f"{warning} Say --yes to do it")
    desk.say(f"{warning} Type yes to do it:")
    try:
        typed = (await desk.console.next_line()).strip()
    except EndOfInput:
        typed = b""
    if typed != b"yes":
        raise ClientError("nothing was done")


def is_of_v2(folder: Path) -> bool:
    """Whether a client of MessageU v2 has its files in a folder."""
    return any((folder / name).exists() for name in IDENTITY_FILES) or (
        (folder / ADDRESS_FILE).exists() and read_relay(folder) is None
    )
