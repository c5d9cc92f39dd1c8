"""A PostgresStore on tables of its own, whose threads are a clock in memory."""

from __future__ import annotations

from collections.abc import Callable
from select import select
from typing import Any, ClassVar
from uuid import uuid4

from attrs import define, field
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SkipTest

from messageu.model import ClientId
from messageu.store import NO_QUOTA, News, Quota
from messageu.store._sqlite import random_client_id
from messageu.store.postgres import LanePool, PostgresAddress, PostgresStore
from messageu.testing.postgres import NoServerError, Schema
from messageu.testing.postgres_faults import FaultyPool, Plan
from messageu.testing.threadpool import threadless
from tests.store.contract import NOON, result_of

TURNS = 200
"""Steps in which everything has happened that can."""

PATIENCE = 30
"""Seconds after which what must come is missed."""


def make_schema() -> Schema:
    """Tables of their own.

    :raises SkipTest: when there is no server to test on.
    """
    try:
        return Schema()
    except NoServerError as error:
        raise SkipTest(str(error)) from None


@define
class PostgresFixture:
    """A PostgresStore, with the calls that the tests need. It hears nobody."""

    one_sequence: ClassVar = False

    time: float = NOON
    quota: Quota = NO_QUOTA
    account_quota: Quota = NO_QUOTA
    new_client_id: Callable[[], ClientId] = random_client_id
    connections: int = 2
    clock: Clock = field(factory=Clock)
    schema: Schema = field(factory=make_schema)
    pauses: list[float] = field(factory=list)
    told: list[tuple[int, float]] = field(factory=list)
    told_behind: list[tuple[int, float]] = field(factory=list)
    store: PostgresStore = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.store = self.make()
        self.store.open()

    def make(self) -> PostgresStore:
        """One more store on the same tables, as another relay has it."""
        return PostgresStore(
            PostgresAddress.parse(self.schema.address),
            self.clock,
            now=lambda: self.time,
            new_client_id=self.new_client_id,
            quota=self.quota,
            account_quota=self.account_quota,
            connections=self.connections,
            new_pool=self.new_pool,
            in_thread=self.in_thread,
            wait=self.wait,
            committed=lambda *each: self.told.append(each),
            behind=lambda *each: self.told_behind.append(each),
        )

    def in_thread(self, *_: Any) -> Deferred[Any]:
        """A thread that would listen never ends."""
        return Deferred()

    def new_pool(self, *arguments: Any, **options: Any) -> LanePool:
        """A pool that works in the clock's next turn."""
        return threadless(LanePool, self.clock, *arguments, **options)

    def wait(self, seconds: float) -> bool:
        """What a thread would wait is noted."""
        self.pauses.append(seconds)
        return False

    def result(self, deferred: Deferred[Any]) -> Any:
        """What a Deferred fires with when everything has happened that can."""
        for _ in range(TURNS):
            if deferred.called:
                break
            self.clock.advance(0)
        return result_of(deferred)

    def come_to_rest(self) -> None:
        """Let everything happen that can."""
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.calls):
            self.clock.advance(0)

    def reopen(self) -> None:
        """Close the store, and open another."""
        self.result(self.store.close())
        self.store = self.make()
        self.store.open()

    def set_last_sequence(self, number: int) -> None:
        """As if so many messages had come into each mailbox."""
        self.sql("UPDATE mailbox SET last_sequence = %s", number)

    def sql(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """What another program sees, or does."""
        return self.schema.execute(statement, *arguments)

    def dispose(self) -> None:
        """Leave nothing behind."""
        self.result(self.store.close())
        self.schema.remove()


@define
class FaultyFixture(PostgresFixture):
    """A store whose one lane follows a plan, and where to wait lets time pass, and nothing else.

    :ivar is_everywhere: whether the lane in the background follows it, too.
    :ivar is_closing: what whoever waits is told.
    :ivar really_waits: whether who waits does so in real time.
    :ivar back_after: how often somebody has to wait until the server is there again.
    """

    connections: int = 1
    plan: Plan = field(factory=Plan)
    is_everywhere: bool = False
    is_closing: bool = False
    really_waits: bool = False
    back_after: int | None = None
    pools: int = 0

    def new_pool(self, *arguments: Any, **options: Any) -> LanePool:
        self.pools += 1
        if self.pools % 2 or self.is_everywhere:
            return threadless(
                lambda *given, **named: FaultyPool(self.plan, *given, **named),
                self.clock,
                *arguments,
                **options,
            )
        return threadless(LanePool, self.clock, *arguments, **options)

    def make(self) -> PostgresStore:
        store = super().make()
        if self.really_waits:
            store._wait = None
        return store

    def wait(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.clock.rightNow += seconds
        if len(self.pauses) == self.back_after:
            self.plan.is_away = False
        return self.is_closing


NOBODY = "f" * 32
"""The id of a relay that there is not."""


@define
class HearingFixture(PostgresFixture):
    """Stores that hear each other, when the test lets them; their reactor is one in memory.

    :ivar news: what each store has told, in the order in which they were made.
    """

    clock: MemoryReactorClock = field(factory=MemoryReactorClock)
    news: list[list[News]] = field(factory=list)

    def make(self) -> PostgresStore:
        store = super().make()
        heard: list[News] = []
        self.news.append(heard)
        store.watch(heard.append)
        return store

    def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """What waits for the server is done at once."""
        return execute(function, *arguments)

    def hear(self) -> list[list[News]]:
        """Let everything be heard that was announced so far; what each store has told since the last
        time."""
        self.come_to_rest()
        for ear in self.clock.getReaders():
            self.fence(ear)
        told = [list(heard) for heard in self.news]
        for heard in self.news:
            heard.clear()
        return told

    def fence(self, ear: Any) -> None:
        """Announce something that means nothing, and let an ear hear up to that."""
        lines: list[str] = []
        hear, ear._hear = ear._hear, lambda line: (lines.append(line), hear(line))
        fence = f"{NOBODY} fence {uuid4().hex}"
        self.sql("SELECT pg_notify('messageu_' || 'relay_meta'::regclass::oid, %s)", fence)
        while fence not in lines:
            (readable, _, _) = select([ear], [], [], PATIENCE)
            assert readable, "nothing was heard"
            ear.doRead()
        ear._hear = hear
