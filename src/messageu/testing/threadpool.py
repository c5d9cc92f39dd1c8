"""A database pool without threads, so that real SQL runs under a clock in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from messageu.store import ConnectionPool, Engine, connection_pool

R = TypeVar("R")
PoolType = TypeVar("PoolType", bound=ConnectionPool)


@frozen
class ThreadlessPool:
    """Does a thread pool's work in the clock's next turn, in the caller's thread.

    ``clock.advance(0)`` runs everything that waits.

    :ivar clock: stands for both the reactor and the time.
    """

    clock: Clock

    def callInThreadWithCallback(
        self,
        onResult: Callable[[bool, Any], object],
        func: Callable[..., R],
        *args: object,
        **kwargs: object,
    ) -> None:
        """Call a function later, and then another one with how it ended and its result."""
        self.clock.callLater(0, self._call, onResult, func, args, kwargs)

    def stop(self) -> None:
        """There is no thread to wait for."""

    def _call(
        self,
        on_result: Callable[[bool, Any], object],
        function: Callable[..., R],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> None:
        try:
            result: object = function(*args, **kwargs)
        except Exception:  # noqa: BLE001 - it is answered, as a thread pool does
            on_result(False, Failure())
        else:
            on_result(True, result)


class _Reactor:
    """As much of a reactor as the pool asks for."""

    def callWhenRunning(self, _: Callable[[], object]) -> None:
        """Never: the pool would start the threads that are about to be replaced."""

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        """There is only one thread."""
        function(*args)


def threadless_pool(engine: Engine, clock: Clock) -> ConnectionPool:
    """As :func:`messageu.store.connection_pool`, for a clock in the place of the reactor.

    Give it to :class:`messageu.store.SqliteStore` as ``new_pool``.
    """
    return _without_threads(connection_pool(engine, _Reactor()), clock)


def threadless(
    pool_type: Callable[..., PoolType],
    clock: Clock,
    parameters: Any,
    prepare: Any,
    *_: Any,
    **options: Any,
) -> PoolType:
    """A pool of another kind, as it is made with a reactor for its last positional argument."""
    return _without_threads(pool_type(parameters, prepare, _Reactor(), **options), clock)


def _without_threads(pool: PoolType, clock: Clock) -> PoolType:
    pool.threadpool = ThreadlessPool(clock)  # type: ignore[assignment] # as much as is used
    return pool
