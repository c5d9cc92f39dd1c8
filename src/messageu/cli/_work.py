"""What each command does, and what becomes of its errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Final, TypeAlias

from messageu.client import ClientError, FileMissing, NotRegistered
from messageu.client.v3 import StaleState
from messageu.terminal import Away, Desk, Exit, describe

from ._account import delete_account, display_name, export, import_, link, register, reset
from ._doctor import doctor
from ._mail import history, inbox, send, send_file
from ._people import accept, add, block, contacts, rename, verify

Work: TypeAlias = Callable[[Desk, SimpleNamespace], Awaitable[Exit]]

WORK: Final[dict[str, Work]] = {
    "register": register,
    "add": add,
    "link": link,
    "send": send,
    "send-file": send_file,
    "inbox": inbox,
    "history": history,
    "contacts": contacts,
    "accept": accept,
    "block": block,
    "unblock": accept,
    "rename": rename,
    "verify": verify,
    "display-name": display_name,
    "doctor": doctor,
    "reset": reset,
    "export": export,
    "import": import_,
    "delete-account": delete_account,
}
"""By the names of ``messageu.commands``; what is not here is no command of a desk."""


async def run_command(desk: Desk, command: str, options: SimpleNamespace) -> Exit:
    """Do what was asked for. Every error of the library's is a line, and an exit code."""
    try:
        return Exit(await WORK[command](desk, options))
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
