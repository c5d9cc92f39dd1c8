"""The commands of v3: a row each, what follows it, and what it does."""

from __future__ import annotations

import stat
from argparse import (
    SUPPRESS,
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
)
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

from attrs import frozen

from messageu.client import ADDRESS_FILE, IDENTITY_FILES, ClientError, FileMissing, NotRegistered
from messageu.client.v3 import (
    Contact,
    Messenger,
    NoProfile,
    StaleState,
    Standing,
    adopt_profile,
    create_profile,
    export_profile,
    import_profile,
    parse_relay,
    profile_exists,
    read_relay,
)
from messageu.model.v3 import TOKEN_SIZE
from messageu.terminal import (
    DEFAULT_TIMEOUT,
    Away,
    Console,
    Desk,
    Exit,
    Hook,
    Hooks,
    NoTerminal,
    Notifier,
    describe,
    name_of,
    visible,
    visible_name,
)

from ._following import Following
from ._letters import Letters
from ._lines import LINE_LIMIT, EndOfInput


class NotFollowed(ClientError):
    """An option was given that is of no use by itself."""


CLOCK_TOLERANCE: Final = 60.0
"""Seconds by which the relay's clock may differ from ours without a word."""

GROUP: Final = 5
GROUPS_OF_LINE: Final = 4
_TEXT_LIMIT: Final = LINE_LIMIT
_NO_MODE: Final = 0o077
"""What of a file's mode nobody but its owner may have."""


# The commands, in the order in which they are listed.


async def register(desk: Desk, options: Namespace) -> Exit:
    """Make a profile, and register its name."""
    relay = parse_relay(options.relay)
    there = read_relay(desk.folder)
    if there is not None and there != relay:
        raise NoProfile(f"this folder is of another relay: {there}")
    if there is None and _is_of_v2(desk.folder):
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


async def add(desk: Desk, options: Namespace) -> Exit:
    """Add somebody by link or name."""

    async def ask(messenger: Messenger) -> Exit:
        contact = await desk.reach(messenger, messenger.add(options.who, options.label))
        desk.say(f"added {name_of(contact)}: compare safety numbers with verify")
        return Exit.DONE

    return await desk.with_profile(ask)


async def link(desk: Desk, _: Namespace) -> Exit:
    """Show what others add us with."""

    async def show(messenger: Messenger) -> Exit:
        desk.say(str(messenger.link))
        return Exit.DONE

    return await desk.with_profile(show)


async def send(desk: Desk, options: Namespace) -> Exit:
    """Send a text."""
    text = options.text
    if text in (None, "-"):
        text = (await _read_all(desk)).decode("utf-8", "surrogateescape")

    async def hand_over(messenger: Messenger) -> Exit:
        sending = messenger.send_text(options.contact, text)
        return await desk.see_off(
            messenger,
            sending,
            to=options.contact,
            wait_delivered=options.wait_delivered,
            title="",
        )

    return await desk.with_profile(hand_over)


async def send_file(desk: Desk, options: Namespace) -> Exit:
    """Send a file."""

    async def hand_over(messenger: Messenger) -> Exit:
        sending = await messenger.send_file(options.contact, options.path)
        return await desk.see_off(
            messenger,
            sending,
            to=options.contact,
            wait_delivered=options.wait_delivered,
            title=options.path.name,
        )

    return await desk.with_profile(hand_over)


async def inbox(desk: Desk, options: Namespace) -> Exit:
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


async def contacts(desk: Desk, _: Namespace) -> Exit:
    """Show whom we know, and who asks to write to us."""

    async def show(messenger: Messenger) -> Exit:
        core = messenger.core
        for contact in (*core.contacts(), *core.message_requests()):
            desk.say(contact_line(contact))
        return Exit.DONE

    return await desk.with_profile(show)


async def accept(desk: Desk, options: Namespace) -> Exit:
    """Let somebody write to us."""

    async def do(messenger: Messenger) -> Exit:
        contact = messenger.do(lambda core: core.accept(options.contact, options.label))
        desk.say(f"accepted {name_of(contact)}")
        return Exit.DONE

    return await desk.with_profile(do)


async def block(desk: Desk, options: Namespace) -> Exit:
    """Drop what somebody writes."""

    async def do(messenger: Messenger) -> Exit:
        messenger.do(lambda core: core.block(options.contact))
        desk.say(f"blocked {visible(options.contact)}")
        return Exit.DONE

    return await desk.with_profile(do)


async def verify(desk: Desk, options: Namespace) -> Exit:
    """Show a safety number, or remember that it was compared."""

    async def do(messenger: Messenger) -> Exit:
        core = messenger.core
        contact = core.contact(options.contact)
        for line in safety_lines(core.safety_number(contact.identity)):
            desk.say(line)
        if options.confirm:
            core.verify(contact.identity)
            desk.say(f"{name_of(contact)} is verified")
        elif contact.verified:
            desk.say(f"{name_of(contact)} was verified before")
        else:
            desk.say(
                f"if {name_of(contact)} sees the same, say so with: "
                f"verify {name_of(contact)} --confirm"
            )
        return Exit.DONE

    return await desk.with_profile(do)


async def display_name(desk: Desk, options: Namespace) -> Exit:
    """Show what we call ourselves, or call ourselves otherwise."""

    async def do(messenger: Messenger) -> Exit:
        if options.text is not None:
            messenger.do(lambda core: core.set_display_name(options.text))
        name = messenger.core.profile.display_name
        desk.say(f"your display name: {visible(name)}" if name else "you have no display name")
        return Exit.DONE

    return await desk.with_profile(do)


async def doctor(desk: Desk, _: Namespace) -> Exit:
    """Look whether all is well, and say what to do."""
    findings = [*_look_at_files(desk.folder)]
    try:
        findings.extend(await desk.with_profile(lambda messenger: _examine(desk, messenger)))
    except (NoTerminal, ClientError) as error:
        findings.append(Finding(False, "profile", describe(error)))
    for finding in findings:
        desk.say(f"{'ok ' if finding.good else 'BAD'} {finding.what}: {finding.text}")
    return Exit.DONE if all(finding.good for finding in findings) else Exit.FAILED


async def reset(desk: Desk, options: Namespace) -> Exit:
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


async def export(desk: Desk, options: Namespace) -> Exit:
    """Move the profile into a file."""
    passphrase = await desk.passphrase()
    secret = await desk.export_passphrase(new=True)
    export_profile(desk.folder, passphrase, options.file, secret)
    desk.say(f"exported to {visible(str(options.file))}: this folder is not used any more")
    return Exit.DONE


async def import_(desk: Desk, options: Namespace) -> Exit:
    """Make a profile of such a file."""
    if _is_of_v2(desk.folder):
        raise NoProfile("this folder is of a client of MessageU v2: take another, with --folder")
    secret = await desk.export_passphrase(new=False)
    passphrase = None if options.no_passphrase else await desk.new_passphrase()
    import_profile(options.file, secret, desk.folder, passphrase)
    relay = adopt_profile(desk.folder, passphrase)
    desk.say(f"imported, with the relay at {relay.address}: the file is not needed any more")
    return Exit.DONE


async def delete_account(desk: Desk, options: Namespace) -> Exit:
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


# Their parts.


async def _follow(desk: Desk, messenger: Messenger, letters: Letters, options: Namespace) -> None:
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


def safety_lines(number: str) -> Iterator[str]:
    """A safety number as it is read to each other: groups of five, four to a line."""
    groups = wrap(number, GROUP)
    for start in range(0, len(groups), GROUPS_OF_LINE):
        yield " ".join(groups[start : start + GROUPS_OF_LINE])


@frozen
class Finding:
    """What the doctor has seen: whether it is well, and what to do if not."""

    good: bool
    what: str
    text: str


def _look_at_files(folder: Path) -> Iterator[Finding]:
    try:
        relay = read_relay(folder)
    except ClientError as error:
        yield Finding(False, "address", describe(error))
        return
    if relay is None:
        yield Finding(False, "address", f"{ADDRESS_FILE} names no relay of v3: register first")
        return
    yield Finding(True, "address", str(relay.address))
    for name in ("state.db", "state.kdf"):
        try:
            mode = stat.S_IMODE((folder / name).stat().st_mode)
        except OSError as error:
            yield Finding(False, name, f"{error.strerror}: register, or import the profile")
            continue
        if mode & _NO_MODE:
            yield Finding(False, name, f"others may use it (mode {mode:o}): chmod 600 {name}")
        else:
            yield Finding(True, name, f"mode {mode:o}")


async def _examine(desk: Desk, messenger: Messenger) -> Sequence[Finding]:
    core, findings = messenger.core, []
    profile = core.profile
    name = profile.name if profile.registered else None
    findings.append(
        Finding(name is not None, "account", visible(name or "not registered: register first"))
    )
    if profile.stale:
        text = "older than what the relay knows; give this copy up, or: messageu reset"
        findings.append(Finding(False, "state", text))
    try:
        await desk.reach(messenger, messenger.come_online())
    except ClientError as error:
        findings.append(Finding(False, "relay", describe(error)))
    else:
        findings.append(Finding(True, "relay", "it has the right key, and speaks TLS 1.3"))
        if not profile.stale:
            findings.append(Finding(True, "state", "the relay knows no later one"))
        keys = messenger.one_time_keys
        findings.append(Finding(keys is not None, "prekeys", f"{keys} one-time keys are left"))
    if messenger.welcome is not None:
        ahead = messenger.welcome.ahead
        good = abs(ahead) <= CLOCK_TOLERANCE
        text = f"{ahead:+.0f} seconds at the relay" + ("" if good else ": set this one's clock")
        findings.append(Finding(good, "clock", text))
    if profile.unopened:
        text = f"{profile.unopened} envelopes could not be opened"
        findings.append(Finding(True, "mail", text))
    return findings


async def _insist(desk: Desk, options: Namespace, warning: str) -> None:
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


def _is_of_v2(folder: Path) -> bool:
    return any((folder / name).exists() for name in IDENTITY_FILES) or (
        (folder / ADDRESS_FILE).exists() and read_relay(folder) is None
    )


# What follows a command.


def _token(text: str) -> bytes:
    try:
        token = bytes.fromhex(text)
    except ValueError:
        token = b""
    if len(token) != TOKEN_SIZE:
        raise ArgumentTypeError(f"a token has {2 * TOKEN_SIZE} hexadecimal digits")
    return token


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86400:
        raise ArgumentTypeError("seconds, more than 0 and at most 86400")
    return seconds


@frozen
class Argument:
    """What follows a command: names, and what argparse wants to know."""

    names: tuple[str, ...]
    settings: dict[str, Any]


def _argument(*names: str, **settings: Any) -> Argument:
    return Argument(names, settings)


_CONTACT: Final = _argument("contact", help="what you call somebody, as contacts shows it")
_LABEL: Final = _argument("--label", help="what to call them")
_YES: Final = _argument("--yes", action="store_true", help="do not ask")
_NO_PASSPHRASE: Final = _argument(
    "--no-passphrase", action="store_true", help="whoever can read the folder can be you"
)
_WAIT: Final = _argument(
    "--wait-delivered",
    action="store_true",
    help="wait until the recipient has it: of a file all, compared and on the disk",
)


@frozen
class Command:
    """A command: what it is for, what follows it, and what it does."""

    text: str
    arguments: tuple[Argument, ...]
    run: Callable[[Desk, Namespace], Awaitable[Exit]]


COMMANDS: Final[dict[str, Command]] = {
    "register": Command(
        "make a profile in this folder, and register its name at a relay",
        (
            _argument("relay", help="its address: messageu://host:port#pin"),
            _argument("name", help="3 to 32 of a-z, 0-9, '.', '_', '-'"),
            _argument("--token", type=_token, help="from the relay's operator, if he wants one"),
            _NO_PASSPHRASE,
        ),
        register,
    ),
    "add": Command(
        "add a contact",
        (_argument("who", help="the link that they gave you, or their name"), _LABEL),
        add,
    ),
    "link": Command("show the link with which others add you", (), link),
    "send": Command(
        "send a text",
        (
            _CONTACT,
            _argument("text", nargs="?", help="-, or nothing: what comes on standard input"),
            _WAIT,
        ),
        send,
    ),
    "send-file": Command(
        "send a file", (_CONTACT, _argument("path", type=Path, help="which one"), _WAIT), send_file
    ),
    "inbox": Command(
        "show the messages that were not shown yet",
        (
            _argument("--follow", action="store_true", help="and those that will come"),
            _argument("--json", action="store_true", help="one object a line"),
            _argument(
                "--on-message",
                metavar="COMMAND",
                help="with --follow: a line for /bin/sh that is run on each message of a contact, "
                "which it reads from its standard input",
            ),
            _argument(
                "--notify",
                action="store_true",
                help="with --follow: tell the desktop, or ring the bell, and say from whom it is",
            ),
        ),
        inbox,
    ),
    "contacts": Command("list whom you know, and who asks to write to you", (), contacts),
    "accept": Command("let somebody write to you", (_CONTACT, _LABEL), accept),
    "block": Command("drop what somebody writes", (_CONTACT,), block),
    "unblock": Command("let somebody write to you again", (_CONTACT, _LABEL), accept),
    "verify": Command(
        "show the safety number that you and a contact compare",
        (
            _CONTACT,
            _argument("--confirm", action="store_true", help="it was compared, and is the same"),
        ),
        verify,
    ),
    "display-name": Command(
        "show what you call yourself, or tell your contacts another name",
        (_argument("text", nargs="?", help="at most 256 bytes; empty for none"),),
        display_name,
    ),
    "doctor": Command("look whether all is well, and say what to do", (), doctor),
    "reset": Command("go on with this copy of the profile, which is an old one", (_YES,), reset),
    "export": Command(
        "move the profile into an encrypted file",
        (_argument("file", type=Path, help="which must not exist"),),
        export,
    ),
    "import": Command(
        "make a profile of an exported file",
        (_argument("file", type=Path, help="which stays"), _NO_PASSPHRASE),
        import_,
    ),
    "delete-account": Command("have the relay forget you", (_YES,), delete_account),
}

EPILOG: Final = """\
A folder whose server.info is a line of messageu://host:port#pin is a profile of MessageU v3:
the commands work there, and without one there is the menu. Its passphrase is asked for, or comes
from --passphrase-file or MESSAGEU_PASSPHRASE. Any other folder is one of MessageU v2, with a menu
only: its server.info is a line of <ip>:<port> that says where the relay is, and me.info (your
identity) and me.keys (what is known of others) are made there.

Exit codes: 0 done, 1 failed, 2 not understood, 3 kept and sent when the relay can be reached,
4 the relay cannot be reached or does not answer, 130 interrupted.
"""


def add_commands(parser: ArgumentParser) -> None:
    """Have a parser know the commands."""
    parser.epilog = EPILOG
    parser.formatter_class = RawDescriptionHelpFormatter
    shared = ArgumentParser(add_help=False)
    shared.add_argument(
        *("--dir", "--folder"), type=Path, default=SUPPRESS, metavar="DIR", help="the profile's"
    )
    shared.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="a file that holds the passphrase"
    )
    shared.add_argument(
        "--timeout",
        type=_seconds,
        default=DEFAULT_TIMEOUT,
        metavar="SECONDS",
        help="how long the relay may give no sign (default: %(default)g)",
    )
    rows = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, command in COMMANDS.items():
        row = rows.add_parser(
            name, parents=[shared], help=command.text, description=f"{command.text}."
        )
        for argument in command.arguments:
            row.add_argument(*argument.names, **argument.settings)


async def run_command(desk: Desk, options: Namespace) -> Exit:
    """Do what was asked for. Every error of the library's is a line, and an exit code."""
    try:
        return Exit(await COMMANDS[options.command].run(desk, options))
    except Away as away:
        desk.console.complain(f"error: {describe(away)}")
        return Exit.AWAY
    except ClientError as error:
        desk.console.complain(f"error: {_words_of(error)}")
        return Exit.FAILED


_WORDS: Final[dict[type[ClientError], str]] = {
    FileMissing: "there is no such file",
    NotRegistered: "this profile has no account: register first",
    StaleState: "this profile is older than what the relay knows: give it up, or: messageu reset",
}


def _words_of(error: ClientError) -> str:
    return _WORDS.get(type(error)) or describe(error)
