"""Each limit that somebody can meet: it is counted, and logged once for a peer and a minute."""

from __future__ import annotations

from typing import Any, Final

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from messageu.model import Envelope, UserName
from messageu.server import LIMITS
from messageu.testing.transport import Faults
from messageu.wire import v2

from .relay import KEY, MemoryClient, MemoryRelay, SlowStore
from .test_protocol import header

TIMES: Final = 3
"""How often each limit is met, within a minute."""

WAITED_FOR: Final = {
    "content",  # a frame above it is refused, and so is one of any other wrong size
    "unreserved",
    "connection_output",
    "chunk",
    "read_ahead",
    "requests",
    "answer_bytes",
    "answer_messages",
    "mailbox_messages",  # refused, and counted for both as mailbox_full
    "mailbox_bytes",
    "leased_messages",
}
OF_V3: Final = {name for name, limit in LIMITS.items() if limit.meaning.startswith("v3: ")}
"""Limits that nobody meets to his harm: what is above them waits, or is another answer."""


class HitTests(SynchronousTestCase):
    """Limits of a relay in memory."""

    def start(self, **settings: float) -> MemoryRelay:
        """A relay with mail for somebody."""
        self.relay = MemoryRelay(**settings)
        self.clients: list[MemoryClient] = []
        self.anna = self.relay.register("anna")
        self.relay.store.put([Envelope(self.anna, self.anna, 3, b"x" * 200_000)])
        return self.relay

    def dial(self, *, held: bool = True) -> MemoryClient:
        """A client, whose kernel gets no answers unless it is told."""
        client = self.relay.dial(from_server=Faults(window=500))
        client.line.server.held = held
        self.clients.append(client)
        return client

    def wait(self, seconds: int) -> None:
        """Let time pass for all of them."""
        for _ in range(seconds):
            for client in self.clients:
                client.line.run()
            self.clients[-1].wait(1)

    @property
    def fetch(self) -> bytes:
        """A request for the mail."""
        return v2.Request(self.anna, v2.FetchMessages()).encode()

    def meet_connections(self) -> None:
        """Somebody else has the only place."""
        self.start(connections=1).dial()
        for _ in range(TIMES):
            self.assertIsNone(self.relay.factory.buildProtocol(None))

    def meet_input_bytes(self) -> None:
        """Each begins more than all may hold together."""
        self.start(input_bytes=1000)
        for _ in range(TIMES + 1):
            self.dial().send(header(603, 10_000) + bytes(800))

    def meet_output_bytes(self) -> None:
        """Each asks for more keys than all may be told together."""
        self.start(output_bytes=3000)
        for _ in range(TIMES):
            self.dial().send(v2.Request(self.anna, v2.GetPublicKey(self.anna)).encode() * 60)

    def meet_streams(self) -> None:
        """Somebody else has the only place."""
        self.start(streams=1)
        for _ in range(1 + TIMES):
            self.dial().send(self.fetch)

    def meet_crowded_deadline(self) -> None:
        """The others wait for places."""
        self.start(streams=TIMES)
        for _ in range(2 * TIMES):
            self.dial().send(self.fetch)
        self.wait(5)

    def meet_discarded_bytes(self) -> None:
        """What follows garbage is too much."""
        self.start(discarded_bytes=1000)
        for _ in range(TIMES):
            client = self.dial()
            client.send(header(601, 1))
            client.send(bytes(1001))

    def meet_frame_deadline(self) -> None:
        """Frames that do not go on."""
        self.start()
        for _ in range(TIMES):
            self.dial().send(header(603, 10_000))
        self.wait(62)

    def meet_idle_deadline(self) -> None:
        """Connections that have said something, and those that have not."""
        self.start(idle_deadline=50)
        for _ in range(TIMES - 1):
            self.dial()
        self.dial(held=False).ask(v2.ListClients(), self.anna)
        self.wait(52)

    def meet_progress_deadline(self) -> None:
        """Answers that nobody reads."""
        self.start()
        for _ in range(TIMES):
            self.dial().send(self.fetch)
        self.wait(32)

    def meet_discard_deadline(self) -> None:
        """Whoever stays after garbage."""
        self.start()
        for _ in range(TIMES):
            self.dial().send(header(601, 1))
        self.wait(12)

    def meet_drain_deadline(self) -> None:
        """Mail that no kernel acknowledges."""
        self.start()
        for _ in range(TIMES):
            client = self.dial()
            client.line.server.faults = Faults(window=1_000_000)
            client.line.client.write(self.fetch)
            client.line.client.loseWriteConnection()
            client.line.run()
        self.wait(12)

    def meet_stop_grace(self) -> None:
        """Requests that the store does not answer before the relay has to stop."""
        self.start()
        message = v2.Request(self.anna, v2.SendMessage(self.anna, 3, b"x")).encode()
        self.relay = MemoryRelay(SlowStore(self.relay.store))
        for _ in range(TIMES):
            self.dial().send(message)
        stopped = self.relay.factory.drain()
        self.wait(12)
        self.successResultOf(stopped)

    def meet_proxy_deadline(self) -> None:
        """A balancer that does not say whose connections they are."""
        factory = self.start().behind_balancer()
        self.clients = [self.relay.pass_on(factory, b"PROXY ") for _ in range(TIMES)]
        self.wait(6)

    def meet_registrations_a_minute(self) -> None:
        """More names than one address may take."""
        self.start(registrations_a_minute=1)
        client = self.dial(held=False)
        for number in range(TIMES):
            name = UserName(b"number %d" % number)
            self.assertEqual(client.ask(v2.Register(name, KEY)), [v2.GeneralError()])

    def test_each(self) -> None:
        """Whoever meets a limit several times within a minute is counted each time, and has one
        line."""
        for limit in LIMITS.keys() - WAITED_FOR - OF_V3:
            with capturedLogs() as events:
                getattr(self, f"meet_{limit}")()
                self.assertEqual(self.relay.limits.hits[limit], TIMES, limit)
                lines = [event for event in events if event.get("what", "").endswith(f": {limit}")]
                self.assertEqual(len(lines), 1, limit)
                self.check_line(lines[0], limit)

    def check_line(self, line: dict[str, Any], limit: str) -> None:
        """It names a pseudonym, and says that it was the first time."""
        self.assertEqual((line["what"], line["times"]), (f"has met a limit: {limit}", 1))
        self.assertRegex(line["who"], "^peer-[0-9a-f]{8}$")
