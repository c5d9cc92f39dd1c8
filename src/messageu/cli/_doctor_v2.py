"""What the doctor looks at in a folder of MessageU v2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from twisted.internet.defer import TimeoutError as DeferredTimeout

from messageu.client import (
    ADDRESS_FILE,
    KEYRING_FILE,
    AddressInvalid,
    Client,
    ClientError,
    IdentityInvalid,
    Keyring,
    KeyringInvalid,
    Settings,
    identity_file,
    read_address,
    read_identity,
)
from messageu.client.v3 import read_small_file
from messageu.model import ClientId
from messageu.terminal import Desk, describe, visible_name

from ._findings import Finding, look_at_folder, look_at_secret

_KEYRING_LIMIT: Final = 32 * 2**20
"""Bytes; the client takes no larger one."""
_REGISTER: Final = "register, with 110 in the menu"


async def examine_v2(desk: Desk) -> list[Finding]:
    """All of it. Nothing is sent, and no file is written."""
    folder = desk.folder
    findings = [*look_at_folder(folder), *_identity(folder)]
    try:
        address = read_address(folder)
    except AddressInvalid as invalid:
        advice = "ask the relay's operator for its address"
        return [*findings, Finding(False, "address", describe(invalid), advice)]
    return [*findings, Finding(True, "address", str(address)), await _relay(desk)]


def _identity(folder: Path) -> Iterator[Finding]:
    path = identity_file(folder)
    if path is None:
        yield Finding(False, "account", "nobody has registered here", _REGISTER)
        return
    yield look_at_secret(path, _REGISTER)
    try:
        identity = read_identity(folder)
    except IdentityInvalid as invalid:
        advice = f"bring back a copy of {path.name}; there is no other way to be the same"
        yield Finding(False, "account", describe(invalid), advice)
        return
    if identity is not None:
        yield Finding(True, "account", visible_name(identity.name))
        yield from _keyring(folder, identity.client_id)


def _keyring(folder: Path, owner: ClientId) -> Iterator[Finding]:
    path = folder / KEYRING_FILE
    advice = "bring back a copy, or exchange keys anew: 151 and 152 in the menu"
    try:
        keyring = Keyring.decode(read_small_file(path, _KEYRING_LIMIT), owner)
    except FileNotFoundError:
        yield Finding(True, "keys", "none were exchanged yet")
    except OSError as failed:
        yield Finding(False, "keys", f"{KEYRING_FILE} cannot be read: {failed.strerror}", advice)
    except KeyringInvalid as invalid:
        yield Finding(False, "keys", f"{KEYRING_FILE} cannot be used: {describe(invalid)}", advice)
    else:
        yield look_at_secret(path, advice)
        shared = sum(peer.symmetric_key is not None for peer in keyring.peers)
        yield Finding(True, "keys", f"shared with {shared} of {len(keyring.peers)} who are known")


async def _relay(desk: Desk) -> Finding:
    client = Client(
        desk.reactor, desk.folder, Settings(endpoint=desk.settings.endpoint), warn=lambda _: None
    )
    try:
        await client.connect().addTimeout(desk.timeout, desk.reactor)
    except (ClientError, DeferredTimeout) as failed:
        text = describe(failed) if isinstance(failed, ClientError) else "it does not answer"
        advice = f"is it running, and is the line in {ADDRESS_FILE} right?"
        return Finding(False, "relay", text, advice)
    finally:
        await client.close()
    return Finding(True, "relay", "something listens there")
