"""Fetching: v2 has no acknowledgement but the next request, so it is asked for until it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeAlias

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred

from messageu.model import ClientId, ListedClient
from messageu.wire import v2

from ._errors import ClientError, FileNotSaved, RelayRefused
from ._inbox import OVERSIZED, Fingerprint, LastAnswer, Opener, fingerprint
from ._messages import Message, Sender, SentMessage, TooLarge
from ._relay import Relay
from ._session import AnswerEvent, ItemEvent

ROUNDS_LIMIT: Final = 100
"""Times that one fetch asks for messages. Some relays never delete."""

NAMELESS_LIMIT: Final = 1_000
NAMELESS_SIZE_LIMIT: Final = 32 * 1024 * 1024
"""Messages that wait until the names of their senders are known, and the bytes of their content.
Beyond that they are handed over without names."""

OnMessage: TypeAlias = Callable[[Message], Awaitable[None] | None]

Ask: TypeAlias = Callable[[], Deferred[Iterable[ListedClient]]]
"""Asks a relay for its list."""


@frozen
class Fetched:
    """What a fetch came to.

    :ivar count: messages that were handed over.
    :ivar complete: False when more may be waiting: ``ROUNDS_LIMIT`` was reached.
    """

    count: int
    complete: bool


class Fetch:
    """One fetch: rounds of 604 until an answer is empty, or the same again.

    Each message is handed over when it is complete, so that an answer which breaks loses nothing
    that had arrived. Where a sender's name is not known, the relay is asked aside, on a connection
    of its own: on this one, a request would say that all has arrived, while a person has not seen
    it yet. Only when a relay serves no second connection do messages wait, in order, for the end
    of the answer, and the relay is asked then.

    :param ask_aside: asks for the list on another connection.
    :param ask_after: asks for the list on this one, once the answer is complete.
    """

    def __init__(
        self,
        relay: Relay,
        opener: Opener,
        last_answer: LastAnswer,
        ask_aside: Ask,
        ask_after: Ask,
        on_message: OnMessage,
    ) -> None:
        self._relay = relay
        self._opener = opener
        self._last_answer = last_answer
        self._ask_aside: Ask | None = ask_aside
        self._ask_after = ask_after
        self._on_message = on_message
        self._asking: Deferred[Iterable[ListedClient]] | None = None
        self._asked = False  # for names, since the answer began
        self._names: dict[ClientId, bytes] = {}
        self._nameless: list[tuple[Fingerprint, SentMessage]] = []
        self._nameless_size = 0
        self._unsaved: str | None = None
        self._arrived = 0
        self._count = 0

    async def run(self) -> Fetched:
        """Fetch.

        :raises FileNotSaved: when a file could not be written. All else was handed over, and the
            relay, if it is one of ours, keeps the file.
        :raises RelayError: when the relay did not answer. What had arrived was handed over.
        """
        for number in range(ROUNDS_LIMIT):
            self._last_answer.begin()
            self._arrived = 0
            self._asked = False
            try:
                await self._ask()
            except RelayRefused:
                if number:  # some say in this way that there is nothing
                    return Fetched(self._count, True)
                raise
            same = self._last_answer.end()
            if not self._arrived or (same and number):
                return Fetched(self._count, True)
        return Fetched(self._count, False)

    async def _ask(self) -> None:
        try:
            await self._relay.ask(
                self._opener.keyring.owner, v2.FetchMessages(), v2.EndOfMessages, self._take_later
            )
        except CancelledError:
            if self._asking is not None:
                self._asking.cancel()
            await self._hand_over_nameless()
            raise
        except ClientError:
            await self._hand_over_nameless()
            raise
        if self._nameless:
            try:
                self._learn(await self._ask_after())
            except ClientError:
                pass  # then they have no names
            finally:
                await self._hand_over_nameless()

    def _take_later(self, item: ItemEvent | AnswerEvent) -> Deferred[None]:
        return Deferred.fromCoroutine(self._take(item))

    async def _take(self, item: ItemEvent | AnswerEvent) -> None:
        if isinstance(item, v2.EndOfMessages):
            if self._unsaved is not None:
                # Another request, or a good-bye, would tell the relay that all is well.
                raise FileNotSaved(f"a received file cannot be saved: {self._unsaved}")
            return
        self._arrived += 1
        if not isinstance(item, v2.WaitingMessage):
            await self._hand_over(OVERSIZED, TooLarge())
            return
        mark = fingerprint(item)
        if self._last_answer.comes_again(mark):
            return
        try:
            message = await self._opener.open(item)
        except OSError as error:
            self._unsaved = error.strerror
            return
        if not self._name_of(message):
            await self._learn_aside()
        if self._nameless or not (self._asked or self._name_of(message)):
            self._nameless.append((mark, message))
            self._nameless_size += len(item.content)
            full = len(self._nameless) >= NAMELESS_LIMIT
            if full or self._nameless_size >= NAMELESS_SIZE_LIMIT:
                await self._hand_over_nameless()
        else:
            await self._hand_over(mark, self._named(message))

    async def _learn_aside(self) -> None:
        """Ask for names, once for each answer, and no more once that has failed."""
        if self._asked or self._ask_aside is None:
            return
        self._asking = self._ask_aside()
        try:
            self._learn(await self._asking)
        except (ClientError, CancelledError):
            self._ask_aside = None
        finally:
            self._asking = None

    def _learn(self, clients: Iterable[ListedClient]) -> None:
        self._asked = True
        self._names = {client.client_id: client.name for client in clients}

    def _name_of(self, message: SentMessage) -> bytes | None:
        # The keyring may have had no room for it.
        client_id = message.sender.client_id
        return self._opener.keyring.peer(client_id).name or self._names.get(client_id)

    def _named(self, message: SentMessage) -> SentMessage:
        sender = Sender(message.sender.client_id, self._name_of(message))
        return evolve(message, sender=sender)

    async def _hand_over_nameless(self) -> None:
        waiting, self._nameless, self._nameless_size = self._nameless, [], 0
        for mark, message in waiting:
            await self._hand_over(mark, self._named(message))

    async def _hand_over(self, mark: Fingerprint, message: Message) -> None:
        handed = self._on_message(message)
        if handed is not None:
            await handed
        self._last_answer.note(mark)
        self._count += 1
