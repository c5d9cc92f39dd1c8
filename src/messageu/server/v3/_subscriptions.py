"""Whom mail is pushed to, in which order and how much of it at once: rules without I/O.

A subscription has a place in its mailbox, up to which everything was pushed. It is *behind* while
there may be mail beyond; then somebody reads a page from the store, from that place on. Once a page
was empty, and nothing has come meanwhile, mail is pushed as it is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from attrs import frozen

from messageu.model import ClientId
from messageu.model.v3 import Delivery

PAGE_MESSAGES: Final = 256
"""Messages that are read from the store at once, to be pushed."""


class Subscriber(Protocol):
    """The connection that mail is pushed to."""

    @property
    def ready(self) -> bool:
        """Whether it takes more now."""
        ...  # pragma: no cover

    def deliver(self, delivery: Delivery) -> None:
        """Push mail."""

    def displace(self) -> None:
        """Another connection has the subscription now."""

    def prekeys_low(self, left: int) -> None:
        """The account has few one-time keys left."""


@frozen
class Wanted:
    """A page to be read: from behind a place, so many messages, so many bytes."""

    after: int
    messages: int
    size: int


class Subscription:
    """The window through which one connection gets one mailbox.

    :param term: by which the store knows it.
    :param messages: that may be on the way without an acknowledgement.
    :param size: that they may have together, in bytes of what is sealed.
    :param page: bytes that are read at once.
    """

    __slots__ = (
        "_arrived",
        "_behind",
        "_blocked",
        "_messages",
        "_page",
        "_place",
        "_reading",
        "_size",
        "_under_way",
        "_used",
        "account",
        "ended",
        "subscriber",
        "term",
    )

    def __init__(
        self,
        account: ClientId,
        term: int,
        subscriber: Subscriber,
        messages: int,
        size: int,
        page: int,
    ) -> None:
        self.account = account
        self.term = term
        self.subscriber = subscriber
        self.ended = False
        self._messages = messages
        self._size = size
        self._page = page
        self._place = 0
        self._under_way: dict[int, int] = {}
        self._used = 0
        self._behind = True
        self._reading = False
        self._arrived = False
        self._blocked = 0

    @property
    def under_way(self) -> int:
        """How many messages were pushed and are not acknowledged."""
        return len(self._under_way)

    def begin_page(self) -> Wanted | None:
        """A page that is to be read now, if one is. ``end_page`` or ``fail_page`` must follow."""
        room = self._messages - len(self._under_way)
        size = self._size - self._used
        if self.ended or self._reading or not self._behind or not self.subscriber.ready:
            return None
        if self._under_way and (room <= 0 or size <= 0 or size < self._blocked):
            return None
        self._reading = True
        self._arrived = False
        return Wanted(self._place, max(1, min(room, PAGE_MESSAGES)), max(1, min(size, self._page)))

    def end_page(self, page: Sequence[Delivery]) -> None:
        """A page was read."""
        self._reading = False
        if self.ended:
            return
        if not page:
            self._behind = self._arrived
        for delivery in page:
            if delivery.sequence > self._place and not self._push(delivery):
                return

    def fail_page(self) -> None:
        """A page could not be read; it is still wanted."""
        self._reading = False

    def stored(self, delivery: Delivery) -> None:
        """New mail is on the disk. Unless it is the very next, what is before it is read first:
        another relay may have stored it."""
        if self.ended or delivery.sequence <= self._place:
            return
        if (
            delivery.sequence != self._place + 1
            or self._reading
            or self._behind
            or not self.subscriber.ready
            or not self._push(delivery)
        ):
            self.arrived()

    def arrived(self) -> None:
        """There may be new mail on the disk."""
        self._arrived = self._behind = True

    def acknowledge(self, sequences: Sequence[int]) -> None:
        """These are no longer on the way."""
        for sequence in sequences:
            self._used -= self._under_way.pop(sequence, 0)

    def _push(self, delivery: Delivery) -> bool:
        size = len(delivery.sealed)
        if self._under_way and (
            len(self._under_way) >= self._messages or self._used + size > self._size
        ):
            # It is not asked for again before it fits.
            self._blocked = size
            return False
        self._blocked = 0
        self._place = delivery.sequence
        self._under_way[delivery.sequence] = size
        self._used += size
        self.subscriber.deliver(delivery)
        return True


class Subscriptions:
    """Who is subscribed to what: at most one connection to each mailbox."""

    def __init__(self) -> None:
        self._current: dict[ClientId, Subscription] = {}

    def __len__(self) -> int:
        return len(self._current)

    def __iter__(self) -> Iterator[Subscription]:
        return iter(tuple(self._current.values()))

    def begin(self, subscription: Subscription) -> None:
        """From now on this one has its mailbox. Another connection's that had it is displaced."""
        before = self._current.get(subscription.account)
        self._current[subscription.account] = subscription
        if before is not None:
            before.ended = True
            if before.subscriber is not subscription.subscriber:
                before.subscriber.displace()

    def end(self, subscription: Subscription) -> None:
        """It has ended by itself; if another has displaced it, nothing changes."""
        subscription.ended = True
        if self._current.get(subscription.account) is subscription:
            del self._current[subscription.account]

    def displace(self, subscription: Subscription) -> None:
        """Another one has its mailbox now, at another relay; its connection is told."""
        if not subscription.ended:
            self.end(subscription)
            subscription.subscriber.displace()

    def of(self, account: ClientId) -> Subscription | None:
        """The subscription of a mailbox, if there is one."""
        return self._current.get(account)
