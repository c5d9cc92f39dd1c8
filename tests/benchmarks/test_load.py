"""The load generator counts what it is answered, and sees what is wrong: real processes."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

from attrs import frozen
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from benchmarks import candidates
from benchmarks.building import compiler
from benchmarks.processes import Recipe, Server, load_command
from benchmarks.seeding import count_messages, seed, write_ids
from messageu.model import ClientId, MessageId
from messageu.wire import v2

SECONDS = 60
IDS = [bytes([number]) * 16 for number in (1, 2)]
REFUSED = v2.GeneralError().encode()


class LoadTestCase(SynchronousTestCase):
    """Tests with a load, which has to be compiled."""

    def setUp(self) -> None:
        if compiler() is None:
            raise SkipTest("there is no gcc, and the load generator is in C")
        self.scratch = Path(self.mktemp()).absolute()
        self.scratch.mkdir()

    def serve(self, recipe: Recipe) -> Server:
        """A server that runs until the test is over."""
        server = Server(recipe, self.scratch)
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def load(self, port: int, mode: str, **options: object) -> dict[str, Any]:
        """What the load generator reports, whatever that is."""
        finished = subprocess.run(
            load_command(port, mode, options),
            capture_output=True,
            check=False,
            text=True,
            timeout=SECONDS,
        )
        self.assertEqual(finished.returncode, 0, finished.stderr)
        return json.loads(finished.stdout)

    def assert_counts(self, figures: dict[str, Any], **expected: int) -> None:
        """Compare some of what was reported."""
        self.assertEqual({name: figures[name] for name in expected}, expected, figures)


class ResponderTests(LoadTestCase):
    """Servers without a store."""

    def check_sends(self, recipe: Recipe) -> None:
        port = self.serve(recipe).port
        for shape in ({"connections": 1}, {"connections": 20, "in_flight": 16}):
            figures = self.load(port, "send", count=3000, **shape)
            self.assert_counts(figures, count=3000, answered=3000, errors=0, wrong=0)
            names = ("p50", "p90", "p99", "p999", "max")
            percentiles = [figures[name] for name in names]
            self.assertEqual(percentiles, sorted(percentiles))
            self.assertGreater(percentiles[0], 0)

    def test_bare_twisted_is_counted(self) -> None:
        """Every send to the bare Twisted server is answered and counted, one by one and in rows."""
        self.check_sends(candidates.bare_twisted().recipe)

    def test_bare_c_is_counted(self) -> None:
        """So is every send to the one in C."""
        self.check_sends(candidates.bare_c().recipe)

    def test_time_ends_a_load(self) -> None:
        """A load for a time ends with all its requests answered; the warm-up does not count."""
        port = self.serve(candidates.bare_twisted().recipe).port
        figures = self.load(port, "send", connections=5, in_flight=4, seconds=0.5, warmup=0.2)
        self.assert_counts(figures, errors=0, wrong=0)
        self.assertGreater(figures["answered"], figures["count"])
        self.assertGreater(figures["count"], 0)


class RelayTests(LoadTestCase):
    """Our relay."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.serve(candidates.relay().recipe)
        self.ids = self.scratch / "ids"

    def send(self, **options: object) -> dict[str, Any]:
        return self.load(
            self.server.port, "send", mailboxes=10, write_ids=self.ids, count=1000, **options
        )

    def test_mail_is_stored_and_fetched(self) -> None:
        """What was sent is fetched, all of it and once, and then deleted."""
        figures = self.send(connections=5, in_flight=8)
        self.assert_counts(figures, count=1000, errors=0, wrong=0)
        fetched = self.load(self.server.port, "fetch", connections=3, ids=self.ids)
        self.assert_counts(fetched, items=1000, content=300_000, errors=0, wrong=0)
        again = self.load(self.server.port, "fetch", connections=3, ids=self.ids)
        self.assert_counts(again, items=0, answered=10)
        self.server.stop()
        self.assertEqual(count_messages(self.server.database), 0)

    def test_large_messages_are_framed(self) -> None:
        """Messages that need many reads and writes come as they were announced."""
        self.load(
            self.server.port, "send", mailboxes=2, write_ids=self.ids, count=6, size=3_000_000
        )
        fetched = self.load(self.server.port, "fetch", connections=2, ids=self.ids)
        self.assert_counts(fetched, items=6, content=18_000_000, wrong=0)

    def test_list_and_poll(self) -> None:
        """The list names everybody else each time, and an empty mailbox is an answer."""
        self.send()
        self.load(self.server.port, "fetch", ids=self.ids)
        listed = self.load(self.server.port, "list", ids=self.ids, connections=2, count=4)
        self.assert_counts(listed, count=4, items=4 * 9, wrong=0)
        polled = self.load(self.server.port, "poll", ids=self.ids, connections=2, count=50)
        self.assert_counts(polled, count=50, items=0, errors=0, wrong=0)

    def test_refusals_are_errors(self) -> None:
        """Sends from and to nobody are refused, and counted as errors."""
        nobody = write_ids(self.scratch / "nobody", IDS)
        figures = self.load(self.server.port, "send", ids=nobody, mailboxes=2, count=100)
        self.assert_counts(figures, count=0, answered=100, errors=100, wrong=0)

    def test_connections_come_and_go(self) -> None:
        """Each connection is accepted and closed, with a request and without."""
        for request in (None, True):
            figures = self.load(
                self.server.port, "connect", connections=8, count=200, request=request, spread=True
            )
            self.assertGreaterEqual(figures["count"], 200)
            self.assert_counts(figures, wrong=0)

    def test_idle_connections_are_held(self) -> None:
        """Idle connections are open until the load generator's input ends."""
        command = load_command(self.server.port, "idle", {"connections": 100, "spread": True})
        finished = subprocess.run(
            command, input="", capture_output=True, text=True, check=True, timeout=SECONDS
        )
        reports = [json.loads(line) for line in finished.stdout.splitlines()]
        self.assertEqual(reports, [{"open": 100}, {"open": 100}])


class SeededRelayTests(LoadTestCase):
    """A relay on a database that was full before it started."""

    def test_seeded_mail_is_fetched(self) -> None:
        """The relay serves the users and the mail of a database that was made for it."""
        server = Server(candidates.relay().recipe, self.scratch)
        mail = [(number % 3, 100 + number) for number in range(30)]
        ids = write_ids(self.scratch / "ids", seed(server.database, 3, mail))
        with server:
            fetched = self.load(server.port, "fetch", ids=ids)
        self.assert_counts(fetched, items=30, content=sum(size for _, size in mail), wrong=0)

    def test_one_transaction_a_request_stores_mail(self) -> None:
        """The relay with one transaction a request does the same work."""
        server = self.serve(candidates.single().recipe)
        figures = self.load(server.port, "send", mailboxes=5, count=200, connections=5)
        self.assert_counts(figures, count=200, errors=0, wrong=0)
        server.stop()
        self.assertEqual(count_messages(server.database), 200)


@frozen
class Script:
    """A server that answers a request with fixed bytes, whatever it is."""

    listener: socket.socket
    answer: bytes

    def run(self) -> None:
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(SECONDS)
            connection.recv(v2.REQUEST_HEADER_SIZE, socket.MSG_WAITALL)
            connection.sendall(REFUSED)  # the knock
            connection.recv(1)
            connection.sendall(self.answer)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


class WrongAnswerTests(LoadTestCase):
    """Answers that make no sense, from a server that we script."""

    def ask(self, mode: str, answers: Sequence[bytes]) -> dict[str, Any]:
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        server = Thread(target=Script(listener, b"".join(answers)).run)
        server.start()
        self.addCleanup(server.join)
        ids = write_ids(self.scratch / "ids", IDS)
        count = None if mode == "fetch" else 1
        return self.load(listener.getsockname()[1], mode, ids=ids, mailboxes=2, count=count)

    def test_right_answers_pass(self) -> None:
        """The script's right answers are no errors, so that the wrong ones are what is seen."""
        stored = v2.Stored(ClientId(IDS[0]), MessageId(7)).encode()
        self.assert_counts(self.ask("send", [stored]), count=1, errors=0, wrong=0)

    def test_refusal_is_an_error(self) -> None:
        """9000 is an error, and the connection goes on."""
        self.assert_counts(self.ask("send", [REFUSED]), count=0, errors=1, wrong=0)

    def test_wrong_answers_are_seen(self) -> None:
        """Another code, size, version or recipient, garbage and silence are wrong."""
        stored = v2.Stored(ClientId(IDS[0]), MessageId(7)).encode()
        answers = {
            "another recipient": v2.Stored(ClientId(IDS[1]), MessageId(7)).encode(),
            "another version": b"\1" + stored[1:],
            "another code": v2.waiting_messages_header(0),
            "another size": stored[:3] + b"\x15\0\0\0" + stored[7:] + b"!",
            "a refusal with a payload": REFUSED[:3] + b"\1\0\0\0!",
            "garbage": bytes(range(64)),
            "a part": stored[:-1],
            "nothing": b"",
        }
        for name, answer in answers.items():
            figures = self.ask("send", [answer])
            self.assertEqual((figures["count"], figures["wrong"]), (0, 1), name)

    def test_wrong_lists_are_seen(self) -> None:
        """A 2104 whose messages do not fill it exactly is wrong."""
        sender = ClientId(IDS[1])
        head = v2.waiting_message_head(sender.raw, 1, 3, 10)
        answers = {
            "a message that is too long": [v2.waiting_messages_header(30), head, b"12345"],
            "an end inside a head": [v2.waiting_messages_header(45), head, bytes(20)],
            "an end before the last byte": [v2.waiting_messages_header(35), head, b"123456789"],
        }
        for name, pieces in answers.items():
            figures = self.ask("fetch", pieces)
            self.assertEqual((figures["count"], figures["wrong"]), (0, 1), name)
