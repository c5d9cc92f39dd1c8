"""The doctor: looks whether all is well, in a profile of v3 or a folder of v2, and says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Final

from messageu.client import ADDRESS_FILE, ClientError
from messageu.client.v3 import (
    Heard,
    Messenger,
    Offline,
    PassphraseNeeded,
    PassphraseWrong,
    ProfileExported,
    RelayNotTrusted,
    VaultDamaged,
    VaultLocked,
    profile_exists,
    read_relay,
)
from messageu.crypto.certificates import expiry_of
from messageu.terminal import Desk, Exit, NoTerminal, describe, visible

from ._account import is_of_v2
from ._doctor_v2 import examine_v2
from ._findings import Finding, look_at_folder, look_at_secret
from ._json import json_line

CLOCK_TOLERANCE: Final = 60.0
"""Seconds by which the relay's clock may differ from ours without a word."""

_REGISTER: Final = "register, or import the profile"


async def doctor(desk: Desk, options: SimpleNamespace) -> Exit:
    """Look whether all is well, and say what to do."""
    findings = await _examine(desk)
    for finding in findings:
        if options.json:
            fields = {"good": finding.good, "what": finding.what, "text": finding.text}
            desk.console.write(json_line(fields | {"advice": finding.advice}))
        else:
            desk.say(finding.line)
    return Exit.DONE if all(finding.good for finding in findings) else Exit.FAILED


async def _examine(desk: Desk) -> list[Finding]:
    folder = desk.folder
    try:
        relay = read_relay(folder)
        of_v2 = relay is None and is_of_v2(folder)
    except ClientError as error:
        advice = f"ask the relay's operator for its address, and write it into {ADDRESS_FILE}"
        return [Finding(False, "address", describe(error), advice)]
    if of_v2:
        return await examine_v2(desk)
    findings = [*look_at_folder(folder)]
    if relay is None:
        text = f"there is no {ADDRESS_FILE}, which names a relay"
        return [*findings, Finding(False, "address", text, _REGISTER)]
    findings.append(Finding(True, "address", str(relay.address)))
    findings += [look_at_secret(folder / name, _REGISTER) for name in ("state.db", "state.kdf")]
    if not profile_exists(folder):
        return findings
    try:
        findings += await desk.with_profile(lambda messenger: _examine_profile(desk, messenger))
    except (NoTerminal, ClientError) as error:
        findings.append(Finding(False, "profile", describe(error), _advice_on(error)))
    return findings


async def _examine_profile(desk: Desk, messenger: Messenger) -> list[Finding]:
    findings = [_account(messenger), *await _relay(desk, messenger)]
    findings += [*_state(messenger), *_clock(messenger), *_people(messenger)]
    unopened = messenger.core.profile.unopened
    if unopened:
        findings.append(Finding(True, "mail", f"{unopened} envelopes could not be opened"))
    return findings


def _account(messenger: Messenger) -> Finding:
    profile = messenger.core.profile
    if profile.registered and profile.name is not None:
        return Finding(True, "account", visible(profile.name))
    return Finding(False, "account", "not registered", "messageu register, with the same relay")


async def _relay(desk: Desk, messenger: Messenger) -> list[Finding]:
    """The connection, and what it shows."""
    why: list[ClientError] = []

    def hear(heard: Heard) -> None:
        if isinstance(heard, Offline):
            why.append(heard.why)

    forget = messenger.observe(hear)
    try:
        await desk.reach(messenger, messenger.come_online())
    except ClientError as error:
        if messenger.core.profile.stale:  # what is found of the state says it
            return []
        return list(_not_reached(why[-1] if why else error))
    finally:
        forget()
    return [
        Finding(True, "relay", "it has the right key, and speaks TLS 1.3"),
        *_certificate(messenger),
        _prekeys(messenger),
    ]


def _not_reached(why: ClientError) -> Iterator[Finding]:
    if isinstance(why, RelayNotTrusted):
        advice = "ask its operator for the address, and do not go on before"
        yield Finding(
            False, "certificate", "the relay shows another key than the pinned one", advice
        )
        return
    advice = f"is it running, is there a network, and is the line in {ADDRESS_FILE} right?"
    yield Finding(False, "relay", describe(why), advice)


def _certificate(messenger: Messenger) -> Iterator[Finding]:
    if messenger.certificate is None:
        return
    expires = expiry_of(messenger.certificate)
    text = f"its key is the pinned one; dated until {expires:%Y-%m-%d}"
    if expires < datetime.now(UTC):
        text = f"{text}, which is over: that does not matter, only the key counts"
    yield Finding(True, "certificate", text)


def _prekeys(messenger: Messenger) -> Finding:
    keys = messenger.one_time_keys
    if keys is None:
        return Finding(False, "prekeys", "the relay has not told", "try again later")
    return Finding(
        True, "prekeys", f"the relay had {keys} one-time keys; it is given more when they are few"
    )


def _state(messenger: Messenger) -> Iterator[Finding]:
    if messenger.core.profile.stale:
        text = "older than what the relay knows"
        yield Finding(False, "state", text, "give this copy up, or: messageu reset")
    elif messenger.online:
        yield Finding(True, "state", "the relay knows no later one")


def _clock(messenger: Messenger) -> Iterator[Finding]:
    if messenger.welcome is None:
        return
    ahead = messenger.welcome.ahead
    text = f"{round(ahead):+d} seconds at the relay"
    if abs(ahead) > CLOCK_TOLERANCE:
        yield Finding(False, "clock", text, "set this one's clock")
    else:
        yield Finding(True, "clock", text)


def _people(messenger: Messenger) -> Iterator[Finding]:
    contacts = messenger.core.contacts()
    for contact in contacts:
        if contact.changed_to is not None:
            name = visible(contact.label)
            text = f"somebody else has the name of {name} now"
            advice = f"ask {name} for a new link, and compare: messageu verify"
            yield Finding(False, "contact", text, advice)
    verified = sum(contact.verified for contact in contacts)
    yield Finding(True, "contacts", f"{verified} of {len(contacts)} are verified")


def _advice_on(error: ClientError) -> str | None:
    found = (text for kinds, text in _ADVICE.items() if isinstance(error, kinds))
    return next(found, None)


_ADVICE: Final[dict[type[ClientError], str]] = {
    PassphraseNeeded: "--passphrase-file or MESSAGEU_PASSPHRASE",
    PassphraseWrong: "try another; nobody can find it out for you",
    ProfileExported: "import the exported file, and use the profile where that is",
    VaultDamaged: "bring back a copy of the folder, and then: messageu reset",
    VaultLocked: "end the other program",
}
"""What to do about a profile that cannot be opened; the others say it themselves."""
