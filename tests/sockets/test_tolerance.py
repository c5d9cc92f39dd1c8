"""What the relay tolerates (docs/protocol/v2.md), over real sockets."""

from __future__ import annotations

import select
import struct

from .client import (
    ERROR,
    KEY,
    NOBODY,
    Waiting,
    fetch,
    frame,
    header,
    message,
    messages_in,
    registration,
)
from .relay import RelayTestCase, blocking

STRANGER = b"?" * 16

UNTRUSTWORTHY = [
    (600, 0xFFFFFFFF),
    (600, 0),
    (600, 414),
    (600, 416),
    (601, 1),
    (602, 15),
    (602, 17),
    (603, 0xFFFFFFFF),
    (603, 20),
    (604, 1),
    (999, 0xFFFFFFFF),
]
"""Codes, and sizes that they cannot have."""


class ToleranceTests(RelayTestCase):
    """A relay, Anna and Bern, and a connection that is kept."""

    def setUp(self) -> None:
        self.port = self.start_relay()

    def meet(self) -> None:
        """Anna and Bern register."""
        self.client = self.dial(self.port)
        self.anna = self.client.register(b"anna")
        self.bern = self.client.register(b"bern")

    def one_of_each(self) -> list[bytes]:
        """Requests with every answer that there is."""
        return [
            registration(b"anna"),
            registration(b"carl"),
            frame(602, self.bern, self.anna),
            message(self.anna, self.bern, b"sealed"),
            frame(601, client_id=self.bern),
            fetch(self.bern),
            fetch(self.anna),
            frame(605, b"???", self.anna),
            frame(601, client_id=STRANGER),
        ]

    CODES = (9000, 2100, 2102, 2103, 2101, 2104, 2104, 9000, 9000)

    def check(self, answers: list[tuple[int, int, bytes]]) -> None:
        """These are the answers to :meth:`one_of_each`, byte for byte."""
        self.assertEqual([answer[1] for answer in answers], list(self.CODES))
        _, registered, key, stored, listed, mail, empty, *_ = (answer[2] for answer in answers)
        self.assertEqual(key, self.bern + KEY)
        self.assertEqual(stored[:16], self.bern)
        self.assertEqual(
            listed,
            self.anna + b"anna".ljust(255, b"\0") + registered + b"carl".ljust(255, b"\0"),
        )
        self.assertEqual(mail, self.anna + stored[16:] + b"\x03\x06\x00\x00\x00sealed")
        self.assertEqual(empty, b"")

    @blocking
    def test_any_version(self) -> None:
        """A request may carry any version byte; the answer carries 2."""
        self.meet()
        for version in range(256):
            answer = self.client.ask(frame(602, self.bern, self.anna, version))
            self.assertEqual(answer, (2, 2102, self.bern + KEY))

    @blocking
    def test_one_connection_for_all(self) -> None:
        """One connection serves one request after the other, and is never closed for having been
        answered, whatever the answer."""
        self.meet()
        self.check([self.client.ask(request) for request in self.one_of_each()])
        for _ in range(200):
            self.assertEqual(self.client.ask(fetch(self.bern)), (2, 2104, b""))
        self.assertEqual(select.select([self.client.socket], [], [], 0)[0], [])

    @blocking
    def test_one_connection_for_each(self) -> None:
        """A connection for each request does as well."""
        self.meet()
        answers = []
        for request in self.one_of_each():
            client = self.dial(self.port)
            answers.append(client.ask(request))
            client.close()
        self.check(answers)

    @blocking
    def test_header_and_payload_apart(self) -> None:
        """A header gets no answer before its payload has come."""
        self.meet()
        request = message(self.anna, self.bern, b"sealed")
        self.client.send(request[:23])
        self.assertEqual(self.dial(self.port).ask(fetch(self.bern)), (2, 2104, b""))
        self.assertEqual(self.client.unread(), 0)
        self.assertEqual(self.client.ask(request[23:])[1], 2103)

    @blocking
    def test_byte_by_byte(self) -> None:
        """Bytes may come one at a time."""
        self.meet()
        answers = []
        for request in self.one_of_each():
            self.client.send(*(request[at : at + 1] for at in range(len(request))))
            answers.append(self.client.answer())
        self.check(answers)

    @blocking
    def test_all_in_one_segment(self) -> None:
        """Several requests may come at once; they are answered in order."""
        self.meet()
        requests = self.one_of_each()
        self.client.send(b"".join(requests))
        self.check([self.client.answer() for _ in requests])

    @blocking
    def test_half_close(self) -> None:
        """A client may shut down its half and then read: it gets all its answers, and the end."""
        self.meet()
        requests = self.one_of_each()
        self.client.send(b"".join(requests))
        self.client.half_close()
        self.check([self.client.answer() for _ in requests])
        self.assertEqual(self.client.read_rest(), b"")
        self.client.close()
        self.wait_until_alone()

    @blocking
    def test_garbage_in_registration(self) -> None:
        """The id of a registration means nothing, nor does what follows the name's NUL, nor need
        the key be one; it is handed out as it came."""
        self.meet()
        key = b"no DER at all".ljust(160, b"\xff")
        garbage = b"ap/rongit.keep/A"
        answer = self.client.ask(registration(b"carl\0" + b"\xfe\n" * 125, key, garbage))
        self.assertEqual(answer[:2], (2, 2100))
        carl = answer.payload
        self.assertNotIn(carl, (garbage, NOBODY, self.anna, self.bern))
        self.assertEqual(
            self.client.ask(frame(601, client_id=self.anna)).payload,
            self.bern + b"bern".ljust(255, b"\0") + carl + b"carl".ljust(255, b"\0"),
        )
        self.assertEqual(self.client.ask(frame(602, carl, self.anna)).payload, carl + key)
        self.assertEqual(self.client.ask(registration(b"carl\0something else")), ERROR)

    @blocking
    def test_key_requests(self) -> None:
        """A request for a symmetric key is carried with content and without."""
        self.meet()
        for content in (b"", b"c" * 128):
            stored = self.client.ask(message(self.anna, self.bern, content, kind=1)).payload
            (number,) = struct.unpack("<I", stored[16:])
            self.assertEqual(
                messages_in(self.client.ask(fetch(self.bern))),
                [Waiting(self.anna, number, 1, content)],
            )

    @blocking
    def test_refused_and_gone_on(self) -> None:
        """A request that is well framed and refused gets 9000, leaves nothing behind, and the
        connection goes on."""
        self.meet()
        lying = message(self.anna, self.bern, b"abc")
        for name, request in {
            "unknown code": frame(605, client_id=self.anna),
            "unknown code with a payload": frame(0xFFFF, b"x" * 1_000_000, self.anna),
            "unknown sender": message(STRANGER, self.bern, b"x"),
            "unknown recipient": message(self.anna, STRANGER, b"x"),
            "key of nobody": frame(602, STRANGER, self.anna),
            "fetch for nobody": fetch(STRANGER),
            "taken name": registration(b"anna"),
            "content that is shorter than it says": lying[:40] + b"\x04\0\0\0" + lying[44:],
            "content that is longer than it says": lying[:40] + b"\x02\0\0\0" + lying[44:],
            "size that is all ones": lying[:40] + b"\xff" * 4 + lying[44:],
            "empty name": registration(b""),
            "garbage after an empty name": registration(b"\0carl"),
            "name without NUL": registration(b"c" * 255),
            "control characters": registration(b"ca\x1brl"),
            "line break": registration(b"carl\n"),
            "DEL": registration(b"carl\x7f"),
            "not ASCII": registration("çarl".encode()),
        }.items():
            self.assertEqual(self.client.ask(request), ERROR, name)
            self.assertEqual(
                self.client.ask(frame(601, client_id=self.anna)),
                (2, 2101, self.bern + b"bern".ljust(255, b"\0")),
                name,
            )
        self.assertEqual(self.client.ask(fetch(self.bern)), (2, 2104, b""))

    @blocking
    def test_names_differ_by_case(self) -> None:
        """A name in another case is another name."""
        self.meet()
        self.assertNotIn(self.client.register(b"ANNA"), (self.anna, self.bern))

    @blocking
    def test_not_to_be_trusted(self) -> None:
        """After a header that cannot be trusted comes 9000, and the end."""
        for code, size in UNTRUSTWORTHY:
            client = self.dial(self.port)
            client.send(header(code, size))
            self.assertEqual(client.answer(), ERROR, (code, size))
            self.assertEqual(client.read_rest(), b"", (code, size))
            client.close()
        self.wait_until_alone()

    @blocking
    def test_answer_arrives_while_megabytes_are_sent(self) -> None:
        """The answer to a frame that cannot be trusted arrives every time, though the client goes
        on to send all of it before it reads."""
        for number in range(20):
            code, size = UNTRUSTWORTHY[number % len(UNTRUSTWORTHY)]
            client = self.dial(self.port, send_buffer=16_384)
            client.send(header(code, size), *[b"x" * 30_000] * 100)
            self.assertEqual(client.answer(), ERROR, (number, code, size))
            self.assertEqual(client.read_rest(), b"")
            client.close()
        self.wait_until_alone()

    @blocking
    def test_others_are_served_meanwhile(self) -> None:
        """What came before a frame that cannot be trusted is answered, and nothing after; other
        connections do not notice."""
        self.meet()
        client = self.dial(self.port)
        client.send(
            message(self.anna, self.bern, b"before")
            + header(601, 9, self.anna)
            + message(self.anna, self.bern, b"after")
        )
        self.assertEqual(client.answer()[1], 2103)
        self.assertEqual(client.answer(), ERROR)
        self.assertEqual(client.read_rest(), b"")
        fetched = self.client.fetch_all(self.bern)
        self.assertEqual([waiting.content for waiting in fetched], [b"before"])
