"""What relays tell each other through the database, as lines of text; without I/O.

A line has the id of the relay that says it, what it is, and then what is said of whom::

    2f0c…e1 mail 00a1…9f 7c33…02
    2f0c…e1 subscribed 00a1…9f 17
    2f0c…e1 prekeys 00a1…9f 3

Lines are hints. What they lead to is read from the tables, where it is true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from messageu.model import ClientId

from .._news import Arrived, News, PrekeysTaken, Subscribed

ACCOUNTS_A_LINE: Final = 200
"""Accounts in one line, each of 33 characters: PostgreSQL takes less than 8,000."""

NUMBER_LIMIT: Final = 20
"""Digits of a number."""


UNSAID_LIMIT: Final = 65_536
"""Accounts and lines that wait to be announced. Who misses one looks by himself some time."""


class Announcements:
    """What is to be announced, while something else is: all that gathers goes together.

    :param relay: the id of this relay.
    """

    def __init__(self, relay: str) -> None:
        self._relay = relay
        self._arrived: dict[ClientId, None] = {}
        self._lines: list[str] = []

    def arrive(self, accounts: Iterable[ClientId]) -> None:
        """There is new mail for these accounts."""
        if len(self._arrived) < UNSAID_LIMIT:
            self._arrived.update(dict.fromkeys(accounts))

    def say(self, line: str) -> None:
        """Something else."""
        if len(self._lines) < UNSAID_LIMIT:
            self._lines.append(line)

    def take(self) -> list[str]:
        """All of it, as lines."""
        lines = [*self._lines, *encode_arrivals(self._relay, self._arrived)]
        self._lines.clear()
        self._arrived.clear()
        return lines


def encode_arrivals(relay: str, accounts: Iterable[ClientId]) -> list[str]:
    """There is new mail for these accounts."""
    ids = [account.raw.hex() for account in dict.fromkeys(accounts)]
    return [
        " ".join((relay, "mail", *ids[start : start + ACCOUNTS_A_LINE]))
        for start in range(0, len(ids), ACCOUNTS_A_LINE)
    ]


def encode_subscription(relay: str, account: ClientId, term: int) -> str:
    """A mailbox has a new subscription."""
    return f"{relay} subscribed {account.raw.hex()} {term}"


def encode_prekeys(relay: str, account: ClientId, left: int) -> str:
    """So many one-time keys are left of an account."""
    return f"{relay} prekeys {account.raw.hex()} {left}"


def decode(relay: str, line: str) -> News | None:
    """What a line tells a relay: None if it is its own, or nothing that it knows."""
    sender, _, said = line.partition(" ")
    kind, _, rest = said.partition(" ")
    read = _KINDS.get(kind)
    if sender == relay or read is None:
        return None
    try:
        return read(rest.split(" "))
    except ValueError:  # whoever may write to the database may say anything
        return None


def _account(text: str) -> ClientId:
    raw = bytes.fromhex(text)
    if len(raw) != 16:
        raise ValueError
    return ClientId(raw)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= NUMBER_LIMIT):
        raise ValueError
    return int(text)


def _mail(words: list[str]) -> News:
    return Arrived(frozenset(map(_account, words)))


def _subscribed(words: list[str]) -> News:
    account, term = words
    return Subscribed(_account(account), _number(term))


def _prekeys(words: list[str]) -> News:
    account, left = words
    return PrekeysTaken(_account(account), _number(left))


_KINDS: Final[Mapping[str, Callable[[list[str]], News]]] = {
    "mail": _mail,
    "subscribed": _subscribed,
    "prekeys": _prekeys,
}
