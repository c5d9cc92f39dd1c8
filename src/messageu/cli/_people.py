"""Commands about other people: whom we know, and whether they are who they say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Final

from messageu.client.v3 import Contact, Messenger, Standing
from messageu.terminal import Desk, Exit, name_of, safety_lines, visible, visible_name

from ._json import contact_fields, json_line


async def add(desk: Desk, options: SimpleNamespace) -> Exit:
    """Add somebody by link or name."""

    async def ask(messenger: Messenger) -> Exit:
        contact = await desk.reach(messenger, messenger.add(options.who, options.label))
        words = f"added {name_of(contact)}: compare safety numbers with verify"
        _tell(desk, options, contact, words)
        return Exit.DONE

    return await desk.with_profile(ask)


async def contacts(desk: Desk, options: SimpleNamespace) -> Exit:
    """Show whom we know, and who asks to write to us."""

    async def show(messenger: Messenger) -> Exit:
        core = messenger.core
        for contact in (*core.contacts(), *core.message_requests()):
            _tell(desk, options, contact, contact_line(contact))
        return Exit.DONE

    return await desk.with_profile(show)


async def accept(desk: Desk, options: SimpleNamespace) -> Exit:
    """Let somebody write to us."""

    async def do(messenger: Messenger) -> Exit:
        contact = messenger.do(lambda core: core.accept(options.contact, options.label))
        _tell(desk, options, contact, f"accepted {name_of(contact)}")
        return Exit.DONE

    return await desk.with_profile(do)


async def block(desk: Desk, options: SimpleNamespace) -> Exit:
    """Drop what somebody writes."""

    async def do(messenger: Messenger) -> Exit:
        messenger.do(lambda core: core.block(options.contact))
        desk.say(f"blocked {visible(options.contact)}")
        return Exit.DONE

    return await desk.with_profile(do)


async def rename(desk: Desk, options: SimpleNamespace) -> Exit:
    """Call somebody otherwise."""

    async def do(messenger: Messenger) -> Exit:
        identity = messenger.core.contact(options.contact).identity
        messenger.do(lambda core: core.rename(identity, options.label))
        contact = messenger.core.contact(identity)
        desk.say(f"{visible(options.contact)} is now {name_of(contact)}")
        return Exit.DONE

    return await desk.with_profile(do)


async def verify(desk: Desk, options: SimpleNamespace) -> Exit:
    """Show a safety number, or remember that it was compared."""

    async def do(messenger: Messenger) -> Exit:
        core = messenger.core
        contact = core.contact(options.contact)
        number = core.safety_number(contact.identity)
        if options.confirm:
            core.verify(contact.identity)
        if options.json:
            fields = {"label": contact.label, "identity": contact.identity.raw.hex()}
            verified = options.confirm or contact.verified
            desk.console.write(json_line(fields | {"number": number, "verified": verified}))
            return Exit.DONE
        for line in safety_lines(number):
            desk.say(line)
        desk.say(_verdict(contact, confirmed=options.confirm))
        return Exit.DONE

    return await desk.with_profile(do)


# Their parts.


def _tell(desk: Desk, options: SimpleNamespace, contact: Contact, words: str) -> None:
    desk.console.write(json_line(contact_fields(contact)) if options.json else f"{words}\n")


def _verdict(contact: Contact, *, confirmed: bool) -> str:
    name = name_of(contact)
    if confirmed:
        return f"{name} is verified"
    if contact.verified:
        return f"{name} was verified before"
    return f"if {name} sees the same, say so with: verify {name} --confirm"


def contact_line(contact: Contact) -> str:
    """A contact in one harmless line."""
    notes = [_STANDINGS[contact.standing]] if contact.standing in _STANDINGS else []
    notes.append("verified" if contact.verified else "not verified")
    if contact.name is not None and contact.name != contact.label:
        notes.append(f"registered as {visible(contact.name)}")
    if contact.changed_to is not None:
        notes.append("somebody else has this name now")
    if contact.missing:
        notes.append(f"{contact.missing} missing")
    line = f"{name_of(contact)} ({', '.join(notes)}) {contact.identity.raw.hex()[:16]}"
    # What they say of themselves comes last, so that it cannot pass for anything that we say.
    called = visible_name(contact.display_name)
    return f"{line}, calls themselves: {called}" if called else line


_STANDINGS: Final = {
    Standing.REQUEST: "asks to write to you",
    Standing.BLOCKED: "blocked",
}
