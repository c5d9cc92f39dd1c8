"""tools/wireshark/messageu.lua says of every frame what our own codec says."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import evolve

from messageu.model.v3 import Reason, Registration
from messageu.wire import NEED_DATA, Parser, RemoteProtocolError, v2, v3
from tests.dumps import dumps
from tests.wire.v2 import _golden as golden
from tests.wire.v3 import _values as values

from . import shown
from .dissector import SEED, V3_ANSWERS, V3_REQUESTS, DissectorTestCase
from .pcap import Capture
from .shown import Field

CONTENT_LIMIT = 64
"""Bytes, for both sides, so that a frame above the limit is small."""

V2_REQUESTS = [request for request, _ in golden.REQUESTS.values()]
V2_ANSWERS = [answer for answer, *_ in golden.RESPONSES.values()]


def cuttings(length: int) -> dict[str, list[int]]:
    """Ways to cut so many bytes into segments."""
    chance = random.Random(SEED)
    return {
        "in one": [],
        "byte by byte": list(range(min(length, 250))),
        "anyhow": chance.sample(range(length), min(length // 3, 60)),
    }


class GoldenTests(DissectorTestCase):
    """Frames that were written out by hand."""

    def check(
        self,
        protocol: str,
        port: int,
        sent: Iterable[tuple[bool, bytes, Sequence[list[Field]]]],
        *options: str,
    ) -> None:
        """Send each direction in every cutting."""
        capture, expected = Capture(), {}
        for from_client, data, fields in sent:
            for cuts in cuttings(len(data)).values():
                stream = capture.stream(port)
                stream.send(data, from_client=from_client, cuts=cuts)
                expected[stream.client_port, from_client] = fields
        streams = self.run_tshark(capture, protocol, *options)
        for key, fields in expected.items():
            self.assert_shown(streams[key], fields)

    def test_v2(self) -> None:
        """Each request and answer of v2 is shown in any segmentation."""
        requests = [bytes.fromhex(text) for _, text in golden.REQUESTS.values()]
        answers = [bytes.fromhex(text) for *_, text in golden.RESPONSES.values()]
        dumped = dumps("v2.md")
        parser = Parser(v2.RequestCodec())
        parser.receive_data(b"".join(dumped[str(int(code))] for code in v2.RequestCode))
        worked = [parser.next_event() for _ in v2.RequestCode]
        self.check(
            "messageu",
            1357,
            (
                (True, b"".join(requests), [shown.v2_request(request) for request in V2_REQUESTS]),
                (False, b"".join(answers), [shown.v2_answer(answer) for answer in V2_ANSWERS]),
                (
                    True,
                    b"".join(request.encode() for request in worked),
                    [shown.v2_request(request) for request in worked],
                ),
            ),
        )

    def test_v3_in_the_clear(self) -> None:
        """Each request, answer and push of v3 is shown where something else has decrypted it."""
        self.check(
            "messageu3",
            1358,
            (
                (from_client, b"".join(frame.encode() for frame in frames), list(fields))
                for from_client, frames in ((True, V3_REQUESTS), (False, V3_ANSWERS))
                for fields in (map(shown.v3_frame, frames),)
            ),
            *("-d", "tcp.port==1358,messageu3"),
        )


def mutated(frames: Iterable[bytes], header_size: int, count: int) -> list[bytes]:
    """Frames of which some bytes are wrong, and that are as long as their headers say."""
    chance = random.Random(SEED)
    made = []
    for frame in frames:
        for _ in range(count):
            raw = bytearray(frame)
            size_at = header_size - 4
            match chance.randrange(4):
                case 0:  # a size near the right one
                    size = len(frame) - header_size + chance.choice((-8, -1, 1, 8, 104, 271))
                    raw[size_at:header_size] = max(size, 0).to_bytes(4, "little")
                case 1:  # a code near the right one
                    raw[size_at - 2] ^= 1 << chance.randrange(4)
                case 2 if len(raw) > header_size:
                    raw[chance.randrange(header_size, len(raw))] ^= 1 << chance.randrange(8)
                case _:
                    raw[chance.randrange(size_at)] ^= 1 << chance.randrange(8)
            size = int.from_bytes(raw[size_at:header_size], "little")
            made.append(bytes(raw[: header_size + size].ljust(header_size + size, b"\1")))
    return made


def _v3_request(code: int, body: bytes) -> bytes:
    """A frame of v3 that our codec would not make."""
    head = bytes(16) + b"\3" + code.to_bytes(2, "little")
    return head + (4 + len(body)).to_bytes(4, "little") + b"\1\0\0\0" + body


def verdicts(codec: Any, data: bytes) -> tuple[bool, int]:
    """Whether our codec takes some of this for malformed, and how much else it refuses."""
    parser: Any = Parser(codec)
    parser.receive_data(data)
    refused = 0
    while True:
        try:
            event = parser.next_event()
        except RemoteProtocolError as error:
            if error.fatal:
                return True, refused
            refused += 1
        else:
            if event is NEED_DATA:
                return False, refused
            refused += isinstance(getattr(event, "body", None), v3.UnknownRequest)


class MalformedTests(DissectorTestCase):
    """Frames with wrong bytes in them."""

    def check(
        self,
        protocol: str,
        codecs: tuple[Any, Any],
        frames: tuple[list[bytes], list[bytes]],
        *options: str,
    ) -> None:
        """Each frame, with a good one behind it, is judged by tshark as by our codec."""
        capture, expected = Capture(), {}
        for from_client, codec, made in zip((True, False), codecs, frames, strict=True):
            *wrong, good = made
            for frame in wrong:
                stream = capture.stream(1357 if protocol == "messageu" else 1358)
                stream.send(frame, from_client=from_client)
                stream.send(good, from_client=from_client)
                malformed, refused = verdicts(codec, frame)
                after = ["discarded"] if malformed else []
                expected[stream.client_port, from_client] = (
                    ["malformed"] * malformed,
                    ["refused"] * refused,
                    after,
                    frame.hex(" ") if len(frame) < 100 else len(frame),
                )
        streams = self.run_tshark(capture, protocol, *options)
        found = {
            key: (
                *(
                    [name for shown in streams[key] for name in shown.experts if name == wanted]
                    for wanted in ("malformed", "refused", "discarded")
                ),
                expectation[-1],
            )
            for key, expectation in expected.items()
        }
        self.assertEqual(found, expected)
        kinds = {(bool(row[0]), bool(row[1])) for row in expected.values()}
        self.assertLessEqual({(True, False), (False, True), (False, False)}, kinds)

    def test_v2(self) -> None:
        """What our codec refuses is shown as refused, and what ends a connection as malformed."""
        requests = [bytes.fromhex(text) for _, text in golden.REQUESTS.values()]
        answers = [bytes.fromhex(text) for *_, text in golden.RESPONSES.values()]
        message = v2.SendMessage(golden.BOB, 3, bytes(CONTENT_LIMIT))
        large = v2.WaitingMessage(golden.BOB, golden.MessageId(1), 3, bytes(CONTENT_LIMIT + 1))
        self.check(
            "messageu",
            (v2.RequestCodec(CONTENT_LIMIT), v2.ResponseCodec(CONTENT_LIMIT)),
            (
                [
                    *mutated([*requests, v2.Request(golden.ALICE, message).encode()], 23, 16),
                    requests[-1],
                ],
                [
                    *mutated([*answers, v2.WaitingMessages((large, large)).encode()], 7, 16),
                    answers[0],
                ],
            ),
            *("-o", f"messageu.content_limit:{CONTENT_LIMIT}"),
        )

    def test_v3(self) -> None:
        """What our codec refuses is shown so; all but an unknown code ends a connection."""
        limit = v3.DEFAULT_SEALED_LIMIT
        requests, answers = (
            [frame.encode() for frame in made] for made in (V3_REQUESTS, V3_ANSWERS)
        )
        self.check(
            "messageu3",
            # A relay reads an envelope that is a little above its limit, to answer it.
            (v3.RequestCodec(limit + 65_536), v3.ResponseCodec(limit)),
            (
                [
                    *mutated(requests, 23, 4),
                    # As long as a registration may be, with a name that is not.
                    _v3_request(702, bytes((33,)) + b"n" * 33 + bytes((0,))),
                    _v3_request(702, bytes((32,)) + b"n" * 32 + bytes((15,)) + b"t" * 15),
                    requests[0],
                ],
                [*mutated(answers, 7, 4), answers[0]],
            ),
            *("-d", "tcp.port==1358,messageu3"),
        )


class RemainsTests(DissectorTestCase):
    """What is shown beside the fields of good frames."""

    def test_names(self) -> None:
        """A name ends at its NUL, and nothing in it reaches a terminal as it came."""
        shown_as = {
            b"a\\b\0": (r"a\\b", []),
            b"\x1b[2J\0": (r"\x1b[2J", ["refused"]),
            "é".encode() + b"\0": (r"\xc3\xa9", ["refused"]),
            b"\0": ("", ["refused"]),
            b"alice\0garbage \x07": ("alice", []),
            b"n" * 255: ("n" * 255, ["refused"]),
        }
        capture = Capture()
        stream = capture.stream(1357)
        frame = bytearray(bytes.fromhex(golden.REQUESTS["600"][1]))
        for name in shown_as:
            frame[23:278] = name.ljust(255, b"\0")
            stream.send(bytes(frame), from_client=True)
        frames = self.run_tshark(capture, "messageu")[stream.client_port, True]
        self.assertEqual(
            [(*frame.shows("name"), frame.experts) for frame in frames], list(shown_as.values())
        )

    def test_names_of_numbers(self) -> None:
        """Types of messages, modes of registration and reasons of errors are shown by their names."""
        capture = Capture()
        v2_stream, v3_stream = capture.stream(1357), capture.stream(1358)
        for kind in v2.MessageType:
            message = v2.SendMessage(golden.BOB, kind, b"")
            v2_stream.send(v2.Request(golden.ALICE, message).encode(), from_client=True)
        for reason in Reason:
            v3_stream.send(v3.Response(1, v3.Error(reason)).encode(), from_client=False)
        for mode in Registration:
            welcome = v3.Welcome(bytes(32), 0, evolve(values.TERMS, registration=mode))
            v3_stream.send(v3.Response(1, welcome).encode(), from_client=False)
        types = self.run_tshark(capture, "messageu")[v2_stream.client_port, True]
        self.assertEqual(
            [label for frame in types for label in frame.labels("type")],
            [
                f"Type: {kind.name.lower().replace('_', ' ')} ({kind.value})"
                for kind in v2.MessageType
            ],
        )
        answers = self.run_tshark(capture, "messageu3", "-d", "tcp.port==1358,messageu3")
        frames = answers[v3_stream.client_port, False]
        self.assertEqual(
            [label for frame in frames for label in frame.labels("reason")],
            [f"Reason: {reason.name.lower()} ({reason.value})" for reason in Reason],
        )
        self.assertEqual(
            [label for frame in frames for label in frame.labels("registration")],
            [
                f"Registration: {name} ({mode.value})"
                for name, mode in zip(("open", "by token", "closed"), Registration, strict=True)
            ],
        )

    def test_links(self) -> None:
        """A request of v2 and its answer name each other's packets, and ids are shown as UUIDs."""
        capture = Capture()
        stream = capture.stream(1357)
        fetch, refusal = (
            bytes.fromhex(text)
            for text in (golden.REQUESTS["604"][1], golden.RESPONSES["9000"][-1])
        )
        stream.send(fetch + fetch, from_client=True)  # packet 1
        stream.send(fetch, from_client=True, cuts=[5])  # packets 2 and 3
        stream.send(refusal, from_client=False)  # 4
        stream.send(refusal + refusal, from_client=False, cuts=[9])  # 5 and 6
        streams = self.run_tshark(capture, "messageu", "-d", "tcp.port==1357,messageu")
        asked, answered = (streams[stream.client_port, side] for side in (True, False))
        self.assertEqual([frame.shows("answer_in") for frame in asked], [["4"], ["5"], ["6"]])
        self.assertEqual([frame.shows("request_in") for frame in answered], [["1"], ["1"], ["3"]])
        self.assertEqual(asked[0].shows("uuid"), ["a1a2a3a4-a5a6-a7a8-a9aa-abacadaeafb0"])

    def test_correlations(self) -> None:
        """A request of v3 and its answer name each other's packets in whatever order they come."""
        capture = Capture()
        stream = capture.stream(1358)
        for correlation in (7, 8):
            stream.send(v3.Request(correlation, v3.Ping()).encode(), from_client=True)
        stream.send(v3.push(v3.Displaced()), from_client=False)
        for correlation in (8, 7):
            stream.send(v3.Response(correlation, v3.Pong()).encode(), from_client=False)
        streams = self.run_tshark(capture, "messageu3", "-d", "tcp.port==1358,messageu3")
        asked, answered = (streams[stream.client_port, side] for side in (True, False))
        self.assertEqual([frame.shows("answer_in") for frame in asked], [["5"], ["4"]])
        self.assertEqual([frame.shows("request_in") for frame in answered], [[], ["2"], ["1"]])

    def test_another_port(self) -> None:
        """On another port it is found by Decode As, and tells the relay's side by itself."""
        capture = Capture()
        v2_stream, v3_stream = capture.stream(7001), capture.stream(7002)
        v2_stream.send(V2_REQUESTS[0].encode(), from_client=True)
        v2_stream.send(V2_ANSWERS[0].encode(), from_client=False)
        v3_stream.send(V3_REQUESTS[0].encode(), from_client=True)
        v3_stream.send(V3_ANSWERS[0].encode(), from_client=False)
        options = ("-d", "tcp.port==7001,messageu", "-d", "tcp.port==7002,messageu3")
        streams = self.run_tshark(capture, "messageu", *options)
        self.assert_shown(streams[v2_stream.client_port, True], [shown.v2_request(V2_REQUESTS[0])])
        self.assert_shown(streams[v2_stream.client_port, False], [shown.v2_answer(V2_ANSWERS[0])])
        streams = self.run_tshark(capture, "messageu3", *options)
        for from_client, frames in ((True, V3_REQUESTS), (False, V3_ANSWERS)):
            self.assert_shown(
                streams[v3_stream.client_port, from_client], [shown.v3_frame(frames[0])]
            )

    def test_cut_short(self) -> None:
        """Of packets that were captured in part, what is there is shown, and that more was."""
        capture = Capture(snap_length=70)
        stream = capture.stream(1357)
        for request in V2_REQUESTS[1:3]:
            stream.send(request.encode(), from_client=True)
        frames = self.run_tshark(capture, "messageu")[stream.client_port, True]
        self.assert_shown(frames[:1], [shown.v2_request(V2_REQUESTS[1])])
        self.assertEqual([frame.experts for frame in frames], [[], ["cut"]])
