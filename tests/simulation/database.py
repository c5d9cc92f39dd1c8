"""What the relays of a world keep their mail in, whichever store they have, and its faults."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from attrs import define, field
from twisted.python.failure import Failure


class Killed(BaseException):
    """A relay's process has ended, in the midst of whatever it did.

    :ivar relay: which.
    """

    def __init__(self, relay):
        super().__init__()
        self.relay = relay


@define(eq=False)
class Database:
    """It outlives each of the relays.

    :ivar world: whose relays they are, and whose chance it is.
    :ivar is_full: what writes fails at its end, and sometimes before.
    :ivar is_failing: anything may fail.
    :ivar fuse: steps until a process is killed; whatever is executed has one before it and one after.
    :ivar relays: how many there are.
    :ivar is_crowded: all that is sent is for the same mailbox.
    :ivar seen: how often something has happened of which a test wants to know that it does.
    :cvar weights: what may happen to it beside that, and how often, as a world's.
    :cvar faults: those of them that not all worlds have.
    :cvar lease_life: seconds for which a lease pins whose end has failed, or whose relay has died.
    """

    world: Any
    is_full: bool = False
    is_failing: bool = False
    fuse: int | None = None
    relays: int = 1
    is_crowded: bool = False
    seen: Counter = field(factory=Counter)

    weights: ClassVar[Mapping[str, float]] = {}
    faults: ClassVar[Sequence[str]] = ()
    lease_life: ClassVar[float] = 0.0

    @property
    def random(self):
        """The world's."""
        return self.world.random

    def make_store(self, relay):
        """What a relay's process begins with, not opened."""
        raise NotImplementedError

    def can_open(self):
        """Whether a relay can start now."""
        return True

    def crash(self, relay):
        """A relay is killed now: what is kept is what that leaves."""

    def let_go(self, relay):
        """Our own process needs nothing of a relay any more that was killed."""

    def leases(self, relay):
        """How many there are."""
        raise NotImplementedError

    def audit(self):
        """What in it does not agree with what else is there: what, and how many of it."""
        return ()

    def mend(self):
        """Nothing is wrong any more."""
        self.is_full = self.is_failing = False

    def look(self):
        """A moment has gone by."""

    def close(self):
        """The world is over."""

    def step(self, relay):
        """Something is about to be executed, or was.

        :raises Killed: when that is the end of its process.
        """
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self.crash(relay)
                raise Killed(relay)


@define(eq=False)
class StoreThread:
    """A store's thread: it takes its time before each call, and the reactor before it learns of
    it. Calls and results keep their order.

    :param draw_delay: seconds, each time anew.
    """

    clock: Any
    draw_delay: Callable[[], float]
    _calls: deque = field(factory=deque)
    _results: deque = field(factory=deque)

    def callInThreadWithCallback(self, onResult, func, *args, **kwargs):
        self._calls.append((onResult, partial(func, *args, **kwargs)))
        if len(self._calls) == 1:
            self._wait_and(self._work)

    def stop(self):
        """There is no thread to wait for."""

    def run(self, call, done):
        """Make a call, and tell whether it has succeeded, and with what."""
        try:
            result = True, call()
        except Exception:  # noqa: BLE001 - it is answered, as a thread pool does
            result = False, Failure()
        done(result)

    def _wait_and(self, function):
        self.clock.callLater(self.draw_delay(), function)

    def _work(self):
        _, call = self._calls[0]
        self.run(call, self._done)

    def _done(self, result):
        on_result, _ = self._calls.popleft()
        self._results.append((on_result, result))
        self._wait_and(self._tell)
        if self._calls:
            self._wait_and(self._work)

    def _tell(self):
        on_result, result = self._results.popleft()
        on_result(*result)
