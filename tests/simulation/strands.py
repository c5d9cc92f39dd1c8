"""Threads that run only while the world waits for them: what they do is in one order, as all is."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread, local

from attrs import define, field, frozen
from twisted.python.failure import Failure

from .database import Killed, StoreThread

_here = local()


@frozen
class Pause:
    """So many seconds are to go by before it goes on."""

    seconds: float


@frozen
class End:
    """What the call has returned, or raised."""

    result: object = None
    error: BaseException | None = None

    def get(self):
        """The one.

        :raises BaseException: the other.
        """
        if self.error is not None:
            raise self.error
        return self.result


class Strand:
    """A thread for one call after another, each of which may pause.

    :ivar error: what a pause raises from now on.
    """

    error: BaseException | None = None

    def __init__(self):
        self._is_pausing = False
        self._orders = SimpleQueue()
        self._said = SimpleQueue()
        self._thread = Thread(target=self._live, daemon=True)
        self._thread.start()

    def begin(self, call):
        """Make a call, up to its first Pause, or its End."""
        return self._order(call)

    def go_on(self):
        """Go on behind a Pause, up to the next, or the End."""
        return self._order(None)

    def end(self, error=None):
        """There is nothing more to do.

        :param error: what a call raises that pauses.
        """
        assert error is not None or not self._is_pausing, "a call is not over"
        self.error = error
        while self._is_pausing:
            self.go_on()
        self._orders.put(_OVER)
        self._thread.join()

    def _order(self, order):
        self._orders.put(order)
        said = self._said.get()
        self._is_pausing = isinstance(said, Pause)
        return said

    def _pause(self, seconds):
        self._said.put(Pause(seconds))
        self._orders.get()
        if self.error is not None:
            raise self.error

    def _live(self):
        _here.strand = self
        while (call := self._orders.get()) is not _OVER:
            try:
                self._said.put(End(call()))
            except BaseException as error:  # noqa: BLE001 - the world raises it
                self._said.put(End(error=error))


_OVER = object()


def pause(seconds):
    """Let time go by, in the strand that calls this.

    :raises BaseException: when that strand is not to go on.
    """
    _here.strand._pause(seconds)


@define(eq=False)
class StrandThread(StoreThread):
    """A store's thread that may wait in the midst of a call."""

    strand: Strand = field(factory=Strand)

    def run(self, call, done):
        self._take(self.strand.begin(call), done)

    def stop(self):
        self.strand.end()

    def end(self, relay):
        """Its process has died."""
        self.strand.end(Killed(relay))

    def _take(self, said, done):
        if isinstance(said, Pause):
            self.clock.callLater(said.seconds, self._go_on, done)
        elif isinstance(said.error, Exception):
            done((False, Failure(said.error)))
        else:
            done((True, said.get()))

    def _go_on(self, done):
        self._take(self.strand.go_on(), done)
