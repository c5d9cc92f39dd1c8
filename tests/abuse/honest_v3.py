"""Two people who use v3 as it is meant, and notice how long that takes; and one of v2 beside them."""

from __future__ import annotations

import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from OpenSSL import SSL

from messageu.model.v3 import Delivery
from messageu.wire import NEED_DATA, Parser, v3
from tests.sockets.client import PATIENCE

from .honest import HonestClient
from .people import Person, context, envelope

ANNA, BERN, LATE = 1, 2, 3
"""Numbers of the people of the tests. Those of attackers are higher."""

TEXT: Final = 1_648
"""Bytes of what is sealed of a short text."""

WINDOW: Final = v3.Subscribe(1_024, 8 << 20)

_CONTEXT: Final = context()
_TIME = struct.pack("ll", int(PATIENCE), 0)


class Refused(AssertionError):
    """The relay answered with an error."""


class Sealed:
    """A connection of v3 over a blocking socket, each of whose waits is bounded.

    :ivar pushed: what was pushed and nobody has taken.
    """

    def __init__(self, port: int, person: Person) -> None:
        self.person = person
        self.pushed: deque[v3.ResponseBody] = deque()
        self._socket = socket.socket()
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, _TIME)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect(("127.0.0.1", port))
        self._tls = SSL.Connection(_CONTEXT, self._socket)
        self._tls.set_connect_state()
        self._tls.do_handshake()
        self._parser: Parser[v3.Response] = Parser(v3.ResponseCodec())
        self._asked = 0

    def log_in(self, *, register: bool = False) -> None:
        """Authenticate, and perhaps register."""
        welcome = self.ask(v3.Hello())
        self.ask(self.person.proof(welcome.nonce, self._tls))
        if register:
            self.ask(v3.Register(self.person.name))

    def ask(self, body: v3.RequestBody) -> v3.ResponseBody:
        """A request, and its answer. What is pushed meanwhile is kept.

        :raises Refused: when it is an error.
        """
        self.send(body)
        while (response := self._next()).correlation != self._asked:
            self.pushed.append(response.body)
        if isinstance(response.body, v3.Error):
            raise Refused(response.body)
        return response.body

    def send(self, *bodies: v3.RequestBody) -> None:
        """Requests whose answers are read later."""
        for body in bodies:
            self._asked += 1
            frame = memoryview(v3.Request(self._asked, body).encode())
            while frame:
                frame = frame[self._tls.send(frame) :]

    def take(self) -> v3.ResponseBody:
        """What is pushed next, or an answer that was not read."""
        return self.pushed.popleft() if self.pushed else self._next().body

    def _next(self) -> v3.Response:
        while (event := self._parser.next_event()) is NEED_DATA:
            self._parser.receive_data(self._tls.recv(1 << 16))
        return event

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class HonestPeople:
    """Anna sends, and what she has sent is pushed to Bern, who acknowledges it; one after the other.

    :ivar refused: how often they were answered with anything but what they have asked for.
    :ivar twice: how often something was pushed again.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.anna, self.bern = Person(ANNA), Person(BERN)
        self._sender, self._receiver = Sealed(port, self.anna), Sealed(port, self.bern)
        for client in (self._sender, self._receiver):
            client.log_in(register=True)
        self._receiver.ask(self.bern.prekeys(one_time_keys=50))
        self._receiver.ask(WINDOW)
        self._latencies: list[float] = []
        self._acknowledged: set[bytes] = set()
        self._found: Counter[bytes] = Counter()
        self.refused = 0
        self.rounds = 0

    def send_and_take(self) -> None:
        """One 706, one 2720, one 708."""
        self.send_only()
        delivery = self.take_only()
        if delivery is not None:
            acknowledged = v3.Acknowledge((delivery.sequence,))
            self._timed(lambda: self._receiver.ask(acknowledged))

    def send_only(self) -> None:
        """One 706."""
        self.rounds += 1
        content = (b"round %d " % self.rounds).ljust(TEXT, b".")
        if self._timed(lambda: self._sender.ask(envelope(self.bern.account, content))):
            self._acknowledged.add(content)

    def take_only(self) -> Delivery | None:
        """One 2720, if that is what comes."""
        pushed = self._timed(self._receiver.take)
        while isinstance(pushed, v3.PrekeysLow):
            pushed = self._receiver.take()
        if not isinstance(pushed, v3.Deliver):
            self.refused += 1
            return None
        self._find(pushed.delivery)
        return pushed.delivery

    def _find(self, delivery: Delivery) -> None:
        self._found[delivery.sealed] += 1

    def _timed(self, act: Callable[[], v3.ResponseBody]) -> v3.ResponseBody | None:
        began = time.perf_counter()
        try:
            return act()
        except Refused:
            self.refused += 1
            return None
        finally:
            self._latencies.append(time.perf_counter() - began)

    def take_latencies(self) -> list[float]:
        """How long each step took since this was last asked, in seconds."""
        latencies, self._latencies = self._latencies, []
        return latencies

    def take_rest(self) -> None:
        """Bern subscribes again, and finds what still waits."""
        self._receiver.ask(WINDOW)
        # The store has one thread: the page that was asked for before this was read before it.
        self._receiver.ask(v3.Resolve(self.bern.name))
        while self._receiver.pushed:
            pushed = self._receiver.pushed.popleft()
            if isinstance(pushed, v3.Deliver):
                self._find(pushed.delivery)

    @property
    def lost(self) -> int:
        """How many were acknowledged and have never been pushed."""
        return len(self._acknowledged - set(self._found))

    @property
    def invented(self) -> int:
        """How many were pushed and never acknowledged, or again."""
        return sum((self._found - Counter(self._acknowledged)).values())

    def close(self) -> None:
        """Hang up."""
        self._sender.close()
        self._receiver.close()


class Everybody:
    """The two of v3 and the one of v2, as one honest client.

    :ivar v2: who speaks v2.
    :ivar v3: who speak v3.
    """

    def __init__(self, v2_port: int, v3_port: int) -> None:
        self.v2, self.v3 = HonestClient(v2_port), HonestPeople(v3_port)

    def send_and_fetch(self) -> None:
        """One round of each."""
        self.v2.send_and_fetch()
        self.v3.send_and_take()

    def fetch_rest(self) -> None:
        """Until nothing comes."""
        self.v2.fetch_rest()
        self.v3.take_rest()

    @property
    def rounds(self) -> int:
        """How often both have had theirs."""
        return min(self.v2.rounds, self.v3.rounds)

    @property
    def refused(self) -> int:
        """How often somebody was."""
        return self.v2.refused + self.v3.refused

    @property
    def lost(self) -> int:
        """How much of anybody's was."""
        return self.v2.lost + self.v3.lost

    @property
    def invented(self) -> int:
        """How much that anybody has found was never sent, or came again though v3 says that it does
        not."""
        return self.v2.invented + self.v3.invented

    def take_latencies(self) -> list[float]:
        """Those of all, the shortest first."""
        return sorted(self.v2.take_latencies() + self.v3.take_latencies())

    def close(self) -> None:
        """Hang up."""
        self.v2.close()
        self.v3.close()
