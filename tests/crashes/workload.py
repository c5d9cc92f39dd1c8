"""What clients do while a disk fails: a short, fixed sequence of all that a relay writes for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from messageu.store._operations import DELETION_BYTES, DELETION_STEP
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

from .history import History, Sent

LARGE: Final = 70_000
"""Bytes of a message that is stored in pieces."""


class Broken(Exception):
    """The relay has closed a connection, or is gone."""


class Refused(Exception):
    """The relay has answered 9000."""


def ask(client: SocketClient, *requests: bytes) -> list[Answer]:
    """Send requests at once; their answers.

    :raises Broken: when one does not come. A relay that hangs is a failure.
    """
    _send(client, *requests)
    return [_listen(client) for _ in requests]


class Clients:
    """Anna, Bern and Cora, who send, fetch and let their mail wait.

    :param dial: makes a connection.
    :ivar refused: how many requests were answered with 9000.
    :ivar broken: how often a connection ended.
    """

    def __init__(self, history: History, dial: Callable[[], SocketClient]) -> None:
        self.history = history
        self.dial = dial
        self.refused = 0
        self.broken = 0
        self._open: list[SocketClient] = []

    def begin(self) -> None:
        """Register them, on a disk without faults."""
        self.anna, self.bern, self.cora = (
            self._registered(name) for name in (b"anna", b"bern", b"cora")
        )

    def run(self, label: str, *, until_broken: bool = False) -> None:
        """Do everything once, whatever is refused; ``until_broken``: or until the relay is gone."""
        try:
            for step in (self._register, self._send, self._send_large, self._fetch, self._send):
                try:
                    step(f"{label}, {step.__name__} {len(self.history.sent)}".encode())
                except Refused:
                    self.refused += 1
                except Broken:
                    self.broken += 1
                    if until_broken:
                        return
        finally:
            self.hang_up()

    def send_large(self, label: str) -> None:
        """Send only one message, which is stored in pieces; it may be refused."""
        self._send_large(label.encode())
        self.hang_up()

    def hang_up(self) -> None:
        """Close all connections."""
        for client in self._open:
            client.close()
        self._open.clear()

    def look(self) -> dict[bytes, Sequence[Waiting]]:
        """What waits, which waits on: a reset after it was read proves nothing."""
        mailboxes = {}
        for each in (self.bern, self.cora):
            client = self.dial()
            mailboxes[each] = messages_in(ask(client, fetch(each))[0])
            client.reset()
        return mailboxes

    def drain(self) -> None:
        """Fetch all that waits."""
        for each in (self.bern, self.cora):
            self._fetch_all(each)
        self.hang_up()

    def who_is_missing(self) -> list[bytes]:
        """Who was registered and is not, under the same key."""
        client = self.dial()
        missing = []
        for each, key in self.history.clients.items():
            (answer,) = ask(client, frame(602, each, self.anna))
            if answer != (2, 2102, each + key):
                missing.append(each)
        client.close()
        return missing

    def _dial(self) -> SocketClient:
        try:
            client = self.dial()
        except OSError:
            raise Broken from None
        self._open.append(client)
        return client

    def _registered(self, name: bytes) -> bytes:
        key = name.ljust(len(KEY), b"!")
        (answer,) = ask(self._dial(), registration(name, key))
        _check_not_refused(answer)
        assert answer.code == 2100, answer
        self.history.clients[answer.payload] = key
        return answer.payload

    def _register(self, label: bytes) -> None:
        self._registered(label)

    def _send(self, label: bytes) -> None:
        """All send at once, several messages each, before any answer is read."""
        sent = []
        for number, sender in enumerate((self.anna, self.bern, self.cora)):
            client = self._dial()
            recipients = (self.bern, self.cora, self.bern)
            contents = [b"%b: %d %d" % (label, number, each) for each in range(len(recipients))]
            batch = [
                self.history.send(sender, recipient, content)
                for recipient, content in zip(recipients, contents, strict=True)
            ]
            _send(client, *map(_request, batch))
            sent.append((client, batch))
        for client, batch in sent:
            for each in batch:
                self._hear(client, each)

    def _send_large(self, label: bytes) -> None:
        client = self._dial()
        sent = self.history.send(self.anna, self.bern, label.ljust(LARGE, b"."))
        _send(client, _request(sent))
        self._hear(client, sent)

    def _hear(self, client: SocketClient, sent: Sent) -> None:
        answer = _listen(client)
        if answer.code == 2103:
            assert answer.payload[:16] == sent.recipient, answer
            self.history.acknowledge(sent, int.from_bytes(answer.payload[16:], "little"))
        else:
            assert answer == ERROR, answer
            sent.refused = True
            self.refused += 1

    def _fetch(self, label: bytes) -> None:
        del label
        self._fetch_all(self.bern)

    def _fetch_all(self, client_id: bytes) -> None:
        """Fetch on one connection until nothing comes."""
        client = self._dial()
        latest: Sequence[Sent] = ()
        while True:
            for sent in latest:
                sent.proven = True
            (answer,) = ask(client, fetch(client_id))
            _check_not_refused(answer)
            waiting = messages_in(answer)
            again = {each.content for each in waiting}
            # If there was too much of it for one transaction, some comes again after a kill.
            at_once = (
                len(latest) <= DELETION_STEP
                and sum(len(sent.content) for sent in latest) <= DELETION_BYTES
            )
            for sent in latest:
                # If it could not be deleted it comes again at once.
                sent.settled = at_once and sent.content not in again
            if not waiting:
                return
            latest = self.history.deliver(waiting)


def _send(client: SocketClient, *requests: bytes) -> None:
    try:
        client.send(*requests)
    except TimeoutError:
        raise
    except OSError:
        raise Broken from None


def _listen(client: SocketClient) -> Answer:
    try:
        return client.answer()
    except TimeoutError:
        raise
    except (OSError, AssertionError):  # the latter says that the connection has ended
        raise Broken from None


def _check_not_refused(answer: Answer) -> None:
    if answer.code == 9000:
        raise Refused


def _request(sent: Sent) -> bytes:
    return message(sent.sender, sent.recipient, sent.content)
