"""The mailboxes in memory: a verified fake for tests of whatever uses a store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from attrs import define, frozen
from twisted.internet.defer import Deferred, execute, fail, succeed
from zope.interface import implementer

from messageu.model import (
    MESSAGE_ID_LIMIT,
    ClientId,
    Envelope,
    ListedClient,
    MessageId,
    PublicKey,
    Refusal,
    UserName,
)

from ._interface import (
    NO_QUOTA,
    START,
    Directory,
    DirectoryPage,
    IChecked,
    IMailboxStore,
    Lease,
    Page,
    Piece,
    Position,
    PutOutcome,
    Quota,
    StoreError,
    StoreUnavailable,
)
from ._leases import LeaseLedger
from ._news import Hear
from ._pages import fill_page
from ._sqlite import random_client_id
from ._survey import ISurvey, MailboxSize, MemorySurvey, Surveyed, User
from .v3 import MemoryAccountStore

P = ParamSpec("P")
R = TypeVar("R")


@frozen
class _Client:
    key: int
    name: UserName
    public_key: PublicKey


@define
class _Message:
    envelope: Envelope
    stored_at: float


def _operation(
    method: Callable[Concatenate[MemoryStore, P], R],
) -> Callable[Concatenate[MemoryStore, P], Deferred[R]]:
    """What a method returns or raises, in a Deferred; but only while the store is open."""

    @wraps(method)
    def operation(store: MemoryStore, /, *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        if not store.is_open:
            return fail(StoreUnavailable("the store is not open"))
        return execute(method, store, *args, **kwargs)

    return operation


@implementer(IMailboxStore, IChecked)
class MemoryStore:
    """The mailboxes in memory. They outlive ``close``, until the object is gone.

    Every Deferred has fired when it is returned. The times of requests, which no operation
    shows, are not kept.

    :ivar is_open: whether operations are taken.
    :ivar quota: what one mailbox may hold.
    :ivar hear: is told of news, as a test may want: another relay is there in no other way.
    :ivar accounts: the accounts of v3, as :class:`~messageu.store.v3.IAccountStore`.
    :ivar surveys: of both protocols, by their names.
    :param now: wall-clock seconds since the epoch, for times of arrival.
    :param new_client_id: makes the id of a new client.
    :param account_quota: what the mailbox of an account may hold.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        new_client_id: Callable[[], ClientId] = random_client_id,
        quota: Quota = NO_QUOTA,
        account_quota: Quota = NO_QUOTA,
    ) -> None:
        self._now = now
        self.quota = quota
        self._new_client_id = new_client_id
        self.is_open = False
        self.hear: Hear = lambda _: None
        self.accounts = MemoryAccountStore(
            now=now, quota=account_quota, is_open=lambda: self.is_open
        )
        self.surveys: Mapping[str, ISurvey] = {
            "v2": MemorySurvey(self._look, lambda: self.is_open),
            "v3": MemorySurvey(self.accounts.look, lambda: self.is_open),
        }
        self._clients: dict[ClientId, _Client] = {}
        self._messages: dict[int, _Message] = {}
        self._usage: defaultdict[ClientId, tuple[int, int]] = defaultdict(lambda: (0, 0))
        self._last_sequence = 0
        self._leases = LeaseLedger()

    def open(self) -> None:
        self.is_open = True

    def watch(self, hear: Hear) -> None:
        self.hear = hear

    def close(self) -> Deferred[None]:
        self._delete(self._leases.release_all())
        self.is_open = False
        return succeed(None)

    @_operation
    def register(self, name: UserName, public_key: PublicKey) -> ClientId | Refusal:
        if any(client.name == name for client in self._clients.values()):
            return Refusal.NAME_TAKEN
        client_id = self._new_client_id()
        if client_id in self._clients:
            raise StoreError("the operation register failed")
        self._clients[client_id] = _Client(len(self._clients) + 1, name, public_key)
        return client_id

    @_operation
    def public_key(self, requester: ClientId, client_id: ClientId) -> PublicKey | Refusal:
        if requester not in self._clients or client_id not in self._clients:
            return Refusal.UNKNOWN_CLIENT
        return self._clients[client_id].public_key

    @_operation
    def directory(self, requester: ClientId) -> Directory | Refusal:
        if requester not in self._clients:
            return Refusal.UNKNOWN_CLIENT
        return Directory(requester, len(self._clients) - 1, len(self._clients))

    @_operation
    def directory_page(self, directory: Directory, start: int, limit: int) -> DirectoryPage:
        rest = [
            (client.key, ListedClient(client_id, client.name.raw))
            for client_id, client in self._clients.items()
            if start < client.key <= directory.last and client_id != directory.requester
        ]
        page = rest[:limit]
        return DirectoryPage(
            tuple(listed for _, listed in page),
            page[-1][0] if len(rest) > len(page) else None,
        )

    @_operation
    def put(self, envelopes: Sequence[Envelope]) -> Sequence[PutOutcome]:
        return [self._put(envelope) for envelope in envelopes]

    @_operation
    def lease(
        self, requester: ClientId, max_messages: int, max_bytes: int, page: int
    ) -> Lease | Refusal:
        if requester not in self._clients:
            return Refusal.UNKNOWN_CLIENT
        messages: list[Piece] = []
        size = 0
        for message in self._waiting(requester):
            total = size + message[3]
            if messages and (len(messages) >= max_messages or total > max_bytes):
                break
            size = total
            messages.append(message)
        number = self._leases.grant(message[0] for message in messages)
        return Lease(
            requester, number, len(messages), size, fill_page(messages, START, page, _no_part)
        )

    @_operation
    def read(self, lease: Lease, start: Position, page: int) -> Page:
        held = self._leases.held(lease.number)
        if not held:
            raise StoreError("the lease has ended")
        messages = [self._piece(sequence) for sequence in held if sequence >= start[0]]
        return fill_page(messages, start, page, _no_part)

    @_operation
    def settle(self, lease: Lease) -> None:
        gone, _ = self._leases.settle(lease.number, lease.count)
        self._delete(gone)

    @_operation
    def release(self, lease: Lease) -> None:
        self._delete(self._leases.release(lease.number))

    @_operation
    def expire(self, before: float) -> int:
        gone, count = self._leases.expire(
            sequence for sequence, message in self._messages.items() if message.stored_at < before
        )
        self._delete(gone)
        return count

    @_operation
    def check(self) -> None:
        """Memory is there."""

    def _look(self) -> Sequence[Surveyed]:
        return [
            (User(client_id, str(client.name)), MailboxSize(client_id, *self._usage[client_id]))
            for client_id, client in self._clients.items()
        ]

    def _put(self, envelope: Envelope) -> MessageId | Refusal:
        if envelope.sender not in self._clients:
            return Refusal.UNKNOWN_CLIENT
        if envelope.recipient not in self._clients:
            return Refusal.UNKNOWN_RECIPIENT
        size = len(envelope.content)
        messages, content = self._usage[envelope.recipient]
        if messages >= self.quota.messages or content + size > self.quota.content:
            return Refusal.MAILBOX_FULL
        self._usage[envelope.recipient] = messages + 1, content + size
        self._last_sequence += 1
        self._messages[self._last_sequence] = _Message(envelope, self._now())
        return _message_id(self._last_sequence)

    def _waiting(self, recipient: ClientId) -> Iterator[Piece]:
        for sequence, message in self._messages.items():
            if message.envelope.recipient == recipient and not self._leases.is_doomed(sequence):
                yield self._piece(sequence)

    def _piece(self, sequence: int) -> Piece:
        envelope = self._messages[sequence].envelope
        content = envelope.content
        return sequence, envelope.sender.raw, envelope.type, len(content), 0, content

    def _delete(self, sequences: Sequence[int]) -> None:
        for sequence in sequences:
            envelope = self._messages.pop(sequence).envelope
            messages, content = self._usage[envelope.recipient]
            self._usage[envelope.recipient] = messages - 1, content - len(envelope.content)
        # Nothing here fails half-way, so that nothing is ever undone.
        self._leases.commit()


def _message_id(sequence: int) -> MessageId:
    return MessageId(sequence % MESSAGE_ID_LIMIT)


def _no_part(sequence: int, offset: int, size: int) -> bytes:
    """Every content is here, whole: nothing is read in parts."""
    raise StoreError("there is no such part of a message")
