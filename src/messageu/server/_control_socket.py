"""The operator's way into a running relay: a Unix socket that is his alone (ADR 7)."""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_bytes
from typing import Any, Final

from twisted.internet import tcp, unix
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from messageu.model.v3 import TOKEN_SIZE, Handle
from messageu.store import IBackedUp, StoreError, beside
from messageu.store.v3 import IAccountStore

from ._control import (
    LINE_LIMIT,
    Advance,
    Answer,
    BackupRequest,
    ControlError,
    Done,
    ExpireRequest,
    Failed,
    InviteRequest,
    MailboxesRequest,
    ReleaseRequest,
    StatusRequest,
    UsersRequest,
    Value,
    decode_request,
    encode_answer,
)
from ._inspection import Inspection

CONTROL_CONNECTIONS: Final = 8
"""Commands that a relay listens to at once."""

REQUEST_DEADLINE: Final = 10.0
"""Seconds in which a command must have said what it wants."""

ADVANCE_INTERVAL: Final = 1.0
"""Seconds between two lines about the progress of a backup."""

_CREDENTIALS: Final = struct.Struct("3i")
"""What the kernel knows of a peer: process, user, group."""

_log = Logger()


class ControlUnusable(Exception):
    """There is no control socket; the text says why in one line."""


def control_path(database: Path) -> Path:
    """Where the control socket of a relay is, unless it was told another place."""
    return beside(database.resolve(), ".control")


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket, as the kernel says."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(raw)[1]
    return uid


class ControlProtocol(LineOnlyReceiver):
    """One command of the operator's: a line, and its answer."""

    delimiter = b"\n"
    MAX_LENGTH = LINE_LIMIT

    def __init__(self, factory: ControlFactory) -> None:
        self._relay = factory
        self._deadline: IDelayedCall | None = None
        self._backup: Deferred[None] | None = None
        self._told_at = 0.0
        self._asked = False
        self._gone = False

    def connectionMade(self) -> None:
        """Listen to the user that the relay runs as, and to root."""
        transport: Any = self.transport
        if self._relay.user_of(transport.getHandle()) not in (0, os.geteuid()):
            transport.abortConnection()
            return
        self._deadline = self._relay.clock.callLater(REQUEST_DEADLINE, transport.abortConnection)

    def lineReceived(self, line: bytes) -> None:
        if self._asked:  # one connection, one request
            return
        self._asked = True
        self._rest()
        try:
            request = decode_request(line)
        except ControlError as error:
            self._end(Failed(str(error)))
            return
        match request:
            case StatusRequest():
                for name, text in self._relay.status().items():
                    self._tell(Value(name, str(text)))
                self._end(Done(0))
            case BackupRequest(target):
                self._back_up(target)
            case InviteRequest():
                self._ask_accounts(_invite)
            case ReleaseRequest(name):
                self._ask_accounts(lambda accounts: _release(accounts, name))
            case UsersRequest() | MailboxesRequest() | ExpireRequest():
                self._inspect(request)

    def _inspect(self, request: UsersRequest | MailboxesRequest | ExpireRequest) -> None:
        inspection = self._relay.inspection
        match request:
            case UsersRequest():
                asked = inspection.users(request)
            case MailboxesRequest():
                asked = inspection.mailboxes(request)
            case ExpireRequest():
                asked = inspection.expire_now(request)
        answered: Deferred[Sequence[Answer]] = Deferred.fromCoroutine(asked)
        answered.addErrback(lambda failure: [_failed(failure)])
        answered.addCallback(self._answer)

    def _ask_accounts(self, ask: Callable[[IAccountStore], Deferred[Sequence[Answer]]]) -> None:
        accounts = self._relay.accounts
        if accounts is None:
            self._end(Failed("this relay does not serve v3"))
            return
        answered = ask(accounts)
        answered.addErrback(lambda failure: [_failed(failure)])
        answered.addCallback(self._answer)

    def _answer(self, answers: Sequence[Answer]) -> None:
        *others, last = answers
        if not self._gone:
            for answer in others:
                self._tell(answer)
        self._end(last)

    def _back_up(self, target: Path) -> None:
        _log.info("the operator asks for a backup: {target}", target=str(target))
        made = self._relay.store.back_up(target, self._advance)
        answered: Deferred[Answer] = made.addCallbacks(Done, _failed)
        self._backup = answered.addCallback(self._backed_up)

    def _backed_up(self, answer: Answer) -> None:
        self._backup = None
        _log.info("the backup has ended: {answer}", answer=str(answer))
        self._end(answer)

    def _advance(self, done: int, total: int) -> None:
        now = self._relay.clock.seconds()
        if now - self._told_at >= ADVANCE_INTERVAL:
            self._told_at = now
            self._tell(Advance(done, total))

    def _tell(self, answer: Answer) -> None:
        self.sendLine(encode_answer(answer))  # type: ignore[no-untyped-call]

    def _end(self, answer: Answer) -> None:
        if not self._gone:
            transport: Any = self.transport
            self._tell(answer)
            transport.loseConnection()

    def _rest(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = True
        self._rest()
        self._relay.forget(self)
        if self._backup is not None:
            # Whoever asked is gone: there is nobody to whom it could be said that it is done.
            self._backup.cancel()


def _failed(failure: Failure) -> Failed:
    if failure.check(StoreError):
        return Failed(str(failure.value))
    if failure.check(CancelledError):
        return Failed("nobody waits for the backup any more")
    _log.failure("what the operator asked for failed", failure)
    return Failed("it failed; the log of the relay says why")


def _invite(accounts: IAccountStore) -> Deferred[Sequence[Answer]]:
    token = token_bytes(TOKEN_SIZE)
    invited = accounts.invite(token)
    return invited.addCallback(lambda _: [Value("token", token.hex()), Done(0)])


def _release(accounts: IAccountStore, name: Handle) -> Deferred[Sequence[Answer]]:
    def answer(released: bool) -> Sequence[Answer]:
        if released:
            return [Done(0)]
        return [Failed("this is no name of an account that was deleted")]

    return accounts.release_name(name).addCallback(answer)


class ControlFactory(ServerFactory):
    """Answers the operator's commands.

    :param store: what is to be backed up.
    :param status: what there is to know about the relay, by name.
    :param inspection: answers what is asked about users and their mail.
    :param clock: for deadlines.
    :param accounts: those of v3, if it is served.
    :param user_of: the user at the other end of a connection, by its socket.
    """

    noisy = False

    def __init__(
        self,
        store: IBackedUp,
        status: Callable[[], Mapping[str, object]],
        clock: IReactorTime,
        user_of: Callable[[socket.socket], int] = peer_uid,
        accounts: IAccountStore | None = None,
        inspection: Inspection | None = None,
    ) -> None:
        self.accounts = accounts
        self.inspection = inspection or Inspection({}, {}, clock.seconds)
        self.user_of = user_of
        self.store = store
        self.status = status
        self.clock = clock
        self._connections: set[ControlProtocol] = set()

    def buildProtocol(self, addr: IAddress | None) -> ControlProtocol | None:
        """A protocol for a command, unless there are too many."""
        if len(self._connections) >= CONTROL_CONNECTIONS:
            return None
        connection = ControlProtocol(self)
        self._connections.add(connection)
        return connection

    def forget(self, connection: ControlProtocol) -> None:
        """It is gone."""
        self._connections.discard(connection)

    def drop_all(self) -> None:
        """Send everybody away."""
        for connection in tuple(self._connections):
            transport: Any = connection.transport
            transport.loseConnection()


class _Port(unix.Port):
    """A port whose file somebody may have taken away."""

    def connectionLost(self, reason: Failure) -> None:
        try:
            super().connectionLost(reason)  # type: ignore[no-untyped-call]
        except FileNotFoundError:
            tcp.Port.connectionLost(self, reason)


class ControlSocket:
    """The socket: mode 0600, in a folder that is not everybody's, only there while it is served.

    The folder is held open and the socket is named from there: its path may be longer than the 107
    bytes that an address holds, and nobody exchanges the folder meanwhile.

    :param path: where it is.
    :param factory: answers what is asked there.
    :param required: whether the operator asked for it, so that without it there is no relay.
    """

    def __init__(
        self, path: Path, factory: ControlFactory, reactor: Any, *, required: bool
    ) -> None:
        self.path = path
        self.required = required
        self._factory = factory
        self._reactor = reactor
        self._folder: int | None = None
        self._port: unix.Port | None = None

    def open(self) -> None:
        """Listen. Called while the database is locked for us.

        :raises ControlUnusable: when that is not possible.
        """
        try:
            self._folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._port = self._listen(self._folder)
        except OSError as error:
            self._let_go()
            raise ControlUnusable(f"{self.path}: {error.strerror}") from None
        except ControlUnusable:
            self._let_go()
            raise

    def close(self) -> Deferred[None]:
        """Listen no more, and take the socket away."""
        port, self._port = self._port, None
        if port is None:
            return succeed(None)
        self._factory.drop_all()
        return maybeDeferred(port.stopListening).addCallback(lambda _: self._let_go())

    def _listen(self, folder: int) -> unix.Port:
        if os.fstat(folder).st_mode & stat.S_IWOTH:
            raise ControlUnusable(f"{self.path}: everybody can write to the folder")
        address = socket_address(folder, self.path.name)
        self._replace_stale(folder, address)
        port = _Port(os.fsencode(address), self._factory, mode=0o600, reactor=self._reactor)
        before = os.umask(0o177)  # nobody else connects before the mode is set
        try:
            port.startListening()  # type: ignore[no-untyped-call]
        except CannotListenError as error:
            raise error.socketError from None
        finally:
            os.umask(before)
        return port

    def _replace_stale(self, folder: int, address: str) -> None:
        """Take away what a relay has left behind that was killed, and nothing else."""
        try:
            found = os.stat(self.path.name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise ControlUnusable(f"{self.path}: there is something else of this name")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(address)
            except ConnectionRefusedError:
                os.unlink(self.path.name, dir_fd=folder)
                return
            except BlockingIOError:
                pass
        raise ControlUnusable(f"{self.path}: somebody is listening there")

    def _let_go(self) -> None:
        if self._folder is not None:
            with suppress(OSError):
                os.close(self._folder)
            self._folder = None


def socket_address(folder: int, name: str) -> str:
    """The address of a socket in a folder that is open, however long their paths are."""
    return f"/proc/self/fd/{folder}/{name}"
