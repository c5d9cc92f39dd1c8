"""A relay that means harm: to each request it says something else than the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, cycle, repeat
from struct import pack
from typing import Final

from attrs import frozen
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from messageu.crypto.v2 import wrap
from messageu.model import ClientId, ListedClient, MessageId, PublicKey
from messageu.testing.transport import Line
from messageu.wire import NEED_DATA, Parser, v2

from .relay import ANNA, BERN, KEY, ForeignRelay

ESCAPES: Final = b"\x1b[2J\x1b]0;owned\x07\r\x08\x9b\xc2\x9b\xe2\x80\xae\xe2\x80\xa8"
"""What moves a cursor, names a window, turns text around, and is no UTF-8 in places."""

FORGED: Final = b"hi\n-----<EOM>-----\n\nFrom: mallory\nContent:\nsend me money"
"""A text that looks like two messages."""

MALLORY: Final = ClientId(b"m" * 16)
SIZE_LIMIT: Final = 2**32 - 1


@frozen
class Misanswer:
    """What is said instead of an answer.

    :ivar chunks: of the proper answer's bytes, what to say: at once the first one, and one more
        each ``pause`` seconds.
    :ivar pause: seconds between them.
    :ivar ends: "stays" silent, "closes" or "resets" when all has been said.
    """

    name: str
    chunks: Callable[[bytes], Iterator[bytes]]
    pause: float = 1.0
    ends: str = "stays"


def frame(code: int, payload: bytes = b"", size: int | None = None) -> bytes:
    """An answer, which may lie about its size."""
    return pack("<BHI", 2, code, len(payload) if size is None else size) + payload


def item(
    content: bytes, *, kind: int = 3, sender: ClientId = BERN.client_id, size: int | None = None
) -> bytes:
    """A message of a 2104, which may lie about its size."""
    size = len(content) if size is None else size
    return v2.waiting_message_head(sender.raw, 7, kind, size) + content


def listed(name: bytes, client_id: ClientId = MALLORY) -> bytes:
    """A client of a 2101, whose name need not have an end."""
    return client_id.raw + name.ljust(255, b"\0")


_OTHERS: Final = {
    "2100": v2.Registered(MALLORY).encode(),
    "2101": v2.ClientsList((ListedClient(MALLORY, ESCAPES),)).encode(),
    "2101 of nobody": v2.ClientsList(()).encode(),
    "2102": v2.PublicKeyOf(MALLORY, PublicKey(bytes(160))).encode(),
    "2102 of bern": v2.PublicKeyOf(BERN.client_id, PublicKey(b"\x30" * 160)).encode(),
    "2103": v2.Stored(MALLORY, MessageId(0)).encode(),
    "2104": frame(2104, item(KEY.seal(FORGED))),
    "2104 of nothing": frame(2104),
    "9000": frame(9000),
    "9000 with words": frame(9000, ESCAPES),
    "9000 without end": frame(9000, b"", SIZE_LIMIT),
}
"""Answers, all of them to other questions than some."""

_NONSENSE: Final = {
    "nothing": b"",
    "zeros": bytes(1000),
    "escapes": ESCAPES * 10,
    "a banner": b"220 mail.example ESMTP\x1b[2J\r\n",
    "an unknown code": frame(7777, b"x" * 20),
    "a code of requests": frame(603, b"x" * 20),
    "a size of zero": frame(2103),
    "the largest size": frame(2103, b"", SIZE_LIMIT),
    "half a client": frame(2101, listed(b"half")[:-1]),
    "a list of the largest size": frame(2101, b"", SIZE_LIMIT),
    "names to hide in": frame(
        2101,
        listed(ESCAPES)
        + listed(b"a\n-----<EOM>-----\n")
        + listed(b"\xff" * 255)
        + listed(b"")
        + listed(b"bern"),
    ),
    "a message that goes on behind its answer": frame(2104, item(b"x", size=100)),
    "a message of the largest size": frame(2104, item(b"x", size=SIZE_LIMIT - 25), SIZE_LIMIT),
    "half the head of a message": frame(2104, item(b"")[:12]),
    "texts": frame(
        2104,
        b"".join(
            item(KEY.seal(text), sender=sender)
            for text in (ESCAPES, FORGED, b" " * 400 + FORGED, bytes(range(256)), b"")
            for sender in (BERN.client_id, ANNA.client_id, MALLORY)
        ),
    ),
    "messages of all types": frame(
        2104, b"".join(item(KEY.seal(ESCAPES), kind=kind) for kind in range(256))
    ),
    "keys": frame(
        2104,
        item(bytes(128), kind=2)
        + item(bytes(127), kind=2)
        + item(wrap(ANNA.private_key.public_key, KEY), kind=2, sender=MALLORY),
    ),
}
"""What is wrong by itself, or in what it holds."""


def _misanswers() -> Iterator[Misanswer]:
    for name, data in (_OTHERS | _NONSENSE).items():
        for ends in ("stays", "closes", "resets"):
            yield Misanswer(f"{name}, and {ends}", lambda _, data=data: iter((data,)), ends=ends)
        yield Misanswer(
            f"{name}, before the answer", lambda proper, data=data: iter((data + proper,))
        )
        yield Misanswer(
            f"{name}, behind the answer", lambda proper, data=data: iter((proper + data,))
        )
        yield Misanswer(f"{name}, after the answer", lambda proper, data=data: iter((proper, data)))
    for cut in (1, 3, 7, 8, 20, -1):
        for ends in ("stays", "closes", "resets"):
            yield Misanswer(
                f"cut at {cut}, and {ends}",
                lambda proper, cut=cut: iter((proper[:cut],)),
                ends=ends,
            )
    yield Misanswer("the answer twice", lambda proper: iter((proper * 2,)))
    for pause in (0.5, 29.0):
        yield Misanswer(
            f"a byte each {pause:g} seconds",
            lambda proper: (bytes((byte,)) for byte in proper),
            pause=pause,
        )
        yield Misanswer(
            f"a list of which a byte comes each {pause:g} seconds",
            lambda _: chain((frame(2101, b"", 271 * 1000),), repeat(b"x")),
            pause=pause,
        )
        yield Misanswer(
            f"a message of which a byte comes each {pause:g} seconds",
            lambda _: chain((frame(2104, b"", SIZE_LIMIT), item(b"", size=2**20)), repeat(b"x")),
            pause=pause,
        )
    yield Misanswer(
        "a list without end",
        lambda _: chain(
            (frame(2101, b"", SIZE_LIMIT // 271 * 271),), cycle((listed(ESCAPES) * 16,))
        ),
        pause=4.0,
    )
    yield Misanswer(
        "messages without end",
        lambda _: chain(
            (frame(2104, b"", SIZE_LIMIT),), cycle((item(KEY.seal(ESCAPES * 40)) * 8,))
        ),
        pause=4.0,
    )
    yield Misanswer(
        "a message without end",
        lambda _: chain(
            (frame(2104, b"", SIZE_LIMIT), item(b"", size=SIZE_LIMIT - 25)), cycle((bytes(8192),))
        ),
        pause=4.0,
    )


MISANSWERS: Final = tuple(_misanswers())
"""All that it says."""


@implementer(IStreamClientEndpoint)
class HostileRelay:
    """The relay, and the way to it.

    It knows what a proper relay would have answered, and answers so when it has no misanswer.

    :ivar misanswer: what it says to all requests, from now on.
    :ivar unasked: what it says when somebody connects.
    """

    def __init__(self) -> None:
        self.proper = ForeignRelay()
        self.misanswer: Misanswer | None = None
        self.unasked = b""
        self._lines: list[tuple[Line, _HostileConnection]] = []

    def connect(self, factory: IProtocolFactory) -> Deferred[object]:
        """Open a line."""
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1357))
        server = _HostileConnection(self)
        self._lines.append((Line(protocol, server), server))
        return succeed(protocol)

    def run(self) -> None:
        """Move all lines until nothing moves; forget those that are gone."""
        while sum(line.step() for line, _ in list(self._lines)):
            pass
        self._lines = [pair for pair in self._lines if not pair[0].client.closed]

    def go_on(self) -> bool:
        """Say the next chunk on each line; whether there was one."""
        return sum(server.go_on() for _, server in self._lines) > 0


class _HostileConnection(Protocol):
    def __init__(self, relay: HostileRelay) -> None:
        self._relay = relay
        self._parser = Parser(v2.RequestCodec())
        self._saying: Iterator[bytes] = iter(())
        self._ends = "stays"

    def connectionMade(self) -> None:
        self.transport.write(self._relay.unasked)

    def dataReceived(self, data: bytes) -> None:
        self._parser.receive_data(data)
        while (request := self._parser.next_event()) is not NEED_DATA:
            proper = self._relay.proper.answer(request, [])
            misanswer = self._relay.misanswer
            if misanswer is None:
                self.transport.write(proper)
            else:
                self._saying = misanswer.chunks(proper)
                self._ends = misanswer.ends
                self.go_on()

    def go_on(self) -> bool:
        """Say the next chunk; whether there was one."""
        chunk = next(self._saying, None)
        if chunk is not None:
            self.transport.write(chunk)
            return True
        if self._ends == "closes":
            self.transport.loseConnection()
        elif self._ends == "resets":
            self.transport.abortConnection()
        ended, self._ends = self._ends, "stays"
        return ended != "stays"
