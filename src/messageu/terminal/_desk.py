"""What commands and the menu of v3 share: a profile, its passphrase, and how long a relay may take."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from messageu.client import ClientError, RelayUnreachable
from messageu.client.v3 import (
    FileProgress,
    Heard,
    Messenger,
    MessengerSettings,
    NoProfile,
    NotDelivered,
    Offline,
    PassphraseInvalid,
    PrekeysPublished,
    RelayNotTrusted,
    RelayNotV3,
    Sending,
    VaultMissing,
    checked_passphrase,
    needs_passphrase,
    open_profile,
    passphrase_from_environment,
    passphrase_from_file,
)
from messageu.commands import DEFAULT_TIMEOUT, Exit

from ._console import Away, Console
from ._progress import Progress
from ._text import visible

QUIET: Final = 1.0
"""Seconds without mail after which no more is taken to be waiting."""

EXPORT_VARIABLE: Final = "MESSAGEU_EXPORT_PASSPHRASE"

_HOPELESS: Final = (RelayUnreachable, RelayNotTrusted, RelayNotV3)
"""After these nothing is waited for, though it is tried again."""

Value = TypeVar("Value")
RunInThread: TypeAlias = Callable[..., Awaitable[Any]]


@frozen
class Desk:
    """One folder, one person, one relay.

    :ivar reactor: the program's.
    :ivar passphrase_file: where the passphrase is; None: in the environment, or it is asked for.
    :ivar timeout: seconds without a sign of the relay after which it is away.
    """

    reactor: IReactorTime
    folder: Path
    console: Console
    environment: Mapping[str, str]
    passphrase_file: Path | None = None
    timeout: float = DEFAULT_TIMEOUT
    settings: MessengerSettings = field(factory=MessengerSettings)
    run_in_thread: RunInThread | None = None

    # The profile.

    async def passphrase(self) -> str | None:
        """That of the profile which is there; None when it has none.

        :raises NoProfile: when there is no profile; the text says how one is made.
        """
        try:
            needed = needs_passphrase(self.folder)
        except VaultMissing:
            raise NoProfile(how_to_begin(self.folder)) from None
        if not needed:
            return None
        given = self._given()
        if given is not None:
            return given
        return checked_passphrase(await self.console.ask_secret("Passphrase: "))

    async def new_passphrase(self) -> str:
        """One for a profile that is to be made; it is typed twice."""
        given = self._given()
        return given if given is not None else await self.ask_twice("New passphrase")

    async def export_passphrase(self, *, new: bool) -> str:
        """That of an exported profile."""
        given = passphrase_from_environment(self.environment, EXPORT_VARIABLE)
        if given is not None:
            return given
        what = "Passphrase of the exported file"
        if new:
            return await self.ask_twice(what)
        return checked_passphrase(await self.console.ask_secret(f"{what}: "))

    def _given(self) -> str | None:
        if self.passphrase_file is not None:
            return passphrase_from_file(self.passphrase_file)
        return passphrase_from_environment(self.environment)

    async def ask_twice(self, what: str) -> str:
        """What is typed unseen, when it is the same again."""
        first = checked_passphrase(await self.console.ask_secret(f"{what}: "))
        if checked_passphrase(await self.console.ask_secret("The same again: ")) != first:
            raise PassphraseInvalid("these were two different passphrases")
        return first

    async def with_profile(
        self, use: Callable[[Messenger], Coroutine[Any, Any, Value]], *known: str | None
    ) -> Value:
        """Open the profile, do something with it, and close it.

        :param known: its passphrase, if that is known already.
        """
        passphrase = known[0] if known else await self.passphrase()
        messenger = self.open(passphrase)
        try:
            return await use(messenger)
        finally:
            await messenger.close()

    def open(self, passphrase: str | None) -> Messenger:
        """The profile, which somebody has to close."""
        return open_profile(
            self.reactor,
            self.folder,
            passphrase,
            self.settings,
            run_in_thread=self.run_in_thread,
        )

    # The relay.

    def reach(self, messenger: Messenger, answering: Deferred[Value]) -> Deferred[Value]:
        """Wait for something that the relay is needed for, and not for ever.

        :raises Away: when the relay cannot be reached, or there is no sign of it for too long.
        """
        outcome = _Watch(self.reactor, messenger, answering, self.timeout).outcome
        messenger.start()
        return outcome

    async def sign_up(self, messenger: Messenger, name: str, token: bytes | None = None) -> str:
        """Have an account, and be one who can be written to; its name.

        :raises Away: when the relay cannot be reached.
        """
        was_registered = messenger.core.profile.registered
        published: Deferred[None] = Deferred()

        def hear(heard: Heard) -> None:
            if isinstance(heard, PrekeysPublished) and not published.called:
                published.callback(None)

        forget = messenger.observe(hear)
        try:
            registered = await self.reach(messenger, messenger.register(name, token))
            if not was_registered:
                await self.reach(messenger, published)
        finally:
            forget()
        return registered

    async def see_off(
        self,
        messenger: Messenger,
        sending: Sending,
        *,
        to: str,
        wait_delivered: bool,
        title: str,
        quiet: bool = False,
    ) -> Exit:
        """Wait until what was sent has left, and say how far it has come.

        :param quiet: say nothing of what went as it may: the caller does.
        """
        progress = Progress(self.console, title)
        say = _say_nothing if quiet else self.say

        def show(heard: Heard) -> None:
            match heard:
                case FileProgress(sending.message_id, done, total, None) if not quiet:
                    progress.show(done, total)

        forget = messenger.observe(show)
        try:
            await self.reach(messenger, sending.delivered() if wait_delivered else sending.stored())
        except Away as away:
            progress.finish()
            if sending.is_stored:
                say(f"sent, but {visible(to)} has not received it yet")
            else:
                say(f"queued: {away}")
            return Exit.QUEUED
        except NotDelivered as lost:
            progress.finish()
            self.console.complain(str(lost))
            return Exit.FAILED
        finally:
            forget()
        progress.finish()
        say("delivered" if wait_delivered else "sent")
        return Exit.DONE

    async def fetch(self, messenger: Messenger) -> None:
        """Have all mail that waits at the relay.

        :raises Away: when the relay cannot be reached.
        """
        await self.reach(messenger, messenger.come_online())
        await _Quiet(self.reactor, messenger).over

    def say(self, line: str) -> None:
        """Show a line. What a peer has said in it was made harmless."""
        self.console.write(f"{line}\n")


def _say_nothing(_: str) -> None:
    """For programs, which read something else."""


def how_to_begin(folder: Path) -> str:
    """What to do where there is no profile yet."""
    return (
        "there is no profile of MessageU v3 in this folder. Make one with: "
        f"messageu --dir {shlex.quote(str(folder))} register RELAY NAME "
        "(RELAY is messageu://…: the relay's log says it, and its operator knows it)"
    )


class _Watch:
    """Waits for an outcome as long as the relay can be reached and gives a sign."""

    def __init__(
        self,
        reactor: IReactorTime,
        messenger: Messenger,
        answering: Deferred[Any],
        timeout: float,
    ) -> None:
        self._timeout = timeout
        self._last_words = f"the relay gives no sign for {timeout:g} seconds"
        self._answering = answering
        self._away: Away | None = None
        self._timer = reactor.callLater(timeout, self._give_up, None)
        self._forget = messenger.observe(self._hear)
        self.outcome: Deferred[Any] = Deferred(lambda _: answering.cancel())
        answering.addBoth(self._end)

    def _hear(self, heard: Heard) -> None:
        match heard:
            case Offline(why, retry_in):
                if retry_in is None or isinstance(why, _HOPELESS):
                    self._give_up(why)
            case FileProgress():
                self._timer.reset(self._timeout)

    def _give_up(self, why: ClientError | None) -> None:
        if self._away is None:
            self._away = Away(self._last_words if why is None else str(why))
            self._answering.cancel()

    def _end(self, outcome: object) -> None:
        self._forget()
        if self._timer.active():
            self._timer.cancel()
        if self._away is not None:
            self.outcome.errback(self._away)
        else:
            self.outcome.callback(outcome)


class _Quiet:
    """Waits until no more mail comes, and no file is looked through that has come."""

    def __init__(self, reactor: IReactorTime, messenger: Messenger) -> None:
        self._reactor = reactor
        self._messenger = messenger
        self._forget = messenger.observe(self._hear)
        self._quiet: IDelayedCall = reactor.callLater(QUIET, self._end)
        self.over: Deferred[None] = Deferred(lambda _: self._stop())

    def _hear(self, heard: Heard) -> None:
        if isinstance(heard, Offline):
            self._stop()
            self.over.errback(Away(str(heard.why)))
        else:
            self._quiet.reset(QUIET)

    def _end(self) -> None:
        if self._messenger.is_checking:
            self._quiet = self._reactor.callLater(QUIET, self._end)
            return
        self._stop()
        self.over.callback(None)

    def _stop(self) -> None:
        self._forget()
        if self._quiet.active():
            self._quiet.cancel()
