"""The library: one profile of v3 and its relay, for an application that has its own reactor."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

from attrs import field, frozen
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from messageu.model.v3 import Handle, Identity, Reason, Terms
from messageu.wire import v3

from .._address import endpoint_of
from .._errors import AnswerCut, ClientError, RelayError, RelayUnreachable
from .._inbox import Run
from .._relay import CONNECTING_ERRORS, unreachable_because
from ._address import ContactLink, RelayLink, is_link, parse_contact
from ._connection import Patience, RelayConnection, TlsEndpoint
from ._core import Core
from ._events import AccountDeleted, Connected, Event, Refused, Registered, Resolved
from ._interfaces import FileSender
from ._reconnect import Backoff, Reconnector
from ._sending import Sending, Sendings
from ._values import Contact, StoredMessage

CONNECT_TIMEOUT: Final = 10.0
"""Seconds until a relay has taken the connection."""

LONGEST_NAP: Final = 3600.0
SHORTEST_NAP: Final = 0.05
"""Seconds between two looks at what time brings: the wall's clock may be set meanwhile."""

NAP_AFTER_FAILURE: Final = 30.0
"""Seconds until time is looked after again, when the disk did not do its part."""

_LABEL_SIZE: Final = 8

_log = Logger()


class RequestRefused(RelayError):
    """The relay did not do what was asked.

    :ivar reason: its number, when that is not known.
    :ivar retry_after: seconds; 0 when no time is known.
    """

    def __init__(self, reason: Reason | int | None, retry_after: int = 0) -> None:
        words = _REASONS.get(reason) if isinstance(reason, Reason) else None
        if words is None:
            words = "the relay's answer cannot be used"
            if reason is not None:
                words = f"the relay has refused it (reason {int(reason)})"
        if retry_after:
            words = f"{words}; try again in {retry_after} seconds"
        super().__init__(words)
        self.reason = reason
        self.retry_after = retry_after


_REASONS: Final[dict[Reason, str]] = {
    Reason.NOT_REGISTERED: "this profile has no account at the relay: register first",
    Reason.INTERNAL: "the relay has a fault of its own: try again later",
    Reason.BUSY: "the relay is busy: try again later",
    Reason.RATE_LIMITED: "the relay finds that this was asked too often",
    Reason.AUTH_FAILED: "the relay does not believe that this profile is its owner's",
    Reason.STALE_STATE: "the relay knows a later state of this profile: is it a copy?",
    Reason.NAME_INVALID: "the relay does not take this name",
    Reason.NAME_TAKEN: "somebody has this name, or one that looks like it",
    Reason.REGISTRATION_CLOSED: "the relay takes nobody new",
    Reason.TOKEN_INVALID: "the relay wants a token from its operator, and this is none",
    Reason.NOT_FOUND: "the relay knows nobody of that name",
    Reason.ALREADY_REGISTERED: "this profile is registered under another name",
    Reason.MAILBOX_FULL: "the mailbox is full",
}


@frozen
class Offline:
    """There is no connection.

    :ivar why: one line for a person is its text.
    :ivar retry_in: seconds until the next attempt; None: it stays so until :meth:`Messenger.start`.
    """

    why: ClientError
    retry_in: float | None


@frozen
class Welcomed:
    """What the relay has told of itself.

    :ivar ahead: by how many seconds its clock is ahead of ours.
    """

    ahead: float
    terms: Terms


Heard: TypeAlias = Event | Offline
Observer: TypeAlias = Callable[[Heard], None]
FindFile: TypeAlias = Callable[[Identity, bytes], Path | None]


@frozen
class MessengerSettings:
    """What an application may choose.

    :ivar endpoint: where the relay is, instead of what its address says.
    :ivar now: the wall's clock, in seconds since the epoch; the same that the core has.
    """

    patience: Patience = field(factory=Patience)
    backoff: Backoff = field(factory=Backoff)
    endpoint: IStreamClientEndpoint | None = None
    now: Callable[[], float] = time.time


class Messenger:
    """A profile that is open, and connected whenever that is possible.

    What is sent is kept on the disk first, and goes out when there is a connection; so everything
    but what needs an answer works without one. Every error is a :class:`ClientError` whose text a
    person can read. Texts and names of others are raw.

    :param core: the rules and the state.
    :param relay: where to, and whose key it must have.
    :param file_sender: reads files in another thread; None: no files are sent.
    :param find_file: where a file of a contact was put, by its message; None: it has not come.
    :param run_in_thread: what to do with slow work, instead of giving it to the reactor's pool.
    :param on_close: is called at the end of :meth:`close`, to let go of the profile.
    :ivar welcome: what the relay said of itself, when it was last connected.
    :ivar one_time_keys: how many of ours it had then.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        core: Core,
        relay: RelayLink,
        settings: MessengerSettings | None = None,
        *,
        file_sender: FileSender | None = None,
        find_file: FindFile = lambda _contact, _message_id: None,
        run_in_thread: Run | None = None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.core = core
        self.relay = relay
        self._reactor = reactor
        self._settings = settings if settings is not None else MessengerSettings()
        self._file_sender = file_sender
        self._find_file = find_file
        self._run_in_thread = run_in_thread if run_in_thread is not None else _pool_of(reactor)
        self._on_close = on_close
        self._reconnector = Reconnector(
            reactor, self._dial, self._tell_offline, self._settings.backoff
        )
        self._observers: list[Observer] = []
        self._sendings = Sendings()
        self._asked: dict[tuple[str, str | None], list[Deferred[Any]]] = {}
        self._coming_online: list[Deferred[None]] = []
        self._retry_after: float | None = None
        self._leaving = False
        self._settling = False
        self._timer: IDelayedCall | None = None
        self._closed = False
        self.welcome: Welcomed | None = None
        self.one_time_keys: int | None = None

    # The connection.

    def start(self) -> None:
        """Connect, and come back whenever the connection is lost; now, if it was waited."""
        if not self._closed:
            self._reconnector.start()
            self._arm()

    @property
    def online(self) -> bool:
        """Whether there is a connection on which the relay knows us."""
        return self.core.admitted

    @property
    def certificate(self) -> bytes | None:
        """What the relay has shown, as DER; None: there is no connection."""
        connection = self._reconnector.connection
        return None if connection is None else connection.certificate

    @property
    def is_checking(self) -> bool:
        """Whether a file that has come, or is sent, is being looked at step by step."""
        try:
            due = self.core.next_tick()
        except ClientError:  # the disk does not do its part: nothing is looked at
            return False
        return due is not None and due <= self._settings.now()

    def come_online(self) -> Deferred[None]:
        """Fires when the relay knows us; at once, if it does.

        :raises ClientError: when there will be no connection by itself.
        """
        return self._wait_in(self._coming_online, done=self.online)

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Tell somebody all that happens; what is answered ends it."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def close(self) -> Deferred[None]:
        """Close the connection and the profile. Nothing can be asked afterwards."""
        closing = self._reconnector.close()
        if not self._closed:
            self._closed = True
            self._stop_timer()
            closing.addCallback(lambda _: self._let_go())
        return closing

    # What a user does. What needs no answer is the core's: `messenger.core`.

    def register(self, name: str, token: bytes | None = None) -> Deferred[str]:
        """Have an account under a name, now or when there is a connection; its name.

        :raises RequestRefused: when the relay does not want that.
        """
        return self._ask("register", name, lambda: self.core.register(name, token))

    def delete_account(self) -> Deferred[None]:
        """Have the relay forget the account."""
        return self._ask("delete", None, self.core.delete_account)

    def add(self, who: str, label: str | None = None) -> Deferred[Contact]:
        """Add somebody by the link that he has given away, or by his name at the relay.

        :param label: what to call him; None: his name, or the beginning of his identity.
        :raises RequestRefused: when the relay knows nobody of that name.
        """
        try:
            if is_link(who):
                return _done(self._add_link(parse_contact(who), label))
            resolving = self._ask("resolve", who, lambda: self.core.resolve(who))
        except ClientError as refused:
            return fail(refused)
        return resolving.addCallback(self._add_resolved, label)

    def send_text(self, who: Identity | str, text: str, *, once: bytes | None = None) -> Sending:
        """Send a text, now or when there is a connection. Errors are the core's.

        :param once: names it; under the same name nothing more is sent to this contact.
        """
        sending = self._sendings.follow(self.core.send_text(who, text, once=once))
        if once is not None and (message := self.core.message(sending.message_id)) is not None:
            sending.recall(message)
        self._settle()
        return sending

    def send_file(self, who: Identity | str, path: Path) -> Deferred[Sending]:
        """Read a file in another thread, and send it, now or when there is a connection."""
        return Deferred.fromCoroutine(self._send_file(who, path))

    def do(self, action: Callable[[Core], Any]) -> Any:
        """Do something with the core that may have something to say to the relay."""
        try:
            return action(self.core)
        finally:
            self._settle()

    @property
    def link(self) -> ContactLink:
        """What others add us with."""
        return ContactLink(self.relay, self.core.profile.identity)

    def messages(
        self, who: Identity | str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[StoredMessage]:
        """The history behind a place, the oldest first."""
        return self.core.messages(who, after=after, limit=limit)

    def path_of(self, message: StoredMessage) -> Path | None:
        """Where the file of a message was put; None when it has not come."""
        return self._find_file(message.contact, message.message_id)

    async def _send_file(self, who: Identity | str, path: Path) -> Sending:
        self.core.contact(who)
        file: Any = path
        if self._file_sender is not None:
            file = await self._run_in_thread(self._file_sender.prepare, path)
        sending = self._sendings.follow(self.core.send_file(who, file), whole=False)
        self._settle()
        return sending

    def _add_link(self, link: ContactLink, label: str | None) -> Contact:
        name = label or link.identity.raw.hex()[:_LABEL_SIZE]
        contact: Contact = self.do(
            lambda core: core.add_contact(link.identity, name, relay=str(link.relay))
        )
        return contact

    def _add_resolved(self, resolved: Resolved, label: str | None) -> Contact:
        name, identity = resolved.name, resolved.keys.identity
        contact: Contact = self.do(
            lambda core: core.add_contact(identity, label or name, name=name)
        )
        return contact

    def _ask(self, what: str, name: str | None, ask: Callable[[], None]) -> Deferred[Any]:
        try:
            ask()
        except ClientError as refused:
            return fail(refused)
        key = what, None if name is None else Handle.from_text(name).text
        answering = self._wait_in(self._asked.setdefault(key, []))
        self._settle()
        return answering

    @staticmethod
    def _wait_in(waiting: list[Deferred[Any]], *, done: bool = False) -> Deferred[Any]:
        if done:
            return _done(None)
        deferred: Deferred[Any] = Deferred(waiting.remove)
        waiting.append(deferred)
        return deferred

    # Between the core and the connection.

    def connected(self, channel_binding: bytes) -> None:
        """The connection's: TLS is up."""
        self.core.connected(channel_binding)
        self._hear()

    def receive(self, response: v3.Response) -> None:
        """The connection's: the relay has said something."""
        match response.body:
            case v3.Welcome() as welcome:
                self.welcome = Welcomed(welcome.time - self._settings.now(), welcome.terms)
            case v3.Authenticated() as authenticated:
                self.one_time_keys = authenticated.one_time_keys
        self.core.receive(response)
        self._hear()

    def requests(self) -> Sequence[v3.Request]:
        """The connection's: what is to be asked next."""
        requests = () if self._leaving else self.core.requests()
        if not requests:  # what has come may have changed what time brings
            self._arm()
        return requests

    def lost(self, why: ClientError) -> None:
        """The connection's: it is gone."""
        self.core.disconnected()
        retry_after, self._retry_after = self._retry_after, None
        self._leaving = False
        self._reconnector.lose(why, retry_after)
        self._settle()

    def _dial(self) -> Deferred[RelayConnection]:
        self.core.begin()
        settings, address = self._settings, self.relay.address
        endpoint = settings.endpoint
        if endpoint is None:
            endpoint = endpoint_of(self._reactor, address, CONNECT_TIMEOUT)
        factory = Factory.forProtocol(
            lambda: RelayConnection(self._reactor, self.relay.pin, self, settings.patience)
        )
        factory.noisy = False
        connecting: Deferred[Any] = TlsEndpoint(endpoint, self._reactor).connect(factory)
        connecting.addTimeout(CONNECT_TIMEOUT, self._reactor, _time_out)
        return connecting.addErrback(self._not_connected)

    def _not_connected(self, failure: Failure) -> NoReturn:
        self.core.disconnected()
        failed = failure.value
        if isinstance(failed, error.ConnectingCancelledError):
            raise CancelledError
        if isinstance(failed, CONNECTING_ERRORS):
            raise RelayUnreachable(
                f"the relay at {self.relay.address} cannot be reached: "
                f"{unreachable_because(failed)}"
            )
        failure.raiseException()

    def _settle(self) -> None:
        """Say what there is to say, after something was done."""
        self._hear()
        connection = self._reconnector.connection
        if connection is not None:
            connection.pump()
        self._arm()

    def _hear(self) -> None:
        """Tell what has happened; whoever hears it may do something that makes more happen."""
        if self._settling:
            return
        self._settling = True
        try:
            while events := self.core.events():
                for event in events:
                    self._tell(event)
        finally:
            self._settling = False
        self._obey()

    def _obey(self) -> None:
        """Close the connection, if the core wants that."""
        verdict = self.core.verdict
        connection = self._reconnector.connection
        if verdict is None or self._leaving or connection is None:
            return
        self._leaving = True
        if verdict.reconnect:
            self._retry_after = verdict.retry_after
            connection.close()
        else:
            self._reconnector.give_up(AnswerCut(verdict.reason, begun=True))

    def _tell(self, event: Event) -> None:
        match event:
            case Connected():
                self._reconnector.settle()
                _fire(self._coming_online, None)
            case Registered(name):
                self._answer(("register", name), name)
            case Resolved(name):
                self._answer(("resolve", name), event)
            case AccountDeleted():
                self._answer(("delete", None), None)
            case Refused(what, reason, name):
                self._answer((what, name), RequestRefused(reason, event.retry_after))
        self._tell_observers(event)
        self._sendings.hear(event)

    def _answer(self, key: tuple[str, str | None], outcome: object) -> None:
        _fire(self._asked.pop(key, []), outcome)

    def _tell_offline(self, why: ClientError, retry_in: float | None) -> None:
        if retry_in is None:
            _fire(self._coming_online, why)
        self._tell_observers(Offline(why, retry_in))

    def _tell_observers(self, heard: Heard) -> None:
        for observer in tuple(self._observers):
            try:
                observer(heard)
            except Exception:  # noqa: BLE001 - a bug of the application's must not end our connection
                _log.failure("a bug of whoever was told of {what}", what=type(heard).__name__)

    # Time.

    def _arm(self) -> None:
        try:
            due = None if self._closed else self.core.next_tick()
        except ClientError:  # the disk does not do its part: the next tick says so
            due = self._settings.now() + NAP_AFTER_FAILURE
        if due is None:
            self._stop_timer()
            return
        nap = min(max(due - self._settings.now(), SHORTEST_NAP), LONGEST_NAP)
        if self._timer is not None and self._timer.active():
            self._timer.reset(nap)
        else:
            self._timer = self._reactor.callLater(nap, self._tick)

    def _tick(self) -> None:
        self._timer = None
        try:
            self.core.tick()
        except ClientError as failed:
            connection = self._reconnector.connection
            if connection is not None:
                connection.fail(failed)
        self._settle()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _let_go(self) -> None:
        closed = AnswerCut("the profile was closed", begun=False)
        for waiting in (*self._asked.values(), self._coming_online):
            _fire(waiting, closed)
        self._sendings.let_go(closed)
        self._on_close()


def _fire(waiting: list[Deferred[Any]], outcome: object) -> None:
    while waiting:
        waiting.pop(0).callback(Failure(outcome) if isinstance(outcome, Exception) else outcome)


def _done(value: Any) -> Deferred[Any]:
    deferred: Deferred[Any] = Deferred()
    deferred.callback(value)
    return deferred


def _time_out(_: object, seconds: float) -> NoReturn:
    raise DeferredTimeout(seconds, "connecting")


def _pool_of(reactor: Any) -> Run:
    return lambda function, *arguments: deferToThreadPool(
        reactor, reactor.getThreadPool(), function, *arguments
    )
