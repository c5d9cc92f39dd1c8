"""Reads what waits from the store, for those that mail is pushed to.

A page is read when there is room for it among the answers that have not left: mail that waits in the
store costs nothing, and whoever does not read must not push others out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from messageu.model.v3 import Delivery, Reason
from messageu.store.v3 import IAccountStore

from .._limits import Limits
from ._output import PIECE
from ._subscriptions import Subscription, Subscriptions, Wanted

RETRY: Final = 5.0
"""Seconds until a page is asked for again that could not be read."""

PAGES_PART: Final = 2
"""Of the room for all answers pages on their way from the store may take one part in so many."""


class Feeder:
    """Reads a page whenever a subscription wants one, and there is room for it.

    :param subscriptions: is told of one whose mailbox another one has.
    :param complain: is called with what went wrong when a page could not be read.
    """

    def __init__(
        self,
        store: IAccountStore,
        clock: IReactorTime,
        subscriptions: Subscriptions,
        limits: Limits,
        complain: Callable[[Failure], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._subscriptions = subscriptions
        self._limits = limits
        self._complain = complain
        settings = limits.settings
        room = settings.output_bytes // PAGES_PART
        # A page holds one envelope at least, however large.
        self._largest = min(room, max(settings.chunk, settings.sealed_size))
        self._pages = min(settings.streams, room // self._largest)
        self._reading = 0
        self._row: dict[Subscription, None] = {}
        self._going_on = False

    @property
    def has_room(self) -> bool:
        """Whether one more page would find room among the answers that have not left."""
        held = self._limits.output_bytes + self._reading * self._largest
        return not held or held + self._largest <= self._limits.settings.output_bytes

    @property
    def held_back(self) -> int:
        """How many wait for a page because answers have not left."""
        return 0 if self.has_room else len(self._row)

    def may_push(self, size: int) -> bool:
        """Whether an envelope of so many bytes can be pushed as it arrives: whoever reads takes a
        small one at once."""
        return size <= PIECE or self.has_room

    def feed(self, subscription: Subscription) -> None:
        """Something has changed: read what is wanted now, if anything is."""
        if subscription.wants_page:
            self._row.setdefault(subscription)
            self.go_on()

    def forget(self, subscription: Subscription) -> None:
        """It has ended."""
        self._row.pop(subscription, None)

    def go_on(self) -> None:
        """There may be room: read what is wanted, in the order in which it was."""
        if self._going_on:  # a page was there at once; the loop below goes on by itself
            return
        self._going_on = True
        while self._row and self._reading < self._pages and self.has_room:
            subscription = next(iter(self._row))
            del self._row[subscription]
            wanted = subscription.begin_page()
            if wanted is not None:
                self._read(subscription, wanted)
        self._going_on = False

    def _read(self, subscription: Subscription, wanted: Wanted) -> None:
        self._reading += 1
        page: Deferred[Sequence[Delivery] | Reason] = maybeDeferred(
            self._store.waiting,
            subscription.account,
            wanted.after,
            wanted.messages,
            wanted.size,
            subscription.term,
        )
        page.addBoth(self._end_page)
        page.addCallbacks(
            self._push, self._excuse, callbackArgs=(subscription,), errbackArgs=(subscription,)
        )

    def _end_page(
        self, page: Sequence[Delivery] | Reason | Failure
    ) -> Sequence[Delivery] | Reason | Failure:
        self._reading -= 1
        return page

    def _push(self, page: Sequence[Delivery] | Reason, subscription: Subscription) -> None:
        if isinstance(page, Reason):
            subscription.fail_page()
            self._subscriptions.displace(subscription)
        else:
            subscription.end_page(page)
            self.feed(subscription)
        self.go_on()

    def _excuse(self, failure: Failure, subscription: Subscription) -> None:
        subscription.fail_page()
        self._complain(failure)
        self._clock.callLater(RETRY, self.feed, subscription)
        self.go_on()
