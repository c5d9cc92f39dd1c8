"""tools/kaitai/messageu_v2.ksy says of every frame what our own codec says.

The compiler of Kaitai Struct is no Python program. So the parser that it has made is kept in
``compiled``, with digests: it is the one of this description, and nobody has changed it.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from kaitaistruct import BytesIO, KaitaiStream, KaitaiStruct, KaitaiStructError
from twisted.trial.unittest import SynchronousTestCase

from messageu.wire import v2
from tests.dumps import dumps
from tests.wire.v2 import _golden as golden

from . import shown
from .compiled import messageu_v2
from .compiled.messageu_v2 import MessageuV2
from .shown import Field

DESCRIPTION: Final = Path(__file__).parents[2] / "tools" / "kaitai" / "messageu_v2.ksy"

NAMES: Final = {
    ("Registered", "client_id"): "registered",
    ("ListedClient", "client_id"): "listed",
    ("SendMessage", "recipient"): "to",
    ("Stored", "recipient"): "to",
    ("WaitingMessage", "sender"): "from",
    ("Request", "payload_size"): "size",
    ("Answer", "payload_size"): "size",
}
"""What a field is called where a dissector shows it, if it is called otherwise."""


def parsed(data: bytes, *, from_client: bool) -> list[list[Field]]:
    """The fields of each frame, as the compiled parser reads them."""
    root = MessageuV2(from_client, KaitaiStream(BytesIO(data)))
    return [fields_of(frame) for frame in (root.requests if from_client else root.answers)]


def fields_of(struct: KaitaiStruct) -> list[Field]:
    """The fields of a structure and of those in it, in their order; none without bytes."""
    fields: list[Field] = []
    for name, value in vars(struct).items():
        if name.startswith("_"):
            continue
        if isinstance(value, MessageuV2.Name):
            fields.append((name, shown.escaped(value.value)))
        elif isinstance(value, KaitaiStruct):
            fields += fields_of(value)
        elif isinstance(value, list):
            fields += [field for item in value for field in fields_of(item)]
        elif value != b"":
            fields.append((NAMES.get((type(struct).__name__, name), name), _plain(value)))
    return fields


def _plain(value: Any) -> int | bytes:
    return int(value) if isinstance(value, int) else value


class CompiledTests(SynchronousTestCase):
    """The compiled parser."""

    def test_digests(self) -> None:
        """It was made from the description that is here, and is as it was made."""
        first, source, output, rest = (
            Path(messageu_v2.__file__).read_text("utf-8").split("\n", maxsplit=3)
        )
        self.assertIn("kaitai-struct-compiler 0.11.0", first)
        self.assertEqual(source, f"# {sha256(DESCRIPTION.read_bytes()).hexdigest()}")
        self.assertEqual(output, f"# {sha256(rest.encode()).hexdigest()}")

    def test_enumerations(self) -> None:
        """Codes and types are those of the code, under the same numbers."""
        for theirs, ours in (
            (MessageuV2.RequestCode, v2.RequestCode),
            (MessageuV2.AnswerCode, v2.ResponseCode),
            (MessageuV2.MessageType, v2.MessageType),
        ):
            self.assertEqual(set(map(int, theirs)), set(map(int, ours)))


class GoldenTests(SynchronousTestCase):
    """Frames that were written out by hand."""

    maxDiff = None

    def test_requests(self) -> None:
        """All requests, in one stream."""
        data = b"".join(bytes.fromhex(text) for _, text in golden.REQUESTS.values())
        expected = [shown.v2_request(request) for request, _ in golden.REQUESTS.values()]
        self.assertEqual(parsed(data, from_client=True), expected)

    def test_answers(self) -> None:
        """All answers, in one stream."""
        data = b"".join(bytes.fromhex(text) for *_, text in golden.RESPONSES.values())
        expected = [shown.v2_answer(answer) for answer, *_ in golden.RESPONSES.values()]
        self.assertEqual(parsed(data, from_client=False), expected)

    def test_dumps(self) -> None:
        """The dumps of the protocol's document, each with its code and all of its bytes."""
        for name, frame in dumps("v2.md").items():
            if name.isdigit():
                from_client = int(name) < 1_000
                (fields,) = parsed(frame, from_client=from_client)
                header_size = 23 if from_client else 7
                self.assertEqual(dict(fields)["code"], int(name))
                self.assertEqual(dict(fields)["size"], len(frame) - header_size)

    def test_unknown_code(self) -> None:
        """The payload of an unknown code, and of a foreign 9000, is bytes; the stream goes on."""
        fetch = bytes.fromhex(golden.REQUESTS["604"][1])
        unknown = fetch[:17] + bytes.fromhex("e703 03000000") + b"abc"
        first, second = parsed(unknown + fetch, from_client=True)
        self.assertEqual(first[-3:], [("code", 999), ("size", 3), ("payload", b"abc")])
        self.assertEqual(second, shown.v2_request(golden.REQUESTS["604"][0]))
        (foreign,) = parsed(bytes.fromhex("01 2823 02000000 6869"), from_client=False)
        self.assertEqual(foreign[-1], ("payload", b"hi"))

    def test_name(self) -> None:
        """A name ends at its NUL, whatever follows."""
        frame = bytearray(bytes.fromhex(golden.REQUESTS["600"][1]))
        frame[23:278] = b"bob\0garbage".ljust(255, b"\0")
        self.assertIn(("name", "bob"), parsed(bytes(frame), from_client=True)[0])
        frame[23:278] = b"n" * 255
        self.assertIn(("name", "n" * 255), parsed(bytes(frame), from_client=True)[0])

    def test_cut_off(self) -> None:
        """Every frame that is cut off anywhere is no frame."""
        for text in (golden.REQUESTS["603"][1], golden.REQUESTS["602"][1]):
            frame = bytes.fromhex(text)
            for end in range(1, len(frame)):
                with self.assertRaises((EOFError, KaitaiStructError)):
                    parsed(frame[:end], from_client=True)
