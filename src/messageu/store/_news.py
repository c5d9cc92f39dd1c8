"""What a store tells a relay of what other relays on the same database do."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeAlias

from attrs import frozen

from messageu.model import ClientId


@frozen
class Arrived:
    """There is new mail for these accounts, which another relay has taken."""

    accounts: Collection[ClientId]


@frozen
class Subscribed:
    """Another relay's connection has the mailbox of an account, since this term."""

    account: ClientId
    term: int


@frozen
class PrekeysTaken:
    """One-time keys of an account were claimed through another relay: so many are left."""

    account: ClientId
    left: int


@frozen
class Missed:
    """Something of the above may have happened that was not heard."""


@frozen
class Sharers:
    """So many relays share the database, this one among them."""

    count: int


News: TypeAlias = Arrived | Subscribed | PrekeysTaken | Missed | Sharers

Hear: TypeAlias = Callable[[News], object]
"""Is told of news, by the reactor's thread."""
