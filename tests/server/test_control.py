"""The operator's requests: as lines, on a connection in memory, and on a socket."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from messageu.model.v3 import Handle, IdentityKeys, Reason
from messageu.server import (
    LINE_LIMIT,
    Advance,
    BackupRequest,
    ControlError,
    ControlFactory,
    ControlSocket,
    ControlUnusable,
    Done,
    ExpireRequest,
    Failed,
    InviteRequest,
    MailboxesRequest,
    ReleaseRequest,
    StatusRequest,
    UsersRequest,
    Value,
    decode_answer,
    encode_request,
)
from messageu.server._control import decode_request, encode_answer
from messageu.server._control_socket import (
    CONTROL_CONNECTIONS,
    REQUEST_DEADLINE,
    peer_uid,
    socket_address,
)
from messageu.store import BackupFailed, IBackedUp
from messageu.store.v3 import MemoryAccountStore

NOBODY = 65534


class LineTests(SynchronousTestCase):
    """Requests and answers as lines."""

    def test_requests(self) -> None:
        """What is encoded is decoded to the same, whatever bytes are in a path."""
        for request in (
            StatusRequest(),
            BackupRequest(Path("/a b/c")),
            BackupRequest(Path(os.fsdecode(b"/\xff\xe4"))),
            InviteRequest(),
            ReleaseRequest(Handle("an.na")),
            UsersRequest(),
            UsersRequest("v3", 2**63 - 1, 1000),
            MailboxesRequest(20),
            ExpireRequest(0.1),
        ):
            self.assertEqual(decode_request(encode_request(request)), request)

    def test_paths_that_are_none(self) -> None:
        """A path with a line's end in it, or a longer one than there can be, is not sent."""
        for path in ("/a\nb", "/" + "a" * LINE_LIMIT):
            self.assertRaises(ControlError, encode_request, BackupRequest(Path(path)))

    def test_nonsense(self) -> None:
        """What is no request is refused."""
        for line in (
            *(b"", b"stop", b"status now", b"backup", b"backup a", b"backup /a\0b", b"\xff"),
            *(b"users v2", b"users v4 0 1", b"users v2 -1 1", b"users v2 0 0", b"users v2 0 1001"),
            *(b"users v2 0 x", b"users \xff 0 1", b"users v2 9223372036854775808 1"),
            *(b"mailboxes", b"mailboxes 0", b"mailboxes 1001", b"mailboxes x"),
            *(b"expire", b"expire 0", b"expire -1", b"expire nan", b"expire inf", b"expire x"),
            *(b"invite me", b"release-name", b"release-name Anna", b"release-name \xff"),
        ):
            self.assertRaises(ControlError, decode_request, line)

    def test_answers(self) -> None:
        """What is encoded is decoded to the same, in one line."""
        for answer in (Advance(1, 2), Value("a", "b c"), Done(3), Failed("no: a b")):
            self.assertEqual(decode_answer(encode_answer(answer)), answer)
        self.assertEqual(decode_answer(encode_answer(Failed("a\nb"))), Failed("a b"))
        self.assertEqual(encode_answer(Failed("\udcff")), b"error \\udcff")

    def test_answers_that_are_none(self) -> None:
        """What is no answer is said to be none."""
        for line in (b"", b"done", b"done x", b"progress 1", b"progress a b", b"value a", b"\xff"):
            self.assertRaises(ControlError, decode_answer, line)


@implementer(IBackedUp)
@define
class Store:
    """A store whose backups end when they are told to.

    :ivar cancelled: how many backups nobody wants any more.
    """

    backups: list[tuple[Path, Callable[[int, int], object], Deferred[int]]] = field(factory=list)
    cancelled: int = 0

    def back_up(self, target: Path, progress: Callable[[int, int], object]) -> Deferred[int]:
        """Keep what was asked for."""
        made: Deferred[int] = Deferred(self._cancel)
        self.backups.append((target, progress, made))
        return made

    def _cancel(self, _: object) -> None:
        self.cancelled += 1


class ProtocolTests(SynchronousTestCase):
    """A connection in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = Store()
        self.user = os.geteuid()
        self.factory = ControlFactory(
            self.store,
            lambda: {"version": "1", "connections": 3},
            self.clock,
            user_of=lambda _: self.user,
        )

    def connect(self) -> tuple[Any, StringTransportWithDisconnection]:
        """A new connection; both of its ends."""
        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        transport = StringTransportWithDisconnection()
        transport.protocol = protocol
        transport.getHandle = lambda: None
        transport.abortConnection = transport.loseConnection
        protocol.makeConnection(transport)
        return protocol, transport

    def ask(self, line: bytes) -> StringTransportWithDisconnection:
        """Send a line."""
        protocol, transport = self.connect()
        protocol.dataReceived(line)
        return transport

    def test_status(self) -> None:
        """A status is a line for each value, and the end."""
        transport = self.ask(b"status\n")
        self.assertEqual(transport.value(), b"value version 1\nvalue connections 3\ndone 0\n")
        self.assertFalse(transport.connected)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_byte_by_byte(self) -> None:
        """A request may come in pieces."""
        protocol, transport = self.connect()
        for byte in b"status\n":
            protocol.dataReceived(bytes([byte]))
        self.assertIn(b"done 0\n", transport.value())

    def test_nonsense(self) -> None:
        """What is no request is answered with an error, and touches nothing."""
        transport = self.ask(b"backup here\n")
        self.assertEqual(transport.value(), b"error this is not a path from the root\n")
        self.assertFalse(transport.connected)
        self.assertEqual(self.store.backups, [])

    def test_backup(self) -> None:
        """A backup tells how far it is, at most once a second, and then its size."""
        transport = self.ask(b"backup /a\n")
        ((target, progress, made),) = self.store.backups
        self.assertEqual(target, Path("/a"))
        for second in range(1, 4):
            self.clock.advance(1)
            progress(second, 9)
            progress(second + 1, 9)
        made.callback(4096)
        self.assertEqual(
            transport.value(), b"progress 1 9\nprogress 2 9\nprogress 3 9\ndone 4096\n"
        )
        self.assertFalse(transport.connected)

    def test_failed_backup(self) -> None:
        """A backup that fails says why."""
        transport = self.ask(b"backup /a\n")
        self.store.backups[0][2].errback(BackupFailed("the disk is full"))
        self.assertEqual(transport.value(), b"error the disk is full\n")

    def test_unexpected_failure(self) -> None:
        """An error of ours is logged, and nothing of it is told."""
        self.patch(Store, "back_up", lambda *_: fail(ValueError("a secret")))
        transport = self.ask(b"backup /a\n")
        self.assertNotIn(b"secret", transport.value())
        self.assertTrue(transport.value().startswith(b"error "))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_gone(self) -> None:
        """When the command is gone its backup is given up, and what comes of it is told nobody."""
        transport = self.ask(b"backup /a\n")
        transport.loseConnection()
        self.assertEqual(self.store.cancelled, 1)
        self.assertEqual(transport.value(), b"")

    def test_one_request(self) -> None:
        """A connection carries one request."""
        self.ask(b"backup /a\nbackup /b\n")
        self.assertEqual(len(self.store.backups), 1)

    def test_long_line(self) -> None:
        """A line that is too long ends the connection."""
        protocol, transport = self.connect()
        protocol.dataReceived(b"backup /" + b"a" * LINE_LIMIT)
        self.assertFalse(transport.connected)

    def test_deadline(self) -> None:
        """Who says nothing is not waited for; a backup may take as long as it takes."""
        _, idle = self.connect()
        busy = self.ask(b"backup /a\n")
        self.clock.advance(REQUEST_DEADLINE)
        self.assertFalse(idle.connected)
        self.assertTrue(busy.connected)

    def test_other_user(self) -> None:
        """Another user than the relay's own and root is not listened to."""
        for user, connected in ((NOBODY, False), (0, True), (os.geteuid(), True)):
            self.user = user
            _, transport = self.connect()
            self.assertEqual(transport.connected, connected, user)

    def test_connections_are_bounded(self) -> None:
        """There are only so many connections; who has gone makes room."""
        transports = [self.connect()[1] for _ in range(CONTROL_CONNECTIONS)]
        self.assertIsNone(self.factory.buildProtocol(None))
        transports[0].loseConnection()
        self.connect()

    def test_drop_all(self) -> None:
        """All are sent away when the relay stops."""
        transports = [self.connect()[1], self.ask(b"backup /a\n")]
        self.factory.drop_all()
        self.assertEqual([transport.connected for transport in transports], [False, False])
        self.assertEqual(self.store.cancelled, 1)


class PeerTests(SynchronousTestCase):
    """What the kernel says of a peer."""

    def test_ourselves(self) -> None:
        """The user at the other end of a pair of ours are we."""
        one, two = socket.socketpair()
        with one, two:
            self.assertEqual(peer_uid(one), os.geteuid())


class SocketTests(TestCase):
    """The socket and its file."""

    def setUp(self) -> None:
        # Longer than the address of a Unix socket can be.
        self.folder = Path(self.mktemp()).absolute() / ("a" * 100)
        self.folder.mkdir(parents=True, mode=0o700)
        self.path = self.folder / "control"

    def make(self) -> ControlSocket:
        """A socket that is closed in the end."""
        control = ControlSocket(
            self.path, ControlFactory(Store(), dict, reactor), reactor, required=True
        )
        self.addCleanup(control.close)
        return control

    def refuse(self) -> str:
        """Why there is no socket."""
        return str(self.assertRaises(ControlUnusable, self.make().open))

    def listen(self) -> socket.socket:
        """A socket of somebody else at the path, listening."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        other = socket.socket(socket.AF_UNIX)
        self.addCleanup(other.close)
        other.bind(socket_address(descriptor, self.path.name))
        other.listen()
        return other

    def test_mode(self) -> None:
        """Only its owner may connect."""
        self.make().open()
        mode = self.path.lstat().st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o600)

    async def test_removed(self) -> None:
        """When it is closed the file is gone, also when somebody has taken it away before."""
        for take_away in (lambda: None, self.path.unlink):
            control = self.make()
            control.open()
            take_away()
            await control.close()
            self.assertEqual(list(self.folder.iterdir()), [])

    def test_stale(self) -> None:
        """What a dead process has left behind is replaced."""
        self.listen().close()
        self.make().open()

    def test_alive(self) -> None:
        """A socket on which somebody listens is left alone."""
        other = self.listen()
        self.assertIn("somebody is listening there", self.refuse())
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(other.getsockname())

    def test_something_else(self) -> None:
        """A file or a link of that name is left alone, whatever the link leads to."""
        self.path.write_text("mine")
        self.assertIn("there is something else of this name", self.refuse())
        self.assertEqual(self.path.read_text(), "mine")
        self.path.rename(self.folder / "other")
        self.path.symlink_to(self.folder / "other")
        self.assertIn("there is something else of this name", self.refuse())
        self.assertTrue(self.path.is_symlink())

    def test_world_writable_folder(self) -> None:
        """There is none where everybody could put another in its place."""
        self.folder.chmod(0o1777)
        self.assertIn("everybody can write to the folder", self.refuse())

    def test_no_folder(self) -> None:
        """There is none without a folder."""
        self.folder.rmdir()
        self.assertIn("No such file or directory", self.refuse())


class AccountTests(SynchronousTestCase):
    """What the operator does with accounts of v3."""

    def setUp(self) -> None:
        self.accounts: MemoryAccountStore | None = MemoryAccountStore(now=lambda: 0.0)

    def ask(self, request: InviteRequest | ReleaseRequest) -> list[Any]:
        """The answers to a request."""
        factory = ControlFactory(
            Store(), dict, Clock(), user_of=lambda _: os.geteuid(), accounts=self.accounts
        )
        protocol: Any = factory.buildProtocol(None)
        transport: Any = StringTransportWithDisconnection()
        transport.protocol = protocol
        transport.getHandle = lambda: None
        protocol.makeConnection(transport)
        protocol.dataReceived(encode_request(request) + b"\n")
        self.assertFalse(transport.connected)
        return [decode_answer(line) for line in transport.value().splitlines()]

    def register(self, keys: bytes, name: str, token: bytes | None) -> Reason | None:
        """What the store says of somebody's registration."""
        person = IdentityKeys(keys * 32, keys * 32)
        return self.successResultOf(self.accounts.register(person, 1, Handle(name), token))

    def test_invite(self) -> None:
        """A token is shown, opens the door once, and is another each time."""
        (value, done), (other, _) = self.ask(InviteRequest()), self.ask(InviteRequest())
        self.assertEqual((value.name, done), ("token", Done(0)))
        self.assertNotEqual(value, other)
        token = bytes.fromhex(value.text)
        self.assertIsNone(self.register(b"a", "anna", token))
        self.assertIs(self.register(b"b", "bert", token), Reason.TOKEN_INVALID)

    def test_release(self) -> None:
        """A name of a deleted account can be had again; one of another is not released."""
        self.register(b"a", "anna", None)
        refused = [Failed("this is no name of an account that was deleted")]
        self.assertEqual(self.ask(ReleaseRequest(Handle("anna"))), refused)
        keys = IdentityKeys(b"a" * 32, b"a" * 32)
        self.accounts.delete_account(keys.identity.account_id)
        self.assertIs(self.register(b"b", "anna", None), Reason.NAME_TAKEN)
        self.assertEqual(self.ask(ReleaseRequest(Handle("anna"))), [Done(0)])
        self.assertIsNone(self.register(b"b", "anna", None))

    def test_trouble(self) -> None:
        """What the store could not do is said; so is that there are no accounts."""
        self.accounts.is_open = lambda: False
        self.assertEqual(self.ask(InviteRequest()), [Failed("the store is not open")])
        self.accounts = None
        self.assertEqual(self.ask(InviteRequest()), [Failed("this relay does not serve v3")])
