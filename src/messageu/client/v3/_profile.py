"""A profile's folder: made, and opened with all that belongs to it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IReactorTime

from messageu.crypto.v3 import DEFAULT_COST, Cost

from .._errors import ClientError
from .._inbox import Run
from ._address import RelayLink, parse_relay, read_relay, write_relay
from ._core import Core
from ._errors import StateInvalid
from ._file_receiver import FileReceiver
from ._file_sender import FileSender
from ._messenger import Messenger, MessengerSettings
from ._vault import Vault, open_vault, vault_exists

DOWNLOADS: Final = "downloads"
"""The folder, in the profile's, for files that were received."""


class NoProfile(ClientError):
    """There is no profile of v3 in the folder."""


def profile_exists(folder: Path) -> bool:
    """Whether a folder has a profile of v3."""
    return vault_exists(folder)


def create_profile(
    folder: Path, relay: RelayLink, passphrase: str | None, *, cost: Cost = DEFAULT_COST
) -> None:
    """Make a profile with new keys. Cut short anywhere, it can be done again.

    Deriving the key takes a while. With a profile that is there, and is of this relay, nothing is
    done.

    :raises ClientError: when there is one of another relay, or it cannot be made.
    """
    exists = vault_exists(folder)
    vault = open_vault(folder, passphrase, create=not exists, cost=cost)
    try:
        try:
            core = Core(vault.connection)
        except StateInvalid:
            core = Core.create(vault.connection, str(relay))
        if core.profile.relay != str(relay):
            raise NoProfile("the profile in this folder is of another relay")
    finally:
        vault.close()
    write_relay(folder, relay)


def adopt_profile(folder: Path, passphrase: str | None) -> RelayLink:
    """Have ``server.info`` say what a profile says that was imported."""
    vault = open_vault(folder, passphrase)
    try:
        relay = parse_relay(Core(vault.connection).profile.relay)
    finally:
        vault.close()
    write_relay(folder, relay)
    return relay


def open_profile(
    reactor: IReactorTime,
    folder: Path,
    passphrase: str | None,
    settings: MessengerSettings | None = None,
    *,
    run_in_thread: Run | None = None,
) -> Messenger:
    """Open a profile, and connect nothing yet. Deriving the key takes a while.

    :raises ClientError: when there is none, it is open elsewhere, the passphrase is wrong, or it
        is damaged.
    """
    relay = read_relay(folder)
    if relay is None or not vault_exists(folder):
        raise NoProfile("there is no profile in this folder: register first")
    chosen = settings if settings is not None else MessengerSettings()
    vault = open_vault(folder, passphrase)
    try:
        return _messenger(reactor, folder, vault, relay, chosen, run_in_thread)
    except BaseException:
        vault.close()
        raise


def _messenger(
    reactor: IReactorTime,
    folder: Path,
    vault: Vault,
    relay: RelayLink,
    settings: MessengerSettings,
    run_in_thread: Run | None,
) -> Messenger:
    downloads = folder / DOWNLOADS
    sender, receiver = FileSender(), FileReceiver(downloads)
    core = Core(vault.connection, now=settings.now, file_sender=sender, file_receiver=receiver)
    if core.profile.relay != str(relay):
        raise NoProfile("server.info names another relay than the profile in this folder")

    def let_go() -> None:
        receiver.close()
        vault.close()

    return Messenger(
        reactor,
        core,
        relay,
        settings,
        file_sender=sender,
        find_file=lambda contact, message_id: receiver.path_of(
            vault.connection, contact, message_id
        ),
        run_in_thread=run_in_thread,
        on_close=let_go,
    )
