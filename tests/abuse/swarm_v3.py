"""Many bad clients of v3 in one process: ``python -m tests.abuse.swarm_v3 PORT BEHAVIOURS OPTIONS``,
as :mod:`tests.abuse.swarm` has it."""

from __future__ import annotations

import select
import struct
import sys
from collections import Counter, deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from itertools import count, cycle, repeat
from random import Random
from typing import Any, ClassVar, Final, TypeAlias

from OpenSSL import SSL

from messageu.model import ClientId
from messageu.wire import NEED_DATA, Parser, v3

from .people import Person, context, envelope
from .swarm import BLOCKS, BadClient, Plan, main

SEALED: Final = v3.DEFAULT_SEALED_LIMIT
"""Bytes of the largest envelope."""

HEADER: Final = struct.Struct("<16sBHII")
"""The header of a request, and the correlation that begins its payload."""

PARTIAL: Final = b"\x17\x03\x03\x41\x00" + bytes(16_600)
"""A record of TLS without its end."""

WINDOW: Final = v3.Subscribe(1_024, 8 << 20)

FIRST: Final = 1_000
"""The number of the first of their accounts."""

_CONTEXT: Final = context()
_numbers = count(FIRST)

Words: TypeAlias = Generator[bytes | None, v3.Response, None]
"""What somebody says; for None he is given what he hears next."""


def head(code: int, size: int, correlation: int = 1, client_id: bytes = bytes(16)) -> bytes:
    """The header of a request whose payload has so many bytes, and a correlation."""
    return HEADER.pack(client_id, 3, code, size, correlation)


def client_hello() -> bytes:
    """What a handshake begins with."""
    tls = SSL.Connection(_CONTEXT, None)
    tls.set_connect_state()
    with suppress(SSL.WantReadError):
        tls.do_handshake()
    return tls.bio_read(1 << 16)


# Those who do not come to TLS.


class Silent(BadClient):
    """Connects, and never begins."""

    def words(self) -> Iterator[bytes]:
        yield from ()


class HalfHello(BadClient):
    """Begins a handshake, and does not go on."""

    def words(self) -> Iterator[bytes]:
        yield client_hello()[:100]


class HelloDrip(BadClient):
    """Begins a handshake, a byte a second."""

    def words(self) -> Iterator[bytes]:
        hello = client_hello()
        self._said = iter(hello[10:])
        yield hello[:10]

    def tick(self) -> None:
        if self.connected:
            self.say(bytes((next(self._said),)))


class LongHello(BadClient):
    """Begins a handshake that says that it has 128 KiB, and sends them."""

    def words(self) -> Iterator[bytes]:
        size = 131_000
        hello = b"\x01" + size.to_bytes(3, "big") + bytes(size)
        for start in range(0, len(hello), 16_000):
            piece = hello[start : start + 16_000]
            yield b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece


class HeldHello(BadClient):
    """Holds as much of a long handshake as it may."""

    def words(self) -> Iterator[bytes]:
        yield b"\x16\x03\x01\x40\x00\x01\x01\xff\xff" + bytes(15_000)


class NoTls(BadClient):
    """Speaks something else."""

    def words(self) -> Iterator[bytes]:
        yield b"GET / HTTP/1.1\r\n\r\n"


# Those who do.


class TlsClient(BadClient):
    """One connection over TLS: it says all that it has to say, then does nothing.

    :cvar context: its TLS.
    :ivar answers: how many requests were answered.
    :ivar pushes: how often something was pushed.
    :ivar deaf: it reads nothing more.
    :ivar remembers: what it hears while it speaks is kept for when it listens.
    """

    context: ClassVar[SSL.Context] = _CONTEXT

    def __init__(self, plan: Plan, fates: Counter[str]) -> None:
        super().__init__(plan, fates)
        self.person = Person(next(_numbers))
        self.tls = SSL.Connection(self.context, None)
        self.tls.set_connect_state()
        self.answers = self.pushes = 0
        self.deaf = False
        self.remembers = True
        self._up = False
        self._listening = False
        self._parser: Parser[v3.Response] = Parser(v3.ResponseCodec())
        self._heard_last: deque[v3.Response] = deque()
        self._asked = 0

    @property
    def reads(self) -> bool:
        """Whether it reads what it is answered."""
        return not self.deaf

    @property
    def interest(self) -> int:
        """What its poller is to look for."""
        if not self.connected:
            return select.EPOLLOUT
        events = select.EPOLLRDHUP | (0 if self.deaf else select.EPOLLIN)
        speaks = self._up and not (self._silent or self._listening)
        return events | select.EPOLLOUT if self._unsent or speaks else events

    def words(self) -> Words:
        """What it says when TLS has begun."""
        yield from ()

    def ask(self, body: v3.RequestBody) -> bytes:
        """A request."""
        self._asked += 1
        return v3.Request(self._asked, body).encode()

    def log_in(self) -> Words:
        """Authenticate, and register an account of its own if it has none."""
        yield self.ask(v3.Hello())
        welcome = (yield None).body
        yield self.ask(self.person.proof(welcome.nonce, self.tls))
        answer = (yield None).body
        if isinstance(answer, v3.Authenticated) and not answer.registered:
            yield self.ask(v3.Register(self.person.name))
            yield None

    def hear(self, code: int, number: int = 1) -> Words:
        """Wait for so many answers or pushes of this code."""
        while number:
            response = yield None
            number -= response.body.code == code

    def raw(self, data: bytes) -> None:
        """Send bytes below TLS."""
        self._unsent = memoryview(bytes(self._unsent) + data)

    def speak(self, words: bytes) -> None:
        """Say something beside its words."""
        if self._up and not self.ended:
            self._encrypt(words)

    def _connect(self) -> None:
        super()._connect()
        if self.connected:
            self._shake_hands()

    def _shake_hands(self) -> None:
        try:
            self.tls.do_handshake()
            self._up = True
            self.fates["up"] += 1
        except SSL.WantReadError:
            pass
        except SSL.Error:
            self.end("refused")
            return
        self._drain()

    def _drain(self) -> None:
        try:
            while True:
                self.raw(self.tls.bio_read(1 << 16))
        except SSL.WantReadError:
            pass

    def _encrypt(self, words: bytes) -> None:
        view = memoryview(words)
        while view:
            view = view[self.tls.send(view) :]
        self._drain()

    def _write(self) -> None:
        for _ in range(BLOCKS):
            if self._unsent:
                sent = self.socket.send(self._unsent)
                self._unsent = self._unsent[sent:]
                if self._unsent:
                    return
            if not self._up or self._listening or self._silent:
                return
            self._go_on(next)

    def _go_on(self, act: Any) -> None:
        try:
            words = act(self._words)
        except StopIteration:
            self._silent = True
            self.finish()
            return
        self._listening = words is None
        if self._listening and self._heard_last:
            response = self._heard_last.popleft()
            self._go_on(lambda it: it.send(response))
        elif words:
            self._encrypt(words)

    def _read(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            self.end("closed")
            return
        self.tls.bio_write(data)
        if not self._up:
            self._shake_hands()
        while self._up and not self.ended:
            try:
                self._parser.receive_data(self.tls.recv(1 << 16))
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                self.end("closed")
            except SSL.Error:
                self.end("refused")
            while not self.ended and (response := self._parser.next_event()) is not NEED_DATA:
                self._listen(response)

    def _listen(self, response: v3.Response) -> None:
        body = response.body
        if isinstance(body, v3.Error):
            self.fates[f"error {body.reason.name.lower()}"] += 1
        else:
            self.fates[f"answered {body.code.value}"] += 1
        self.answers += response.correlation != v3.PUSH
        self.pushes += response.correlation == v3.PUSH
        if self._listening:
            self._go_on(lambda it: it.send(response))
        elif self.remembers:
            self._heard_last.append(response)


class Mute(TlsClient):
    """Says nothing once TLS has begun."""


class PartialRecord(TlsClient):
    """Says nothing, and holds nearly all of the largest record of TLS."""

    def finish(self) -> None:
        self.raw(PARTIAL)


class HalfFrame(PartialRecord):
    """The same behind a part of a frame that is not counted."""

    def words(self) -> Words:
        yield head(706, 1_000) + bytes(480)


class Stranger(TlsClient):
    """Says hello, pings each second, and never says who it is."""

    def words(self) -> Words:
        yield self.ask(v3.Hello())

    def tick(self) -> None:
        self.speak(self.ask(v3.Ping()))


class Hanger(TlsClient):
    """Hangs up when TLS has begun; every second one without a goodbye."""

    def finish(self) -> None:
        if self.fates["up"] % 2:
            self.reset()
        else:
            self.end("done")


class NoAlpn(TlsClient):
    """Asks for no protocol."""

    context = context(())


class OtherAlpn(TlsClient):
    """Asks for another protocol."""

    context = context((b"http/1.1",))


class OldTls(TlsClient):
    """Speaks TLS 1.2."""

    context = context(version=SSL.TLS1_2_VERSION)


class Forger(TlsClient):
    """Authenticates with wrong signatures, so often, and hangs up."""

    def words(self) -> Words:
        for _ in range(self.plan.amount):
            yield self.ask(v3.Hello())
            nonce = (yield None).body.nonce
            proof = Person(self.person.number + 1).proof(nonce, self.tls)
            yield self.ask(v3.Authenticate(self.person.keys, proof.generation, proof.signature))
            yield None

    def finish(self) -> None:
        self.end("done")


class Flooder(TlsClient):
    """Says the same so often, without waiting, and hangs up when it has all the answers."""

    at_once = 500

    def words(self) -> Words:
        yield from self.begin()
        self.remembers = False
        left = self.plan.amount
        while left:
            now = min(self.at_once, left)
            left -= now
            yield b"".join([self.one() for _ in range(now)])
        while self.answers < self._asked:
            yield None

    def begin(self) -> Words:
        """What comes before."""
        yield from ()

    def one(self) -> bytes:
        """One of them."""
        raise NotImplementedError

    def finish(self) -> None:
        self.end("done")


class HelloFlooder(Flooder):
    """Says hello again and again."""

    def one(self) -> bytes:
        return self.ask(v3.Hello())


class UnknownFlooder(Flooder):
    """Asks what there is not, with as much around it as there may be."""

    at_once = 4

    def one(self) -> bytes:
        self._asked += 1
        return head(777, 1 << 16, self._asked) + bytes((1 << 16) - 4)


MALFORMED: Final = (
    head(700, 4, client_id=b"\1" * 16),
    head(700, 5) + b"\0",
    head(700, 4, 0),
    head(777, 3),
    head(777, (1 << 16) + 1) + bytes(1 << 16),
    head(701, 139) + bytes(135),
    head(702, 6 + 40) + bytes((40,)) + bytes(41),
    head(704, 1_382) + bytes(1_376) + b"\1\0",
    head(706, 40 + SEALED + (1 << 16) + 1) + bytes(1 << 16),
    head(706, 1 << 31) + bytes(1 << 16),
    head(706, 39) + bytes(35),
    head(707, 11) + bytes(7),
    head(708, 11) + bytes(7),
    head(708, 4 + 8 * 1_025) + bytes(8 * 1_025),
    head(710, 0xFFFF_FFFF),
    bytes(range(256)) * 64,
)
"""Frames that are none, and what is behind some of them."""

_frames = cycle(MALFORMED)


class Malformer(TlsClient):
    """Sends a frame that is none, and goes on sending."""

    def words(self) -> Words:
        yield next(_frames)
        yield from repeat(bytes(1 << 14), 16)


# Those who have an account.


class Saver(TlsClient):
    """Sends so much to itself, and hangs up: it waits for those of the next swarm."""

    def words(self) -> Words:
        yield from self.log_in()
        for _ in range(self.plan.amount):
            yield self.ask(envelope(self.person.account, bytes(self.plan.size)))
        yield from self.hear(2706, self.plan.amount)

    def finish(self) -> None:
        self.end("done")


class Deaf(TlsClient):
    """Asks for all that waits at once, and reads nothing."""

    receive_buffer = 4096
    segment = 536

    def words(self) -> Words:
        yield from self.log_in()
        self.deaf = True
        yield self.ask(WINDOW)


class DeafAndHalf(Deaf):
    """The same, and holds nearly all of a record."""

    def finish(self) -> None:
        self.raw(PARTIAL)


class DeafPipeliner(TlsClient):
    """Is pushed what it sends to itself, without end, and reads nothing."""

    receive_buffer = 4096
    segment = 536

    def words(self) -> Words:
        yield from self.log_in()
        self.deaf = True
        yield self.ask(WINDOW)
        while True:
            yield self.ask(envelope(self.person.account, bytes(1 << 14)))


class Greedy(TlsClient):
    """Sends to itself without end, and reads the answers."""

    def words(self) -> Words:
        yield from self.log_in()
        self.remembers = False
        while True:
            account = self.person.account
            yield b"".join([self.ask(envelope(account, bytes(300))) for _ in range(50)])


class Keeper(TlsClient):
    """Takes all that one may, never acknowledges any, and pings each second."""

    def words(self) -> Words:
        yield from self.log_in()
        self.remembers = False
        self._patience = self.plan.patience
        yield self.ask(WINDOW)

    def tick(self) -> None:
        if self.remembers:
            return
        self.speak(self.ask(v3.Ping()))
        if self.pushes == self.plan.amount:
            self._patience -= 1
            if self._patience < 0:
                self.end("done")


class KeeperAndHalf(Keeper):
    """The same, and when it has all of it it holds nearly all of a record."""

    def tick(self) -> None:
        if self.pushes == self.plan.amount:
            self.pushes = 0
            self.raw(PARTIAL)


class Rubbish(Flooder):
    """Acknowledges what was never there, as much as one request can, without waiting."""

    at_once = 1

    def begin(self) -> Words:
        self._random = Random(self.person.number)
        yield from self.log_in()
        yield self.ask(WINDOW)
        yield from self.hear(2707)

    def one(self) -> bytes:
        numbers = tuple(self._random.getrandbits(64) for _ in range(1_024))
        return self.ask(v3.Acknowledge(numbers))


class Subscriber(Flooder):
    """Subscribes again and again, with much mail waiting."""

    at_once = 50

    def begin(self) -> Words:
        yield from self.log_in()
        for _ in range(32):
            yield self.ask(envelope(self.person.account, bytes(4_000)))
            yield from self.hear(2706)

    def one(self) -> bytes:
        return self.ask(v3.Subscribe(1, 1_000))


class HalfEnvelope(TlsClient):
    """Sends nearly all of the largest envelope."""

    def words(self) -> Words:
        yield from self.log_in()
        frame = self.ask(envelope(self.person.account, bytes(SEALED)))
        yield frame[:-100]


class Claimer(Flooder):
    """Claims the prekeys of one account, which somebody else has."""

    at_once = 10

    def begin(self) -> Words:
        yield from self.log_in()

    def one(self) -> bytes:
        return self.ask(v3.Claim(ClientId(self.client_id)))


class Filler(Flooder):
    """Sends so many to one account."""

    at_once = 50

    def begin(self) -> Words:
        yield from self.log_in()

    def one(self) -> bytes:
        return self.ask(envelope(ClientId(self.client_id), bytes(300)))


class Registrar(TlsClient):
    """Makes an account, and hangs up."""

    def words(self) -> Words:
        yield from self.log_in()

    def finish(self) -> None:
        self.end("done")


BEHAVIOURS: Final = {
    each.__name__: each
    for each in (
        Silent,
        HalfHello,
        HelloDrip,
        LongHello,
        HeldHello,
        NoTls,
        Mute,
        PartialRecord,
        HalfFrame,
        Stranger,
        Hanger,
        NoAlpn,
        OtherAlpn,
        OldTls,
        Forger,
        HelloFlooder,
        UnknownFlooder,
        Malformer,
        Saver,
        Deaf,
        DeafAndHalf,
        DeafPipeliner,
        Greedy,
        Keeper,
        KeeperAndHalf,
        Rubbish,
        Subscriber,
        HalfEnvelope,
        Claimer,
        Filler,
        Registrar,
    )
}


if __name__ == "__main__":
    main(BEHAVIOURS, *sys.argv[1:])
