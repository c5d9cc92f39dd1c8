"""How many users there are and how much mail waits, a bounded page at a time: for the operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, execute, fail
from zope.interface import Interface, implementer

from messageu.model import ClientId

from ._interface import StoreUnavailable
from ._work import Operation, Work


@frozen
class User:
    """Somebody who is registered, under a name that he has chosen."""

    id: ClientId
    name: str


@frozen
class MailboxSize:
    """So many messages, and so many bytes of content, wait for somebody."""

    owner: ClientId
    messages: int
    content: int


@frozen
class Depth:
    """What waits in so many mailboxes together."""

    mailboxes: int = 0
    messages: int = 0
    content: int = 0

    def __add__(self, other: Depth) -> Depth:
        return Depth(
            self.mailboxes + other.mailboxes,
            self.messages + other.messages,
            self.content + other.content,
        )


T = TypeVar("T")


@frozen
class SurveyPage(Generic[T]):
    """What a page holds; ``next`` is where the next one begins, None after the last."""

    content: T
    next: int | None


class ISurvey(Interface):
    """The users of one protocol, and their mailboxes, in order of registration.

    A page begins ``after`` 0 or the ``next`` of the page before, and looks at so many of them at the
    most. What changes meanwhile may be seen or not, and what is being deleted may still count. Every
    Deferred may fail with :class:`~messageu.store.StoreError`.
    """

    def count_users() -> Deferred[int]:
        """How many there are."""

    def list_users(after: int, limit: int) -> Deferred[SurveyPage[Sequence[User]]]:
        """Who they are."""

    def list_mailboxes(after: int, limit: int) -> Deferred[SurveyPage[Sequence[MailboxSize]]]:
        """The mailboxes in which something waits."""

    def sum_mailboxes(after: int, limit: int) -> Deferred[SurveyPage[Depth]]:
        """What they add up to."""


class _CursorWork(Work, Protocol):
    cursor: Any


@frozen
class Look(Operation[_CursorWork]):
    """Read something that is of no mailbox in particular, between two transactions."""

    name: ClassVar[str] = "survey"
    commutes: ClassVar[bool] = True

    read: Callable[[Any], object]

    def run(self, work: _CursorWork) -> object:
        return self.read(work.cursor)


@frozen
class SurveyStatements:
    """The SQL of a survey, which is the same for all databases but for the names in it.

    :ivar users: the table of users, with their ``key``, ``id`` and ``name``.
    :ivar mailboxes: the table of what waits, in ``messages`` and bytes of ``content``.
    :ivar owner: its column of the user's key, by which it has an index.
    :ivar mark: where a parameter goes.
    """

    users: str
    mailboxes: str
    owner: str
    mark: str = "?"

    def count_users(self, cursor: Any) -> int:
        """How many users there are."""
        cursor.execute(f"SELECT count(*) FROM {self.users}")  # noqa: S608 - names are ours
        return int(cursor.fetchone()[0])

    def list_users(self, cursor: Any, after: int, limit: int) -> SurveyPage[Sequence[User]]:
        """A page of users."""
        cursor.execute(
            f"SELECT key, id, name FROM {self.users} WHERE key > {self.mark}"  # noqa: S608
            f" ORDER BY key LIMIT {self.mark}",
            (after, limit),
        )
        rows = cursor.fetchall()
        return SurveyPage([User(ClientId(raw), name) for _, raw, name in rows], _next(rows, limit))

    def list_mailboxes(
        self, cursor: Any, after: int, limit: int
    ) -> SurveyPage[Sequence[MailboxSize]]:
        """Those of a page of mailboxes in which something waits."""
        cursor.execute(
            f"SELECT {self.owner}, id, messages, content FROM {self.mailboxes}"  # noqa: S608
            f" JOIN {self.users} ON key = {self.owner}"
            f" WHERE {self.owner} > {self.mark} ORDER BY {self.owner} LIMIT {self.mark}",
            (after, limit),
        )
        rows = cursor.fetchall()
        sizes = [MailboxSize(ClientId(raw), *size) for _, raw, *size in rows if size[0] > 0]
        return SurveyPage(sizes, _next(rows, limit))

    def sum_mailboxes(self, cursor: Any, after: int, limit: int) -> SurveyPage[Depth]:
        """What a page of mailboxes adds up to."""
        cursor.execute(
            f"SELECT count(*), max({self.owner}), count(CASE WHEN messages > 0 THEN 1 END),"  # noqa: S608
            f" sum(messages), sum(content) FROM (SELECT {self.owner}, messages, content"
            f" FROM {self.mailboxes} WHERE {self.owner} > {self.mark}"
            f" ORDER BY {self.owner} LIMIT {self.mark}) AS page",
            (after, limit),
        )
        count, last, *depth = cursor.fetchone()
        # A sum of nothing is NULL, and PostgreSQL's are no integers.
        return SurveyPage(
            Depth(*(int(each or 0) for each in depth)), last if count == limit else None
        )


def _next(rows: Sequence[Any], limit: int) -> int | None:
    return int(rows[-1][0]) if len(rows) == limit else None


@implementer(ISurvey)
class SqlSurvey:
    """A survey of some tables.

    :param submit: does an operation.
    :param settle: is done before mailboxes are looked at from the first on.
    """

    def __init__(
        self,
        statements: SurveyStatements,
        submit: Callable[[Operation[Any]], Deferred[Any]],
        settle: Callable[[], Deferred[Any]] | None = None,
    ) -> None:
        self._statements = statements
        self._submit = submit
        self._settle = settle

    def count_users(self) -> Deferred[int]:
        return self._submit(Look(self._statements.count_users))

    def list_users(self, after: int, limit: int) -> Deferred[SurveyPage[Sequence[User]]]:
        read = self._statements.list_users
        return self._submit(Look(lambda cursor: read(cursor, after, limit)))

    def list_mailboxes(self, after: int, limit: int) -> Deferred[SurveyPage[Sequence[MailboxSize]]]:
        return self._look(self._statements.list_mailboxes, after, limit)

    def sum_mailboxes(self, after: int, limit: int) -> Deferred[SurveyPage[Depth]]:
        return self._look(self._statements.sum_mailboxes, after, limit)

    def _look(
        self, read: Callable[[Any, int, int], object], after: int, limit: int
    ) -> Deferred[Any]:
        look = Look(lambda cursor: read(cursor, after, limit))
        if after or self._settle is None:
            return self._submit(look)
        return self._settle().addCallback(lambda _: self._submit(look))


Surveyed: TypeAlias = tuple[User, MailboxSize]
"""A user, and what waits for him."""


@implementer(ISurvey)
class MemorySurvey:
    """A survey of what is in memory. Every Deferred has fired when it is returned.

    :param read: all that there are, in order of registration.
    :param is_open: whether anything is read.
    """

    def __init__(self, read: Callable[[], Sequence[Surveyed]], is_open: Callable[[], bool]) -> None:
        self._read = read
        self._is_open = is_open

    def count_users(self) -> Deferred[int]:
        return self._answer(lambda: len(self._read()))

    def list_users(self, after: int, limit: int) -> Deferred[SurveyPage[Sequence[User]]]:
        return self._answer(
            lambda: self._page(after, limit, lambda page: [each for each, _ in page])
        )

    def list_mailboxes(self, after: int, limit: int) -> Deferred[SurveyPage[Sequence[MailboxSize]]]:
        return self._answer(lambda: self._page(after, limit, _filled))

    def sum_mailboxes(self, after: int, limit: int) -> Deferred[SurveyPage[Depth]]:
        def add_up(page: Sequence[Surveyed]) -> Depth:
            depths = [Depth(1, each.messages, each.content) for each in _filled(page)]
            return sum(depths, start=Depth())

        return self._answer(lambda: self._page(after, limit, add_up))

    def _page(
        self, after: int, limit: int, make: Callable[[Sequence[Surveyed]], T]
    ) -> SurveyPage[T]:
        page = self._read()[after : after + limit]
        return SurveyPage(make(page), after + limit if len(page) == limit else None)

    def _answer(self, read: Callable[[], T]) -> Deferred[T]:
        if not self._is_open():
            return fail(StoreUnavailable("the store is not open"))
        return execute(read)


def _filled(page: Sequence[Surveyed]) -> Sequence[MailboxSize]:
    return [size for _, size in page if size.messages > 0]
