"""What the relay asks of a store (ADR 3). Refusals are results; a Deferred fires after the commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from attrs import field, frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

from messageu.model import (
    ClientId,
    Envelope,
    ListedClient,
    MessageId,
    PublicKey,
    Refusal,
    UserName,
)

from ._news import Hear


class StoreError(Exception):
    """The store could not do what it was asked. The text is ours and names no content."""


class StoreUnusable(StoreError):
    """The database cannot be opened; the text says why in one line, for the operator."""


class StoreUnavailable(StoreError):
    """Nothing was stored: the disk is full or failing, or the store is closed or overloaded."""


class BackupFailed(StoreError):
    """There is no backup; the text says why in one line, for the operator."""


Progress: TypeAlias = Callable[[int, int], object]
"""Is told how much of a backup is done, of how much: pages, of which there may come to be more."""


@frozen
class Directory:
    """The clients as they were at one moment, without the one who asked.

    :ivar count: how many there are.
    :ivar last: the store's own key of the newest of them; later ones are not listed.
    """

    requester: ClientId
    count: int
    last: int


@frozen
class DirectoryPage:
    """A piece of a directory; ``next`` is where the next piece begins, None after the last."""

    clients: tuple[ListedClient, ...]
    next: int | None


Piece: TypeAlias = tuple[int, bytes, int, int, int, bytes]
"""A message that waits, or a part of it: its sequence, its sender's 16 bytes, its type, the size of
its content, and of that, from an offset on, these bytes.

The sequence is the store's own 64-bit key, in order of arrival; its low half is the message's id.
A plain tuple, as it comes from the database: there is one for each message that is fetched."""

Position: TypeAlias = tuple[int, int]
"""Where a page begins: a message's sequence, and an offset in its content."""

START: Final[Position] = (0, 0)
"""Where the first page of every lease begins."""


@frozen
class Page:
    """Some of what a lease has pinned, in order; ``next`` is where the next page begins, None after
    the last."""

    pieces: Sequence[Piece] = field(repr=False)
    next: Position | None


@frozen
class Lease:
    """Messages that are on their way to a client, pinned until the lease has ended.

    :ivar requester: whose they are.
    :ivar number: names the lease to the store that gave it.
    :ivar count: how many messages they are, and ``size`` how many bytes of content.
    :ivar first: their first page, which may be all.
    """

    requester: ClientId
    number: int
    count: int
    size: int
    first: Page


@frozen
class Quota:
    """What one mailbox may hold: so many messages, and so many bytes of content."""

    messages: int
    content: int


NO_QUOTA: Final = Quota(2**63 - 1, 2**63 - 1)
"""As much as there is."""


PutOutcome: TypeAlias = MessageId | Refusal | StoreError
"""What became of one message: stored, refused, or at fault by itself."""


class IMailboxStore(Interface):
    """Clients, their public keys and their mailboxes.

    What an operation did is on the disk when its Deferred fires. Every Deferred may fail with
    :class:`StoreUnavailable`, or with another :class:`StoreError` when the fault is this operation's
    alone: either way nothing was done, unless the way to the database broke and nobody can say.
    Operations that concern one mailbox take effect in the order in which they were asked for, and so
    do registrations, but for operations that read pages. Cancelling a Deferred undoes nothing. A
    ``requester`` that is no client is refused with UNKNOWN_CLIENT; the time of a known one's request
    is kept.
    """

    def open() -> None:
        """Make the store usable, synchronously: check, create or migrate what is on the disk.

        :raises StoreUnusable: leaving what is on the disk as it was.
        """

    def watch(hear: Hear) -> None:
        """Tell somebody, while the store is open, what other relays on the same database do. Where
        there are none there is nothing to tell."""

    def close() -> Deferred[None]:
        """Finish what was asked for, then let go of everything. Leases end as if released."""

    def register(name: UserName, public_key: PublicKey) -> Deferred[ClientId | Refusal]:
        """Make a client, under a new random id. Refused: NAME_TAKEN."""

    def public_key(requester: ClientId, client_id: ClientId) -> Deferred[PublicKey | Refusal]:
        """A client's public key. Refused: UNKNOWN_CLIENT for either of the two."""

    def directory(requester: ClientId) -> Deferred[Directory | Refusal]:
        """Who is registered now. Refused: UNKNOWN_CLIENT."""

    def directory_page(directory: Directory, start: int, limit: int) -> Deferred[DirectoryPage]:
        """At most ``limit`` clients of a directory, in order of registration, from ``start``: 0,
        or the ``next`` of the page before. All pages hold ``count`` clients together."""

    def put(envelopes: Sequence[Envelope]) -> Deferred[Sequence[PutOutcome]]:
        """Store messages, in order; what became of each. Each is stored, refused or failed by
        itself. Refused: UNKNOWN_CLIENT for its sender, UNKNOWN_RECIPIENT, MAILBOX_FULL. What
        is being deleted may still count."""

    def lease(
        requester: ClientId, max_messages: int, max_bytes: int, page: int
    ) -> Deferred[Lease | Refusal]:
        """Pin the oldest of what waits for a client, and give the first of it.

        At most so many messages and so many bytes of content, but at least one message if any
        waits; in a first page for which the same holds as for :meth:`read`. What another lease
        holds is given again; what was settled is not. A lease of nothing need not be ended.
        """

    def read(lease: Lease, start: Position, page: int) -> Deferred[Page]:
        """Some of a lease's messages, in order of arrival, from START or the ``next`` of the page
        before: whole messages of at most ``page`` bytes together, or a part of one message.

        Pages are read between other operations, not in the order in which all were asked for.
        Fails with :class:`StoreError` when the lease has ended, or something is not there.
        """

    def settle(lease: Lease) -> Deferred[None]:
        """End a lease whose messages have arrived. They are deleted; those that another lease
        holds, when the last such lease ends. Ending a lease again does nothing. If this fails, the
        lease has ended as if released."""

    def release(lease: Lease) -> Deferred[None]:
        """End a lease whose messages may not have arrived: they wait again, unless they were
        settled or expired meanwhile. Ending a lease again does nothing. If this fails, the lease
        has ended all the same."""

    def expire(before: float) -> Deferred[int]:
        """Delete what was stored before a time, in seconds since the epoch; what a lease holds,
        when the last such lease ends. The number of messages that are gone or will be."""


class IBackedUp(Interface):
    """A store of which a copy can be made while it is open."""

    def back_up(target: Path, progress: Progress) -> Deferred[int]:
        """Copy everything into a new file; its size in bytes.

        The copy is the store as it is when the copying ends: everything is in it that was
        acknowledged before, and had not gone. Other operations go on meanwhile. The file has its
        name only when it is whole and on the disk. Cancelling the Deferred stops the copying, and
        leaves nothing behind; so does closing the store.

        Fails with :class:`BackupFailed`, or with another :class:`StoreError`.
        """


class IChecked(Interface):
    """A store that can be asked whether it works."""

    def check() -> Deferred[None]:
        """Commit something that changes nothing, after what was asked for before. Fails with
        :class:`StoreError` when that cannot be done, and so nothing else can."""
