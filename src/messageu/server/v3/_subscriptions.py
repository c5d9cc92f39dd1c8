"""Whom mail is pushed to, in which order and how much of it at once: rules without I/O.

A subscription has a place in its mailbox, up to which everything was pushed. It is *behind* while
there may be mail beyond; then somebody reads a page from the store, from that place on. Once a page
was empty, and nothing has come meanwhile, mail is pushed as it is stored.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
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


class UnderWay:
    """What was pushed and is not acknowledged: 12 bytes for each message, of which there can be very
    many.

    :ivar size: bytes of what is sealed, of all of them.
    """

    __slots__ = ("_sequences", "_sizes", "size")

    def __init__(self) -> None:
        self._sequences = array("Q")  # in order
        self._sizes = array("I")
        self.size = 0

    def __len__(self) -> int:
        return len(self._sequences)

    def add(self, sequence: int, size: int) -> None:
        """This one was pushed, behind all others."""
        self._sequences.append(sequence)
        self._sizes.append(size)
        self.size += size

    def discard(self, sequence: int) -> None:
        """This one is acknowledged, if it was under way."""
        at = bisect_left(self._sequences, sequence)
        if at < len(self._sequences) and self._sequences[at] == sequence:
            del self._sequences[at]
            self.size -= self._sizes.pop(at)


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
        self._under_way = UnderWay()
        self._behind = True
        self._reading = False
        self._arrived = False
        self._blocked = 0

    @property
    def under_way(self) -> int:
        """How many messages were pushed and are not acknowledged."""
        return len(self._under_way)

    @property
    def wants_page(self) -> bool:
        """Whether a page is to be read now."""
        if self.ended or self._reading or not self._behind or not self.subscriber.ready:
            return False
        return not self._under_way or (
            len(self._under_way) < self._messages and self._room >= max(1, self._blocked)
        )

    @property
    def _room(self) -> int:
        return self._size - self._under_way.size

    def begin_page(self) -> Wanted | None:
        """A page that is to be read now, if one is. ``end_page`` or ``fail_page`` must follow."""
        if not self.wants_page:
            return None
        self._reading = True
        self._arrived = False
        messages = self._messages - len(self._under_way)
        return Wanted(
            self._place, max(1, min(messages, PAGE_MESSAGES)), max(1, min(self._room, self._page))
        )

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
        """There may be new mail on the disk: a page is wanted, when there is room for one."""
        self._arrived = self._behind = True

    def acknowledge(self, sequences: Sequence[int]) -> None:
        """These are no longer on the way."""
        for sequence in sequences:
            self._under_way.discard(sequence)

    def _push(self, delivery: Delivery) -> bool:
        size = len(delivery.sealed)
        if self._under_way and (len(self._under_way) >= self._messages or size > self._room):
            # It is not asked for again before it fits.
            self._blocked = size
            return False
        self._blocked = 0
        self._place = delivery.sequence
        self._under_way.add(delivery.sequence, size)
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

    def begin(self, subscription: Subscription) -> Subscription | None:
        """From now on this one has its mailbox. Another connection's that had it is displaced.

        :returns: the one that had it.
        """
        before = self._current.get(subscription.account)
        self._current[subscription.account] = subscription
        if before is not None:
            before.ended = True
            if before.subscriber is not subscription.subscriber:
                before.subscriber.displace()
        return before

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
