"""What the operator may ask about users and their mail: who there is, where it piles up, and that what
is old goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from messageu.store import ISurvey

from ._census import largest
from ._control import Answer, Done, ExpireRequest, MailboxesRequest, UsersRequest, Value

DAY: Final = 86_400.0

_log = Logger()


@frozen
class Inspection:
    """Answers the operator. Every coroutine may raise :class:`~messageu.store.StoreError`.

    :ivar surveys: of the protocols, by their names.
    :ivar expire: deletes what was stored before a time, by the names of the protocols that are served.
    :ivar now: the time, in seconds since the epoch.
    """

    surveys: Mapping[str, ISurvey]
    expire: Mapping[str, Callable[[float], Deferred[int]]]
    now: Callable[[], float]

    async def users(self, request: UsersRequest) -> Sequence[Answer]:
        """How many there are; or a page of names with ids, and where the next page begins."""
        if not request.protocol:
            counts = [
                Value(f"users_{name}", str(await survey.count_users()))
                for name, survey in self.surveys.items()
            ]
            return [*counts, Done(0)]
        survey = self.surveys[request.protocol]
        page = await survey.list_users(request.after, request.limit)
        users = [Value("user", f"{user.id.raw.hex()} {user.name}") for user in page.content]
        following = [] if page.next is None else [Value("next", str(page.next))]
        return [*users, *following, Done(0)]

    async def mailboxes(self, request: MailboxesRequest) -> Sequence[Answer]:
        """The largest of each protocol."""
        found = [
            Value("mailbox", f"{name} {each.owner.raw.hex()} {each.messages} {each.content}")
            for name, survey in self.surveys.items()
            for each in await largest(survey, request.count)
        ]
        return [*found, Done(0)]

    async def expire_now(self, request: ExpireRequest) -> Sequence[Answer]:
        """Delete what is older, and tell how much that was."""
        before = self.now() - request.days * DAY
        _log.info("the operator lets mail expire that is older than {days} days", days=request.days)
        gone = [
            Value(f"expired_{name}", str(await expire(before)))
            for name, expire in self.expire.items()
        ]
        return [*gone, Done(0)]
