"""Clients of v2 in threads, who send and fetch at whichever relay answers, and repeat."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import count
from threading import Event, Thread
from time import monotonic
from typing import Final

from tests.crashes.history import Sent
from tests.crashes.workload import Broken, Refused
from tests.sockets.client import (
    ERROR,
    KEY,
    Answer,
    SocketClient,
    Waiting,
    fetch,
    frame,
    message,
    messages_in,
    registration,
)

from .ledger import Ledger, Post
from .progress import Progress

ANSWER: Final = 90.0
"""Seconds after which a relay that says nothing is a failure: far above all that it waits for."""

BURST: Final = 6
"""Messages that are sent before an answer is read, at most."""

PAUSE: Final = 0.02
"""Seconds, about, between two things that somebody does."""

AFTER_REFUSAL: Final = 0.2
"""Seconds after a 9000."""


class User:
    """Somebody with a mailbox, in a thread of his own.

    :param ports: of the relays.
    :param progress: is told of each message that is acknowledged.
    :ivar failure: why he has stopped before he was to.
    :ivar longest: seconds that he has waited for an answer, at the most.
    """

    def __init__(
        self,
        name: bytes,
        ports: Sequence[int],
        ledger: Ledger,
        progress: Progress,
        seed: int,
    ) -> None:
        self.name = name
        self.failure: BaseException | None = None
        self.operations = self.refused = self.broken = 0
        self.longest = 0.0
        self._ports = ports
        self._ledger = ledger
        self._progress = progress
        self._random = random.Random(seed)
        self._numbers = count(1)
        self._client: SocketClient | None = None
        self._stopping = Event()
        self._unsaid: list[tuple[Post, bytes]] = []
        self._thread = Thread(target=self._run, daemon=True)
        self.id = self._registered(name)
        self.others: Sequence[User] = ()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Do nothing more, when what was begun is done."""
        self._stopping.set()
        self._thread.join(2 * ANSWER)
        assert not self._thread.is_alive(), self.name

    def look(self) -> Sequence[Waiting]:
        """What waits, which waits on: a reset after it was read proves nothing."""
        waiting = messages_in(self._ask(fetch(self.id)))
        self._reset()
        return waiting

    def is_known(self, client_id: bytes, key: bytes) -> bool:
        """Whether somebody is registered, under this key."""
        return self._ask(frame(602, client_id, self.id)) == (2, 2102, client_id + key)

    # In his thread.

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._try(self._random.choices(_ACTS, _ODDS)[0])
                self._stopping.wait(self._random.uniform(0, 2 * PAUSE))
        except BaseException as error:  # noqa: BLE001 - the test tells it
            self.failure = error
        finally:
            self._hang_up()

    def _try(self, act: Callable[[User], None]) -> None:
        try:
            act(self)
            self.operations += 1
        except Refused:
            self.refused += 1
            self._stopping.wait(AFTER_REFUSAL)
        except Broken:
            self.broken += 1
            self._hang_up()

    def _send(self) -> None:
        """Say something new, and again what was not answered."""
        for _ in range(self._random.randint(1, BURST)):
            label = b"%b says %d" % (self.name, next(self._numbers))
            self._unsaid.append((self._ledger.begin(label), self._random.choice(self.others).id))
        burst, self._unsaid = self._unsaid[:BURST], self._unsaid[BURST:]
        attempts = [self._ledger.attempt(post, self.id, to) for post, to in burst]
        try:
            self._say([message(self.id, sent.recipient, sent.content) for sent in attempts])
            for sent in attempts:
                self._hear(sent)
        finally:
            self._unsaid[:0] = [each for each in burst if not each[0].is_acknowledged]
        if any(sent.refused for sent in attempts):
            raise Refused

    def _hear(self, sent: Sent) -> None:
        answer = self._listen()
        if answer == ERROR:
            sent.refused = True
            return
        assert answer.code == 2103, answer
        assert answer.payload[:16] == sent.recipient, answer
        self._ledger.acknowledge(sent, int.from_bytes(answer.payload[16:], "little"))
        self._progress.note(self.name)

    def _fetch(self) -> None:
        """Fetch on one connection until nothing comes."""
        latest = ()
        while True:
            for sent in latest:
                sent.proven = True
            answer = self._ask(fetch(self.id))
            if answer == ERROR:
                raise Refused
            waiting = messages_in(answer)
            again = {each.content for each in waiting}
            for sent in latest:
                sent.settled = sent.content not in again
            if not waiting:
                return
            latest = self._ledger.fetched(self.id, waiting)

    def _break_off(self) -> None:
        """Fetch, and be gone in the midst of the answer."""
        self._say([fetch(self.id)])
        self._reset()

    def _register(self) -> None:
        self._registered(b"%b's friend %d" % (self.name, next(self._numbers)))

    def _move(self) -> None:
        """Go to another relay."""
        self._hang_up()

    # His connection.

    def _registered(self, name: bytes) -> bytes:
        key = name.ljust(len(KEY), b"!")
        answer = self._ask(registration(name, key))
        if answer == ERROR:
            raise Refused
        assert answer.code == 2100, answer
        self._ledger.clients[answer.payload] = key
        return answer.payload

    def _ask(self, request: bytes) -> Answer:
        self._say([request])
        return self._listen()

    def _say(self, requests: Sequence[bytes]) -> None:
        try:
            self._dial().send(*requests)
        except TimeoutError:
            raise
        except OSError:
            raise Broken from None

    def _listen(self) -> Answer:
        began = monotonic()
        try:
            return self._dial().answer()
        except TimeoutError:
            raise
        except (OSError, AssertionError):  # the latter says that the connection has ended
            raise Broken from None
        finally:
            self.longest = max(self.longest, monotonic() - began)

    def _dial(self) -> SocketClient:
        if self._client is None:
            try:
                self._client = SocketClient(self._random.choice(self._ports))
            except OSError:
                raise Broken from None
            self._client.socket.settimeout(ANSWER)
        return self._client

    def _reset(self) -> None:
        client, self._client = self._client, None
        client.reset()

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


_ACTS: Final = (User._send, User._fetch, User._break_off, User._register, User._move)
_ODDS: Final = (60, 30, 3, 2, 5)
