"""A load from its first connection to its last: registering, sending, taking back."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IDelayedCall

from messageu.model import ClientId
from messageu.wire import v2

from ._connection import AnswerMakesNoSense, ConnectionGone, Errand, LoadConnection
from ._driver import Driver
from ._frames import PREFIX, Frames, names, registration
from ._plan import Plan
from ._timeline import Measured

CONNECT_TIMEOUT: Final = 10.0
ANSWER_TIMEOUT: Final = 60.0
"""Seconds for a registration, and for one answer with what is taken back."""

AT_ONCE: Final = 200
"""Connections that are begun together."""

_NO_ANSWER: Final = (AnswerMakesNoSense, ConnectionGone, TimedOut)

_Result = TypeVar("_Result")


class LoadUnreachable(Exception):
    """The relay is not reached; the text says why."""


class LoadFailed(Exception):
    """It could not be begun; the text says why."""


class Run:
    """One load.

    :param now: seconds, for what is measured.
    :param tell: is given a line now and then.
    """

    def __init__(
        self, plan: Plan, reactor: Any, now: Callable[[], float], tell: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._reactor = reactor
        self._now = now
        self._tell = tell
        self._names = names(plan.mailboxes)
        self._driver: Driver | None = None
        self._working: set[Deferred[Any]] = set()
        self._telling: IDelayedCall | None = None
        self._interrupted = False
        self._given_up = False

    def interrupt(self) -> None:
        """End early: first the load, then, or if it has not begun, all that is left."""
        first, self._interrupted = not self._interrupted, True
        if first and self._driver is not None and not self._driver.finished.called:
            self._driver.end()
            return
        self._given_up = True
        for each in list(self._working):
            each.cancel()

    def dial(self, protocol: Any) -> Deferred[Any]:
        """Connect; fires with the protocol."""
        plan = self._plan
        endpoint = HostnameEndpoint(self._reactor, plan.host, plan.port, timeout=CONNECT_TIMEOUT)
        connecting: Deferred[Any] = connectProtocol(endpoint, protocol)
        return connecting

    async def go(self) -> Measured:
        """All of it.

        :raises LoadUnreachable: when there is nobody.
        :raises LoadFailed: when users are refused, or it is interrupted before it has begun.
        """
        errand = await self._connect(Errand)
        try:
            frames = Frames(await self._register(errand), os.urandom(self._plan.size))
        finally:
            errand.transport.loseConnection()
        driver = Driver(self._plan, frames, self._reactor, self._now)
        driver.start(await self._connect_all(driver))
        self._driver = driver
        self._tell_how_it_goes(driver)
        await driver.finished
        if self._telling is not None:
            self._telling.cancel()
        seconds, unsent = driver.seconds, driver.unsent
        back, complaints = await self._take_back(frames, driver.everything.stored)
        return Measured(
            seconds,
            driver.timeline,
            driver.everything,
            unsent,
            back,
            self._interrupted,
            self._names[0].rpartition("-")[0] if self._names else PREFIX,
            (*driver.complaints, *complaints),
        )

    async def _register(self, errand: Errand) -> list[ClientId]:
        users: list[ClientId] = []
        for name in self._names:
            if not len(users) % AT_ONCE:
                self._tell(f"registering {len(self._names)} users")
            try:
                answer, _ = await self._patiently(errand.ask(registration(name)))
            except _NO_ANSWER as error:
                raise LoadFailed(f"a registration failed: {error}") from None
            if not isinstance(answer, v2.Registered):
                raise LoadFailed(
                    f"the relay refused to register more than {len(users)} of {len(self._names)}"
                    " users: it registers so many a minute, or nobody"
                )
            users.append(answer.client_id)
        return users

    async def _connect_all(self, driver: Driver) -> list[LoadConnection]:
        made: list[LoadConnection] = []
        while len(made) < self._plan.connections:
            self._tell(f"connecting: {len(made)} of {self._plan.connections}")
            count = min(AT_ONCE, self._plan.connections - len(made))
            made += await self._all(
                [
                    Deferred.fromCoroutine(self._connect(partial(LoadConnection, driver, number)))
                    for number in range(len(made), len(made) + count)
                ]
            )
        return made

    async def _take_back(self, frames: Frames, stored: int) -> tuple[int, tuple[str, ...]]:
        """Fetch all that was stored: ask for a mailbox until it is empty."""
        back = 0
        try:
            errand = await self._connect(Errand)
            try:
                for mailbox in range(len(frames.users)):
                    count = 1
                    while count:
                        self._tell(f"taking back: {back:,} of {stored:,} messages")
                        answer, count = await self._patiently(errand.ask(frames.fetch(mailbox)))
                        if not isinstance(answer, v2.EndOfMessages):
                            raise LoadFailed("the relay refused to give them")
                        back += count
            finally:
                errand.transport.loseConnection()
        except (*_NO_ANSWER, LoadFailed, LoadUnreachable) as error:
            return back, (f"what was stored was not all taken back: {error}",)
        return back, () if back == stored else (f"{stored} were stored, and {back} came back",)

    async def _connect(self, make: Callable[[], Any]) -> Any:
        try:
            return await self._working_on(self.dial(make()))
        except (ConnectError, DNSLookupError) as error:
            raise LoadUnreachable(f"{self._plan.address} is not reached: {error}") from None

    async def _all(self, attempts: list[Deferred[_Result]]) -> list[_Result]:
        try:
            return await self._working_on(gatherResults(attempts, consumeErrors=True))
        except FirstError as error:
            error.subFailure.raiseException()
            raise

    async def _patiently(self, answer: Deferred[_Result]) -> _Result:
        return await self._working_on(answer.addTimeout(ANSWER_TIMEOUT, self._reactor))

    async def _working_on(self, work: Deferred[_Result]) -> _Result:
        self._working.add(work)
        try:
            if self._given_up:
                work.cancel()
            return await work
        except (CancelledError, ConnectingCancelledError):
            raise LoadFailed("interrupted") from None
        finally:
            self._working.discard(work)

    def _tell_how_it_goes(self, driver: Driver) -> None:
        whole = driver.everything
        self._tell(
            f"{driver.stage}: {whole.sent:,} sent,"
            f" {whole.stored:,} stored, {whole.refused:,} refused, {whole.lost:,} lost"
        )
        self._telling = self._reactor.callLater(1.0, self._tell_how_it_goes, driver)
