"""A bare Twisted server of the same frames, with no store: what the relay is measured against.

``python -m benchmarks.responder PORT``. It answers 603 with 2103 and forgets the message.
"""

from __future__ import annotations

import sys
from itertools import count
from struct import Struct

from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Protocol, ServerFactory

from benchmarks.machine import use_epoll

HEADER = Struct("<16sBHI")
ANSWER = Struct("<BHI")
STORED = Struct("<BHI16sI")
REFUSED = ANSWER.pack(2, 9000, 0)
EMPTY = {601: ANSWER.pack(2, 2101, 0), 604: ANSWER.pack(2, 2104, 0)}

_numbers = count(1)


class Responder(Protocol):
    """Cuts what comes into frames, and answers those of one piece with one write."""

    transport: ITransport

    def __init__(self) -> None:
        self._rest = b""

    def dataReceived(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        answers: list[bytes] = []
        at, end = 0, len(data)
        while end - at >= HEADER.size:
            _, _, code, size = HEADER.unpack_from(data, at)
            payload = at + HEADER.size
            if end - payload < size:
                break
            at = payload + size
            if code == 603:
                recipient = data[payload : payload + 16]
                answers.append(STORED.pack(2, 2103, 20, recipient, next(_numbers)))
            elif code == 600:
                answers.append(ANSWER.pack(2, 2100, 16) + next(_numbers).to_bytes(16))
            else:
                answers.append(EMPTY.get(code, REFUSED))
        self._rest = data[at:]
        if answers:
            self.transport.write(b"".join(answers))


def main(port: int) -> None:
    """Serve until a signal comes."""
    use_epoll()
    from twisted.internet import reactor

    factory = ServerFactory()
    factory.protocol = Responder
    factory.noisy = False
    reactor.listenTCP(port, factory, interface="127.0.0.1")
    reactor.callWhenRunning(print, "ready", flush=True)
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
