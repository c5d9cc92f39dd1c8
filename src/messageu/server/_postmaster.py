"""The rules: what each request does to the store, and what it is answered. No transport here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from messageu.model import ClientId, Envelope, PublicKey, Refusal, UserName
from messageu.store import IMailboxStore
from messageu.wire import v2

from ._answers import DirectoryStream, MailStream, Stream
from ._intake import Intake, Reply
from ._limits import Limits

_REFUSED: Final = v2.GeneralError()
_NOTHING_WAITS: Final = v2.WaitingMessages(())


@frozen
class Postmaster:
    """Answers requests, whoever carries them.

    Every method may raise :class:`~messageu.store.StoreError`; then nothing was done. A refusal
    is answered with 9000, whatever its reason.

    :ivar complain: is called when mail that was fetched could neither be deleted nor given back.
    """

    store: IMailboxStore
    limits: Limits
    clock: IReactorTime
    intake: Intake
    complain: Callable[[Failure], None]

    async def register(self, name: UserName, public_key: PublicKey, address: str) -> v2.Response:
        """600: a new client. Refused: a taken name, too many from this address."""
        if not self.limits.may_register(address, self.clock.seconds()):
            return _REFUSED
        outcome = await self.store.register(name, public_key)
        return _REFUSED if isinstance(outcome, Refusal) else v2.Registered(outcome)

    async def list_clients(self, requester: ClientId) -> v2.Response | Stream:
        """601: everybody but the one who asks."""
        directory = await self.store.directory(requester)
        if isinstance(directory, Refusal):
            return _REFUSED
        return DirectoryStream(self.store, directory, self.limits.settings.chunk)

    async def public_key(self, requester: ClientId, client_id: ClientId) -> v2.Response:
        """602: somebody's public key. Refused: nobody has this id."""
        outcome = await self.store.public_key(requester, client_id)
        if isinstance(outcome, Refusal):
            return _REFUSED
        return v2.PublicKeyOf(client_id, outcome)

    def send(self, envelopes: Sequence[Envelope], size: int, reply: Reply) -> None:
        """603: into the recipients' mailboxes, and on the disk before the answers.

        No coroutine: it is asked for most often. ``reply`` is given the frames of the answers;
        ``size`` is the size of all contents, in bytes.
        """
        self.intake.put(envelopes, size, reply)

    async def fetch(self, requester: ClientId, *, brief: bool = False) -> v2.Response | Stream:
        """604: what waits, as much as one answer may hold. It stays until its delivery settles.

        :param brief: no more than fits into one piece, unless the first message does not.
        """
        settings, limits = self.limits.settings, self.limits
        room = limits.lease_room(brief=brief)
        size = settings.answer_bytes - settings.answer_messages * v2.WAITING_HEAD_SIZE
        limits.leased += room
        try:
            lease = await self.store.lease(
                requester, room, settings.chunk // 2 if brief else size, settings.chunk
            )
        finally:
            limits.leased -= room
        if isinstance(lease, Refusal):
            return _REFUSED
        if not lease.count:
            return _NOTHING_WAITS
        limits.leased += lease.count
        return MailStream(self.store, lease, settings.chunk, partial(self._end_lease, lease.count))

    def _end_lease(self, count: int, ended: Deferred[None]) -> None:
        # Mail whose lease could not be ended waits on: it comes twice, which is better than never.
        ended.addErrback(self.complain)
        ended.addCallback(lambda _: self._forget_lease(count))

    def _forget_lease(self, count: int) -> None:
        self.limits.leased -= count
