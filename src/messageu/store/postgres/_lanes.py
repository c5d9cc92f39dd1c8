"""Several connections, each with its thread, its transactions and its part of the mailboxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event
from typing import Any, TypeVar
from uuid import uuid4
from zlib import crc32

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from .._interface import StoreError
from .._transactor import Committed, Transactor
from .._work import Operation
from ._address import PostgresAddress
from ._connection import STUCK_AFTER, LanePool
from ._engine import Cursor, PostgresEngine
from ._runner import LaneName, PersistentRunner
from ._work import PostgresWork

WATCH_INTERVAL = 1.0
"""Seconds between two looks at that."""

Item = TypeVar("Item")


@frozen
class Lane:
    """One connection.

    :ivar transactor: does operations on it, one batch after another.
    """

    pool: LanePool
    runner: PersistentRunner
    transactor: Transactor[PostgresWork]

    def watch(self, now: float) -> None:
        """Cut the connection if the server has not answered for too long."""
        since = self.runner.busy_since
        if since is not None and now - since > STUCK_AFTER:
            self.pool.wire.cut()


class Lanes:
    """The lanes of an open store. What is about one mailbox goes to one lane, in order.

    :param relay: the id of this relay, of 32 hexadecimal digits.
    :param new_work: makes what a lane's operations work on.
    :param new_pool: makes adbapi's pool of one connection, as :class:`LanePool` is made.
    :param count: how many lanes there are for what clients wait for. There is one more, for what
        nobody waits for, and what is committed there may be lost with the server.
    :param wait: waits in a lane's thread; by default until the store closes.
    :param committed: is told of each batch that was written for clients.
    :param behind: is told of each one that nobody waits for.
    """

    def __init__(
        self,
        address: PostgresAddress,
        relay: str,
        reactor: Any,
        new_work: Callable[[], Callable[[Cursor], PostgresWork]],
        count: int,
        new_pool: Callable[..., LanePool] = LanePool,
        wait: Callable[[float], bool] | None = None,
        committed: Committed | None = None,
        behind: Committed | None = None,
    ) -> None:
        self._address = address
        self._relay = relay
        self._reactor = reactor
        self._new_work = new_work
        self._new_pool = new_pool
        self._committed = committed
        self._behind = behind
        self._closing = Event()
        self._wait = wait or self._closing.wait
        self._lanes = [self._make() for _ in range(count)]
        self._background = self._make(background=True)
        self._watching = LoopingCall(self._watch)
        clock: IReactorTime = reactor
        self._watching.clock = clock
        self._watching.start(WATCH_INTERVAL, now=False)

    def _make(self, *, background: bool = False) -> Lane:
        name = LaneName(uuid4().hex, self._relay)
        engine = PostgresEngine(background=background)
        seconds = self._reactor.seconds
        pool = self._new_pool(
            self._address.parameters,
            engine.prepare,
            self._reactor,
            application_name=name.application,
        )
        runner = PersistentRunner(engine, self._new_work(), name, seconds, self._wait)
        # Apart: how long nobody waits says nothing of how long clients do.
        committed = self._behind if background else self._committed
        return Lane(pool, runner, Transactor(pool, runner, seconds, committed=committed))

    def submit(self, operation: Operation[PostgresWork]) -> Deferred[Any]:
        """Do something in one of the next transactions of the lane that it belongs to."""
        return self._lane_of(operation.subject).transactor.submit(operation)

    def submit_background(self, operation: Operation[PostgresWork]) -> Deferred[Any]:
        """Do something that nobody waits for, or for long."""
        return self._background.transactor.submit(operation)

    def scatter(
        self,
        items: Sequence[Item],
        subject: Callable[[Item], bytes],
        make: Callable[[Sequence[Item]], Operation[PostgresWork]],
    ) -> Deferred[Sequence[Any]]:
        """Do something with items that belong to several lanes: what became of each, in their order.

        Of a lane that fails, each item has failed; if all do, so does the whole.
        """
        shares: dict[int, list[int]] = {}
        for index, item in enumerate(items):
            shares.setdefault(self._number_of(subject(item)), []).append(index)
        if len(shares) < 2:
            return self.submit(make(items))
        parts = list(shares.values())
        done = DeferredList(
            [self.submit(make([items[index] for index in part])) for part in parts],
            consumeErrors=True,
        )
        return done.addCallback(_gather, parts, len(items))

    def finish(self) -> Deferred[None]:
        """Take nothing more but for the background. Fires when what was asked for is finished."""
        # Whoever waits for a server that is away waits no longer.
        self._closing.set()
        finished = DeferredList([lane.transactor.close() for lane in self._lanes])
        return finished.addCallback(lambda _: None)

    def close(self) -> Deferred[None]:
        """When the lanes have finished: finish the background, and let go of the connections."""
        closed = self._background.transactor.close()

        def let_go(_: object) -> None:
            self._watching.stop()
            for lane in (*self._lanes, self._background):
                lane.pool.close()

        return closed.addCallback(let_go)

    def _watch(self) -> None:
        now = self._reactor.seconds()
        for lane in (*self._lanes, self._background):
            lane.watch(now)

    def _number_of(self, subject: bytes) -> int:
        return crc32(subject) % len(self._lanes)

    def _lane_of(self, subject: bytes) -> Lane:
        return self._lanes[self._number_of(subject)]


def _gather(
    ended: list[tuple[bool, Any]], parts: list[list[int]], count: int
) -> Sequence[Any] | Deferred[Any]:
    results: list[Any] = [None] * count
    for (succeeded, result), part in zip(ended, parts, strict=True):
        if succeeded:
            for index, each in zip(part, result, strict=True):
                results[index] = each
        else:
            result.trap(StoreError)
            for index in part:
                results[index] = result.value
    if not any(succeeded for succeeded, _ in ended):
        return ended[0][1]  # type: ignore[no-any-return] # the first failure is that of all
    return results


__all__ = ["Lane", "Lanes", "succeed"]
