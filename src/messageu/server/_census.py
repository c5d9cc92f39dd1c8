"""How much mail waits in all mailboxes together, counted seldom; and which of them are the largest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import nlargest
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from messageu.store import Depth, ISurvey, MailboxSize, StoreError

CENSUS_INTERVAL: Final = 60.0
"""Seconds for which a count holds."""

SUM_STEP: Final = 10_000
"""Mailboxes that are added up at once: others wait for no more than that."""

LIST_STEP: Final = 1_000
"""Mailboxes that are read at once."""

_log = Logger()


class Census:
    """Counts what waits, when it is asked and the last count is old.

    :param surveys: of the protocols, by their names.
    :ivar depths: what was counted last; nothing before the first count, and when one has failed.
    """

    def __init__(self, surveys: Mapping[str, ISurvey], clock: IReactorTime) -> None:
        self._surveys = surveys
        self._clock = clock
        self._counted_at = float("-inf")
        self._counting = False
        self.depths: Mapping[str, Depth] = {}

    def refresh(self) -> Deferred[None]:
        """Count, if it is time and nobody counts already. It never fails."""
        counted = Deferred.fromCoroutine(self._count())
        counted.addErrback(self._give_up)
        return counted

    async def _count(self) -> None:
        if self._counting or self._clock.seconds() - self._counted_at < CENSUS_INTERVAL:
            return
        self._counting = True
        self._counted_at = self._clock.seconds()
        try:
            self.depths = {name: await depth_of(each) for name, each in self._surveys.items()}
        finally:
            self._counting = False

    def _give_up(self, failure: Failure) -> None:
        self.depths = {}
        if not failure.check(StoreError):
            _log.failure("a bug: what waits could not be counted", failure)


async def depth_of(survey: ISurvey) -> Depth:
    """What waits in all mailboxes of a protocol."""
    depth, after = Depth(), 0
    while True:
        page = await survey.sum_mailboxes(after, SUM_STEP)
        depth += page.content
        if page.next is None:
            return depth
        after = page.next


async def largest(survey: ISurvey, count: int) -> Sequence[MailboxSize]:
    """So many mailboxes of a protocol, with the most messages, and of as many the most bytes."""
    found: Sequence[MailboxSize] = ()
    after = 0
    while True:
        page = await survey.list_mailboxes(after, LIST_STEP)
        found = nlargest(
            count, [*found, *page.content], key=lambda each: (each.messages, each.content)
        )
        if page.next is None:
            return found
        after = page.next
