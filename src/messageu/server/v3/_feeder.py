"""Reads what waits from the store, for those that mail is pushed to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from messageu.model.v3 import Delivery, Reason
from messageu.store.v3 import IAccountStore

from ._subscriptions import Subscription, Subscriptions, Wanted

RETRY: Final = 5.0
"""Seconds until a page is asked for again that could not be read."""


class Feeder:
    """Reads a page whenever a subscription wants one, only so many at once.

    :param subscriptions: is told of one whose mailbox another one has.
    :param pages: how many.
    :param complain: is called with what went wrong when a page could not be read.
    """

    def __init__(
        self,
        store: IAccountStore,
        clock: IReactorTime,
        subscriptions: Subscriptions,
        pages: int,
        complain: Callable[[Failure], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._subscriptions = subscriptions
        self._pages = DeferredSemaphore(pages)
        self._complain = complain

    def feed(self, subscription: Subscription) -> None:
        """Something has changed: read what is wanted now, if anything is."""
        wanted = subscription.begin_page()
        if wanted is None:
            return
        page: Deferred[Sequence[Delivery] | Reason] = self._pages.run(
            self._read, subscription, wanted
        )
        page.addCallbacks(
            self._push, self._excuse, callbackArgs=(subscription,), errbackArgs=(subscription,)
        )

    def _read(
        self, subscription: Subscription, wanted: Wanted
    ) -> Deferred[Sequence[Delivery] | Reason]:
        if subscription.ended:  # while it waited for a place
            return succeed(())
        return self._store.waiting(
            subscription.account, wanted.after, wanted.messages, wanted.size, subscription.term
        )

    def _push(self, page: Sequence[Delivery] | Reason, subscription: Subscription) -> None:
        if isinstance(page, Reason):
            subscription.fail_page()
            self._subscriptions.displace(subscription)
            return
        subscription.end_page(page)
        self.feed(subscription)

    def _excuse(self, failure: Failure, subscription: Subscription) -> None:
        subscription.fail_page()
        self._complain(failure)
        self._clock.callLater(RETRY, self.feed, subscription)
